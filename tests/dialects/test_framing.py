"""How messages become bytes and back: literal bytes, a reader and writer of the tests' own, pieces of any size, limits,
and what can be no frame."""

from __future__ import annotations

import time
import zlib
from dataclasses import replace
from itertools import product

import pytest

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
    Sender,
    Transport,
)
from headless.errors import RemoteProtocolError
from support import planta_server as server
from support.sampling import REPEAT, draws

MESSAGES = [
    b"<Message/>",
    b"<?xml version='1.0'?>\n<Message a='>' b=\"<'\"><!-- > </Message> --><Cmd/>x > y<?pi > ?></Message>".replace(
        b"<'", b"'"
    ),
    b"<Message><![CDATA[</Message>]]>\xc3\xbc</Message>",
    b"<Message>" + b"<Cmd code='0'>text</Cmd>" * 50 + b"</Message >",
]


def received(transport: Transport, *pieces: bytes) -> list[bytes]:
    receiver = Receiver(transport)
    found = []
    for piece in pieces:
        receiver.receive(piece)
        while (message := receiver.next_message()) is not None:
            found.append(message)
    assert receiver.unread == 0 or transport.framing == Documents()  # behind one there may be white space
    return found


def sent(transport: Transport, *messages: bytes) -> list[bytes]:
    sender = Sender(transport)
    return [sender.bytes_of(message) for message in messages]


# Literal bytes


@pytest.mark.parametrize(
    ("framing", "frame"),
    [
        (Length(), b"\0\0\0\4<M/>"),
        (Length(2, "little"), b"\4\0<M/>"),
        (Length(4, "big", extra=4), b"\0\0\0\x08<M/>"),
        (Length(1, before=b"PL", between=b"\1", after=b"\xff"), b"PL\4\1<M/>\xff"),
        (Digits(between=b"\n"), b"4\n<M/>"),
        (Digits(width=6), b"000004<M/>"),
        (Digits(base=16, width=4, extra=4, before=b"x"), b"x0008<M/>"),
        (Digits(between=b": ", after=b","), b"4: <M/>,"),
        (Delimiter(), b"<M/>\0"),
        (Delimiter(b"\r\n"), b"<M/>\r\n"),
        (Documents(), b"<M/>"),
        (Http(), b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n<M/>"),
        (Http("HTTP/1.1 200 OK", ("Server: P",)), b"HTTP/1.1 200 OK\r\nServer: P\r\nContent-Length: 4\r\n\r\n<M/>"),
    ],
)
def test_a_framing_carries_a_message_in_these_bytes(framing, frame):
    assert sent(Transport(framing), b"<M/>") == [frame]
    assert received(Transport(framing), frame * 3) == [b"<M/>"] * 3
    assert received(Transport(framing), *(bytes([byte]) for byte in frame * 2)) == [b"<M/>"] * 2


# Against a reader and a writer that know nothing of the package

FRAMES: dict[str, tuple[Framing, server.Frames]] = {
    "length": (Length(), server.Length()),
    "little length with itself": (Length(8, "little", extra=8), server.Length(8, "little", counts_itself=True)),
    "digits": (Digits(between=b"\n"), server.Digits()),
    "delimiter": (Delimiter(b"\0\0"), server.Ending(b"\0\0")),
    "documents": (Documents(), server.Bare()),
    "http": (Http(), server.Http()),
}
PACKINGS = {
    "plain": (None, None),
    "zlib": (Compression("zlib"), server.Packing()),
    "gzip": (Compression("gzip"), server.Packing(bits=31)),
    "raw deflate after two": (Compression("deflate", after=2), server.Packing(bits=-15, after=2)),
    "one stream": (Compression("zlib", "frames"), server.Packing(is_stream=True)),
    "one stream of raw deflate after one": (
        Compression("deflate", "frames", after=1),
        server.Packing(bits=-15, is_stream=True, after=1),
    ),
}
PLAIN = server.Habits(prolog="")


# What is compressed may have anything in it, also what ends a message.
NEVER = {(frames, packing) for frames in ("delimiter", "documents") for packing in PACKINGS if "stream" not in packing}


@pytest.mark.parametrize(("frames", "packing"), sorted({*product(FRAMES, PACKINGS)} - NEVER | {("documents", "plain")}))
def test_what_others_write_is_read_and_the_other_way_round_in_pieces_of_any_size(frames, packing):
    framing, theirs = FRAMES[frames]
    compression, their_packing = PACKINGS[packing]
    transport, habits = Transport(framing, compression), replace(PLAIN, frames=theirs, packing=their_packing)
    texts = [f"<Message>{number}{'ä<Cmd/>' * number * 9}</Message>" for number in range(6)]
    line, chance = server.Line(habits), draws(frames, packing)
    data = b"".join(line.pack(text) for text in texts)
    for size in (1, 2, 7, len(data)):
        pieces = [data[begin : begin + size] for begin in range(0, len(data), size)]
        assert [each.decode() for each in received(transport, *pieces)] == texts, size
    cuts = sorted(chance.sample(range(len(data)), 9))
    assert len(received(transport, *(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])))) == 6, REPEAT
    reader = server.Line(habits)
    roots = [root for piece in sent(transport, *(text.encode() for text in texts)) for root in reader.unpack(piece)]
    assert [root.text[0] for root in roots if root.text] == list("012345")


