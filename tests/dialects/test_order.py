"""Who may send what when: both ends against each other in memory and against literal bytes, and a table of their own.

What a message looks like is tested in test_messages.py, what a proof must be in test_login.py."""

from __future__ import annotations

from collections.abc import Iterable
from pickle import dumps, loads

import pytest

from headless.dialects.own.codec import decode
from headless.dialects.own.connection import Connection, ConnectionClosed
from headless.dialects.own.messages import Jobs, Logout, Welcome
from headless.dialects.vocabulary import Job
from headless.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from support.conversations import ConnectionPair, receive
from support.credentials import SALT
from support.frames import byte_by_byte, frame
from support.literal_messages import (
    CLIENT_MESSAGES,
    CLIENT_NAME,
    CLIENT_NONCE,
    MESSAGES,
    NONCE,
    PROOF,
    SERVER_MESSAGES,
    SIGNATURE,
    frames_of,
)
from support.situations import ENDINGS, SITUATIONS

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

    def test_each_end_sends_no_message_of_its_own_out_of_order(self):
        # To sign or not to sign is the business of whoever knows the keys.
        unsigned = [label for label in SERVER_MESSAGES if label != "welcome:signed"]
        for history, client_may, server_may in EVERY_SITUATION:
            client, server = ends_after(history)
            assert sent_by(client, CLIENT_MESSAGES) == set(client_may.split()), history
            may_be_sent = set(server_may.replace("welcome:signed", "welcome welcome:attach").split())
            assert sent_by(server, unsigned) == may_be_sent, history

    def test_no_end_sends_a_message_of_the_other(self):
        for history, _, _ in SITUATIONS:
            client, server = ends_after(history)
            assert sent_by(client, SERVER_MESSAGES) == sent_by(server, CLIENT_MESSAGES) == set(), history

    def test_what_could_not_be_sent_has_not_been_sent(self):
        pair = ConnectionPair("login:osuser")
        state = pair.client.state
        with pytest.raises(LocalProtocolError):
            pair.client.send(Jobs((Job("module", "A"),)))
        assert pair.client.state is state
        assert receive(pair.client, frames_of("welcome")) == [Welcome("S1", 30)]

    def test_both_ends_know_that_it_is_over(self):
        for history in ENDINGS:
            pair = ConnectionPair(*history.split()[:-1])
            assert (pair.client.is_over, pair.server.is_over) == (False, False), history
            pair.exchange(MESSAGES[history.split()[-1]])
            assert (pair.client.is_over, pair.server.is_over) == (True, True), history

    @pytest.mark.parametrize("count", [1, 3])
    def test_an_end_is_ok_only_after_every_job(self, count):
        for finished in range(count + 1):
            pair = ConnectionPair("login:osuser", "welcome")
            pair.exchange("<jobs>" + "<module>A</module>" * count + "</jobs>", "<accepted/>")
            for job in range(1, finished + 1):
                pair.exchange(MESSAGES[f"started:{job}"], MESSAGES[f"finished:{job}:ok"])
            ended = frames_of("ended:ok")
            is_ok = passes(lambda: receive(pair.client, ended), RemoteProtocolError)  # noqa: B023
            assert is_ok == (finished == count), finished


