"""Who may say what when: one table per side, and a conversation for each end that holds both sides to them.

A conversation touches neither socket nor clock. Its owner feeds it the bytes that come, takes messages out with
`next_message` until there are no more, and only then says something: so an answer that came before its question is
found in the state in which nothing may answer. `say` gives back the bytes to send. Every fault of the other side is a
ProtocolError, after which nothing more is heard, and the server may still say why it refuses.

What a conversation does not do: it does not decide whether a user may log in, nor run anything, nor wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Callable, Optional, Union

from headless.outcome import ProtocolError
from headless.protocol import frames, login, messages
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


class State(Enum):
    """Where the conversation stands. The value says it in a sentence that begins with "when"."""

    CONNECTED = "nothing has been said yet"
    OSUSER_LOGIN = "the server has to answer an osuser login"
    CHALLENGE_LOGIN = "the server has to answer a challenge login"
    CHALLENGED = "the client has to answer the challenge"
    RESPONDED = "the server has to judge the response"
    WELCOMED = "the client may submit its jobs"
    SUBMITTED = "the server has to accept or refuse the jobs"
    ACCEPTED = "the next job may start"
    RUNNING = "a job is running"
    FAILED = "a job has failed"
    OVER = "the conversation is over"


# What is looked up: the class of a message, with its auth_type, reason or status where the message has one.
_Word = Union[type[Message], tuple[type[Message], str]]
_Table = Mapping[State, Mapping[_Word, State]]

CLIENT_MAY_SAY: _Table = {
    State.CONNECTED: {
        (Login, "osuser"): State.OSUSER_LOGIN,
        (Login, "challenge"): State.CHALLENGE_LOGIN,
    },
    State.CHALLENGED: {Response: State.RESPONDED},
    State.WELCOMED: {Jobs: State.SUBMITTED},
}

SERVER_MAY_SAY: _Table = {
    State.CONNECTED: {(Refused, "version"): State.OVER},
    State.OSUSER_LOGIN: {
        Welcome: State.WELCOMED,
        (Refused, "login"): State.OVER,
        (Refused, "version"): State.OVER,
    },
    State.CHALLENGE_LOGIN: {
        Challenge: State.CHALLENGED,
        (Refused, "login"): State.OVER,
        (Refused, "version"): State.OVER,
    },
    State.RESPONDED: {
        Welcome: State.WELCOMED,
        (Refused, "login"): State.OVER,
    },
    State.WELCOMED: {Alive: State.WELCOMED},
    State.SUBMITTED: {
        Accepted: State.ACCEPTED,
        (Refused, "jobs"): State.OVER,
        Alive: State.SUBMITTED,
    },
    State.ACCEPTED: {
        Started: State.RUNNING,
        (Finished, "skipped"): State.FAILED,
        (Ended, "ok"): State.OVER,
        (Ended, "failed"): State.OVER,
        Alive: State.ACCEPTED,
    },
    State.RUNNING: {
        Output: State.RUNNING,
        (Finished, "ok"): State.ACCEPTED,
        (Finished, "failed"): State.FAILED,
        (Finished, "skipped"): State.FAILED,
        (Ended, "failed"): State.OVER,
        Alive: State.RUNNING,
    },
    State.FAILED: {
        (Finished, "skipped"): State.FAILED,
        (Ended, "failed"): State.OVER,
        Alive: State.FAILED,
    },
}

# What the client, and the server, may say in every state but OVER.
_ALWAYS: Mapping[_Word, State] = {
    Logout: State.OVER,
    (Refused, "protocol"): State.OVER,
    (Refused, "busy"): State.OVER,
}

_BEFORE_WELCOME = {
    State.CONNECTED, State.OSUSER_LOGIN, State.CHALLENGE_LOGIN, State.CHALLENGED, State.RESPONDED,
}  # fmt: skip


def _word(message: Message) -> _Word:
    if isinstance(message, Login):
        return (Login, message.auth_type)
    if isinstance(message, Refused):
        return (Refused, message.reason)
    if isinstance(message, (Finished, Ended)):
        return (type(message), message.status)
    return type(message)


def _next_state(state: State, message: Message) -> State | None:
    """The state after this message, None if it may not be said now. No word belongs to both sides."""
    if state is State.OVER:
        return None
    word = _word(message)
    tables = (CLIENT_MAY_SAY.get(state, {}), SERVER_MAY_SAY.get(state, {}), _ALWAYS)
    return next((may_say[word] for may_say in tables if word in may_say), None)


class _Order:
    """The state of one conversation, and which job it has come to."""

    def __init__(self) -> None:
        self.state = State.CONNECTED
        self._jobs = 0
        self._finished = 0

    def advance(self, message: Message) -> None:
        """Takes the message as said. Raises ProtocolError if it may not be said now."""
        following = _next_state(self.state, message)
        if following is None:
            raise ProtocolError(f"'{messages.name_of(message)}' is not allowed when {self.state.value}")
        if isinstance(message, Jobs):
            self._jobs = len(message.jobs)
        elif isinstance(message, (Started, Output, Finished)):
            if message.job != self._finished + 1 or message.job > self._jobs:
                raise ProtocolError(f"'{messages.name_of(message)}' of job {message.job} is out of turn")
            if isinstance(message, Finished):
                self._finished += 1
        elif isinstance(message, Ended) and message.status == "ok" and self._finished < self._jobs:
            raise ProtocolError(f"the session ended ok with {self._finished} of {self._jobs} jobs done")
        self.state = following


Trace = Callable[[str, bytes], None]


class _Conversation:
    """One end. `trace` is told of each payload as it is "sent" or "received", before it is judged."""

    _hears: tuple[type[Message], ...]

    def __init__(self, trace: Optional[Trace] = None) -> None:
        self._order = _Order()
        self._reader = frames.FrameReader()
        self._is_broken = False
        self._trace = trace

    @property
    def state(self) -> State:
        return self._order.state

    @property
    def is_over(self) -> bool:
        return self.state is State.OVER

    def feed(self, data: bytes) -> None:
        """Takes bytes that have come. They are judged by `next_message`."""
        self._reader.feed(data)

    def next_message(self) -> Message | None:
        """The next message that has come whole, or None. Raises ProtocolError, once, for what may not come."""
        if self._is_broken:
            return None
        try:
            self._reader.limit = self._frame_limit()
            payload = self._reader.next_payload()
            if payload is None:
                return None
            if self._trace:
                self._trace("received", payload)
            message = messages.decode(payload)
            if not isinstance(message, self._hears):
                raise ProtocolError(f"'{messages.name_of(message)}' is what this side says itself")
            self._order.advance(message)
            self._heard(message)
            if self.state is State.OVER and not self._reader.is_empty:
                raise ProtocolError(f"something follows '{messages.name_of(message)}', which is the last message")
        except ProtocolError as error:
            self._is_broken = True
            # Whoever keeps the error must not keep what was wrong, too, which may be large.
            self._reader, payload = frames.FrameReader(), None
            raise error.with_traceback(None)  # noqa: B904 (it is the same one)
        return message

    def say(self, message: Message) -> bytes:
        """The bytes that say this. Raises ProtocolError if it may not be said now, FrameTooLong if it is too long."""
        data = self.frame_of(message)
        self.said(message)
        return data

    def frame_of(self, message: Message) -> bytes:
        """The same, without saying it yet: for what leaves in parts. Once the last has left it is `said`."""
        if isinstance(message, self._hears):
            raise ProtocolError(f"'{messages.name_of(message)}' is what the other side says")
        if self._is_broken and not isinstance(message, (Logout, Refused)):
            raise ProtocolError(f"'{messages.name_of(message)}' is not allowed when the other side broke the protocol")
        return frames.frame(messages.encode(message), self._frame_limit())

    def said(self, message: Message) -> None:
        """Takes the message as said. Raises ProtocolError if it may not be said now."""
        self._order.advance(message)
        if self._trace:
            self._trace("sent", messages.encode(message))

    def _frame_limit(self) -> int:
        return frames.LIMIT_BEFORE_WELCOME if self.state in _BEFORE_WELCOME else frames.LIMIT_AFTER_WELCOME

    def _heard(self, message: Message) -> None:
        """What this end checks beyond the order of talk. Raises ProtocolError."""
        raise NotImplementedError


class ClientConversation(_Conversation):
    _hears = (Challenge, Welcome, Accepted, Started, Output, Finished, Ended, Refused, Alive)

    def __init__(self, client: str, trace: Optional[Trace] = None) -> None:
        super().__init__(trace)
        self._client = client
        self._user = self._nonce = ""
        self._challenge: Challenge | None = None
        self._secret = self._auth_message = b""

    def login_as_osuser(self, os_user: str, user: Optional[str]) -> bytes:
        return self.say(Login(messages.VERSION, self._client, "osuser", user, os_user))

    def login_with_challenge(self, user: str, nonce: str) -> bytes:
        self._user, self._nonce = user, nonce
        return self.say(Login(messages.VERSION, self._client, "challenge", user, nonce=nonce))

    def respond(self, secret: bytes) -> bytes:
        """The answer to the challenge, for the 60 bytes of the bcrypt hash that belongs to the challenge's salt."""
        assert self._challenge is not None
        nonce, salt = self._challenge
        self._secret = secret
        self._auth_message = login.auth_message(self._user, self._nonce, nonce, salt)
        return self.say(Response(nonce, login.client_proof(secret, self._auth_message)))

    def _heard(self, message: Message) -> None:
        if isinstance(message, Challenge):
            login.check_server_nonce(message.nonce, self._nonce)
            login.check_salt(message.salt)
            self._challenge = message
        elif isinstance(message, Welcome):
            self._check_signature(message.signature)

    def _check_signature(self, signature: str | None) -> None:
        if self._challenge is None:
            if signature is not None:
                raise ProtocolError("the server signed a login that has no secret")
        elif not login.signature_is_right(self._secret, self._auth_message, signature or ""):
            raise ProtocolError("the server cannot prove that it knows the password")


