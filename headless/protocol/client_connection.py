"""The client's end of a conversation: what it has to send beyond plain messages, and to check beyond their order.

What proves a password is imported only for a challenge login.
"""

from __future__ import annotations

from headless.protocol import messages
from headless.protocol.connection import Connection
from headless.protocol.errors import RemoteProtocolError
from headless.protocol.messages import Challenge, Login, Message, Response, Welcome
from headless.protocol.vocabulary import CHALLENGE, OSUSER


class ClientConnection(Connection):
    """`client` is the name and version of the program."""

    def __init__(self, client: str) -> None:
        super().__init__(is_client=True)
        self._client = client
        self._user = self._nonce = ""
        self._challenge: Challenge | None = None
        self._hash = self._auth_message = b""

    def osuser_login(self, os_user: str, user: str | None) -> Login:
        """The first message of an osuser login."""
        return Login(messages.VERSION_NUMBER, self._client, OSUSER, user, os_user)

    def challenge_login(self, user: str, nonce: str) -> Login:
        """The first message of a challenge login. The nonce is the client's own part."""
        self._user, self._nonce = user, nonce
        return Login(messages.VERSION_NUMBER, self._client, CHALLENGE, user, nonce=nonce)

    def response(self, hash_: bytes) -> Response:
        """The answer to the challenge that has come, for the 60 bytes of the bcrypt hash with the challenge's salt."""
        from headless.protocol import scram

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
        from headless.protocol import bcrypt_hash, scram

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
        from headless.protocol import scram

        if not scram.signature_is_right(self._hash, self._auth_message, signature or ""):
            raise RemoteProtocolError("the server cannot prove that it knows the password")
