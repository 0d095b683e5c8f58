"""Turns messages into the bytes of a connection and back: frames, compression, and what comes before the first frame.

What comes from the other side is limited: a peer can make this end keep no more than one message of MAX_MESSAGE bytes.
"""

from __future__ import annotations

import re
import zlib
from collections import namedtuple
from functools import cache

from headless.dialects.vocabulary import Value
from headless.errors import RemoteProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_MESSAGE = 8 * 1024 * 1024  # bytes, of one message that comes
_MAX_HEAD = 64 * 1024  # bytes of what comes before a message: the header of HTTP, a greeting
_MAX_DIGITS = 20  # of a length, with what ends it
_STEP = 1024 * 1024  # bytes that are made at once of what is compressed
_WBITS = {"zlib": 15, "deflate": -15, "gzip": 31}  # of zlib.decompressobj


# Where a message is in a buffer, and where what follows begins. A tuple: one is made for each message.
Frame = namedtuple("Frame", ("start", "end", "next"))


class Framing(Value):
    """Puts a message into a frame, and finds it again. It has no state: a value, that can be compared and printed."""

    def frame(self, message: bytes) -> bytes:
        """Returns the bytes that carry this message. Raises ValueError for one that cannot be carried."""
        raise NotImplementedError

    def find(self, buffer: bytearray, seen: Any, /) -> Frame | Any:
        """Returns the first frame of the buffer; if it is not whole, what shall be `seen` at the next call, so that no
        byte is looked at twice. `seen` is None at first. Raises RemoteProtocolError for what can be no frame."""
        raise NotImplementedError


class Length(Framing):
    """Counts the bytes of the message in the `size` bytes before it. `extra` is added to the count: `size` if the
    length counts itself. Constant bytes may be `before` the length, `between` length and message, and `after` it."""

    size: int = 4
    order: str = "big"
    extra: int = 0
    before: bytes = b""
    between: bytes = b""
    after: bytes = b""

    def frame(self, message: bytes) -> bytes:
        try:
            length = (len(message) + self.extra).to_bytes(self.size, self.order)  # type: ignore[arg-type]
        except OverflowError:
            raise ValueError(f"{len(message)} bytes are too many for a length of {self.size} bytes") from None
        return self.before + length + self.between + message + self.after

    def find(self, buffer: bytearray, _seen: Any, /) -> Frame | Any:
        head = len(self.before) + self.size
        _check_constant(buffer, 0, self.before)
        if len(buffer) < head:
            return None
        length = int.from_bytes(buffer[len(self.before) : head], self.order) - self.extra  # type: ignore[arg-type]
        return _frame_of(buffer, head, length, self.between, self.after)


class Digits(Framing):
    """Counts the bytes of the message in digits before it: so many (`width`, with zeros in front), or as many as it
    takes, ended by `between`. The rest is as in Length. `base` is 10 or 16, with the letters A to F if `is_upper`."""

    base: int = 10
    width: int = 0
    extra: int = 0
    before: bytes = b""
    between: bytes = b""
    after: bytes = b""
    is_upper: bool = False

    def frame(self, message: bytes) -> bytes:
        letter = "d" if self.base == 10 else "X" if self.is_upper else "x"
        digits = f"{len(message) + self.extra:0{self.width}{letter}}"
        if self.width and len(digits) > self.width:
            raise ValueError(f"{len(message)} bytes are too many for a length of {self.width} digits")
        return self.before + digits.encode() + self.between + message + self.after

    def find(self, buffer: bytearray, _seen: Any, /) -> Frame | Any:
        start = len(self.before)
        _check_constant(buffer, 0, self.before)
        end = start + self.width if self.width else buffer.find(self.between, start, start + _MAX_DIGITS)
        is_whole = 0 <= end <= len(buffer)
        digits = bytes(buffer[start:end] if is_whole else buffer[start : start + _MAX_DIGITS])
        rest = digits.lstrip(b"0123456789" if self.base == 10 else b"0123456789abcdefABCDEF")
        is_wrong = rest != b"" or not digits if is_whole else not self.between.startswith(rest)
        if is_wrong or len(digits) == _MAX_DIGITS:
            raise RemoteProtocolError(f"{_shown(digits)} where the length of a message is expected")
        if not is_whole:
            return None
        return _frame_of(buffer, end, int(digits, self.base) - self.extra, self.between, self.after)


