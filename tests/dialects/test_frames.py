"""Bytes <-> frames, with literal lengths: what a frame is, how it may be cut, and how long it may be at each stage."""

from __future__ import annotations

import pytest

from headless.dialects.base import Refused
from headless.dialects.own.connection import ClientConnection
from headless.dialects.own.frames import FrameReader, FrameTooLong
from headless.dialects.own.frames import frame as own_frame
from headless.dialects.own.messages import Alive, Jobs, Logout, Welcome
from headless.dialects.vocabulary import MAX_CLIENT_FRAME, MAX_LOGIN_FRAME, Job
from headless.errors import RemoteProtocolError
from support.conversations import ConnectionPair, receive
from support.frames import byte_by_byte, frame, whole
from support.literal_messages import CLIENT_NAME, CLIENT_NONCE, MESSAGES, frames_of

ABC = b"\x00\x00\x00\x03abc"
LONG = b"\x00\x00\x01\x02" + b"x" * 258


def payloads(reader: FrameReader, *pieces: bytes, limit: int = 4096) -> list[bytes]:
    """Every payload that these pieces bring."""
    found: list[bytes] = []
    for piece in pieces:
        reader.receive(piece)
        found += iter(lambda: reader.next_payload(limit), None)
    return found


def test_a_frame_is_four_bytes_of_length_and_the_payload_of_at_most_the_limit():
    assert own_frame(b"abc", 4096) == ABC
    assert own_frame(b"x" * 258, 258) == LONG
    with pytest.raises(FrameTooLong, match=r"258.*257"):
        own_frame(b"x" * 258, 257)


@pytest.mark.parametrize("cut", [whole, byte_by_byte])
def test_payloads_come_back_in_order_however_they_arrive(cut):
    reader = FrameReader()
    assert payloads(reader, b"", *cut(ABC + LONG + ABC)) == [b"abc", b"x" * 258, b"abc"]
    assert reader.unread == 0


def test_a_partial_frame_is_no_payload_and_is_not_lost():
    for length in range(1, len(ABC)):
        reader = FrameReader()
        assert payloads(reader, ABC, ABC[:length]) == [b"abc"]
        assert reader.unread > 0
        assert payloads(reader, ABC[length:]) == [b"abc"]


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "HTTP"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "SSH"),
        (b"220 mail.example ESMTP\r\n", "SMTP or FTP"),
        (b"\x15\x03\x01\x00\x02\x02\x46", r"TLS \(-s tls://HOST:PORT speaks it\)"),
        (b"\x16\x03\x01\x02\x00", "TLS"),
        (b"GET / HTTP/1.1\r\n", "HTTP"),
    ],
)
@pytest.mark.parametrize("limit", [MAX_LOGIN_FRAME, MAX_CLIENT_FRAME])
def test_another_protocol_is_called_by_its_name(answer, name, limit):
    with pytest.raises(RemoteProtocolError, match=f"^this is not our protocol, but looks like {name}$"):
        payloads(FrameReader(), *byte_by_byte(answer), limit=limit)


@pytest.mark.parametrize("limit", [1, 4096])
@pytest.mark.parametrize("excess", [0, 1, 1 << 30])
def test_a_length_beyond_the_limit_is_refused_once_its_four_bytes_are_there(limit, excess):
    reader = FrameReader()
    length = (limit + excess).to_bytes(4, "big")
    assert payloads(reader, *byte_by_byte(length[:3]), limit=limit) == []
    if excess:
        with pytest.raises(RemoteProtocolError, match=str(limit + excess)):
            payloads(reader, length[3:], limit=limit)
    else:
        assert payloads(reader, length[3:], b"x" * limit, limit=limit) == [b"x" * limit]


@pytest.mark.parametrize(("length", "number"), [(b"\x00\x00\x00\x00", "0"), (b"\xff\xff\xff\xff", "4294967295")])
def test_a_length_of_zero_is_refused_and_lengths_are_unsigned(length, number):
    with pytest.raises(RemoteProtocolError, match=f" {number} "):
        payloads(FrameReader(), length, limit=MAX_CLIENT_FRAME)


