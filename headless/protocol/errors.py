"""What can go wrong on a wire, by whose fault it is."""

from __future__ import annotations


class ProtocolError(Exception):
    """Something was sent, or was to be sent, that the protocol does not allow. The text is one sentence."""


class LocalProtocolError(ProtocolError):
    """This side was about to do it: a bug of ours."""


class RemoteProtocolError(ProtocolError):
    """The other side did it."""
