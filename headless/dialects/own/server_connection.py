"""Holds the server's end of a connection: the messages of a login, and what is checked of them."""

from __future__ import annotations

from headless.dialects.own import scram
from headless.dialects.own.connection import Connection
from headless.dialects.own.messages import Challenge, Login, Message, Response, Welcome
from headless.dialects.vocabulary import CHALLENGE
from headless.errors import RemoteProtocolError


class ServerConnection(Connection):
    def __init__(self) -> None:
        super().__init__(is_client=False)
        self._login: Login | None = None
        self._challenge: Challenge | None = None
        self._response: Response | None = None

    def send_challenge(self, salt: str, nonce: str) -> bytes:
        """Returns the bytes of the challenge to the login that has come. `nonce` is the server's part."""
        assert self._login is not None
        self._challenge = Challenge(f"{self._login.nonce}{nonce}", salt)
        return self.send(self._challenge)

    def send(self, message: Message) -> bytes:
        data = super().send(message)
        if isinstance(message, Welcome):  # what the login needed is not kept as long as the connection lasts
            self._login = self._challenge = self._response = None
        return data

    def signature(self, keys: scram.Keys) -> str | None:
        """Returns what proves to the client that the server has these keys; None if the response does not prove the
        client."""
        login, challenge, response = self._login, self._challenge, self._response
        assert login is not None and challenge is not None and response is not None
        assert login.user is not None and login.nonce is not None
        message = scram.auth_message(login.user, login.nonce, challenge.nonce, challenge.salt)
        is_proved = scram.proof_is_right(keys.stored_key, message, response.proof)
        signature = scram.server_signature(keys.server_key, message)
        return signature if is_proved and response.nonce == challenge.nonce else None

    def _check(self, message: Message) -> None:
        if isinstance(message, Login):
            _check_login(message)
            self._login = message
        elif isinstance(message, Response):
            self._response = message


def _check_login(message: Login) -> None:
    if message.auth_type == CHALLENGE:
        if message.user is None or message.nonce is None or message.os_user is not None:
            raise RemoteProtocolError("a challenge login has user and nonce, and no os_user")
        scram.check_client_nonce(message.nonce)
    elif message.os_user is None or message.nonce is not None:
        raise RemoteProtocolError("an osuser login has os_user, and no nonce")
