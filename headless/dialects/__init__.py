"""Holds the seam between the command and a server, and the dialects that fit it."""
