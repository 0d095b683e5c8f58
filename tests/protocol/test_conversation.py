"""Who may send what when: both ends against each other in memory and against literal bytes, and a table of their own.

What a message looks like is tested in test_messages.py, what a proof must be in test_login.py.
"""

from __future__ import annotations

import pytest

from headless.outcome import ProtocolError
from headless.protocol import login
from headless.protocol.conversation import ClientConversation, ServerConversation
from headless.protocol.frames import FrameTooLong
from headless.protocol.messages import (
    Accepted,
    Alive,
    Job,
    Jobs,
    Login,
    Logout,
    Refused,
    Response,
    VersionMismatch,
    Welcome,
    decode,
)
from support import scram
from support.conversations import KEYS, ConnectionPair, receive, send, typed
from support.credentials import HASH, SALT
from support.frames import byte_by_byte, frame, whole
from support.literal_messages import (
    CLIENT_MESSAGES,
    CLIENT_NAME,
    CLIENT_NONCE,
    MESSAGES,
    NONCE,
    PROOF,
    SERVER_MESSAGES,
    SERVER_NONCE,
    SIGNATURE,
    frames_of,
)

# What has been sent (the batch has two jobs); what the client may send then, and what the server. `logout` and the two
# refusals that have nothing to do with the question may come at any moment until the conversation is over. A login of
# another version is no message, so the server refuses it as if nothing had been sent.
MAY_SEND = [
    ("", "login:osuser login:challenge", "refused:version"),
    ("login:osuser", "", "welcome refused:login refused:version"),
    ("login:challenge", "", "challenge refused:login refused:version"),
    ("login:challenge challenge", "response", ""),
    ("login:challenge challenge response", "", "welcome:signed refused:login"),
    ("login:challenge challenge response welcome:signed", "jobs", "alive"),
    ("login:osuser welcome", "jobs", "alive"),
    ("login:osuser welcome alive", "jobs", "alive"),
    ("login:osuser welcome jobs", "", "accepted refused:jobs alive"),
    ("login:osuser welcome jobs alive", "", "accepted refused:jobs alive"),
]
# The same, after ACCEPTED. A job that is skipped, and an end that comes early, are never a good end.
ACCEPTED = "login:osuser welcome jobs accepted"
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
SITUATIONS = [
    *((history, client + " logout", server + " refused:protocol refused:busy") for history, client, server in MAY_SEND),
    *(
        (f"{ACCEPTED} {history}", "logout", server + " alive refused:protocol refused:busy")
        for history, server in MAY_SEND_OF_JOBS
    ),
]
# Each ends the conversation.
LAST_MESSAGES = [
    "logout",
    "refused:version",
    "login:osuser refused:login",
    "login:challenge challenge logout",
    "login:challenge challenge response refused:login",
    "login:osuser welcome refused:busy",
    "login:osuser welcome logout",
    "login:osuser welcome jobs refused:jobs",
    "login:osuser welcome jobs logout",
    f"{ACCEPTED} logout",
    f"{ACCEPTED} ended:failed",
    f"{ACCEPTED} started:1 logout",
    f"{ACCEPTED} started:1 refused:protocol",
    f"{ACCEPTED} started:1 finished:1:ok started:2 finished:2:ok ended:ok",
    f"{ACCEPTED} started:1 finished:1:failed finished:2:skipped ended:failed",
]
EVERY_SITUATION = [*SITUATIONS, *((history, "", "") for history in LAST_MESSAGES)]
everywhere = pytest.mark.parametrize(
    ("history", "client_may", "server_may"), EVERY_SITUATION, ids=[situation[0] or "-" for situation in EVERY_SITUATION]
)


def passes(action) -> bool:
    try:
        action()
    except ProtocolError:
        return False
    return True


