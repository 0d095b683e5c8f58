"""Defines the seam: what the client asks of a dialect, and the events that a dialect reports.

The client knows no message of a protocol and no order of messages. What an event proves is decided by the client's
verdict alone. It believes an event that `receive` has reported for bytes; SaltReceived, LoggedIn and Output may be
reported by every method.
"""

from __future__ import annotations

from collections import deque

from headless.dialects.vocabulary import Job, Offset, Value
from headless.errors import UnsupportedCall

RANDOM_BYTES = 32  # of a Call


class Call(Value):
    """Holds what a dialect knows of one call of the command.

    `login` is OSUSER or CHALLENGE, `user` the PLANTA user (always given for CHALLENGE), `os_user` the name of the
    operating system's user who runs the client ("" for CHALLENGE). `random` has RANDOM_BYTES bytes, new for each
    connection. `key` names the session: each connection of one call has the same key, and no other call has it. Unless
    `is_traced`, what is sent and received is not shown, and a dialect need not prepare it. `waits` says whether the
    call waits for the end of the jobs.
    """

    client: str
    login: str
    user: str | None
    os_user: str
    jobs: tuple[Job, ...]
    random: bytes
    is_traced: bool = False
    key: str = ""
    waits: bool = True


# What is sent


class Part(Value):
    """Holds bytes that the server can act upon only when it has them all.

    `jobs` is how many jobs of the session the server has, and may run, once this part has left; more jobs than there
    are would not be sent. `shown` is the text that -vv shows, without anything that proves a password.
    """

    data: bytes
    jobs: int = 0
    shown: str = ""


# What is reported


class Event(Value):
    """Is the base of all that a server can have said."""


class Received(Event):
    """Is shown at -vvv: the text of something that came, before it is judged. It proves nothing."""

    text: str


class SaltReceived(Event):
    """Asks for a proof of the password. `salt` is the one of the user's bcrypt hash (29 characters), None where the
    dialect has none. The client answers with `answer_salt`."""

    salt: str | None


class LoggedIn(Event):
    """Grants the login. `session` is a name for people.

    `heartbeat` is the number of seconds within which the server promises to send something, None without a promise.
    `is_proved` says that the server has proved that it knows the password. `can_attach` says that the dialect has the
    command `attach`, and that the server takes the same key for the same session. `journal` names the record in which
    the server looks the key up, "" if the dialect has no name for it: after another name the jobs are not submitted
    again.
    """

    session: str
    heartbeat: int | None = None
    is_proved: bool = False
    can_attach: bool = False
    journal: str = ""


class Accepted(Event):
    """Says that the server has recorded all jobs: it will run them, whether or not anybody waits, once all has left
    that the dialect wants to send. `session` is the ID that `attach` needs."""

    session: str = ""


class Attached(Event):
    """Says that the server reports a session of `jobs` jobs from this offset on. What is before the offset has ended
    well, unless an earlier connection has reported otherwise."""

    jobs: int
    offset: Offset


class JobStarted(Event):
    """Is optional. Jobs are counted from 1, in the order of the command line."""

    job: int


class Output(Event):
    """Is optional. `job` is None where the server does not say whose output it is; `stream` is "stdout" or "stderr";
    the text may be any piece of what was printed."""

    job: int | None
    stream: str
    text: str


class JobFinished(Event):
    """Is optional. `status` is "ok", "failed" or "skipped", `text` is the reason. A dialect that reports this of one
    job has to report it of all: otherwise `Ended` "ok" is not believed."""

    job: int
    status: str
    text: str = ""


class Ended(Event):
    """Says that the session is over. `status` is "ok" if all jobs ended well, else "failed". It has to come within 30
    seconds after the last JobFinished. `has_result` is False if the server reports the end but no result, and the site
    has decided that such an end counts as "ok"."""

    status: str
    text: str = ""
    has_result: bool = True


class Cancelled(Event):
    """Says that the session does not run on. `state` is what it was before: "queued" if nothing of it has run,
    "running", or "over" if there was nothing to cancel."""

    state: str


class Listed(Event):
    """Describes a session of the user. `state` is a word for people, `accepted` a time (ISO 8601). `job` is the number
    of the job that `state` is of, `jobs` how many there are, and `title` what the job is."""

    session: str
    state: str
    accepted: str
    job: int
    jobs: int
    title: str


class Refused(Event):
    """Says that the server will not go on. `reason` is "login", "jobs" or "session" for what the caller has to correct;
    "version", "protocol" or "busy" for everything else. The jobs of the last Part will not run."""

    reason: str
    text: str = ""


# The dialect


class Dialect:
    """Is the client's side of one connection. A subclass writes the methods of the first half.

    A dialect touches neither socket, clock, file nor randomness. It raises RemoteProtocolError for what the server may
    not send, and UnsupportedCall, best in `__init__`, for a call that it cannot carry.
    """

    # Whether the server may count a refused osuser login against an account, as it may with a proof of a password.
    counts_osuser_logins = True
    # After so many seconds without a byte from this side the client calls `send_heartbeat`; None if it need not.
    heartbeat_seconds: int | None = None

    @classmethod
    def remark(cls) -> str:
        """Returns what people have to know of the dialect, for the first line of -v."""
        return ""

    def __init__(self, call: Call) -> None:
        self.call = call
        self._events: deque[Event] = deque()
        self._parts: deque[Part] = deque()

    # The commands. They come in this order, each when the event before it was reported.

    def log_in(self) -> None:
        """Begins the login. There may be no connection yet."""
        raise NotImplementedError

    def answer_salt(self, hash_: bytes) -> None:
        """Answers SaltReceived. `hash_` is the bcrypt hash of the password, 60 bytes."""
        raise NotImplementedError

    def submit(self) -> None:
        """Submits the jobs after LoggedIn, if the dialect has not done so before."""
        raise NotImplementedError

    def attach(self, session: str, offset: Offset | None) -> None:
        """Asks, in the place of `submit`, for a session from this offset on; None is from now on. It comes only after a
        LoggedIn with `can_attach`."""
        raise UnsupportedCall(f"this dialect cannot attach to the session {session}, from {offset or 'now'} on")

    def cancel(self, session: str) -> None:
        """Asks, in the place of `submit`, for the end of this session."""
        raise UnsupportedCall(f"this dialect cannot cancel the session {session}")

    def list_sessions(self) -> None:
        """Asks, in the place of `submit`, for the user's sessions."""
        raise UnsupportedCall("this dialect cannot list sessions")

    def leave(self) -> None:
        """Says goodbye. The client closes after it; what cannot be sent at once is not sent."""

    def send_heartbeat(self) -> None:
        """Sends what only says that this side still runs."""

    def receive(self, data: bytes) -> None:
        """Takes bytes that have come, in pieces of any size; b"" when the server has closed, which proves nothing.
        Reports at once all events that can be reported, or raises RemoteProtocolError."""
        raise NotImplementedError

    # What the commands use

    def send(self, data: bytes, shown: str, jobs: int = 0) -> None:
        """Keeps a Part until it has left."""
        self._parts.append(Part(data, jobs, shown))

    def report(self, event: Event) -> None:
        """Keeps an event; the client takes the events in their order."""
        self._events.append(event)

    # What the client uses

    def next_event(self) -> Event | None:
        """Takes the next event that was reported; None if there is none."""
        return self._events.popleft() if self._events else None

    def next_part(self) -> Part | None:
        """Returns what is to be sent next, which stays until it has left; None if there is nothing."""
        return self._parts[0] if self._parts else None

    def part_left(self) -> None:
        """Forgets the part: its last byte was handed to the system."""
        self._parts.popleft()