def test_documents_without_frames_are_separated_wherever_they_are_cut():
    chance = draws("documents")
    for _ in range(100):
        picked = chance.choices(MESSAGES, k=4)
        data = b"".join(chance.choice([b"", b"\n", b" \r\n\0"]) + message for message in picked)
        cuts = sorted(chance.sample(range(len(data)), 6))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])]
        assert received(Transport(Documents()), *pieces) == picked, REPEAT


# One stream of messages, and what comes before the first frame


def test_messages_may_be_parts_of_one_stream():
    transport = Transport(Length(2), Compression("zlib", "messages"))
    data = b"".join(sent(transport, *MESSAGES))
    assert received(transport, data) == received(transport, *(bytes([byte]) for byte in data)) == MESSAGES
    stream = zlib.compressobj()
    first = stream.compress(MESSAGES[0]) + stream.flush(zlib.Z_SYNC_FLUSH)
    assert data.startswith(len(first).to_bytes(2, "big") + first)


@pytest.mark.parametrize(
    ("beginning", "is_line", "came"),
    [(b"PLANTA\n", False, b"PLANTA\n"), (b"\n", True, b"any greeting\n"), (b"\r\n\r\n", True, b"a\r\nb\r\n\r\n")],
)
def test_something_may_come_before_the_first_frame(beginning, is_line, came):
    transport = Transport(Delimiter(), beginning=beginning, is_line=is_line)
    data = came + b"<M/>\0<N/>\0"
    assert received(transport, data) == received(transport, *(bytes([byte]) for byte in data)) == [b"<M/>", b"<N/>"]
    assert b"".join(sent(transport, b"<M/>", b"<N/>")) == beginning + b"<M/>\0<N/>\0"


def test_another_beginning_is_an_error_at_its_first_byte():
    with pytest.raises(RemoteProtocolError, match="where a frame has 'PLANTA"):
        received(Transport(Delimiter(), beginning=b"PLANTA\n"), b"X")
    with pytest.raises(RemoteProtocolError, match="is expected"):
        received(Transport(Delimiter(), beginning=b"\n", is_line=True), b"x" * 100_000)


# What cannot be carried, and what can be no frame


@pytest.mark.parametrize(
    ("framing", "message"),
    [(Length(1), b"x" * 256), (Length(2), b"x" * 65536), (Digits(width=2), b"x" * 100), (Delimiter(), b"a\0b")],
)
def test_a_message_that_cannot_be_carried_is_an_error(framing, message):
    with pytest.raises(ValueError, match=r"too many|which ends a message"):
        sent(Transport(framing), message)


