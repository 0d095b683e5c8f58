"""Puts payloads into frames: a length of four bytes, unsigned and big-endian, and that many bytes.

A frame whose length is not allowed is refused as soon as its four bytes are there, so that no peer can make this end
store more than one frame of the allowed size.
"""

from __future__ import annotations

import struct

from headless.errors import RemoteProtocolError

_LENGTH = struct.Struct(">I")
# The first bytes of other protocols: as a length of ours each is far beyond every limit.
_OTHERS = {
    b"HTTP": "HTTP",
    b"GET ": "HTTP",
    b"HEAD": "HTTP",
    b"POST": "HTTP",
    b"SSH-": "SSH",
    b"220 ": "SMTP or FTP",
    b"220-": "SMTP or FTP",
    b"\x15\x03": "TLS (-s tls://HOST:PORT speaks it)",  # an alert (RFC 8446, section 5.1)
    b"\x16\x03": "TLS",  # a handshake
}


class FrameTooLong(ValueError):
    """Is a payload of our own that the other side would not take."""


def frame(payload: bytes, limit: int) -> bytes:
    """Returns the bytes that carry this payload. Raises FrameTooLong beyond `limit` bytes."""
    if len(payload) > limit:
        raise FrameTooLong(f"{len(payload)} bytes in one message, at most {limit} are allowed")
    return _LENGTH.pack(len(payload)) + payload


class FrameReader:
    """Takes bytes as they come and returns payloads, one at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def unread(self) -> int:
        """Counts the bytes that have come and have not been returned."""
        return len(self._buffer)

    def receive(self, data: bytes) -> None:
        self._buffer += data

    def next_payload(self, limit: int) -> bytes | None:
        """Returns the next payload, None until more bytes come. Raises RemoteProtocolError for an empty one, or one of
        more than `limit` bytes."""
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if not 0 < length <= limit:
            raise RemoteProtocolError(_describe_length(bytes(self._buffer[: _LENGTH.size]), limit))
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        with memoryview(self._buffer) as view:
            payload = bytes(view[_LENGTH.size : end])
        del self._buffer[:end]
        return payload


def _describe_length(head: bytes, limit: int) -> str:
    other = _OTHERS.get(head) or _OTHERS.get(head[:2])
    if other:
        return f"this is not our protocol, but looks like {other}"
    return f"a frame of {int.from_bytes(head, 'big')} bytes, 1 to {limit} are allowed here"
