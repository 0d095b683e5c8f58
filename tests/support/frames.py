"""Frames as bytes, by PROTOCOL.md alone: made, found in a stream, and cut into pieces."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple


def frame(xml: str | bytes) -> bytes:
    """The bytes of one frame."""
    payload = xml.encode() if isinstance(xml, str) else xml
    return struct.pack(">I", len(payload)) + payload


def whole(data: bytes) -> list[bytes]:
    return [data]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


class Frame(NamedTuple):
    """A whole frame in a stream of bytes, and where it lies there."""

    name: str
    payload: str
    start: int
    end: int


def frames_in(stream: bytes) -> list[Frame]:
    """The whole frames that the stream begins with, taken apart without the package."""
    found, start = [], 0
    while len(stream) >= start + 4:
        end = start + 4 + struct.unpack_from(">I", stream, start)[0]
        if end > len(stream):
            break
        payload = stream[start + 4 : end].decode()
        name = re.match("<([a-z_]+)", payload)
        assert name, payload
        found.append(Frame(name[1], payload, start, end))
        start = end
    return found