class Delimiter(Framing):
    """Ends each message with constant bytes, which are not in it; others may be `before` it. The `end` is looked for at
    multiples of `unit` bytes: 2 where that is the size of a character."""

    end: bytes = b"\0"
    before: bytes = b""
    unit: int = 1

    def frame(self, message: bytes) -> bytes:
        if self._find(message + self.end, 0) < len(message):
            raise ValueError(f"a message with {_shown(self.end)} in it, which ends a message")
        return self.before + message + self.end

    def find(self, buffer: bytearray, seen: Any, /) -> Frame | Any:
        start = len(self.before)
        _check_constant(buffer, 0, self.before)
        found = self._find(buffer, max(start, seen - len(self.end) + 1) if seen else start, start)
        _check_length(len(buffer) if found < 0 else found - start)
        return len(buffer) if found < 0 else Frame(start, found, found + len(self.end))

    def _find(self, buffer: bytes | bytearray, position: int, start: int = 0) -> int:
        found = buffer.find(self.end, position)
        while found >= 0 and (found - start) % self.unit:
            found = buffer.find(self.end, found + 1)
        return found


class Documents(Framing):
    """Has no frames: documents of XML, one after the other. A message ends with the end tag of its root element. White
    space may be between them. The encoding has to have ASCII in it."""

    def frame(self, message: bytes) -> bytes:
        return message

    def find(self, buffer: bytearray, seen: Any, /) -> Frame | Any:
        whole = self._find_whole(buffer) if seen is None else None
        if whole is not None:
            return whole
        position, depth, markup = seen or (0, 0, None)
        while True:
            if markup is None:
                start = buffer.find(b"<", position)
                _check_space(buffer, position, len(buffer) if start < 0 else start, depth)
                if start < 0:
                    _check_length(len(buffer))
                    return len(buffer), depth, None
                found = _tag().match(buffer, start)
                markup = _Markup(start)
                end = markup.end_in(buffer) if found is None else found.end()
            else:
                end = markup.end_in(buffer)
            if end < 0:
                _check_length(len(buffer))
                return position, depth, markup
            start, position, markup = markup.start, end, None
            if buffer[start + 1] not in b"!?":
                depth += 1 - 2 * (buffer[start + 1] == ord("/")) - (buffer[end - 2] == ord("/"))
                if depth <= 0:
                    _check_length(end)
                    return Frame(_space().match(buffer).end(), end, end)  # type: ignore[union-attr]

    def _find_whole(self, buffer: bytearray) -> Frame | None:
        """Returns the first document, quickly, if it is there to its end, has nothing but tags and text in it, and no
        other element with the name of its root."""
        first = _first_tag().match(buffer)
        if first is None or first[0].endswith(b"/>"):
            return None
        name, start = first["name"], first.end()
        end = buffer.find(b"</" + name, start)
        last = _last_tag().match(buffer, end + 2 + len(name)) if end >= 0 else None
        if last is None or any(buffer.find(each, start, end) >= 0 for each in (b"<" + name, b"<!", b"<?")):
            return None
        _check_length(last.end())
        return Frame(first.start(1), last.end(), last.end())


class _Markup:
    """Looks for the end of markup that comes in pieces, and at no byte twice."""

    def __init__(self, start: int) -> None:
        self.start = start
        self._at = start  # where the search goes on
        self._until = b""  # what ends the markup, or the value of an attribute; b"" as long as that is not known

    def end_in(self, buffer: bytearray) -> int:
        """Returns where the markup ends, -1 if that has not come. Raises RemoteProtocolError."""
        if not self._until:
            self._begin(bytes(buffer[self.start : self.start + 9]))
        while self._until:
            if self._until == b">":
                stop = _tag_stop().search(buffer, self._at)
                self._at = len(buffer) if stop is None else stop.end()
                if stop is None:
                    return -1
                if stop[0] == b"<":
                    raise RemoteProtocolError("a tag of XML with '<' in it")
                if stop[0] == b">":
                    return self._at
                self._until = stop[0]
            else:
                found = buffer.find(self._until, self._at)
                if found < 0:
                    self._at = max(self._at, len(buffer) - len(self._until) + 1)
                    return -1
                self._at = found + len(self._until)
                if len(self._until) > 1:
                    return self._at
                self._until = b">"
        return -1

    def _begin(self, head: bytes) -> None:
        for beginning, end in ((b"<!--", b"-->"), (b"<![CDATA[", b"]]>"), (b"<?", b"?>")):
            if head.startswith(beginning):
                self._at, self._until = self.start + len(beginning), end
                return
            if beginning.startswith(head):
                return
        self._at, self._until = self.start + 1, b">"