class ServerConversation(_Conversation):
    _hears = (Login, Response, Jobs, Logout)

    def __init__(self, trace: Optional[Trace] = None) -> None:
        super().__init__(trace)
        self._login: Login | None = None
        self._challenge = Challenge("", "")
        self._response = Response("", "")

    def challenge(self, salt: str, nonce: str) -> bytes:
        """The challenge to the login that was heard. The nonce is the server's own part."""
        assert self._login is not None
        self._challenge = Challenge(f"{self._login.nonce}{nonce}", salt)
        return self.say(self._challenge)

    def signature(self, keys: login.Keys) -> str | None:
        """What proves to the client that the server has these keys; None if the response does not prove the client."""
        assert self._login is not None and self._login.user is not None and self._login.nonce is not None
        nonce, salt = self._challenge
        message = login.auth_message(self._login.user, self._login.nonce, nonce, salt)
        proved = login.proof_is_right(keys.stored_key, message, self._response.proof)
        return login.server_signature(keys.server_key, message) if proved and self._response.nonce == nonce else None

    def _heard(self, message: Message) -> None:
        if isinstance(message, Login):
            self._check_login(message)
            self._login = message
        elif isinstance(message, Response):
            self._response = message

    @staticmethod
    def _check_login(message: Login) -> None:
        if message.auth_type == "challenge":
            if message.user is None or message.nonce is None or message.os_user is not None:
                raise ProtocolError("a challenge login has user and nonce, and no os_user")
            login.check_client_nonce(message.nonce)
        elif message.os_user is None or message.nonce is not None:
            raise ProtocolError("an osuser login has os_user, and no nonce")
