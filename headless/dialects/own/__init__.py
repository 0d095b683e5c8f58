"""Holds the protocol of this project: the dialect of the client, and the end of the server."""
