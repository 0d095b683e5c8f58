"""Decides who may send which message when: one table for each side, and the state of one connection.

Both ends keep the same state, and hold both sides to it. A message that the table does not list for a state is a
protocol error of its sender.
"""

from __future__ import annotations

from collections.abc import Mapping

from headless.dialects.base import (
    Accepted,
    Attached,
    Cancelled,
    Ended,
    JobFinished,
    JobStarted,
    Listed,
    Output,
    Refused,
)
from headless.dialects.own import messages
from headless.dialects.own.messages import (
    Alive,
    Attach,
    Cancel,
    Challenge,
    Jobs,
    Login,
    Logout,
    Message,
    Response,
    Sessions,
    UnsupportedLogin,
    Welcome,
)
from headless.dialects.vocabulary import (
    BUSY,
    CHALLENGE,
    FAILED,
    JOBS,
    LOGIN,
    OK,
    OSUSER,
    PROTOCOL,
    SESSION,
    SKIPPED,
    VERSION,
    Offset,
)
from headless.errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    # A class of messages, with the auth_type, reason or status that makes a difference.
    Kind = type[Message] | tuple[type[Message], str]
    Table = Mapping[str, Mapping[Kind, str]]


class State:
    """Names the states of a connection. Each completes a sentence that begins with "when"."""

    CONNECTED = "nothing has been sent yet"
    OSUSER_LOGIN = "the server has to answer an osuser login"
    CHALLENGE_LOGIN = "the server has to answer a challenge login"
    UNSUPPORTED_LOGIN = "the server has to refuse the version"
    CHALLENGED = "the client has to answer the challenge"
    RESPONDED = "the server has to judge the response"
    WELCOMED = "the client may submit its jobs"
    SUBMITTED = "the server has to accept or refuse the jobs"
    ATTACHING = "the server has to find the session"
    CANCELLING = "the server has to cancel the session"
    LISTING = "the server has to list the sessions"
    ACCEPTED = "the next job may start"
    RUNNING = "a job is running"
    FAILED = "a job has failed"
    OVER = "the connection is over"


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
    State.WELCOMED: {
        Jobs: State.SUBMITTED,
        Attach: State.ATTACHING,
        Cancel: State.CANCELLING,
        Sessions: State.LISTING,
    },
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
    State.ATTACHING: {
        Attached: State.ACCEPTED,
        (Refused, SESSION): State.OVER,
        Alive: State.ATTACHING,
    },
    State.CANCELLING: {
        Cancelled: State.OVER,
        (Refused, SESSION): State.OVER,
        Alive: State.CANCELLING,
    },
    State.LISTING: {
        Listed: State.LISTING,
        (Ended, OK): State.OVER,
        Alive: State.LISTING,
    },
    State.ACCEPTED: {
        JobStarted: State.RUNNING,
        (JobFinished, SKIPPED): State.FAILED,
        (Ended, OK): State.OVER,
        (Ended, FAILED): State.OVER,
        Alive: State.ACCEPTED,
    },
    State.RUNNING: {
        Output: State.RUNNING,
        (JobFinished, OK): State.ACCEPTED,
        (JobFinished, FAILED): State.FAILED,
        (JobFinished, SKIPPED): State.FAILED,
        (Ended, FAILED): State.OVER,
        Alive: State.RUNNING,
    },
    State.FAILED: {
        (JobFinished, SKIPPED): State.FAILED,
        (Ended, FAILED): State.OVER,
        Alive: State.FAILED,
    },
}

# What the client, and the server, may send in every state but OVER.
_ALWAYS: Mapping[Kind, str] = {
    Logout: State.OVER,
    (Refused, PROTOCOL): State.OVER,
    (Refused, BUSY): State.OVER,
}


# The field that makes a difference.
_DETAIL = {Login: "auth_type", Refused: "reason", JobFinished: "status", Ended: "status"}


class Order:
    """Is the state of one connection, and the job that it has come to."""

    def __init__(self) -> None:
        self.state = State.CONNECTED
        self._jobs = 0
        self._finished = 0
        self._may_attach = False  # the server has said so
        self._has_key = False  # the jobs had one
        self._asked: Offset | None = None  # the client has attached from here on

    def check(self, message: Message, error: type[ProtocolError]) -> str:
        """Returns the state after this message. Raises `error` if it may not be sent now."""
        kind = type(message)
        key = (kind, getattr(message, _DETAIL[kind])) if kind in _DETAIL else kind
        # No message belongs to both sides, so one look finds it in the table of its sender.
        tables = (CLIENT_MAY_SEND.get(self.state, {}), SERVER_MAY_SEND.get(self.state, {}), _ALWAYS)
        following = next((may_send[key] for may_send in tables if key in may_send), None)
        if following is None or self.state == State.OVER:
            raise error(f"'{messages.name_of(message)}' is not allowed when {self.state}")
        problem = self._problem_of_jobs(message) or self._problem_of_session(message)
        if problem:
            raise error(problem)
        return following

    def take(self, message: Message, following: str) -> None:
        """Marks the message as sent. `following` is what `check` has returned for it."""
        if self.state != State.OVER:  # the other side may have ended all meanwhile
            self.state = following
        if isinstance(message, Jobs):
            self._jobs, self._has_key = len(message.jobs), message.key is not None
        elif isinstance(message, Attach):
            self._asked = message.offset
        elif isinstance(message, Attached):
            self._jobs, self._finished = message.jobs, message.offset.job - 1
        elif isinstance(message, Welcome):
            self._may_attach = message.journal is not None
        elif isinstance(message, JobFinished):
            self._finished += 1

    def _problem_of_jobs(self, message: Message) -> str:
        """Says what is wrong with a report on jobs, "" if nothing is."""
        if isinstance(message, (JobStarted, Output, JobFinished)):
            is_in_turn = message.job == self._finished + 1 and message.job <= self._jobs
            return "" if is_in_turn else f"'{messages.name_of(message)}' of job {message.job} is out of turn"
        if isinstance(message, Ended) and message.status == OK and self._finished < self._jobs:
            return f"the session ended ok with {self._finished} of {self._jobs} jobs done"
        return ""

    def _problem_of_session(self, message: Message) -> str:
        """Says what is wrong with a message about keys or attaching, "" if nothing is."""
        if isinstance(message, (Attach, Cancel, Sessions)) or (isinstance(message, Jobs) and message.key is not None):
            return "" if self._may_attach else "the server has not said that sessions can be attached to"
        if isinstance(message, Accepted) and bool(message.session) != self._has_key:
            return "'accepted' names a session if the jobs have a key, and only then"
        if isinstance(message, Attached) and message.offset.job > message.jobs + 1:
            return f"'attached' at job {message.offset.job} of {message.jobs}"
        if isinstance(message, Attached) and self._asked not in (None, message.offset):
            return "'attached' at another offset than was asked for"
        return ""