class Http(Framing):
    """Carries each message as the body of a request or response of HTTP/1.1 with a Content-Length (RFC 9112). `start`
    is the first line of what is sent, `headers` are added to it. A response has to have one of the `statuses`. What may
    have no body has an empty message."""

    start: str = "POST / HTTP/1.1"
    headers: tuple[str, ...] = ()
    statuses: tuple[int, ...] = (200,)

    def frame(self, message: bytes) -> bytes:
        head = "\r\n".join([self.start, *self.headers, f"Content-Length: {len(message)}", "", ""])
        return head.encode("latin-1") + message

    def find(self, buffer: bytearray, _seen: Any, /) -> Frame | Any:
        end = buffer.find(b"\r\n\r\n", 0, _MAX_HEAD)
        if end < 0:
            if len(buffer) >= _MAX_HEAD or not (b"HTTP/".startswith(buffer[:5]) or re.match(rb"[A-Z]+( |$)", buffer)):
                raise RemoteProtocolError(f"{_shown(buffer)} where HTTP is expected")
            return None
        line, *headers = bytes(buffer[:end]).split(b"\r\n")
        is_response = line.startswith(b"HTTP/")
        if not (is_response or re.match(rb"[A-Z]+ ", line)):
            raise RemoteProtocolError(f"{_shown(buffer)} where HTTP is expected")
        status = line.split(b" ", 2)[1] if is_response and b" " in line else b""
        if is_response and status not in [b"%d" % each for each in self.statuses]:
            raise RemoteProtocolError(f"the server answers {_shown(line)}")
        names = [(name.strip().lower(), value.strip()) for name, _, value in (each.partition(b":") for each in headers)]
        lengths = {value for name, value in names if name == b"content-length"}
        is_chunked = b"transfer-encoding" in dict(names)
        if not lengths and not is_chunked and (not is_response or status in (b"204", b"304")):
            lengths = {b"0"}
        if len(lengths) != 1 or is_chunked or not re.fullmatch(rb"[0-9]{1,20}", min(lengths)):
            raise RemoteProtocolError("a message of HTTP without Content-Length")
        return _frame_of(buffer, end + 4, int(min(lengths)), b"", b"")


class Compression(Value):
    """Compresses with `kind` "zlib", "deflate" (without a header) or "gzip". `scope` says what: "message" each message
    by itself, "messages" all messages as parts of one stream, "frames" the frames as one stream. The first `after`
    messages are not compressed."""

    kind: str = "zlib"
    scope: str = "message"
    after: int = 0
    level: int = 6


class Transport(Value):
    """Describes one direction of a connection. Before the first frame there may be a `beginning`: these bytes, or if
    `is_line`, anything that ends with them."""

    framing: Framing
    compression: Compression | None = None
    beginning: bytes = b""
    is_line: bool = False


class Sender:
    """Turns the messages of one connection into bytes."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._count = 0
        self._stream: Any = None

    def bytes_of(self, message: bytes) -> bytes:
        """Returns the bytes of the next message. Raises ValueError for one that cannot be carried."""
        transport, compression = self._transport, self._transport.compression
        is_compressed = compression is not None and self._count >= compression.after
        beginning = b"" if self._count else transport.beginning
        self._count += 1
        if compression is not None and is_compressed and compression.scope != "frames":
            message = self._compress(compression, message)
        framed = transport.framing.frame(message)
        if compression is not None and is_compressed and compression.scope == "frames":
            framed = self._compress(compression, framed)
        return beginning + framed

    def _compress(self, compression: Compression, data: bytes) -> bytes:
        if self._stream is None or compression.scope == "message":
            self._stream = zlib.compressobj(compression.level, wbits=_WBITS[compression.kind])
        end = zlib.Z_FINISH if compression.scope == "message" else zlib.Z_SYNC_FLUSH
        return bytes(self._stream.compress(data) + self._stream.flush(end))


class Receiver:
    """Finds the messages in the bytes of one connection. `has_begun` says that the beginning has come."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._raw = bytearray()  # as it came
        self._buffer = bytearray()  # frames
        self._seen: Any = None  # of the first one
        self._count = 0  # of messages
        self._stream: Any = None
        self.has_begun = not transport.beginning

    @property
    def unread(self) -> int:
        """Counts the bytes that belong to no message that was returned."""
        return len(self._buffer) + len(self._raw)

    @property
    def rest(self) -> bytes:
        """Returns these bytes, as far as they have been decompressed."""
        return bytes(self._buffer + self._raw)

    def receive(self, data: bytes) -> None:
        self._raw += data

    def next_message(self) -> bytes | None:
        """Returns the next message, None until more bytes come. Raises RemoteProtocolError for what can be none."""
        if not (self.has_begun or self._begin()):
            return None
        while not isinstance(found := self._transport.framing.find(self._buffer, self._seen), Frame):
            self._seen = found
            if not self._raw:
                return None
            self._unpack_frames()
        message = bytes(self._buffer[found.start : found.end])
        del self._buffer[: found.next]
        self._seen = None
        if self._is_packed("message", "messages"):
            message = self._unpack_message(message)
        self._count += 1
        if self._is_packed("frames") and self._stream is None:  # from here on
            self._raw, self._buffer = self._buffer + self._raw, bytearray()
        return message

    def _begin(self) -> bool:
        """Returns whether the beginning is over."""
        if self.has_begun:
            return True
        beginning = self._transport.beginning
        if self._transport.is_line:
            found = self._raw.find(beginning, 0, _MAX_HEAD)
            if found < 0 and len(self._raw) >= _MAX_HEAD:
                raise RemoteProtocolError(f"{_shown(self._raw)} where {_shown(beginning)} is expected")
            self.has_begun, end = found >= 0, found + len(beginning)
        else:
            _check_constant(self._raw, 0, beginning)
            self.has_begun, end = len(self._raw) >= len(beginning), len(beginning)
        if self.has_begun:
            del self._raw[:end]
        return self.has_begun

    def _is_packed(self, *scopes: str) -> bool:
        """Returns whether what comes now is compressed, in one of these scopes."""
        compression = self._transport.compression
        return compression is not None and compression.scope in scopes and self._count >= compression.after

    def _unpack_frames(self) -> None:
        """Takes what has come, or some of it: little may become much."""
        raw, self._raw = self._raw, bytearray()
        if self._is_packed("frames"):
            self._buffer += self._unpack(raw, _STEP)
            if self._stream.unused_data:
                raise RemoteProtocolError(f"bytes after the end of the {self._kind} stream")
            self._raw += self._stream.unconsumed_tail
        else:
            self._buffer += raw

    def _unpack_message(self, message: bytes) -> bytes:
        is_alone = self._is_packed("message")
        if is_alone:
            self._stream = None
        data = self._unpack(message, MAX_MESSAGE)
        if self._stream.unconsumed_tail:
            raise RemoteProtocolError(f"a message of more than {MAX_MESSAGE} bytes")
        if self._stream.unused_data or (is_alone and not self._stream.eof):
            raise RemoteProtocolError(f"a message that is not one whole {self._kind} stream")
        return data

    def _unpack(self, data: bytes | bytearray, limit: int) -> bytes:
        if self._stream is None:
            self._stream = zlib.decompressobj(_WBITS[self._kind])
        try:
            return bytes(self._stream.decompress(data, limit))
        except zlib.error:
            raise RemoteProtocolError(f"bytes that are not compressed by {self._kind}") from None

    @property
    def _kind(self) -> str:
        compression = self._transport.compression
        assert compression is not None
        return compression.kind


