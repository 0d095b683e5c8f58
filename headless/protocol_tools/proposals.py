"""Proposes transports for the bytes of one direction, from what is before, between and behind the documents in them.

A proposal may be wrong: the caller has to check that it explains everything.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Any

from headless.dialects.framing import (
    MAX_MESSAGE,
    Compression,
    Delimiter,
    Digits,
    Documents,
    Framing,
    Http,
    Length,
    Receiver,
    Transport,
)
from headless.errors import ProtocolError
from headless.protocol_tools.contents import KINDS, MAX_GAP, Content, can_begin, contents_of
from headless.protocol_tools.documents import is_document, wide_encoding
from headless.protocol_tools.secrecy import SECRET_HEADERS, is_secret

_MAX_CONTENTS = 40  # of a stream that are looked at
_MAX_CONSTANT = 64  # bytes around a length of which each way to divide them is proposed
_MAX_BETWEEN = 8  # bytes between a length and its message
_MAX_BEGINNING = 256  # bytes before a compressed stream
_MAX_END = 8  # bytes behind the only message of a connection that may belong to it
_SPACE = b" \t\r\n\0"  # that may be between documents
_LINE_ENDS = (b"\r\n", b"\n", b"\0")
_WIDE = re.compile(rb"<\0[^\0]\0|\0<\0[^\0]")
_HTTP = re.compile(rb"HTTP/1\.[01] [0-9]{3}|[A-Z]+ [^ ]+ HTTP/1\.[01]\r\n")

Make = Callable[[bytes, bytes], Framing]  # from what is constant before the length and behind the message


@dataclass
class Stream:
    """Holds what one side has sent on a connection; or the beginning of it, if it is not `is_whole`."""

    name: str
    data: bytes
    is_whole: bool = True
    contents: list[Content] = field(default_factory=list)

    @classmethod
    def of(cls, name: str, data: bytes, is_whole: bool = True) -> Stream:
        return cls(name, data, is_whole, contents_of(data, _MAX_CONTENTS))

    def in_encoding(self, wide: str) -> Stream:
        return Stream(self.name, self.data, self.is_whole, contents_of(self.data, _MAX_CONTENTS, wide))

    def plain_beginning(self) -> Stream:
        """Returns the same stream with those documents alone that come before a compressed one."""
        return Stream(self.name, self.data, self.is_whole, [*takewhile(lambda each: not each.kind, self.contents)])


def proposals(streams: Sequence[Stream]) -> Iterator[Transport]:
    """Yields transports, some of them more than once."""
    streams = [stream for stream in streams if stream.data]
    for wide in ("utf-16le", "utf-16be") if any(_WIDE.search(stream.data, 0, MAX_GAP) for stream in streams) else ():
        found = [stream.in_encoding(wide) for stream in streams]
        yield from _framed(found)
        yield from _in_one_stream_later(found)
    for compression in _compressions(streams):
        for transport in _framed(streams):
            yield transport.replace(compression=compression)
    yield from _in_one_stream(streams)
    yield from _in_one_stream_later(streams)


def _compressions(streams: Sequence[Stream]) -> list[Compression | None]:
    """Returns how the documents may be compressed, each in its frame."""
    found: dict[Compression | None, None] = {}
    for stream in streams:
        kinds = [content.kind for content in stream.contents]
        first = next((number for number, kind in enumerate(kinds) if kind), None)
        if first is not None:
            found[Compression(kinds[first], stream.contents[first].scope, first)] = None
    return list(found) or [None]


# Compression around the frames


def _in_one_stream(streams: Sequence[Stream]) -> Iterator[Transport]:
    """Yields transports whose frames are compressed from the first one on."""
    if not streams:
        return
    beginnings: list[tuple[bytes, bool]] = [(streams[0].data[:size], False) for size in range(_MAX_BEGINNING)]
    for beginning, is_line in [*beginnings, *((end, True) for end in _LINE_ENDS)]:
        starts = [_start(stream.data, beginning, is_line) for stream in streams]
        for kind in KINDS:
            if kind == "deflate" and beginning and not beginning.endswith(_LINE_ENDS):
                continue  # nearly everything can be the beginning of one
            if any(start >= 0 and not can_begin(stream.data, start, kind) for stream, start in zip(streams, starts)):
                continue
            unpacked = [_unpacked(stream.data, start, kind) for stream, start in zip(streams, starts)]
            pairs = zip(streams, unpacked)
            inner = [Stream.of(each.name, data, each.is_whole) for each, data in pairs if data is not None]
            if len(inner) == len(streams):
                for transport in _framed(inner):
                    if not transport.beginning:
                        yield Transport(transport.framing, Compression(kind, "frames"), beginning, is_line)


def _start(data: bytes, beginning: bytes, is_line: bool) -> int:
    """Returns where what follows the beginning is, -1 if it does not begin so."""
    if is_line:
        found = data.find(beginning)
        return found + len(beginning) if found >= 0 else -1
    return len(beginning) if data.startswith(beginning) else -1


def _unpacked(data: bytes, start: int, kind: str) -> bytes | None:
    """Returns what the bytes from there on are, None if they are not compressed so."""
    unpacker = zlib.decompressobj(KINDS[kind])
    try:
        unpacked = unpacker.decompress(data[start:], MAX_MESSAGE) if start >= 0 else b""
    except zlib.error:
        return None
    return None if unpacker.unused_data or not unpacked else unpacked


def _in_one_stream_later(streams: Sequence[Stream]) -> Iterator[Transport]:
    """Yields transports whose frames are compressed behind the first messages, which are not."""
    for transport in dict.fromkeys(_framed([stream.plain_beginning() for stream in streams])):
        ends = [_end_of_plain(transport, stream.data) for stream in streams]
        packed = [(stream, *end) for stream, end in zip(streams, ends) if end is not None and end[1] < len(stream.data)]
        for count in {count for _, count, _ in packed}:
            starts = [(stream.data, start) for stream, found, start in packed if found == count]
            for kind in KINDS:
                if all(_unpacked(data, start, kind) is not None for data, start in starts):
                    yield transport.replace(compression=Compression(kind, "frames", count))


def _end_of_plain(transport: Transport, data: bytes) -> tuple[int, int] | None:
    """Returns how many messages the transport finds, and where it ends to do so; None if it finds none."""
    receiver = Receiver(transport)
    receiver.receive(data)
    count, left = 0, len(data)
    try:
        while (message := receiver.next_message()) is not None and is_document(message):
            count, left = count + 1, receiver.unread
    except ProtocolError:
        pass
    return (count, len(data) - left) if count else None


# Frames


@dataclass(frozen=True)
class _Gaps:
    """Holds what is around the documents of all streams: before the first one, between two, behind the last one."""

    first: list[bytes]
    inner: list[bytes]
    last: list[bytes]
    sizes: list[int]  # of the documents: those behind `first`, then those behind `inner`
    is_wide: bool  # two bytes for a character

    @classmethod
    def of(cls, streams: Sequence[Stream]) -> _Gaps:
        first, inner, last = [], [], []
        sizes_of_first, sizes_of_inner = [], []
        is_wide = False
        for stream in streams:
            if not stream.contents:
                continue
            first.append(stream.data[: stream.contents[0].start])
            sizes_of_first.append(stream.contents[0].end - stream.contents[0].start)
            for content, following in zip(stream.contents, stream.contents[1:]):
                inner.append(stream.data[content.end : following.start])
                sizes_of_inner.append(following.end - following.start)
            if stream.is_whole and len(stream.contents) < _MAX_CONTENTS:
                last.append(stream.data[stream.contents[-1].end :])
            start = stream.contents[0].start
            is_wide = is_wide or (wide_encoding(stream.data[start : start + 4]) or "").startswith("utf-16")
        return cls(first, inner, last, sizes_of_first + sizes_of_inner, is_wide)

    @property
    def before(self) -> list[bytes]:
        """Returns what is before each document."""
        return self.first + self.inner


def _framed(streams: Sequence[Stream]) -> Iterator[Transport]:
    """Yields transports without compression."""
    gaps = _Gaps.of(streams)
    if not gaps.first:
        return
    if all(map(_HTTP.match, gaps.first)):
        yield Transport(_http(streams, gaps))
        return
    for make, sizes in _lengths(gaps):
        heads = [gap[: len(gap) - size] for gap, size in zip(gaps.before, sizes)]
        for after, before, beginnings in _divided(heads[: len(gaps.first)], heads[len(gaps.first) :], gaps.last):
            framing = make(before, after)
            if len(set(gaps.sizes)) > 1 or _is_natural(framing, min(sizes)):
                yield from _begun(framing, beginnings)
    for end, before, beginnings in _divided(gaps.first, gaps.inner, gaps.last):
        if end:
            yield from _begun(Delimiter(end, before, 2 if gaps.is_wide else 1), beginnings)
    if not any(gap.strip(_SPACE) for gap in gaps.inner):
        yield from _begun(Documents(), [each if each.strip(_SPACE) else b"" for each in gaps.first])


def _is_natural(framing: Any, size: int) -> bool:
    """Returns whether what is added to the length is the size of some parts of the frame. Where all documents have the
    same length, anything could be added to anything. `size` is that of the length, with what is behind it."""
    before, between, after = len(framing.before), len(framing.between), len(framing.after)
    sums = {
        own + a + b + c for own in (0, size - between) for a in (0, before) for b in (0, between) for c in (0, after)
    }
    return framing.extra in sums


def _http(streams: Sequence[Stream], gaps: _Gaps) -> Http:
    heads = [[*gap.split(b"\r\n\r\n"), b""][-3].split(b"\r\n") for gap in gaps.before if gap.count(b"\r\n\r\n")]
    start, *headers = heads[0]
    constant = [header.decode("latin-1") for header in headers if all(header in head for head in heads)]
    shown = [header for header in constant if not _is_left_out(*header.partition(":")[::2])]
    found = {int(each) for stream in streams for each in re.findall(rb"HTTP/1\.[01] ([0-9]{3})", stream.data)}
    return Http(start.decode("latin-1"), tuple(shown), tuple(sorted(found | {200})))


def _is_left_out(name: str, value: str) -> bool:
    """Returns whether a header is made anew for each message, or must not be shown."""
    return name.lower() in ("content-length", *SECRET_HEADERS) or is_secret(name, value)


def _lengths(gaps: _Gaps) -> Iterator[tuple[Make, list[int]]]:
    """Yields how the last bytes of each gap may be the length of the document behind it: what makes the framing, and
    how many bytes these are in each gap, with what is between length and document."""
    shortest = min(map(len, gaps.before))
    for distance in range(min(_MAX_BETWEEN, shortest) + 1):
        heads = [gap[: len(gap) - distance] for gap in gaps.before]
        between = {gap[len(head) :] for gap, head in zip(gaps.before, heads)}
        if len(between) > 1:
            break
        for size in (1, 2, 4, 8):
            if size + distance <= shortest:
                yield from _binary(gaps, heads, size, min(between))
        yield from _written(gaps, heads, min(between))


def _binary(gaps: _Gaps, heads: list[bytes], size: int, between: bytes) -> Iterator[tuple[Make, list[int]]]:
    numbers = [head[len(head) - size :] for head in heads]
    for order in ("big", "little")[: 1 + (size > 1)]:
        values = (int.from_bytes(each, order) for each in numbers)  # type: ignore[arg-type]
        extras = {value - length for value, length in zip(values, gaps.sizes)}
        if len(extras) == 1 and abs(min(extras)) <= _MAX_CONSTANT:
            form = Length(size, order, min(extras), between=between)
            yield partial(_surround, form), [size + len(between)] * len(numbers)


def _written(gaps: _Gaps, heads: list[bytes], between: bytes) -> Iterator[tuple[Make, list[int]]]:
    """Yields the same for digits."""
    for base, pattern in ((10, rb"[0-9]{1,19}\Z"), (16, rb"(?:[0-9a-f]{1,16}|[0-9A-F]{1,16})\Z")):
        matches = [re.search(pattern, head) for head in heads]
        found = [match[0] for match in matches if match]
        if len(found) < len(heads):
            continue
        is_upper = any(each != each.lower() for each in found)
        for width in _widths(found, bool(between)):
            digits = [each[len(each) - width :] if width else each for each in found]
            extras = {int(each, base) - length for each, length in zip(digits, gaps.sizes)}
            if len(extras) == 1 and abs(min(extras)) <= _MAX_CONSTANT:
                form = Digits(base, width, min(extras), between=between, is_upper=is_upper)
                yield partial(_surround, form), [len(each) + len(between) for each in digits]


def _surround(form: Framing, before: bytes, after: bytes) -> Framing:
    return form.replace(before=before, after=after)


def _widths(found: list[bytes], is_ended: bool) -> list[int]:
    """Returns how many of these digits may be a length, 0 for as many as it takes. Zeros in front are digits, too."""
    shortest = min(map(len, found))
    widths = [width for width in range(1, shortest + 1) if not all(each[:-width].endswith(b"0") for each in found)]
    has_zero = any(each.startswith(b"0") and len(each) > 1 for each in found)
    return widths + [0] * (is_ended and not has_zero)


def _divided(first: list[bytes], inner: list[bytes], last: list[bytes]) -> Iterator[tuple[bytes, bytes, list[bytes]]]:
    """Yields how constant bytes may belong to the message before them, and to the one behind them; and what is left
    before the first message of each stream. `first` is before the first message, `inner` between two, `last` behind
    the last one."""
    ends, begin = _common_start(last)[:_MAX_END], _common_end(first)
    ways = [(ends[:size], before) for size in range(len(ends) + 1) for before in (begin, b"")]
    if inner:  # in which empty messages may be, too
        ((between, _),) = Counter(inner).most_common(1)
        count = len(between) if len(between) <= _MAX_CONSTANT else _MAX_END
        ways += [(between[:size], between[size:]) for size in range(count + 1)]
    for after, before in dict.fromkeys(ways):
        fitting = sum(each.startswith(after) or after.startswith(each) for each in last)
        if 2 * fitting >= len(last) and all(each.endswith(before) for each in first):
            yield after, before, [each[: len(each) - len(before)] for each in first]


def _begun(framing: Framing, beginnings: Iterable[bytes]) -> Iterator[Transport]:
    """Yields transports with what may come once, before the first message."""
    different = sorted(set(beginnings))
    if len(different) == 1:
        yield Transport(framing, beginning=different[0])
        return
    for end in dict.fromkeys((*_LINE_ENDS, _common_end(different))):
        if end and all(each.find(end) == len(each) - len(end) for each in different):
            yield Transport(framing, beginning=end, is_line=True)
            return


def _common_start(texts: Sequence[bytes]) -> bytes:
    least, most = min(texts, default=b""), max(texts, default=b"")
    size = next(
        (number for number, pair in enumerate(zip(least, most)) if pair[0] != pair[1]), min(len(least), len(most))
    )
    return least[:size]


def _common_end(texts: Sequence[bytes]) -> bytes:
    return _common_start([each[::-1] for each in texts])[::-1]
