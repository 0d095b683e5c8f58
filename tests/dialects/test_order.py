"""Who may send what when: both ends against each other in memory, against literal bytes and against a table."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from pickle import dumps, loads

import pytest

from headless.dialects.base import Accepted, Refused
from headless.dialects.own.codec import decode
from headless.dialects.own.connection import Connection, ConnectionClosed
from headless.dialects.own.messages import Alive, Jobs, Login, Logout, UnsupportedLogin, Welcome
from headless.dialects.own.server_connection import ServerConnection
from headless.dialects.vocabulary import Job
from headless.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from support.conversations import ConnectionPair, receive
from support.frames import byte_by_byte, frame
from support.literal_messages import (
    MESSAGES,
    frames_of,
)

# What has been sent (the session has two jobs); what the client may send then, and what the server. `logout` and the
# two refusals that have nothing to do with the question may come at any moment until the conversation is over. What
# follows a login of another version is below.
MAY_SEND = [
    ("", "login:osuser login:challenge", ""),
    ("login:osuser", "", "welcome welcome:attach refused:login refused:version"),
    ("login:challenge", "", "challenge refused:login refused:version"),
    ("login:challenge challenge", "response", ""),
    ("login:challenge challenge response", "", "welcome:signed refused:login"),
    ("login:challenge challenge response welcome:signed", "jobs", "alive"),
    ("login:osuser welcome", "jobs", "alive"),
    ("login:osuser welcome alive", "jobs", "alive"),
    ("login:osuser welcome jobs", "", "accepted refused:jobs alive"),
    ("login:osuser welcome jobs alive", "", "accepted refused:jobs alive"),
    ("login:osuser welcome:attach", "jobs jobs:key attach attach:now cancel sessions", "alive"),
    ("login:osuser welcome:attach jobs", "", "accepted refused:jobs alive"),
    ("login:osuser welcome:attach jobs:key", "", "accepted:session refused:jobs alive"),
    ("login:osuser welcome:attach attach", "", "attached:2 refused:session alive"),
    ("login:osuser welcome:attach attach:now", "", "attached:1 attached:2 attached:3 refused:session alive"),
    ("login:osuser welcome:attach cancel", "", "cancelled refused:session alive"),
    ("login:osuser welcome:attach sessions", "", "listed ended:ok alive"),
    ("login:osuser welcome:attach sessions listed", "", "listed ended:ok alive"),
]
# The same, after UNTIL_ACCEPTED. A job that is skipped, and an end that comes early, are never a good end.
UNTIL_ACCEPTED = "login:osuser welcome jobs accepted"
MAY_SEND_OF_JOBS = [
    ("", "started:1 finished:1:skipped ended:failed"),
    ("started:1", "output:1 finished:1:ok finished:1:failed finished:1:skipped ended:failed"),
    ("started:1 output:1", "output:1 finished:1:ok finished:1:failed finished:1:skipped ended:failed"),
    ("started:1 alive", "output:1 finished:1:ok finished:1:failed finished:1:skipped ended:failed"),
    ("started:1 finished:1:ok", "started:2 finished:2:skipped ended:failed"),
    (
        "started:1 finished:1:ok started:2",
        "output:2 finished:2:ok finished:2:failed finished:2:skipped ended:failed",
    ),
    ("started:1 finished:1:ok started:2 finished:2:ok", "ended:ok ended:failed"),
    ("started:1 finished:1:failed", "finished:2:skipped ended:failed"),
    ("started:1 finished:1:failed alive", "finished:2:skipped ended:failed"),
    ("started:1 finished:1:failed finished:2:skipped", "ended:failed"),
    ("started:1 finished:1:ok started:2 finished:2:failed", "ended:failed"),
    ("finished:1:skipped", "finished:2:skipped ended:failed"),
]
# The same, after UNTIL_ATTACHED: the first of the jobs has ended well.
UNTIL_ATTACHED = "login:osuser welcome:attach attach attached:2"
MAY_SEND_OF_THE_REST = [
    ("", "started:2 finished:2:skipped ended:failed"),
    ("started:2", "output:2 finished:2:ok finished:2:failed finished:2:skipped ended:failed"),
    ("started:2 finished:2:ok", "ended:ok ended:failed"),
]
SITUATIONS = [
    *((history, client + " logout", server + " refused:protocol refused:busy") for history, client, server in MAY_SEND),
    *(
        (f"{begin} {history}", "logout", server + " alive refused:protocol refused:busy")
        for begin, table in ((UNTIL_ACCEPTED, MAY_SEND_OF_JOBS), (UNTIL_ATTACHED, MAY_SEND_OF_THE_REST))
        for history, server in table
    ),
    ("login:osuser welcome:attach attach:now attached:3", "logout",
     "ended:ok ended:failed alive refused:protocol refused:busy"),
]  # fmt: skip
# Each ends the conversation.
ENDINGS = [
    "logout",
    "login:osuser refused:version",
    "login:osuser refused:login",
    "login:challenge challenge logout",
    "login:challenge challenge response refused:login",
    "login:osuser welcome refused:busy",
    "login:osuser welcome logout",
    "login:osuser welcome jobs refused:jobs",
    "login:osuser welcome jobs logout",
    "login:osuser welcome:attach attach refused:session",
    "login:osuser welcome:attach cancel refused:session",
    "login:osuser welcome:attach cancel cancelled",
    "login:osuser welcome:attach sessions ended:ok",
    f"{UNTIL_ATTACHED} started:2 finished:2:ok ended:ok",
    f"{UNTIL_ATTACHED} ended:failed",
    f"{UNTIL_ACCEPTED} logout",
    f"{UNTIL_ACCEPTED} ended:failed",
    f"{UNTIL_ACCEPTED} started:1 logout",
    f"{UNTIL_ACCEPTED} started:1 refused:protocol",
    f"{UNTIL_ACCEPTED} started:1 finished:1:ok started:2 finished:2:ok ended:ok",
    f"{UNTIL_ACCEPTED} started:1 finished:1:failed finished:2:skipped ended:failed",
]
EVERY_SITUATION = [*SITUATIONS, *((history, "", "") for history in ENDINGS)]
PARSED = {label: decode(xml.encode()) for label, xml in MESSAGES.items()}


def passes(action, error: type[ProtocolError]) -> bool:
    """Whether the action does not raise this error."""
    try:
        action()
    except error:
        return False
    return True


def ends_after(history: str) -> tuple[Connection, Connection]:
    """The client and the server of a new pair after this history."""
    pair = ConnectionPair(*history.split())
    return pair.client, pair.server


def received_by(conversation: Connection) -> set[str]:
    """The messages, of both sides, that this end receives next."""
    copy = dumps(conversation)
    return {
        label
        for label, xml in MESSAGES.items()
        if passes(lambda: receive(loads(copy), frame(xml)), RemoteProtocolError)  # noqa: B023
    }


def sent_by(conversation: Connection, labels: Iterable[str]) -> set[str]:
    """Those of the messages that this end sends next."""
    copy = dumps(conversation)
    return {
        label
        for label in labels
        if passes(lambda: loads(copy).send(PARSED[label]), LocalProtocolError)  # noqa: B023
    }


class TestTheOrder:
    def test_each_end_receives_what_the_other_may_send_now_and_nothing_else(self):
        for history, client_may, server_may in EVERY_SITUATION:
            client, server = ends_after(history)
            assert received_by(server) == set(client_may.split()), history
            assert received_by(client) == set(server_may.split()), history

    def test_each_end_sends_no_message_out_of_order_and_none_of_the_other(self):
        # Who knows the keys decides about the signature.
        labels = [label for label in MESSAGES if label != "welcome:signed"]
        for history, client_may, server_may in EVERY_SITUATION:
            client, server = ends_after(history)
            assert sent_by(client, labels) == set(client_may.split()), history
            may_be_sent = set(server_may.replace("welcome:signed", "welcome welcome:attach").split())
            assert sent_by(server, labels) == may_be_sent, history

    def test_both_ends_know_when_it_is_over(self):
        for history, _, _ in SITUATIONS:
            assert not any(end.is_over for end in ends_after(history)), history
        for history in ENDINGS:
            assert all(end.is_over for end in ends_after(history)), history

    def test_what_could_not_be_sent_has_not_been_sent(self):
        pair = ConnectionPair("login:osuser")
        state = pair.client.state
        with pytest.raises(LocalProtocolError):
            pair.client.send(Jobs((Job("module", "A"),)))
        assert pair.client.state is state
        assert receive(pair.client, frames_of("welcome")) == [Welcome("S1", 30)]


class TestParts:
    def test_a_message_counts_as_sent_only_when_it_is_marked(self):
        pair = ConnectionPair("login:osuser", "welcome")
        assert pair.client.frame_of(Jobs((Job("module", "A"),))) == frame("<jobs><module>A</module></jobs>")
        unmarked = loads(dumps(pair.client))
        with pytest.raises(RemoteProtocolError):  # the answer was there before the question
            receive(unmarked, frames_of("accepted"))
        pair.client.mark_sent()
        assert len(receive(pair.client, frames_of("accepted"))) == 1

    @pytest.mark.parametrize("rest", [b"", frame("<logout/>")[:-1], frame("<logout/>")])
    def test_the_end_of_the_stream_comes_after_all_whole_messages(self, rest):
        server = ConnectionPair("login:osuser", "welcome").server
        server.receive(rest)
        server.receive(b"")
        if rest == frame("<logout/>"):
            assert server.next_message() == Logout()
        assert server.next_message() == ConnectionClosed()


# Messages that come too early, too late or too many, and what is left after a protocol error


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

    @pytest.mark.parametrize("pieces", [[frames_of("alive")], byte_by_byte(frames_of("alive")), [b"\x00"]])
    def test_what_follows_the_last_message_later_is_a_protocol_error_too(self, pieces):
        pair = ConnectionPair(*UNTIL_ACCEPTED.split(), "ended:failed")
        with pytest.raises(RemoteProtocolError):
            receive(pair.client, *pieces)

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
        ("history", "document"),
        [
            *((history, "<x/>") for history in ("", "login:osuser", "login:challenge challenge",
                                                UNTIL_ACCEPTED, f"{UNTIL_ACCEPTED} started:1")),
            ("", '<login version="1" client="c" auth_type="challenge" user="R41" nonce="x"/>'),
        ],
    )  # fmt: skip
    def test_the_server_can_still_refuse(self, history, document):
        server = ConnectionPair(*history.split()).server
        with pytest.raises(RemoteProtocolError):
            receive(server, frame(document))
        assert server.send(Refused("protocol", "what?")) == frame('<refused reason="protocol">what?</refused>')
        assert server.is_over

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
