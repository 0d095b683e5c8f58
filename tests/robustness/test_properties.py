"""What holds for any bytes, any pieces, any order of messages and any damage: both conversations, judged by
legal_transcript.py, which knows the order of messages from PROTOCOL.md alone. Frames and messages by themselves are in
test_frames.py and test_messages.py."""

from __future__ import annotations

import copy

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headless.protocol.client_connection import ClientConnection
from headless.protocol.codec import encode
from headless.protocol.errors import LocalProtocolError, RemoteProtocolError
from headless.protocol.messages import (
    Accepted,
    Alive,
    Challenge,
    Ended,
    Finished,
    Jobs,
    Login,
    Logout,
    Message,
    Output,
    Refused,
    Response,
    Started,
    Welcome,
)
from headless.protocol.server_connection import ServerConnection
from headless.protocol.text import replace_invalid_xml_chars
from headless.protocol.vocabulary import Job
from support.conversations import KEYS, ConnectionPair, receive
from support.credentials import HASH, SALT
from support.frames import frame
from support.hypothesis_settings import examples
from support.legal_transcript import is_a_good_end, is_a_good_transcript, label_of, split_at_last_frame
from support.literal_messages import CLIENT_NAME, CLIENT_NONCE, MESSAGES, SERVER_MESSAGES, SERVER_NONCE, frames_of

STAGES = [
    "",
    "login:osuser",
    "login:challenge",
    "login:challenge challenge",
    "login:challenge challenge response",
    "login:osuser welcome",
    "login:osuser welcome jobs",
    "login:osuser welcome jobs accepted",
    "login:osuser welcome jobs accepted started:1",
]
JOBS = 2  # in the batch of literal_messages.MESSAGES
GOOD = ["accepted", "started:1", "output:1", "finished:1:ok", "alive", "started:2", "finished:2:ok", "ended:ok"]
LAST = (Ended, Refused, Logout)

a_message = st.sampled_from(sorted(MESSAGES))
frames = st.lists(a_message.map(MESSAGES.__getitem__).map(frame) | st.binary(max_size=8).map(frame), max_size=6).map(
    b"".join
)
some_bytes = st.binary(max_size=40) | frames | st.tuples(frames, st.binary(max_size=5)).map(b"".join)


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in zip(bounds, bounds[1:]) if begin < end]


def outcome(conversation, *pieces: bytes) -> tuple[list[Message], str]:
    """What is received, and what is wrong. Fails for any error but a protocol error, and for a second one."""
    received: list[Message] = []
    for position, piece in enumerate(pieces):
        try:
            if piece:  # nothing would be the end of the stream
                conversation.receive(piece)
            received.extend(iter(conversation.next_message, None))
        except RemoteProtocolError as error:
            assert receive(conversation, *pieces[position + 1 :]) == []
            return received, str(error)
    return received, ""


@examples
@given(st.sampled_from(STAGES), st.sampled_from(["client", "server"]), some_bytes, st.lists(st.integers(0, 999)))
@example("", "client", frame(MESSAGES["refused:protocol"]) + b"\x00", [-2])
def test_any_bytes_are_messages_or_one_protocol_error_whatever_the_pieces(stage, end, data, cuts):
    whole, error = outcome(getattr(ConnectionPair(*stage.split()), end), data)
    again, error_again = outcome(getattr(ConnectionPair(*stage.split()), end), *in_pieces(data, cuts))
    assert bool(error) == bool(error_again)
    if again and isinstance(again[-1], LAST) and error:
        # What comes with the last message, and what comes after it, is wrong: in one piece the message is not received.
        assert whole in (again, again[:-1])
    else:
        assert (whole, error) == (again, error_again)


def received_of_the_batch(data: bytes, jobs: int = JOBS) -> list[Message]:
    """What a client receives that has submitted a batch."""
    pair = ConnectionPair("login:osuser", "welcome")
    pair.exchange("<jobs>" + "<module>A</module>" * jobs + "</jobs>")
    return outcome(pair.client, data)[0]


def is_0(received: list[Message]) -> bool:
    return any(isinstance(message, Ended) and message.status == "ok" for message in received)


