"""What the fuzzer calls, and the test of its corpus: one input is what one end receives in one conversation."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from headless.dialects.base import Accepted, Ended, Refused
from headless.dialects.own.codec import decode, encode, for_display
from headless.dialects.own.connection import ClientConnection
from headless.dialects.own.messages import Challenge, Jobs, Login, Message, Response, UnsupportedLogin, Welcome
from headless.dialects.own.order import State
from headless.dialects.own.server_connection import ServerConnection
from headless.dialects.vocabulary import Job
from headless.errors import RemoteProtocolError
from support.conversations import KEYS, ConnectionPair, receive
from support.credentials import HASH, SALT
from support.frames import frame
from support.legal_transcript import is_a_good_end, parsed, split_at_last_frame
from support.literal_messages import CLIENT_NONCE, MESSAGES, NONCE, PROOF, SERVER_NONCE

SESSION = Jobs((Job("module", "009ABC"), Job("py_code", "print(1)")))
# What has been sent when the input comes. The first byte of the input is an index into the two lists together.
CLIENT_STAGES = [
    "login:osuser",
    "login:challenge",
    "login:challenge challenge response",
    "login:osuser welcome",
    "login:osuser welcome jobs",
    "login:osuser welcome jobs accepted started:1",
    "login:challenge challenge response welcome:signed jobs accepted started:1 finished:1:ok started:2",
]
SERVER_STAGES = ["", "login:challenge challenge", "login:osuser welcome", "login:osuser welcome jobs accepted"]


def make_input(end: str, stage: str, *documents: str | bytes, piece: int = 0, raw: bool = False) -> bytes:
    """The input for these documents, or, with `raw`, for these bytes as they are."""
    index = CLIENT_STAGES.index(stage) if end == "client" else len(CLIENT_STAGES) + SERVER_STAGES.index(stage)
    parts = [part.encode() if isinstance(part, str) else part for part in documents]
    return bytes([index, 2 * piece + raw]) + (b"".join(parts) if raw else b"\xff".join(parts))


def one_input(data: bytes) -> None:
    """Raises AssertionError, or whatever a conversation raises that is no ProtocolError, for a broken promise.

    After the stage, the second byte: lowest bit set: the rest are the bytes that come; not set: they are documents with
    \\xff, which is never in UTF-8, between them. The other bits: the bytes of a piece, 0 for all in one.
    """
    if len(data) < 2:
        return
    index, cut, rest = data[0] % (len(CLIENT_STAGES) + len(SERVER_STAGES)), data[1], data[2:]
    for document in rest.split(b"\xff"):
        check_what_is_shown(document)
    stream = rest if cut & 1 else b"".join(map(frame, rest.split(b"\xff")))
    size = cut >> 1 or len(stream) or 1
    pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
    if index < len(CLIENT_STAGES):
        talk_to_client(CLIENT_STAGES[index], pieces)
    else:
        talk_to_server(SERVER_STAGES[index - len(CLIENT_STAGES)], pieces)


def check_what_is_shown(document: bytes) -> None:
    """What is shown of any document is text, and of a plain one everything but proof and signature."""
    shown = for_display(document)
    root = parsed(document)
    if root is None or len(document) > 4096:
        return
    root_shown = ET.fromstring(shown)
    secrets = {name: "(not shown)" for name in root.attrib if name in ("proof", "signature")}
    assert (root_shown.tag, root_shown.text) == (root.tag, root.text)
    assert root_shown.attrib == {**root.attrib, **secrets}


def check_round_trip(message: Message) -> None:
    again = decode(encode(message))
    assert (type(again), again) == (type(message), message)


def received_from(conversation: ClientConnection | ServerConnection, *pieces: bytes) -> tuple[list[Message], str]:
    """What these pieces bring, and what is wrong: after a protocol error nothing may be received. Fails for any other
    error."""
    received: list[Message] = []
    for position, piece in enumerate(pieces):
        try:
            if piece:  # nothing would be the end of the stream
                conversation.receive(piece)
            received.extend(iter(conversation.next_message, None))
        except RemoteProtocolError as error:
            assert receive(conversation, *pieces[position + 1 :], frame("<alive/>")) == []
            return received, str(error)
    for message in received:
        if message != UnsupportedLogin():
            check_round_trip(message)
    return received, ""


def talk_to_client(stage: str, pieces: list[bytes]) -> None:
    """Goes on as the command does: receives all that is there, and only then sends what comes next. It receives a good
    end if, and only if, this is one."""
    labels = stage.split()
    client = ConnectionPair(*labels).client
    secret = HASH if "login:challenge" in labels else ""
    answers = answers_so_far(labels)
    for piece in [b"", *pieces]:  # with no piece at all, what the stage leaves is gone on with
        answers[-1] += piece
        received, error = received_from(client, piece)
        if error or client.is_over:
            break
        if client.state == State.CHALLENGED:
            client.send(client.response(HASH.encode()))
            answers[-1:] = split_at_last_frame(answers[-1])
        elif client.state == State.WELCOMED:
            client.send(SESSION)
            answers[-1:] = split_at_last_frame(answers[-1])
    is_good = any(isinstance(message, Ended) and message.status == "ok" for message in received)
    assert is_good == is_a_good_end(answers, len(SESSION.jobs), CLIENT_NONCE, secret), answers


def answers_so_far(labels: list[str]) -> list[bytes]:
    """What the server has answered to each message of the client, in a stage."""
    answers = []
    for label in labels:
        if label in ("login:osuser", "login:challenge", "response", "jobs"):
            answers.append(b"")
        else:
            answers[-1] += frame(MESSAGES[label])
    return answers


def talk_to_server(stage: str, pieces: list[bytes]) -> None:
    """Answers as a server does that knows R41 alone. Jobs may come only after a login, and a login needs a proof."""
    labels = stage.split()
    server = ConnectionPair(*labels).server
    is_let_in, has_submitted = "welcome" in labels, "jobs" in labels
    for piece in pieces:
        received, error = received_from(server, piece)
        if error:
            break
        for message in received:
            assert not isinstance(message, Challenge)
            if isinstance(message, Jobs):
                assert is_let_in
                assert not has_submitted
                assert len(message.jobs) >= 1
                has_submitted = True
                server.send(Accepted())
            elif isinstance(message, UnsupportedLogin):
                server.send(Refused("version", "no"))
            elif isinstance(message, Login) and not server.is_over:
                if message.auth_type == "osuser":
                    server.send(Welcome("S1"))
                    is_let_in = True
                else:
                    server.send_challenge(SALT, SERVER_NONCE)
            elif isinstance(message, Response) and not server.is_over:
                signature = server.signature(KEYS)
                is_let_in = signature is not None
                assert not is_let_in or message == Response(NONCE, PROOF)
                server.send(Welcome("S1", signature=signature) if signature else Refused("login", "no"))
    if not server.is_over:
        server.send(Refused("protocol", "what?"))
    assert server.is_over
