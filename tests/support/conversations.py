"""Both ends of the package's protocol, in memory: what they send and receive, and a pair of them."""

from __future__ import annotations

from headless.dialects.own.codec import decode
from headless.dialects.own.connection import ClientConnection, Connection, ConnectionClosed
from headless.dialects.own.messages import FROM_CLIENT, Challenge, Login, Message, Response
from headless.dialects.own.scram import Keys
from headless.dialects.own.server_connection import ServerConnection
from support import scram
from support.credentials import HASH, SALT
from support.literal_messages import CLIENT_NAME, MESSAGES, SERVER_NONCE

KEYS = Keys(SALT, scram.stored_key(HASH.encode()), scram.server_key(HASH.encode()))


def receive(connection: Connection, *pieces: bytes) -> list[Message]:
    """Every message that these pieces bring. Raises RemoteProtocolError."""
    received: list[Message] = []
    for piece in filter(None, pieces):  # nothing would be the end of the stream
        connection.receive(piece)
        while (message := connection.next_message()) is not None:
            assert not isinstance(message, ConnectionClosed)
            received.append(message)
    return received


class ConnectionPair:
    """A client that knows R41's password and a server that knows its keys, with nothing in between."""

    def __init__(self, *labels: str) -> None:
        self.client = ClientConnection(CLIENT_NAME)
        self.server = ServerConnection()
        self.exchange(*(MESSAGES[label] for label in labels))

    def send(self, xml: str) -> tuple[bytes, Connection]:
        """What the end that this message belongs to sends for it, and the end that is to receive it."""
        message = decode(xml.encode())
        if isinstance(message, Challenge):
            return self.server.send_challenge(SALT, SERVER_NONCE), self.client
        if isinstance(message, Response):
            message = self.client.response(HASH.encode())
        elif isinstance(message, Login) and message.auth_type == "challenge":
            message = self.client.challenge_login(message.user or "", message.nonce or "")
        elif isinstance(message, Login):
            message = self.client.osuser_login(message.os_user or "", message.user)
        if type(message) in FROM_CLIENT:
            return self.client.send(message), self.server
        return self.server.send(message), self.client

    def exchange(self, *documents: str) -> None:
        """Each of these documents is sent, and received."""
        for xml in documents:
            sent, receiver = self.send(xml)
            receive(receiver, sent)
