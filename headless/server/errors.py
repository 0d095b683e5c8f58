"""Errors that pass from one room of the server to another.

Here is what several rooms raise or catch. An error that one room alone raises stands in that room. How an error ends
a command is in commands/main.py, and how it ends a connection in session.py.
"""

from __future__ import annotations


class HomeError(Exception):
    """The folder of the server cannot be used. The text is one sentence for the administrator."""
