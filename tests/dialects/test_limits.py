"""How long a frame may be at each stage, on its way in and on its way out."""

from __future__ import annotations

import pytest

from headless.dialects.base import Refused
from headless.dialects.own.connection import ClientConnection
from headless.dialects.own.frames import FrameTooLong
from headless.dialects.own.messages import Alive, Jobs, Logout, Welcome
from headless.dialects.vocabulary import Job
from headless.errors import RemoteProtocolError
from support.conversations import ConnectionPair, receive
from support.frames import frame
from support.literal_messages import CLIENT_NAME, CLIENT_NONCE, MESSAGES, frames_of
from support.situations import UNTIL_ACCEPTED

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
