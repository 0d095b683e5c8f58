"""Errors that pass from one room of the server to another.

Here is what several rooms raise or catch. An error that one room alone raises stands in that room. How an error ends
a command is in commands/main.py, and how it ends a connection in session.py.
"""

from __future__ import annotations

from headless.dialects.base import Refused
from headless.dialects.vocabulary import replace_invalid_xml_chars
from headless.errors import HeadlessError
from headless.terminal import shorten


class HomeError(HeadlessError):
    """The folder of the server cannot be used. The text is one sentence for the administrator."""


class HomeReplaced(OSError):
    """The folder of a running server, its lock or its database is not what the server has open: another server may use
    it. What is done here may be lost there."""


class Busy(Exception):
    """A limit of the server is reached, or something that it needs does not answer. The text is for the caller."""


class UnknownSession(Exception):
    """There is no such session, or it is not for this account to know of."""


class Refusal(Exception):
    """A client does not get what it has asked for. `message` tells it so."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.message = Refused(reason, replace_invalid_xml_chars(shorten(text)))