def received_by(end: str, history: str) -> set[str]:
    """The messages, of both sides, that this end of a new pair receives after this history."""

    def is_received(label):
        conversation = getattr(ConnectionPair(*history.split()), end)
        return passes(lambda: receive(conversation, frame(MESSAGES[label])))

    return {label for label in MESSAGES if is_received(label)}


def sent_by(end: str, history: str, messages: dict[str, str]) -> set[str]:
    """Those of the messages that this end of a new pair sends after this history."""

    def is_sent(label):
        conversation = getattr(ConnectionPair(*history.split()), end)
        return passes(lambda: send(conversation, decode(messages[label].encode())))

    return {label for label in messages if is_sent(label)}


class TestTheOrder:
    @everywhere
    def test_each_end_receives_what_the_other_may_send_now_and_nothing_else(self, history, client_may, server_may):
        assert received_by("server", history) == set(client_may.split())
        assert received_by("client", history) == set(server_may.split())

    @everywhere
    def test_each_end_sends_no_message_of_its_own_out_of_order(self, history, client_may, server_may):
        assert sent_by("client", history, CLIENT_MESSAGES) == set(client_may.split())
        # To sign or not to sign is the business of whoever knows the keys.
        unsigned = {label: xml for label, xml in SERVER_MESSAGES.items() if label != "welcome:signed"}
        assert sent_by("server", history, unsigned) == set(server_may.replace(":signed", "").split())

    @pytest.mark.parametrize(("end", "messages"), [("client", SERVER_MESSAGES), ("server", CLIENT_MESSAGES)])
    def test_no_end_sends_a_message_of_the_other(self, end, messages):
        assert {label for history, _, _ in SITUATIONS for label in sent_by(end, history, messages)} == set()

    def test_what_could_not_be_sent_has_not_been_sent(self):
        pair = ConnectionPair("login:osuser")
        state = pair.client.state
        with pytest.raises(ProtocolError):
            send(pair.client, Jobs((Job("module", "A"),)))
        assert pair.client.state is state
        assert receive(pair.client, frames_of("welcome")) == [Welcome("S1", 30)]

    @pytest.mark.parametrize("history", LAST_MESSAGES)
    def test_both_ends_know_that_it_is_over(self, history):
        pair = ConnectionPair(*history.split()[:-1])
        assert not pair.client.is_over
        assert not pair.server.is_over
        pair.exchange(MESSAGES[history.split()[-1]])
        assert pair.client.is_over
        assert pair.server.is_over

    @pytest.mark.parametrize("count", [1, 3])
    @pytest.mark.parametrize("finished", range(4))
    def test_an_end_is_ok_only_after_every_job(self, count, finished):
        pair = ConnectionPair("login:osuser", "welcome")
        pair.exchange("<jobs>" + "<module>A</module>" * count + "</jobs>", "<accepted/>")
        for job in range(1, min(finished, count) + 1):
            pair.exchange(MESSAGES[f"started:{job}"], MESSAGES[f"finished:{job}:ok"])
        ended = frames_of("ended:ok")
        assert passes(lambda: receive(pair.client, ended)) == (finished >= count)


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


@pytest.mark.parametrize("cut", [whole, byte_by_byte])
@pytest.mark.parametrize("dialogue", DIALOGUES.values(), ids=DIALOGUES)
class TestDialogues:
    def test_client_and_server_understand_each_other_in_these_very_bytes(self, dialogue, cut):
        pair = ConnectionPair()
        for xml in dialogue:
            sent, receiver = pair.send(xml)
            assert sent == frame(xml)
            assert typed(receive(receiver, *cut(sent))) == typed([decode(xml.encode())])
        assert pair.client.is_over
        assert pair.server.is_over

    def test_one_byte_less_is_not_yet_the_message(self, dialogue, cut):
        pair = ConnectionPair()
        for xml in dialogue:
            sent, receiver = pair.send(xml)
            assert receive(receiver, *cut(sent[:-1])) == []
            assert len(receive(receiver, sent[-1:])) == 1