def test_payloads_are_given_one_at_a_time_and_a_new_limit_holds_from_the_next_on():
    reader = FrameReader()
    reader.receive(ABC + LONG + LONG)
    assert reader.next_payload(3) == b"abc"
    assert reader.next_payload(258) == b"x" * 258
    with pytest.raises(RemoteProtocolError):
        reader.next_payload(257)


# How long a frame may be at each stage, on its way in and on its way out


UNTIL_ACCEPTED = "login:osuser welcome jobs accepted"
CHALLENGED = "login:challenge challenge"
BEFORE_WELCOME = ["", "login:osuser", "login:challenge", CHALLENGED, f"{CHALLENGED} response"]
AFTER_WELCOME = ["login:osuser welcome", "login:osuser welcome jobs", UNTIL_ACCEPTED, f"{UNTIL_ACCEPTED} started:1"]
FROM_CLIENT, FROM_SERVER = 16 * 1024 * 1024, 1024 * 1024  # bytes, after `welcome`
LIMITS = [
    *((history, end, 4096) for history in BEFORE_WELCOME for end in ("client", "server")),
    *((history, "client", FROM_SERVER) for history in AFTER_WELCOME),
    *((history, "server", FROM_CLIENT) for history in AFTER_WELCOME),
]


class TestLimits:
    @pytest.mark.parametrize(("history", "end", "limit"), LIMITS)
    def test_a_frame_beyond_the_limit_is_refused_before_it_comes(self, history, end, limit):
        assert receive(getattr(ConnectionPair(*history.split()), end), limit.to_bytes(4, "big")) == []
        with pytest.raises(RemoteProtocolError, match=str(limit + 1)):
            receive(getattr(ConnectionPair(*history.split()), end), (limit + 1).to_bytes(4, "big"))

    def test_a_frame_as_long_as_the_limit_is_received(self):
        pair = ConnectionPair()
        assert len(receive(pair.server, frame(MESSAGES["login:osuser"].ljust(4096)))) == 1
        pair = ConnectionPair(*UNTIL_ACCEPTED.split(), "started:1")
        assert len(receive(pair.client, frame(MESSAGES["output:1"].ljust(FROM_SERVER)))) == 1
        pair = ConnectionPair("login:osuser", "welcome")
        assert len(receive(pair.server, frame(MESSAGES["jobs"].ljust(FROM_CLIENT)))) == 1

    def test_what_follows_welcome_in_one_piece_may_be_long(self):
        pair = ConnectionPair("login:osuser")
        received = receive(pair.client, frames_of("welcome") + frame("<alive/>".ljust(5000)))
        assert received == [Welcome("S1", 30), Alive()]

    @pytest.mark.parametrize("last", ["welcome", "challenge"])
    def test_welcome_and_what_comes_before_it_may_not_be_long(self, last):
        pair = ConnectionPair("login:osuser" if last == "welcome" else "login:challenge")
        with pytest.raises(RemoteProtocolError, match="4097"):
            receive(pair.client, frame(MESSAGES[last].ljust(4097)))

    @pytest.mark.parametrize(
        ("history", "limit"), [(history, limit) for history, end, limit in LIMITS if end == "client"]
    )
    def test_a_server_sends_nothing_that_the_client_would_not_take(self, history, limit):
        pair = ConnectionPair(*history.split())
        envelope = len('<refused reason="busy"></refused>')
        with pytest.raises(FrameTooLong, match=str(limit)):
            pair.server.send(Refused("busy", "x" * (limit - envelope + 1)))
        assert not pair.server.is_over
        assert len(pair.server.send(Refused("busy", "x" * (limit - envelope)))) == 4 + limit

    def test_a_session_that_is_too_long_is_not_submitted_and_the_client_can_still_leave(self):
        pair = ConnectionPair("login:osuser", "welcome")
        with pytest.raises(FrameTooLong):
            pair.client.send(Jobs((Job("py_code", "x" * FROM_CLIENT),)))
        assert receive(pair.server, pair.client.send(Jobs((Job("py_code", "x" * 5000),))))
        assert pair.client.send(Logout()) == frame("<logout/>")

    def test_a_user_that_fits_into_no_login_is_not_sent(self):
        with pytest.raises(FrameTooLong):
            client = ClientConnection(CLIENT_NAME)
            client.send(client.challenge_login("x" * 4096, CLIENT_NONCE))
