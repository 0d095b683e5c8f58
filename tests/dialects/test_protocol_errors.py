"""Messages that come too early, too late or too many, and what is left after an error of the protocol."""

from __future__ import annotations

from copy import deepcopy

import pytest

from headless.dialects.base import Accepted, Refused
from headless.dialects.own.codec import decode
from headless.dialects.own.connection import Connection
from headless.dialects.own.messages import Alive, Jobs, Login, UnsupportedLogin, Welcome
from headless.dialects.own.server_connection import ServerConnection
from headless.dialects.vocabulary import Job
from headless.errors import LocalProtocolError, RemoteProtocolError
from support.conversations import ConnectionPair, receive
from support.frames import byte_by_byte, frame, whole
from support.literal_messages import MESSAGES, frames_of
from support.situations import ENDINGS, UNTIL_ACCEPTED


def is_broken(conversation: Connection) -> bool:
    """Whether what it has received is a protocol error, and no message."""
    try:
        conversation.next_message()
    except RemoteProtocolError:
        return True
    return False


class TestBytesTooMany:
    def test_nothing_may_follow_the_last_message(self):
        for history in ENDINGS:
            *before, last = history.split()
            pair = ConnectionPair(*before)
            begun = pair.server if last == "logout" else pair.client
            for excess in (b"\x00", b"\x00\x00", frame("<alive/>"), frame("<logout/>"), frame("<ended")):
                conversation = deepcopy(begun)
                conversation.receive(frames_of(last) + excess)
                assert is_broken(conversation), (history, excess)
                assert conversation.next_message() is None

    @pytest.mark.parametrize("cut", [whole, byte_by_byte])
    def test_what_follows_the_last_message_later_is_a_protocol_error_too(self, cut):
        pair = ConnectionPair(*UNTIL_ACCEPTED.split(), "ended:failed")
        with pytest.raises(RemoteProtocolError):
            receive(pair.client, *cut(frames_of("alive")))

    def test_one_byte_that_follows_the_last_message_later_is_a_protocol_error_too(self):
        pair = ConnectionPair(*UNTIL_ACCEPTED.split(), "ended:failed")
        with pytest.raises(RemoteProtocolError):
            receive(pair.client, b"\x00")

    def test_an_answer_in_one_piece_with_what_comes_before_its_question_is_a_protocol_error(self):
        for history, answer in (
            ("login:osuser welcome", "accepted"),
            ("login:osuser welcome", "refused:jobs"),
            ("login:osuser welcome alive", "accepted"),
            ("login:challenge challenge", "welcome:signed"),
            ("login:challenge challenge", "refused:login"),
            ("login:challenge challenge response welcome:signed", "accepted"),
        ):
            *before, last = history.split()
            pair = ConnectionPair(*before)
            pair.client.receive(frames_of(last, answer))
            first = pair.client.next_message()
            assert first is not None
            assert [first] == [decode(MESSAGES[last].encode())]
            assert is_broken(pair.client), (history, answer)

    def test_alive_in_one_piece_with_welcome_is_no_answer_to_anything(self):
        pair = ConnectionPair("login:osuser")
        received = receive(pair.client, frames_of("welcome", "alive", "alive"))
        assert received == [Welcome("S1", 30), Alive(), Alive()]
        pair.client.send(Jobs((Job("module", "A"),)))
        assert receive(pair.client, frames_of("accepted")) == [Accepted()]

    @pytest.mark.parametrize(
        ("history", "too_early"),
        [("login:osuser", "jobs"), ("login:challenge", "response"), ("login:osuser", "login:osuser")],
    )
    def test_a_client_that_does_not_wait_for_the_answer_is_a_protocol_error(self, history, too_early):
        server = ServerConnection()
        server.receive(frames_of(history, too_early))
        assert isinstance(server.next_message(), Login)
        with pytest.raises(RemoteProtocolError):
            server.next_message()

    def test_everything_that_a_server_sends_of_a_session_may_come_in_one_piece(self):
        pair = ConnectionPair("login:osuser", "welcome", "jobs")
        labels = ["accepted", "started:1", "output:1", "finished:1:ok", "started:2", "finished:2:ok", "ended:ok"]
        assert len(receive(pair.client, frames_of(*labels))) == len(labels)


class TestAfterAProtocolError:
    @pytest.mark.parametrize("history", ["", "login:osuser", "login:osuser welcome"])
    def test_nothing_more_is_received(self, history):
        for nonsense in (
            b"\x00\x00\x00\x00", b"GET / HTTP/1.1\r\n\r\n", frame("<x/>"), frame("no XML"), frames_of("accepted"),
        ):  # fmt: skip
            pair = ConnectionPair(*history.split())
            for conversation, proper in ((pair.client, frames_of("alive")), (pair.server, frames_of("logout"))):
                conversation.receive(nonsense + proper)
                assert is_broken(conversation), nonsense
                assert receive(conversation, b"", proper, proper) == []

    @pytest.mark.parametrize(
        "history", ["", "login:osuser", "login:challenge challenge", UNTIL_ACCEPTED, f"{UNTIL_ACCEPTED} started:1"]
    )
    def test_the_server_can_still_refuse(self, history):
        server = ConnectionPair(*history.split()).server
        with pytest.raises(RemoteProtocolError):
            receive(server, frame("<x/>"))
        assert server.send(Refused("protocol", "what?")) == frame('<refused reason="protocol">what?</refused>')
        assert server.is_over

    def test_the_server_can_refuse_a_login_whose_nonce_is_wrong(self):
        server = ServerConnection()
        with pytest.raises(RemoteProtocolError):
            receive(server, frame('<login version="1" client="c" auth_type="challenge" user="R41" nonce="x"/>'))
        assert server.send(Refused("protocol")) == frame('<refused reason="protocol"></refused>')

    def test_the_server_can_refuse_another_version_for_what_it_is(self):
        server = ServerConnection()
        assert receive(server, frame('<login version="2" token="x"/>')) == [UnsupportedLogin()]
        refusal = server.send(Refused("version", "only 1 is known here"))
        assert refusal == frame('<refused reason="version">only 1 is known here</refused>')
        client = ConnectionPair("login:osuser").client
        assert receive(client, refusal) == [Refused("version", "only 1 is known here")]

    @pytest.mark.parametrize("history", ["login:challenge challenge", "login:osuser welcome", UNTIL_ACCEPTED])
    def test_another_version_where_no_login_may_come_is_a_protocol_error_like_any_message(self, history):
        server = ConnectionPair(*history.split()).server
        with pytest.raises(RemoteProtocolError):
            receive(server, frame('<login version="2"/>'))
        with pytest.raises(LocalProtocolError):
            server.send(Refused("version"))
        assert server.send(Refused("protocol")) == frame('<refused reason="protocol"></refused>')