LOGIN = f'<login version="1" client="{CLIENT_NAME}" auth_type="osuser" os_user="jdoe"/>'
OSUSER = [
    f'<login version="1" client="{CLIENT_NAME}" auth_type="osuser" user="R41" os_user="jdoe"/>',
    '<welcome session="S1"/>',
    "<alive/>",
    "<jobs><module>009ABC</module><py_file>nightly/close.py</py_file><py_code>print(1)</py_code></jobs>",
    "<alive/>",
    "<accepted/>",
    '<started job="1"/>',
    "<alive/>",
    '<output job="1" stream="stdout">one</output>',
    '<output job="1" stream="stderr">two</output>',
    '<finished job="1" status="ok"></finished>',
    '<started job="2"/>',
    '<finished job="2" status="ok">nothing to do</finished>',
    "<alive/>",
    '<started job="3"/>',
    '<output job="3" stream="stdout">1</output>',
    '<finished job="3" status="ok"></finished>',
    '<ended status="ok"/>',
]
CHALLENGE = [
    f'<login version="1" client="{CLIENT_NAME}" auth_type="challenge" user="R41" nonce="{CLIENT_NONCE}"/>',
    f'<challenge nonce="{NONCE}" salt="{SALT}"/>',
    f'<response nonce="{NONCE}" proof="{PROOF}"/>',
    f'<welcome session="S1" heartbeat="30" signature="{SIGNATURE}"/>',
    "<jobs><py_code>exit(1)</py_code><module>A</module><module>B</module></jobs>",
    "<accepted/>",
    '<started job="1"/>',
    '<output job="1" stream="stderr">text</output>',
    '<finished job="1" status="failed">exit status 1</finished>',
    "<alive/>",
    '<finished job="2" status="skipped"></finished>',
    '<finished job="3" status="skipped"></finished>',
    '<ended status="failed"/>',
]
DIALOGUES = {
    "osuser": OSUSER,
    "challenge": CHALLENGE,
    "left at once": ["<logout/>"],
    "left": [LOGIN, '<welcome session="S1"/>', "<jobs><module>A</module></jobs>", "<accepted/>", "<logout/>"],
    "busy": [LOGIN, '<refused reason="busy">later</refused>'],
    "wrong password": [*CHALLENGE[:3], '<refused reason="login">no</refused>'],
    "wrong jobs": [*CHALLENGE[:5], '<refused reason="jobs">no</refused>'],
}


@pytest.mark.parametrize("dialogue", DIALOGUES.values(), ids=DIALOGUES)
class TestDialogues:
    def test_client_and_server_understand_each_other_in_these_very_bytes(self, dialogue):
        pair = ConnectionPair()
        for xml in dialogue:
            sent, receiver = pair.send(xml)
            assert sent == frame(xml)
            assert receive(receiver, sent) == [decode(xml.encode())]
        assert pair.client.is_over
        assert pair.server.is_over

    def test_nothing_is_a_message_before_its_last_byte(self, dialogue):
        pair = ConnectionPair()
        for xml in dialogue:
            sent, receiver = pair.send(xml)
            assert receive(receiver, *byte_by_byte(sent[:-1])) == []
            assert receive(receiver, sent[-1:]) == [decode(xml.encode())]


class TestParts:
    def test_a_message_counts_as_sent_only_when_it_is_marked(self):
        pair = ConnectionPair("login:osuser", "welcome")
        jobs = Jobs((Job("module", "A"),))
        assert pair.client.frame_of(jobs) == frame("<jobs><module>A</module></jobs>")
        with pytest.raises(RemoteProtocolError):  # the answer was there before the question
            receive(pair.client, frames_of("accepted"))

    def test_when_it_is_marked_it_is_answered(self):
        pair = ConnectionPair("login:osuser", "welcome")
        pair.client.frame_of(Jobs((Job("module", "A"),)))
        pair.client.mark_sent()
        assert len(receive(pair.client, frames_of("accepted"))) == 1

    def test_the_end_of_the_stream_comes_after_all_messages(self):
        server = ConnectionPair("login:osuser", "welcome").server
        server.receive(frame("<logout/>"))
        server.receive(b"")
        assert server.next_message() == Logout()
        assert server.next_message() == ConnectionClosed()

    @pytest.mark.parametrize("rest", [b"", frame("<logout/>")[:-1]])
    def test_a_message_that_was_broken_off_is_none(self, rest):
        server = ConnectionPair("login:osuser").server
        server.receive(rest)
        server.receive(b"")
        assert server.next_message() == ConnectionClosed()
