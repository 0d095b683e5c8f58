"""The package's conversations of both ends, in memory: what they send and receive, and a pair of them."""

from __future__ import annotations

from collections.abc import Iterable

from headless.protocol.conversation import ClientConversation, ServerConversation
from headless.protocol.login import Keys
from headless.protocol.messages import Challenge, Jobs, Login, Logout, Message, Response, decode
from support import scram
from support.credentials import HASH, SALT
from support.literal_messages import CLIENT_NAME, MESSAGES, SERVER_NONCE

KEYS = Keys(SALT, scram.stored_key(HASH.encode()), scram.server_key(HASH.encode()))


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
        self.client = ClientConversation(CLIENT_NAME)
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
            return self.client.login_with_challenge(message.user or "", message.nonce or ""), self.server
        if isinstance(message, Login):
            return self.client.login_as_osuser(message.os_user or "", message.user), self.server
        if isinstance(message, (Jobs, Logout)):
            return send(self.client, message), self.server
        return send(self.server, message), self.client

    def exchange(self, *documents: str) -> None:
        """Each of these documents is sent, and received."""
        for xml in documents:
            sent, receiver = self.send(xml)
            receive(receiver, sent)