def _frame_of(buffer: bytearray, head: int, length: int, between: bytes, after: bytes) -> Frame | None:
    """Returns the frame of a message of this length, None if it is not whole. Raises RemoteProtocolError."""
    _check_length(length)
    start = head + len(between)
    _check_constant(buffer, head, between)
    end = start + length
    _check_constant(buffer, end, after)
    return Frame(start, end, end + len(after)) if len(buffer) >= end + len(after) else None


def _check_length(length: int) -> None:
    if not 0 <= length <= MAX_MESSAGE:
        raise RemoteProtocolError(f"a message of {length} bytes, 0 to {MAX_MESSAGE} are allowed")


def _check_constant(buffer: bytearray, start: int, constant: bytes) -> None:
    """Raises RemoteProtocolError if what has come there is something else."""
    if constant and not constant.startswith(found := bytes(buffer[start : start + len(constant)])):
        raise RemoteProtocolError(f"{_shown(found)} where a frame has {_shown(constant)}")


def _shown(data: bytes | bytearray) -> str:
    return repr(bytes(data[:32]))[1:]


def _check_space(buffer: bytearray, start: int, end: int, depth: int) -> None:
    """Raises RemoteProtocolError for text outside of the root element."""
    if depth == 0 and (text := buffer[start:end].strip(b" \t\r\n\0")):
        raise RemoteProtocolError(f"{_shown(text)} where a document of XML is expected")


@cache
def _space() -> re.Pattern[bytes]:
    return re.compile(rb"[ \t\r\n\0]*")


@cache
def _tag() -> re.Pattern[bytes]:
    return re.compile(rb"""</?[^<>"'!?\s/][^<>"']*(?:"[^"]*"[^<>"']*|'[^']*'[^<>"']*)*>""")


@cache
def _first_tag() -> re.Pattern[bytes]:
    """Matches white space, and what a document begins with: a mark, a declaration, a tag with its `name`."""
    beginning = rb"""[ \t\r\n\0]*((?:\xef\xbb\xbf)?(?:<\?xml\s[^<>]*\?>\s*)?<(?P<name>[^<>"'!?\s/]+))"""
    return re.compile(beginning + rb"""[^<>"']*(?:"[^"]*"[^<>"']*|'[^']*'[^<>"']*)*>""")


@cache
def _last_tag() -> re.Pattern[bytes]:
    return re.compile(rb"\s*>")


@cache
def _tag_stop() -> re.Pattern[bytes]:
    return re.compile(rb"""[<>"']""")
