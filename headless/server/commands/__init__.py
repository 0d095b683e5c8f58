"""The commands of a job server: serve, user, jobs, status."""