class TestBytesTooMany:
    @pytest.mark.parametrize("history", LAST_MESSAGES)
    @pytest.mark.parametrize("excess", [b"\x00", b"\x00\x00", frame("<alive/>"), frame("<logout/>"), frame("<ended")])
    def test_nothing_may_follow_the_last_message(self, history, excess):
        *before, last = history.split()
        pair = ConnectionPair(*before)
        conversation = pair.server if last == "logout" else pair.client
        conversation.feed(frames_of(last) + excess)
        with pytest.raises(ProtocolError):
            conversation.next_message()
        assert conversation.next_message() is None

    @pytest.mark.parametrize("cut", [whole, byte_by_byte])
    def test_what_follows_the_last_message_later_is_a_protocol_error_too(self, cut):
        pair = ConnectionPair(*ACCEPTED.split(), "ended:failed")
        with pytest.raises(ProtocolError):
            receive(pair.client, *cut(frames_of("alive")))

    @pytest.mark.parametrize(
        ("history", "answer"),
        [
            ("login:osuser welcome", "accepted"),
            ("login:osuser welcome", "refused:jobs"),
            ("login:osuser welcome alive", "accepted"),
            ("login:challenge challenge", "welcome:signed"),
            ("login:challenge challenge", "refused:login"),
            ("login:challenge challenge response welcome:signed", "accepted"),
        ],
    )
    def test_an_answer_in_one_piece_with_what_comes_before_its_question_is_a_protocol_error(self, history, answer):
        *before, last = history.split()
        pair = ConnectionPair(*before)
        pair.client.feed(frames_of(last, answer))
        assert typed([pair.client.next_message()]) == typed([decode(MESSAGES[last].encode())])
        with pytest.raises(ProtocolError):
            pair.client.next_message()

    def test_alive_in_one_piece_with_welcome_is_no_answer_to_anything(self):
        pair = ConnectionPair("login:osuser")
        received = receive(pair.client, frames_of("welcome", "alive", "alive"))
        assert typed(received) == typed([Welcome("S1", 30), Alive(), Alive()])
        send(pair.client, Jobs((Job("module", "A"),)))
        assert typed(receive(pair.client, frames_of("accepted"))) == typed([Accepted()])

    @pytest.mark.parametrize(
        ("history", "too_early"),
        [("login:osuser", "jobs"), ("login:challenge", "response"), ("login:osuser", "login:osuser")],
    )
    def test_a_client_that_does_not_wait_for_the_answer_is_a_protocol_error(self, history, too_early):
        server = ServerConversation()
        server.feed(frames_of(history, too_early))
        assert isinstance(server.next_message(), Login)
        with pytest.raises(ProtocolError):
            server.next_message()

    def test_everything_that_a_server_sends_of_a_batch_may_come_in_one_piece(self):
        pair = ConnectionPair("login:osuser", "welcome", "jobs")
        labels = ["accepted", "started:1", "output:1", "finished:1:ok", "started:2", "finished:2:ok", "ended:ok"]
        assert len(receive(pair.client, frames_of(*labels))) == len(labels)


