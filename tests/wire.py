"""Helpers of the protocol's tests: literal messages, and the conversations of both ends run against each other."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable

from hypothesis import HealthCheck, settings
from support import HASH, frame

from headless.protocol.conversation import ClientConversation, ServerConversation
from headless.protocol.login import Keys
from headless.protocol.messages import Challenge, Jobs, Login, Logout, Message, Response, decode

# No deadline and no health check: how fast the machine is proves nothing. No database: nothing is left behind.
examples = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])

CLIENT = "planta_headless.py 39 Mars"
CLIENT_NONCE = "rOprNGfwEbeRWgbNEkqO0123"
SERVER_NONCE = "hvYDpWUa2RaTCAfuxFIlj)hN"
NONCE = CLIENT_NONCE + SERVER_NONCE
SALT = "$2b$10$abcdefghijklmnopqrstuu"
# What belongs to user R41, support.HASH and these nonces, computed without this project's code.
PROOF = "fxfkv6RB+zhGGRrwzbgOFfFFCguSeLuWHO+hoBCAMnA="
SIGNATURE = "vqIA+m8UZQkCnxykbeNpZSJWLTGf/U/i5HiPF56MYsc="
KEYS = Keys(
    SALT,
    b64decode("pThFoNf/rFEHZJ7ieeGTl/8dcO+5BETU57wX6W8llyI="),
    b64decode("mSLKvkI+pO2QoGQ9BzRAoZxXho8h0IGm+ZHZPxYzjsA="),
)

CLIENT_MESSAGES = {
    "login:osuser": f'<login version="1" client="{CLIENT}" auth_type="osuser" os_user="jdoe"/>',
    "login:challenge": f'<login version="1" client="{CLIENT}" auth_type="challenge" user="R41" '
    f'nonce="{CLIENT_NONCE}"/>',
    "response": f'<response nonce="{NONCE}" proof="{PROOF}"/>',
    "jobs": "<jobs><module>009ABC</module><py_code>print(1)</py_code></jobs>",
    "logout": "<logout/>",
}
SERVER_MESSAGES = {
    "challenge": f'<challenge nonce="{NONCE}" salt="{SALT}"/>',
    "welcome": '<welcome session="S1" heartbeat="30"/>',
    "welcome:signed": f'<welcome session="S1" heartbeat="30" signature="{SIGNATURE}"/>',
    "accepted": "<accepted/>",
    **{f"started:{job}": f'<started job="{job}"/>' for job in (1, 2, 3)},
    **{f"output:{job}": f'<output job="{job}" stream="stdout">text</output>' for job in (1, 2, 3)},
    **{
        f"finished:{job}:{status}": f'<finished job="{job}" status="{status}"/>'
        for job in (1, 2, 3)
        for status in ("ok", "failed", "skipped")
    },
    **{f"ended:{status}": f'<ended status="{status}"/>' for status in ("ok", "failed")},
    **{
        f"refused:{reason}": f'<refused reason="{reason}">text</refused>'
        for reason in ("login", "jobs", "version", "protocol", "busy")
    },
    "alive": "<alive/>",
}
MESSAGES = {**CLIENT_MESSAGES, **SERVER_MESSAGES}


def frames_of(*labels: str) -> bytes:
    """The frames of these messages, in one piece."""
    return b"".join(frame(MESSAGES[label]) for label in labels)


def whole(data: bytes) -> list[bytes]:
    return [data]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def typed(messages: Iterable[Message]) -> list[tuple[type, Message]]:
    """The messages with their classes: named tuples of two classes are equal if their values are."""
    return [(type(message), message) for message in messages]


def receive(conversation: ClientConversation | ServerConversation, *pieces: bytes) -> list[Message]:
    """Every message that these pieces bring. Raises ProtocolError."""
    received: list[Message] = []
    for piece in pieces:
        conversation.feed(piece)
        received += iter(conversation.next_message, None)
    return received


def send(conversation: ClientConversation | ServerConversation, message: Message) -> bytes:
    """The bytes that this end sends for the message. Raises ProtocolError."""
    return conversation.say(message)


class ConnectionPair:
    """A client that knows R41's password and a server that knows its keys, with nothing in between."""

    def __init__(self, *labels: str) -> None:
        self.client = ClientConversation(CLIENT)
        self.server = ServerConversation()
        self.exchange(*(MESSAGES[label] for label in labels))

    def send(self, xml: str) -> tuple[bytes, ClientConversation | ServerConversation]:
        """What the end that this message belongs to sends for it, and the end that is to receive it."""
        message = decode(xml.encode())
        if isinstance(message, Challenge):
            return self.server.challenge(SALT, SERVER_NONCE), self.client
        if isinstance(message, Response):
            return self.client.respond(HASH.encode()), self.server
        if isinstance(message, Login) and message.auth_type == "challenge":
            return self.client.login_with_challenge(message.user, message.nonce), self.server
        if isinstance(message, Login):
            return self.client.login_as_osuser(message.os_user, message.user), self.server
        if isinstance(message, (Jobs, Logout)):
            return send(self.client, message), self.server
        return send(self.server, message), self.client

    def exchange(self, *documents: str) -> None:
        """Each of these documents is sent, and received."""
        for xml in documents:
            sent, receiver = self.send(xml)
            receive(receiver, sent)