def assert_is_received_as_it_is(sent: list[str]) -> None:
    """That the client receives a good end if, and only if, the oracle takes this for one."""
    assert is_0(received_of_the_batch(b"".join(frame(MESSAGES[label]) for label in sent))) == is_a_good_transcript(
        sent, JOBS
    ), sent


@pytest.mark.parametrize("count", [0, 1, 2])
def test_no_transcript_with_one_place_changed_is_received_as_a_good_end_unless_it_still_is_one(count):
    for begin in range(len(GOOD) + 1):
        for instead in ([], *([label] for label in MESSAGES)):
            assert_is_received_as_it_is([*GOOD[:begin], *instead, *GOOD[begin + count :]])


@settings(examples, max_examples=200)
@given(st.lists(st.sampled_from(GOOD), max_size=4), st.permutations(GOOD), st.integers(0, len(GOOD)))
def test_no_transcript_in_another_order_is_received_as_a_good_end_unless_it_still_is_one(first, mixed, begin):
    assert_is_received_as_it_is([*first, *mixed])
    assert_is_received_as_it_is(GOOD[:begin] + [label for label in mixed if label not in GOOD[:begin]])


def test_the_oracle_knows_a_good_transcript_and_these_messages():
    assert is_a_good_transcript(GOOD, JOBS)
    assert not any(is_a_good_transcript(GOOD[:i] + GOOD[i + 1 :], JOBS) for i in range(len(GOOD)) if i not in (2, 4))
    plain = {
        label: label_of(xml.encode())
        for label, xml in SERVER_MESSAGES.items()
        if not label.startswith(("refused", "w", "c", "attached", "accepted:", "listed"))
    }
    assert plain == {label: label for label in plain}


def good_transcripts(jobs: int):
    """Everything that may be sent of a batch of so many jobs that end well."""
    alive = st.lists(st.just(Alive()), max_size=1)
    text = st.text(max_size=20).map(replace_invalid_xml_chars)
    parts = [alive, st.just([Accepted()]), alive]
    for job in range(1, jobs + 1):
        output = st.builds(Output, st.just(job), st.sampled_from(["stdout", "stderr"]), text)
        parts += [
            st.just([Started(job)]),
            st.lists(output | st.just(Alive()), max_size=3),
            st.builds(Finished, st.just(job), st.just("ok"), text).map(lambda message: [message]),
            alive,
        ]
    return st.tuples(*parts, st.just([Ended("ok")])).map(lambda sent: [message for part in sent for message in part])


@examples
@given(st.integers(1, 4).flatmap(lambda jobs: st.tuples(st.just(jobs), good_transcripts(jobs))))
def test_every_legal_transcript_is_received_as_it_was_sent(transcript):
    jobs, messages = transcript
    pair = ConnectionPair("login:osuser", "welcome")
    pair.exchange("<jobs>" + "<module>A</module>" * jobs + "</jobs>")
    data = b"".join(pair.server.send(message) for message in messages)
    assert receive(pair.client, data) == messages
    assert pair.client.is_over


def mutations(data: bytes):
    """The data with one to three faults: a bit flipped, a stretch cut out, doubled or moved, random bytes put in."""
    place = st.integers(0, len(data))
    fault = st.tuples(st.sampled_from(["flip", "cut", "double", "move", "insert"]), place, place, st.binary(max_size=6))
    return st.lists(fault, min_size=1, max_size=3).map(lambda faults: damaged(data, faults))


def damaged(data: bytes, faults) -> bytes:
    for kind, one, other, new in faults:
        begin, end = sorted((one, other))
        head, middle, tail = data[:begin], data[begin:end], data[end:]
        if kind == "flip":
            middle = bytes([middle[0] ^ 1 << other % 8]) + middle[1:] if middle else b""
        elif kind == "cut":
            middle = b""
        elif kind == "double":
            middle *= 2
        elif kind == "move":
            head, middle = middle, head
        else:
            middle = new
        data = head + middle + tail
    return data


DIALOGUES = {
    "osuser": (["welcome"], GOOD),
    "challenge": (["challenge"], ["welcome:signed"], GOOD),
}