class TestTheClientsDoubts:
    @pytest.mark.parametrize(
        "welcome",
        [
            '<welcome session="S1"/>',
            '<welcome session="S1" signature=""/>',
            f'<welcome session="S1" signature="{SIGNATURE[:-1]}"/>',
            f'<welcome session="S1" signature=" {SIGNATURE}"/>',
            f'<welcome session="S1" signature="{SIGNATURE.swapcase()}"/>',
            f'<welcome session="S1" signature="{PROOF}"/>',
            '<welcome session="S1" signature="\N{GREEK SMALL LETTER ALPHA}"/>',
        ],
    )
    def test_a_server_that_does_not_prove_itself_is_not_welcomed(self, welcome):
        pair = ConnectionPair("login:challenge", "challenge", "response")
        with pytest.raises(ProtocolError, match="password"):
            receive(pair.client, frame(welcome))

    def test_the_signature_of_an_earlier_session_proves_nothing(self):
        client = ClientConversation(CLIENT_NAME)
        client.login_with_challenge("R41", CLIENT_NONCE[::-1])
        receive(client, frame(f'<challenge nonce="{CLIENT_NONCE[::-1]}{SERVER_NONCE}" salt="{SALT}"/>'))
        client.respond(HASH.encode())
        with pytest.raises(ProtocolError, match="password"):
            receive(client, frames_of("welcome:signed"))

    def test_a_signature_where_there_is_no_secret_is_a_protocol_error(self):
        pair = ConnectionPair("login:osuser")
        with pytest.raises(ProtocolError, match="signed"):
            receive(pair.client, frames_of("welcome:signed"))

    @pytest.mark.parametrize(
        ("nonce", "salt", "reason"),
        [
            (CLIENT_NONCE, SALT, "nonce"),
            (SERVER_NONCE + CLIENT_NONCE, SALT, "nonce"),
            (CLIENT_NONCE + SERVER_NONCE[1:], SALT, "nonce"),
            (CLIENT_NONCE + "," + SERVER_NONCE, SALT, "nonce"),
            ("", SALT, "nonce"),
            (NONCE, SALT.replace("10", "09"), "cost"),
            (NONCE, SALT.replace("10", "16"), "cost"),
            (NONCE, SALT.replace("2b", "2x"), "salt"),
            (NONCE, SALT[:-1] + "v", "salt"),
            (NONCE, HASH, "salt"),
            (NONCE, "", "salt"),
        ],
    )
    def test_a_challenge_with_a_wrong_nonce_or_salt_is_a_protocol_error(self, nonce, salt, reason):
        pair = ConnectionPair("login:challenge")
        with pytest.raises(ProtocolError, match=reason):
            receive(pair.client, frame(f'<challenge nonce="{nonce}" salt="{salt}"/>'))

    def test_the_client_sends_nothing_to_a_server_that_it_does_not_believe_but_that_it_leaves(self):
        pair = ConnectionPair("login:challenge", "challenge", "response")
        with pytest.raises(ProtocolError):
            receive(pair.client, frames_of("welcome"))
        with pytest.raises(ProtocolError):
            send(pair.client, Jobs((Job("module", "A"),)))
        assert send(pair.client, Logout()) == frame("<logout/>")