TOO_LONG = MAX_MESSAGE + 1
WRONG: list[tuple[Framing, bytes]] = [
    (Length(), TOO_LONG.to_bytes(4, "big")),
    (Length(4, "big", extra=4), b"\0\0\0\3"),
    (Length(2, before=b"PL"), b"PX"),
    (Length(1, between=b"\1"), b"\4\2"),
    (Length(1, after=b"\xff"), b"\4<M/>\xfe"),
    (Digits(between=b"\n"), b"<"),
    (Digits(between=b"\n"), b"12x"),
    (Digits(between=b"\n"), b"\n"),
    (Digits(between=b"\n"), b"1" * 20),
    (Digits(between=b"\n"), b"%d\n" % TOO_LONG),
    (Digits(base=10, width=4), b"00ff"),
    (Delimiter(), b"x" * TOO_LONG),
    (Delimiter(), b"x" * TOO_LONG + b"\0"),
    (Documents(), b"hello"),
    (Documents(), b"<M/>hello"),
    (Documents(), b"<M <N>"),
    (Documents(), b"<M>" + b"x" * TOO_LONG),
    (Documents(), b"<M>" + b"x" * TOO_LONG + b"</M>"),
    (Documents(), b"<!--" + b"x" * TOO_LONG),
    (Http(), b"hello"),
    (Http(), b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\n"),
    (Http(), b"HTTP/1.1 200 OK\r\n\r\n"),
    (Http(), b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n"),
    (Http(), b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n"),
    (Http(), b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000),
]


@pytest.mark.parametrize(("framing", "data"), WRONG, ids=lambda each: repr(each)[:40])
def test_bytes_that_can_be_no_frame_are_an_error_at_once(framing, data):
    with pytest.raises(RemoteProtocolError):
        received(Transport(framing), data)


BOMB = b"<M>" + b"x" * TOO_LONG + b"</M>"


@pytest.mark.parametrize("scope", ["message", "messages", "frames"])
def test_little_that_becomes_too_much_is_an_error(scope):
    transport = Transport(Length(), Compression("zlib", scope))
    with pytest.raises(RemoteProtocolError, match=r"a message of (more than )?\d+ bytes"):
        received(transport, *sent(transport, BOMB))


@pytest.mark.slow
def test_little_that_becomes_many_messages_is_not_made_at_once():
    stream = zlib.compressobj()
    frame = b"\0\0\x03\xe8" + b"x" * 1000
    data = b"".join(stream.compress(frame) for _ in range(30_000)) + stream.flush(zlib.Z_SYNC_FLUSH)
    receiver = Receiver(Transport(Length(), Compression("zlib", "frames")))
    receiver.receive(data)
    count = most = 0
    while receiver.next_message() is not None:
        count, most = count + 1, max(most, receiver.unread)
    assert count == 30_000
    assert most < 2 * 1024 * 1024


@pytest.mark.parametrize(
    ("scope", "data"),
    [
        ("message", b"\0\0\0\4<M/>"),
        ("message", b"\0\0\0\x05" + zlib.compress(b"<M/>")[:5]),
        ("message", b"\0\0\0\x0d" + zlib.compress(b"<M/>") + b"x"),
        ("messages", b"\0\0\0\x0d" + zlib.compress(b"<M/>") + b"x"),
        ("frames", b"\0\0\0\4<M/>"),
        ("frames", zlib.compress(b"\0\0\0\4<M/>") + b"x"),
    ],
)
def test_bytes_that_are_compressed_otherwise_are_an_error(scope, data):
    with pytest.raises(RemoteProtocolError, match="zlib"):
        received(Transport(Length(), Compression("zlib", scope)), data)


# Time


def seconds(transport: Transport, data: bytes, size: int) -> float:
    begun = time.process_time()
    received(transport, *(data[begin : begin + size] for begin in range(0, len(data), size)))
    return time.process_time() - begun


@pytest.mark.slow
@pytest.mark.parametrize(
    ("framing", "begin", "middle", "end"),
    [
        (Delimiter(b"\0\0"), b"<M>", b"x\0" * 10, b"</M>\0\0"),
        (Documents(), b"<M>", b"x" * 60, b"</M>"),  # to look for a byte is quick: it takes many to see the difference
        (Documents(), b"<M a='", b"x>", b"'/>"),
        (Documents(), b"<M ", b"  ", b"/>"),
        (Documents(), b"<!--", b"->", b"--><M/>"),
        (Documents(), b"<M><![CDATA[", b"]>", b"]]></M>"),
        (Documents(), b"<M>", b"<a/>", b"</M>"),
    ],
)
def test_a_long_message_in_small_pieces_takes_time_by_its_length(framing, begin, middle, end):
    """Eight times as long: by the square that would be 64 times the time."""
    short, long = (seconds(Transport(framing), begin + middle * count + end, 5) for count in (5_000, 40_000))
    assert long < 30 * max(short, 0.005)
