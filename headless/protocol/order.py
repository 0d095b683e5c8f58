"""Who may send which message when: one table for each side, and the state of one conversation.

Both ends keep the same state, and hold both sides to it. A message that the table does not list for a state is a
protocol error of whoever sends it. PROTOCOL.md, section 4, is the same table in prose.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from headless.protocol import messages
from headless.protocol.errors import ProtocolError
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
    UnsupportedLogin,
    Welcome,
)
from headless.protocol.vocabulary import BUSY, CHALLENGE, FAILED, JOBS, LOGIN, OK, OSUSER, PROTOCOL, SKIPPED, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    # A class of messages, with the auth_type, reason or status that makes a difference.
    Kind = type[Message] | tuple[type[Message], str]
    Table = Mapping["State", Mapping[Kind, "State"]]


class State(Enum):
    """Where the conversation stands. The value says it in a sentence that begins with "when"."""

    CONNECTED = "nothing has been sent yet"
    OSUSER_LOGIN = "the server has to answer an osuser login"
    CHALLENGE_LOGIN = "the server has to answer a challenge login"
    UNSUPPORTED_LOGIN = "the server has to refuse the version"
    CHALLENGED = "the client has to answer the challenge"
    RESPONDED = "the server has to judge the response"
    WELCOMED = "the client may submit its jobs"
    SUBMITTED = "the server has to accept or refuse the jobs"
    ACCEPTED = "the next job may start"
    RUNNING = "a job is running"
    FAILED = "a job has failed"
    OVER = "the conversation is over"


BEFORE_WELCOME = frozenset(
    (State.CONNECTED, State.OSUSER_LOGIN, State.CHALLENGE_LOGIN, State.UNSUPPORTED_LOGIN, State.CHALLENGED,
     State.RESPONDED)
)  # fmt: skip

CLIENT_MAY_SEND: Table = {
    State.CONNECTED: {
        (Login, OSUSER): State.OSUSER_LOGIN,
        (Login, CHALLENGE): State.CHALLENGE_LOGIN,
        UnsupportedLogin: State.UNSUPPORTED_LOGIN,
    },
    State.CHALLENGED: {Response: State.RESPONDED},
    State.WELCOMED: {Jobs: State.SUBMITTED},
}

SERVER_MAY_SEND: Table = {
    State.OSUSER_LOGIN: {
        Welcome: State.WELCOMED,
        (Refused, LOGIN): State.OVER,
        (Refused, VERSION): State.OVER,
    },
    State.CHALLENGE_LOGIN: {
        Challenge: State.CHALLENGED,
        (Refused, LOGIN): State.OVER,
        (Refused, VERSION): State.OVER,
    },
    State.UNSUPPORTED_LOGIN: {(Refused, VERSION): State.OVER},
    State.RESPONDED: {
        Welcome: State.WELCOMED,
        (Refused, LOGIN): State.OVER,
    },
    State.WELCOMED: {Alive: State.WELCOMED},
    State.SUBMITTED: {
        Accepted: State.ACCEPTED,
        (Refused, JOBS): State.OVER,
        Alive: State.SUBMITTED,
    },
    State.ACCEPTED: {
        Started: State.RUNNING,
        (Finished, SKIPPED): State.FAILED,
        (Ended, OK): State.OVER,
        (Ended, FAILED): State.OVER,
        Alive: State.ACCEPTED,
    },
    State.RUNNING: {
        Output: State.RUNNING,
        (Finished, OK): State.ACCEPTED,
        (Finished, FAILED): State.FAILED,
        (Finished, SKIPPED): State.FAILED,
        (Ended, FAILED): State.OVER,
        Alive: State.RUNNING,
    },
    State.FAILED: {
        (Finished, SKIPPED): State.FAILED,
        (Ended, FAILED): State.OVER,
        Alive: State.FAILED,
    },
}

# What the client, and the server, may send in every state but OVER.
_ALWAYS: Mapping[Kind, State] = {
    Logout: State.OVER,
    (Refused, PROTOCOL): State.OVER,
    (Refused, BUSY): State.OVER,
}


class Order:
    """The state of one conversation, and which job it has come to."""

    def __init__(self) -> None:
        self.state = State.CONNECTED
        self._jobs = 0
        self._finished = 0

    def check(self, message: Message, error: type[ProtocolError]) -> State:
        """The state after this message. Raises `error` if it may not be sent now."""
        following = None if self.state is State.OVER else _next_state(self.state, message)
        name = messages.name_of(message)
        if following is None:
            raise error(f"'{name}' is not allowed when {self.state.value}")
        if isinstance(message, (Started, Output, Finished)) and (
            message.job != self._finished + 1 or message.job > self._jobs
        ):
            raise error(f"'{name}' of job {message.job} is out of turn")
        if isinstance(message, Ended) and message.status == OK and self._finished < self._jobs:
            raise error(f"the session ended ok with {self._finished} of {self._jobs} jobs done")
        return following

    def advance(self, message: Message, error: type[ProtocolError]) -> None:
        """Takes the message as sent. Raises `error` if it may not be sent now."""
        self.state = self.check(message, error)
        if isinstance(message, Jobs):
            self._jobs = len(message.jobs)
        elif isinstance(message, Finished):
            self._finished += 1


def _next_state(state: State, message: Message) -> State | None:
    """No message belongs to both sides, so the tables need not be told apart."""
    kind = _kind_of(message)
    tables = (CLIENT_MAY_SEND.get(state, {}), SERVER_MAY_SEND.get(state, {}), _ALWAYS)
    return next((may_send[kind] for may_send in tables if kind in may_send), None)


def _kind_of(message: Message) -> Kind:
    if isinstance(message, Login):
        return (Login, message.auth_type)
    if isinstance(message, Refused):
        return (Refused, message.reason)
    if isinstance(message, (Finished, Ended)):
        return (type(message), message.status)
    return type(message)
