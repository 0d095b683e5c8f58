"""Holds one end of a connection: bytes in, messages out, and the bytes of what this end sends.

It touches neither socket nor clock. Its owner gives it the bytes that come, takes messages out with `next_message`
until there are no more, and only then sends something: so an answer that came before its question is found in a state
in which nothing may answer. A fault of the other side is a RemoteProtocolError, after which nothing more is received; a
fault of the owner is a LocalProtocolError.
"""

from __future__ import annotations

from collections import deque

from headless.dialects.base import Refused
from headless.dialects.own import codec, frames, messages
from headless.dialects.own.messages import Challenge, Login, Logout, Message, Response, Welcome
from headless.dialects.own.order import BEFORE_WELCOME, Order, State
from headless.dialects.vocabulary import (
    CHALLENGE,
    MAX_CLIENT_FRAME,
    MAX_LOGIN_FRAME,
    MAX_SERVER_FRAME,
    OSUSER,
    Value,
)
from headless.errors import LocalProtocolError, RemoteProtocolError


class ConnectionClosed(Value):
    """Is what `next_message` returns when the other side has closed, and all its messages are taken."""


class Connection:
    """Is the end of the client (`is_client`), or the one of the server."""

    def __init__(self, is_client: bool) -> None:
        self._is_client = is_client
        self._order = Order()
        self._reader = frames.FrameReader()
        self._unsent: deque[tuple[Message, str]] = deque()  # with the state that follows
        self._is_closed = False
        self._is_broken = False

    @property
    def state(self) -> str:
        return self._order.state

    @property
    def is_over(self) -> bool:
        return self.state == State.OVER

    @property
    def unread(self) -> int:
        """Counts the bytes that have come and are no whole message yet, or have not been taken as one."""
        return self._reader.unread

    def receive(self, data: bytes) -> None:
        """Takes bytes that have come, b"" for the end of the stream. They are judged by `next_message`."""
        self._is_closed = self._is_closed or not data
        self._reader.receive(data)

    def drop_unread(self) -> None:
        """Forgets what has come and was not taken."""
        self._reader = frames.FrameReader()

    def next_payload(self) -> bytes | None:
        """Returns the XML of the next message. `message_of` has to judge it before the next one is taken."""
        if self._is_broken:
            return None
        try:
            self._check_nothing_follows()
            return self._reader.next_payload(self._max_frame(of_client=not self._is_client))
        except RemoteProtocolError:
            self._break()
            raise

    def message_of(self, payload: bytes) -> Message:
        """Returns the message in the payload. Raises RemoteProtocolError, once, for what may not come now."""
        try:
            message = codec.decode(payload)
            if type(message) in (messages.FROM_CLIENT if self._is_client else messages.FROM_SERVER):
                raise RemoteProtocolError(f"'{messages.name_of(message)}' is what this side sends itself")
            self._order.take(message, self._order.check(message, RemoteProtocolError))
            self._check(message)
            self._check_nothing_follows()
        except RemoteProtocolError as error:
            self._break()
            # What keeps the error must not keep the payload, which may be large.
            del payload
            raise error.with_traceback(None)  # noqa: B904 (it is the same one)
        return message

    def next_message(self) -> Message | ConnectionClosed | None:
        """Returns the next whole message, None until more bytes come. Raises RemoteProtocolError, once."""
        payload = self.next_payload()
        try:
            if payload is not None:
                return self.message_of(payload)
        finally:
            del payload
        return ConnectionClosed() if self._is_closed and not self._is_broken else None

    def frame_of(self, message: Message) -> bytes:
        """Returns the bytes of this message, which counts as sent when `mark_sent` says so. Raises LocalProtocolError
        if it may not be sent now, FrameTooLong if it is too long for the other side."""
        if type(message) in (messages.FROM_SERVER if self._is_client else messages.FROM_CLIENT):
            raise LocalProtocolError(f"'{messages.name_of(message)}' is what the other side sends")
        if self._is_broken and not isinstance(message, (Logout, Refused)):
            raise LocalProtocolError(
                f"'{messages.name_of(message)}' is not allowed when the other side broke the protocol"
            )
        following = self._order.check(message, LocalProtocolError)
        data = frames.frame(codec.encode(message), self._max_frame(of_client=self._is_client))
        self._unsent.append((message, following))
        return data

    def mark_sent(self) -> None:
        """Marks the oldest message of `frame_of` as sent: its last byte has left."""
        self._order.take(*self._unsent.popleft())

    def send(self, message: Message) -> bytes:
        """Returns the bytes of a message that counts as sent at once. Raises LocalProtocolError, FrameTooLong."""
        data = self.frame_of(message)
        self.mark_sent()
        return data

    def _check(self, message: Message) -> None:
        """Raises RemoteProtocolError for what this end demands of a message beyond the order."""

    def _check_nothing_follows(self) -> None:
        """Raises RemoteProtocolError for a byte after the last message, whenever it comes."""
        if self.is_over and self.unread:
            raise RemoteProtocolError("something follows the last message")

    def _max_frame(self, of_client: bool) -> int:
        """Returns the largest payload, in bytes."""
        if self.state in BEFORE_WELCOME:
            return MAX_LOGIN_FRAME
        return MAX_CLIENT_FRAME if of_client else MAX_SERVER_FRAME

    def _break(self) -> None:
        self._is_broken = True
        self.drop_unread()


class ClientConnection(Connection):
    """Is the client's end. `client` is the name and version of the program."""

    def __init__(self, client: str) -> None:
        super().__init__(is_client=True)
        self._client = client
        self._user = self._nonce = ""
        self._challenge: Challenge | None = None
        self._hash = self._auth_message = b""

    def osuser_login(self, os_user: str, user: str | None) -> Login:
        """Returns the first message of an osuser login."""
        return Login(messages.VERSION_NUMBER, self._client, OSUSER, user, os_user)

    def challenge_login(self, user: str, nonce: str) -> Login:
        """Returns the first message of a challenge login. `nonce` is the client's part."""
        self._user, self._nonce = user, nonce
        return Login(messages.VERSION_NUMBER, self._client, CHALLENGE, user, nonce=nonce)

    def response(self, hash_: bytes) -> Response:
        """Returns the answer to the challenge that has come. `hash_` is the bcrypt hash with its salt, 60 bytes."""
        from headless.dialects.own import scram

        challenge = self._challenge
        assert challenge is not None
        self._hash = hash_
        self._auth_message = scram.auth_message(self._user, self._nonce, challenge.nonce, challenge.salt)
        return Response(challenge.nonce, scram.client_proof(hash_, self._auth_message))

    def _check(self, message: Message) -> None:
        if isinstance(message, Challenge):
            self._check_challenge(message)
            self._challenge = message
        elif isinstance(message, Welcome):
            self._check_signature(message.signature)

    def _check_challenge(self, challenge: Challenge) -> None:
        from headless.dialects import bcrypt_hash
        from headless.dialects.own import scram

        scram.check_server_nonce(challenge.nonce, self._nonce)
        try:
            bcrypt_hash.check_salt(challenge.salt)
        except ValueError as error:
            raise RemoteProtocolError(str(error)) from None

    def _check_signature(self, signature: str | None) -> None:
        if self._challenge is None:
            if signature is not None:
                raise RemoteProtocolError("the server signed a login that has no secret")
            return
        from headless.dialects.own import scram

        if not scram.signature_is_right(self._hash, self._auth_message, signature or ""):
            raise RemoteProtocolError("the server cannot prove that it knows the password")
