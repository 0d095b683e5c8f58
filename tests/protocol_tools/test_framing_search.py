"""How messages become bytes is found out from the bytes: every framing and compression, with bytes made by hand. Where
several explanations remain, or too little was recorded, that is said."""

from __future__ import annotations

import random
import struct
import zlib
from itertools import product

import pytest

from headless.dialects.framing import Compression, Delimiter, Digits, Documents, Http, Length, Transport
from headless.protocol_tools.framing_search import Answer, Search
from headless.protocol_tools.proposals import Stream
from headless.protocol_tools.recordings import Piece
from support.sampling import one_of

WORDS = "ok fail alpha beta <&amp; \u00e4 \u20ac".replace("<", "").split()


def documents(seed: int, count: int, encoding: str = "utf-8", longest: int = 300) -> list[bytes]:
    chance = random.Random(seed)
    made = []
    for number in range(count):
        text = " ".join(chance.choice(WORDS) for _ in range(chance.randint(0, longest // 6)))
        made.append(f'<m n="{number}"><t>{text}</t><e/></m>'.encode(encoding))
    return made


def search(connections: list[bytes]) -> Answer:
    found = Search([Stream.of(str(number), data) for number, data in enumerate(connections)])
    chance = random.Random(1)
    for number, data in enumerate(connections):
        pieces, start = [], 0
        while start < len(data):
            size = chance.choice((1, 7, 1000, len(data)))
            pieces.append(Piece(0, "client", data[start : start + size]))
            start += size
        found.add(str(number), pieces)
    return found.answer()


def talks(frame, beginning: bytes = b"", encoding: str = "utf-8", large: bool = True) -> list[bytes]:
    """Some connections with several messages each; one message has more than 64 KiB."""
    made = [beginning + b"".join(map(frame, documents(seed, 4, encoding))) for seed in range(4)]
    if large:
        made.append(beginning + frame(documents(5, 1, encoding)[0]) + frame(f"<m>{'x' * 70_000}</m>".encode(encoding)))
    return made


def big(size: int, extra: int = 0):
    return lambda message: (len(message) + extra).to_bytes(size, "big") + message


def little(size: int, extra: int = 0):
    return lambda message: (len(message) + extra).to_bytes(size, "little") + message


FRAMINGS = {
    "4 bytes": (big(4), Length(4, "big")),
    "4 bytes, the least first": (little(4), Length(4, "little")),
    "8 bytes": (big(8), Length(8, "big")),
    "8 bytes, the least first": (little(8), Length(8, "little")),
    "a length that counts itself": (big(4, 4), Length(4, "big", 4)),
    "a header that is counted in": (
        lambda m: b"PL\x01\x02" + struct.pack("<I", len(m) + 8) + m,
        Length(4, "little", 8, before=b"PL\x01\x02"),
    ),
    "constant bytes around": (
        lambda m: b"\x02" + struct.pack(">I", len(m)) + b"\x10\x11" + m + b"\x03",
        Length(4, "big", 0, before=b"\x02", between=b"\x10\x11", after=b"\x03"),
    ),
    "a NUL that is counted in": (lambda m: struct.pack(">I", len(m) + 1) + m + b"\0", Length(4, "big", 1, after=b"\0")),
    "8 digits": (lambda m: b"%08d" % len(m) + m, Digits(10, 8)),
    "8 hexadecimal digits": (lambda m: b"%08x" % len(m) + m, Digits(16, 8)),
    "8 large hexadecimal digits": (lambda m: b"%08X" % len(m) + m, Digits(16, 8, is_upper=True)),
    "digits and a line end": (lambda m: b"%d\n" % len(m) + m, Digits(10, 0, between=b"\n")),
    "a netstring": (lambda m: b"%d:%s," % (len(m), m), Digits(10, 0, between=b":", after=b",")),
    "hexadecimal digits, as in chunks": (
        lambda m: b"%x\r\n%s\r\n" % (len(m), m),
        Digits(16, 0, between=b"\r\n", after=b"\r\n"),
    ),
    "a header of text": (
        lambda m: b"Length: %d\r\n\r\n%s" % (len(m), m),
        Digits(10, 0, before=b"Length: ", between=b"\r\n\r\n"),
    ),
    "NUL": (lambda m: m + b"\0", Delimiter(b"\0")),
    "around by two bytes": (lambda m: b"\x0b" + m + b"\x1c\r", Delimiter(b"\x1c\r", b"\x0b")),
    "documents": (lambda m: m, Documents()),
    "HTTP": (
        lambda m: b"POST /a HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\nX: y\r\n\r\n%s" % (len(m), m),
        Http("POST /a HTTP/1.1", ("Host: b", "X: y")),
    ),
    "HTTP of a server": (
        lambda m: b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(m), m),
        Http("HTTP/1.1 200 OK"),
    ),
}


@pytest.mark.parametrize("name", FRAMINGS)
def test_a_framing_is_found(name):
    frame, framing = FRAMINGS[name]
    answer = search(talks(frame))
    assert answer.transport == Transport(framing), (answer, name)
    assert answer.is_certain, answer
    assert answer.evidence.messages == 18


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r\n\r\n", b"\n\n"])
def test_white_space_that_ends_messages_may_belong_to_no_framing(end):
    answer = search(talks(lambda m: m + end))
    assert answer.transport == Transport(Delimiter(end))
    assert [other for other, _ in answer.alternatives] == [Transport(Documents())]


@pytest.mark.parametrize(
    ("encoding", "frame", "framing"),
    [
        ("utf-16", big(4), Length(4)),
        ("utf-16-le", lambda m: m + b"\0\0", Delimiter(b"\0\0", unit=2)),
        ("utf-16-be", little(4), Length(4, "little")),
        ("utf-16-be", big(4), Length(4)),
        ("utf-16-le", little(4), Length(4, "little")),
        ("utf-16-le", big(4), Length(4)),
        ("utf-16-be", lambda m: m + b"\0\0", Delimiter(b"\0\0", unit=2)),
        ("cp1252", big(4), Length(4)),
        ("cp1252", lambda m: m + b"\0", Delimiter(b"\0")),
        ("iso-8859-15", lambda m: m, Documents()),
    ],
)
def test_a_framing_is_found_in_every_encoding(encoding, frame, framing):
    answer = search(talks(frame, encoding=encoding))
    assert answer.transport == Transport(framing), answer


# Few recordings, in which "-" is an empty message.
WITH_KEEP_ALIVES = [["m-", "m--", "m-"], ["m--m", "m"], ["mm---m"], ["m-m-mm"], ["m-m-", "mm-m"], ["m-m-", "m-", "m"]]


@pytest.mark.parametrize("name", ["4 bytes", "a length that counts itself", "8 digits", "constant bytes around"])
@pytest.mark.parametrize("talks", WITH_KEEP_ALIVES, ids=" ".join)
def test_empty_messages_that_keep_few_connections_alive_are_no_part_of_the_frames(talks, name):
    frame, framing = FRAMINGS[name]
    messages = iter(documents(7, 12))
    answer = search([b"".join(frame(next(messages) if each == "m" else b"") for each in talk) for talk in talks])
    assert answer.transport == Transport(framing), answer
    assert answer.evidence.empty == "".join(talks).count("-")
    assert answer.evidence.cut == []


def asked_later(sample: list[bytes], later: list[bytes]) -> Search:
    """A search that has a sample, and is then given everything, until its answer is that of all."""
    found = Search([Stream.of(str(number), data, False) for number, data in enumerate(sample)])
    used = None
    while used != found.transport:
        used = found.transport
        found.begin()
        for number, data in enumerate([*sample, *later]):
            found.add(str(number), [Piece(0, "client", data)])
    return found


@pytest.mark.parametrize("kind", [None, "zlib"])
def test_what_a_sample_leaves_open_is_told_by_a_longer_message_elsewhere(kind):
    def framed(message: bytes) -> bytes:
        return big(4)(zlib.compress(message, 0) if kind else message)

    sample = [b"".join(map(framed, documents(seed, 4))) for seed in range(3)]
    assert asked_later(sample, []).answer().alternatives
    answer = asked_later(sample, [framed(f"<m>{'x' * 70_000}</m>".encode())]).answer()
    assert answer.transport == Transport(Length(4), Compression(kind) if kind else None)
    assert answer.is_certain, answer
    assert answer.evidence.messages == 13


def test_what_explains_a_sample_and_not_all_is_given_up():
    sample = [b"<a/>\n<b>1</b>\n", b"<c/>\n<d/>\n"]
    answer = asked_later(sample, [b"<e>\n</e>\n"]).answer()
    assert answer.transport == Transport(Documents())
    assert answer.evidence.messages == 5


PACKERS = {"zlib": 15, "deflate": -15, "gzip": 31}


def packed_each(frame, kind: str, after: int):
    def make(messages: list[bytes]) -> bytes:
        made = b""
        for number, message in enumerate(messages):
            packer = zlib.compressobj(6, zlib.DEFLATED, PACKERS[kind])
            made += frame(packer.compress(message) + packer.flush() if number >= after else message)
        return made

    return make


def packed_as_parts(frame, kind: str, after: int):
    def make(messages: list[bytes]) -> bytes:
        made = b""
        packer = zlib.compressobj(6, zlib.DEFLATED, PACKERS[kind])
        for number, message in enumerate(messages):
            part = message if number < after else packer.compress(message) + packer.flush(zlib.Z_SYNC_FLUSH)
            made += frame(part)
        return made

    return make


def packed_frames(frame, kind: str, after: int):
    def make(messages: list[bytes]) -> bytes:
        made = b""
        packer = zlib.compressobj(6, zlib.DEFLATED, PACKERS[kind])
        for number, message in enumerate(messages):
            framed = frame(message)
            made += framed if number < after else packer.compress(framed) + packer.flush(zlib.Z_SYNC_FLUSH)
        return made

    return make


LENGTHS = ("4 bytes", "a length that counts itself", "8 digits", "a netstring")
PACKED = [
    *((name, packed_each, "message") for name in LENGTHS),
    *((name, packed_as_parts, "messages") for name in LENGTHS),
    *((name, packed_frames, "frames") for name in (*LENGTHS, "NUL", "documents")),
]


@pytest.mark.parametrize(
    "case",
    one_of(4, product(PACKERS, [0, 1, 2], PACKED)),
    ids=lambda case: f"{case[0]}-{case[1]}-{case[2][0]}-{case[2][2]}",
)
def test_compression_is_found_in_and_around_frames(case):
    kind, after, (name, pack, scope) = case
    frame, framing = FRAMINGS[name]
    make = pack(frame, kind, after)
    answer = search([make(documents(seed, 5, longest=60 + 400 * seed)) for seed in range(4)])
    assert answer.transport == Transport(framing, Compression(kind, scope, after)), answer