class TestTheServersDoubts:
    @pytest.mark.parametrize(
        "attributes",
        [
            f'auth_type="challenge" nonce="{CLIENT_NONCE}"',
            'auth_type="challenge" user="R41"',
            f'auth_type="challenge" user="R41" nonce="{CLIENT_NONCE}" os_user="jdoe"',
            'auth_type="challenge" user="R41" nonce=""',
            f'auth_type="challenge" user="R41" nonce="{CLIENT_NONCE[1:]}"',
            f'auth_type="challenge" user="R41" nonce="{CLIENT_NONCE},"',
            f'auth_type="challenge" user="R41" nonce="{CLIENT_NONCE} "',
            'auth_type="osuser"',
            'auth_type="osuser" user="R41"',
            f'auth_type="osuser" os_user="jdoe" nonce="{CLIENT_NONCE}"',
        ],
    )
    def test_a_login_that_its_kind_does_not_allow_is_a_protocol_error(self, attributes):
        with pytest.raises(ProtocolError):
            receive(ServerConversation(), frame(f'<login version="1" client="c" {attributes}/>'))

    def challenged(self) -> ServerConversation:
        return ConnectionPair("login:challenge", "challenge").server

    def test_a_right_proof_is_answered_with_the_servers_own(self):
        server = self.challenged()
        receive(server, frames_of("response"))
        assert server.signature(KEYS) == SIGNATURE

    def test_a_proof_proves_nothing_for_other_keys(self):
        server = self.challenged()
        receive(server, frames_of("response"))
        other = login.keys_from(HASH.replace("Xu", "Xy").encode())
        assert server.signature(login.Keys(SALT, *other)) is None

    @pytest.mark.parametrize("nonce", [CLIENT_NONCE, SERVER_NONCE, NONCE + "x", NONCE[::-1], ""])
    def test_a_right_proof_with_another_nonce_proves_nothing(self, nonce):
        server = self.challenged()
        receive(server, frame(f'<response nonce="{nonce}" proof="{PROOF}"/>'))
        assert server.signature(KEYS) is None

    def test_a_proof_for_a_nonce_of_the_clients_choice_proves_nothing(self):
        server = self.challenged()
        nonce = CLIENT_NONCE + SERVER_NONCE[::-1]
        proof = scram.proof(HASH.encode(), scram.auth_message("R41", CLIENT_NONCE, nonce, SALT))
        receive(server, frame(f'<response nonce="{nonce}" proof="{proof}"/>'))
        assert server.signature(KEYS) is None

    @pytest.mark.parametrize("proof", [SIGNATURE, PROOF.swapcase(), PROOF[4:], "", "?", "\N{GREEK SMALL LETTER ALPHA}"])
    def test_a_wrong_proof_proves_nothing_and_is_no_protocol_error(self, proof):
        server = self.challenged()
        assert isinstance(receive(server, frame(f'<response nonce="{NONCE}" proof="{proof}"/>'))[0], Response)
        assert server.signature(KEYS) is None
        assert send(server, Refused("login", "no")) == frame('<refused reason="login">no</refused>')


class TestAfterAProtocolError:
    @pytest.mark.parametrize(
        "nonsense",
        [b"\x00\x00\x00\x00", b"GET / HTTP/1.1\r\n\r\n", frame("<x/>"), frame("no XML"), frames_of("accepted")],
    )
    @pytest.mark.parametrize("history", ["", "login:osuser", "login:osuser welcome"])
    def test_nothing_more_is_received(self, nonsense, history):
        pair = ConnectionPair(*history.split())
        for conversation, proper in ((pair.client, frames_of("alive")), (pair.server, frames_of("logout"))):
            conversation.feed(nonsense + proper)
            with pytest.raises(ProtocolError):
                conversation.next_message()
            assert receive(conversation, b"", proper, proper) == []

    @pytest.mark.parametrize(
        "history", ["", "login:osuser", "login:challenge challenge", ACCEPTED, f"{ACCEPTED} started:1"]
    )
    def test_the_server_can_still_refuse(self, history):
        server = ConnectionPair(*history.split()).server
        with pytest.raises(ProtocolError):
            receive(server, frame("<x/>"))
        assert send(server, Refused("protocol", "what?")) == frame('<refused reason="protocol">what?</refused>')
        assert server.is_over

    def test_the_server_can_refuse_a_login_whose_nonce_is_wrong(self):
        server = ServerConversation()
        with pytest.raises(ProtocolError):
            receive(server, frame('<login version="1" client="c" auth_type="challenge" user="R41" nonce="x"/>'))
        assert send(server, Refused("protocol")) == frame('<refused reason="protocol"></refused>')

    def test_the_server_can_refuse_another_version_for_what_it_is(self):
        server = ServerConversation()
        with pytest.raises(VersionMismatch):
            receive(server, frame('<login version="2" token="x"/>'))
        refusal = send(server, Refused("version", "only 1 is known here"))
        assert refusal == frame('<refused reason="version">only 1 is known here</refused>')
        client = ConnectionPair("login:osuser").client
        assert typed(receive(client, refusal)) == typed([Refused("version", "only 1 is known here")])


CHALLENGED = "login:challenge challenge"
BEFORE_WELCOME = ["", "login:osuser", "login:challenge", CHALLENGED, f"{CHALLENGED} response"]
AFTER_WELCOME = ["login:osuser welcome", "login:osuser welcome jobs", ACCEPTED, f"{ACCEPTED} started:1"]
LIMITS = [*((history, 4096) for history in BEFORE_WELCOME), *((history, 16 * 1024 * 1024) for history in AFTER_WELCOME)]


