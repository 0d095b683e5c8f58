"""The server's commands: serve, user and jobs. main.py puts them together; each has a file of its own."""
