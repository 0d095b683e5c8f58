"""Finds the documents in the bytes of a connection, plain or compressed, without knowing what frames them."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Any

from headless.dialects.framing import MAX_MESSAGE, Documents, Frame
from headless.errors import RemoteProtocolError
from headless.protocol_tools.documents import is_document, wide_encoding

KINDS = {"zlib": 15, "gzip": 31, "deflate": -15}  # of compression: wbits of zlib.decompressobj
MAX_GAP = 4096  # bytes between two documents
_MAX_HEAD = 512  # bytes of something compressed after which it has to have begun to be one
_CUT = -1
_BEGINNING = re.compile(r"(?:\ufeff|\xef\xbb\xbf)?<[?!A-Za-z_\x80-\U0010ffff]")
_FLUSHED = b"\0\0\xff\xff"  # ends what is flushed with Z_SYNC_FLUSH (RFC 1951, 3.2.4, an empty stored block)
_MAX_FLUSHES = 64  # of these four bytes in one document


@dataclass(frozen=True)
class Content:
    """Is one document. `kind` is how it is compressed, "" if it is not, and `scope` is as in Compression."""

    start: int
    end: int
    kind: str = ""
    scope: str = ""


def contents_of(data: bytes, limit: int, wide: str | None = None) -> list[Content]:
    """Returns the first documents, up to what is none, or is cut. `wide` is the encoding of plain ones if they have two
    bytes for a character: one byte further they could be taken for the other such encoding."""
    found: list[Content] = []
    streams = [(kind, zlib.decompressobj(wbits)) for kind, wbits in KINDS.items()]  # that parts may be of
    position = 0
    while len(found) < limit:
        content, streams = _next(data, position, streams, wide)
        if content is None:
            break
        found.append(content)
        position = content.end
    return found


def _next(
    data: bytes, position: int, streams: list[tuple[str, Any]], wide: str | None
) -> tuple[Content | None, list[tuple[str, Any]]]:
    """Returns the next document, and of which stream what follows may be a part."""
    is_continued = len(streams) == 1
    for start in range(position, min(position + MAX_GAP, len(data))):
        end = _end_of_plain(data, start, wide)
        if end == _CUT:
            break
        if end is not None:
            return Content(start, end), streams
        for kind in KINDS:
            end = _end_of_message(data, start, kind) if can_begin(data, start, kind) else None
            if end is not None:
                return Content(start, end, kind, "message"), streams
        for kind, stream in streams:
            found = _end_of_part(data, start, stream) if is_continued or can_begin(data, start, kind) else None
            if found is not None:
                return Content(start, found[0], kind, "messages"), [(kind, found[1])]
    return None, streams


def _end_of_plain(data: bytes, start: int, wide: str | None) -> int | None:
    """Returns where the document that begins here ends, _CUT if its end is not there, or it may not be parsed; None if
    none begins here."""
    found = wide_encoding(data[start : start + 8])
    if wide and found != wide:
        return None
    encoding = found or "latin-1"
    if not _BEGINNING.match(data[start : start + 8].decode(encoding, "replace")):
        return None
    text = data[start:].decode(encoding, "replace")
    mark = len(text) - len(text.lstrip("\ufeff"))
    try:
        end = Documents().find(bytearray(text[mark:].encode("latin-1", "replace")), None)  # a byte for each character
    except RemoteProtocolError:
        return None
    if not isinstance(end, Frame):
        return _CUT
    size = len(text[: mark + end.end].encode(encoding))
    if is_document(data[start : start + size]):
        return start + size
    return _CUT if text[mark + 1] in "!?" else None  # what else begins so could only be a document


def can_begin(data: bytes, start: int, kind: str) -> bool:
    """Returns whether such a stream may begin here (RFC 1950, RFC 1952), as far as a glance shows."""
    if kind == "zlib":
        head = int.from_bytes(data[start : start + 2], "big")
        return head >> 8 & 0x0F == 8 and head % 31 == 0
    return kind != "gzip" or data.startswith(b"\x1f\x8b", start)


def is_like_document(beginning: bytes) -> bool:
    text = beginning.decode(wide_encoding(beginning) or "latin-1", "replace").lstrip("\ufeff\xef\xbb\xbf \t\r\n")
    return not text or text.startswith("<")


def _end_of_message(data: bytes, start: int, kind: str) -> int | None:
    """Returns the end of a document that is one whole stream."""
    unpacker = zlib.decompressobj(KINDS[kind])
    try:
        head = unpacker.decompress(data[start : start + _MAX_HEAD], 16)
        if not is_like_document(head) or (not head and len(data) >= start + _MAX_HEAD):
            return None
        unpacker = zlib.decompressobj(KINDS[kind])
        message = unpacker.decompress(data[start:], MAX_MESSAGE)
    except zlib.error:
        return None
    if not unpacker.eof or not is_document(message):
        return None
    return len(data) - len(unpacker.unused_data)


def _end_of_part(data: bytes, start: int, unpacker: Any) -> tuple[int, Any] | None:
    """Returns the end of a document that is a flushed part of a stream, and what goes on behind it."""
    try:
        if not is_like_document(unpacker.copy().decompress(data[start : start + _MAX_HEAD], 16)):
            return None
        unpacker, message = unpacker.copy(), b""
        for _ in range(_MAX_FLUSHES):
            end = data.find(_FLUSHED, start)
            if end < 0:
                return None
            end += len(_FLUSHED)
            message += unpacker.decompress(data[start:end], MAX_MESSAGE)
            start = end
            if is_document(message):
                return end, unpacker
    except zlib.error:
        pass
    return None