class TestLimits:
    @pytest.mark.parametrize("end", ["client", "server"])
    @pytest.mark.parametrize(("history", "limit"), LIMITS)
    def test_a_frame_beyond_the_limit_is_refused_before_it_comes(self, history, limit, end):
        assert receive(getattr(ConnectionPair(*history.split()), end), limit.to_bytes(4, "big")) == []
        with pytest.raises(ProtocolError, match=str(limit + 1)):
            receive(getattr(ConnectionPair(*history.split()), end), (limit + 1).to_bytes(4, "big"))

    def test_a_frame_as_long_as_the_limit_is_received(self):
        pair = ConnectionPair()
        assert len(receive(pair.server, frame(MESSAGES["login:osuser"].ljust(4096)))) == 1
        pair = ConnectionPair(*ACCEPTED.split(), "started:1")
        assert len(receive(pair.client, frame(MESSAGES["output:1"].ljust(16 * 1024 * 1024)))) == 1

    def test_what_follows_welcome_in_one_piece_may_be_long(self):
        pair = ConnectionPair("login:osuser")
        received = receive(pair.client, frames_of("welcome") + frame("<alive/>".ljust(5000)))
        assert typed(received) == typed([Welcome("S1", 30), Alive()])

    @pytest.mark.parametrize("last", ["welcome", "challenge"])
    def test_welcome_and_what_comes_before_it_may_not_be_long(self, last):
        pair = ConnectionPair("login:osuser" if last == "welcome" else "login:challenge")
        with pytest.raises(ProtocolError, match="4097"):
            receive(pair.client, frame(MESSAGES[last].ljust(4097)))

    @pytest.mark.parametrize(("history", "limit"), LIMITS)
    def test_no_end_sends_what_the_other_would_not_take(self, history, limit):
        pair = ConnectionPair(*history.split())
        envelope = len('<refused reason="busy"></refused>')
        with pytest.raises(FrameTooLong, match=str(limit)):
            send(pair.server, Refused("busy", "x" * (limit - envelope + 1)))
        assert not pair.server.is_over
        assert len(send(pair.server, Refused("busy", "x" * (limit - envelope)))) == 4 + limit

    def test_a_batch_that_is_too_long_is_not_submitted_and_the_client_can_still_leave(self):
        pair = ConnectionPair("login:osuser", "welcome")
        with pytest.raises(FrameTooLong):
            send(pair.client, Jobs((Job("py_code", "x" * 16 * 1024 * 1024),)))
        assert receive(pair.server, send(pair.client, Jobs((Job("py_code", "x" * 5000),))))
        assert send(pair.client, Logout()) == frame("<logout/>")

    def test_a_user_that_fits_into_no_login_is_not_sent(self):
        with pytest.raises(FrameTooLong):
            ClientConversation(CLIENT_NAME).login_with_challenge("x" * 4096, CLIENT_NONCE)


class TestTrace:
    def test_the_trace_gets_every_payload_in_its_order_and_before_it_is_judged(self):
        traced = []
        client = ClientConversation(CLIENT_NAME, lambda direction, payload: traced.append((direction, payload)))
        client.login_as_osuser("jdoe", None)
        receive(client, frames_of("welcome", "alive"))
        with pytest.raises(FrameTooLong):
            send(client, Jobs((Job("py_code", "x" * 16 * 1024 * 1024),)))
        with pytest.raises(ProtocolError):
            receive(client, frame("<x/>"))
        assert traced == [
            ("sent", MESSAGES["login:osuser"].encode()),
            ("received", MESSAGES["welcome"].encode()),
            ("received", b"<alive/>"),
            ("received", b"<x/>"),
        ]