@pytest.mark.parametrize("dialogue", DIALOGUES)
@settings(examples, max_examples=300)
@given(data=st.data())
def test_no_damage_makes_a_good_end_of_what_is_no_good_transcript(dialogue, data):
    answers = [frames_of(*part) for part in DIALOGUES[dialogue]]
    number = data.draw(st.integers(0, len(answers) - 1))
    answers[number] = data.draw(mutations(answers[number]))
    client = ConnectionPair(f"login:{dialogue}").client
    arrived: list[bytes] = []
    begun = b""  # what is not there whole when the client goes on is part of what follows
    for answer in answers:
        received, error = outcome(client, answer)
        whole, begun = split_at_last_frame(begun + answer)
        arrived.append(whole)
        if error or client.is_over or not goes_on(client, received):
            break
    arrived[-1] += begun
    secret = HASH if dialogue == "challenge" else ""
    assert is_0(received) == is_a_good_end(arrived, JOBS, CLIENT_NONCE, secret)


def goes_on(client: ClientConnection, received: list[Message]) -> bool:
    """Sends what comes next, if it is time to."""
    if any(isinstance(message, Welcome) for message in received):
        client.send(Jobs((Job("module", "A"),) * JOBS))
    elif any(isinstance(message, Challenge) for message in received):
        client.send(client.response(HASH.encode()))
    else:
        return False
    return True


class Conversations(RuleBasedStateMachine):
    """Both ends send what they may, in any order, and everything arrives: neither is ever surprised, and both know that
    it is over. What has been sent is kept, for the oracle."""

    def __init__(self) -> None:
        super().__init__()
        self.client = ClientConnection(CLIENT_NAME)
        self.server = ServerConnection()
        self.sent: list[str] = []
        self.jobs = self.job = 0

    def to_server(self, data: bytes) -> Message:
        (received,) = receive(self.server, data)
        return received

    @initialize(is_osuser=st.booleans())
    def log_in(self, is_osuser):
        if is_osuser:
            assert isinstance(self.to_server(self.client.send(self.client.osuser_login("jdoe", None))), Login)
            receive(self.client, self.server.send(Welcome("S1", 30)))
            return
        self.to_server(self.client.send(self.client.challenge_login("R41", CLIENT_NONCE)))
        receive(self.client, self.server.send_challenge(SALT, SERVER_NONCE))
        assert isinstance(self.to_server(self.client.send(self.client.response(HASH.encode()))), Response)
        receive(self.client, self.server.send(Welcome("S1", 30, self.server.signature(KEYS))))

    def is_on(self) -> bool:
        return not self.client.is_over

    @precondition(lambda self: self.is_on() and not self.jobs)
    @rule(jobs=st.integers(1, 3))
    def submit(self, jobs):
        batch = Jobs((Job("module", "A"),) * jobs)
        assert self.to_server(self.client.send(batch)) == batch
        self.jobs, self.sent = jobs, []

    @rule(kind=st.sampled_from([Accepted, Started, Output, Finished, Finished, Ended, Alive]), is_ok=st.booleans())
    def report(self, kind, is_ok):
        """A message for the job whose turn it is. What one end may not send, the other does not receive."""
        status = "ok" if is_ok else "failed"
        job = self.job + 1
        values = {Started: (job,), Output: (job, "stdout", "x"), Finished: (job, status), Ended: (status,)}
        message = kind(*values.get(kind, ()))
        try:
            data = self.server.send(message)
        except LocalProtocolError:
            with pytest.raises(RemoteProtocolError):
                receive(copy.deepcopy(self.client), frame(encode(message)))
            return
        assert receive(self.client, data) == [message]
        self.sent.append(label_of(data[4:]))
        self.job += kind is Finished

    @precondition(is_on)
    @rule()
    def leave(self):
        assert isinstance(self.to_server(self.client.send(Logout())), Logout)

    @invariant()
    def both_ends_agree(self):
        assert self.client.state is self.server.state
        if self.sent and self.sent[-1] == "ended:ok":
            assert is_a_good_transcript(self.sent, self.jobs)


TestConversations = Conversations.TestCase
TestConversations.settings = settings(examples, max_examples=60)
