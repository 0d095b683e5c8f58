"""The seam: what a dialect is, seen from the client. PORTING.md tells how to write one.

The client drives a dialect by commands and is told events. It names no message, knows no order of talk, and moves bytes
without looking at them. What an event proves is not decided here, nor by a dialect, but in the client's verdict. An
event counts if `receive` told it, for bytes; SaltReceived, LoggedIn and Output may be told by every method.
"""

from __future__ import annotations

from collections import deque

from headless.dialects.vocabulary import Job, Offset, Value
from headless.errors import UnsupportedCall

RANDOM_BYTES = 32  # of a Call


class Call(Value):
    """All that a dialect is told of one call of the command.

    `login` is OSUSER or CHALLENGE, `user` the PLANTA user (always given for CHALLENGE), `os_user` the name of the
    operating system's user who runs the client ("" for CHALLENGE). `random` has RANDOM_BYTES bytes, new for each
    connection. `key` names the session: it is the same on every connection of one call of the command, and no other
    call has it. Unless `is_traced`, nobody is shown what is sent and received, and a dialect need not prepare it.
    """

    client: str
    login: str
    user: str | None
    os_user: str
    jobs: tuple[Job, ...]
    random: bytes
    is_traced: bool = False
    key: str = ""


# What is sent


class Part(Value):
    """Bytes that the server can act upon only when it has them all.

    `jobs` is how many jobs of the session the server has, and may run, once this part has left; what would be more than
    there are is not sent. `shown` is what the user
    sees of it at -vv: text without anything that proves a password.
    """

    data: bytes
    jobs: int = 0
    shown: str = ""


# What is told


class Event(Value):
    """Something that the server has said."""


class Received(Event):
    """Shown at -vvv: the text of something that came, before it is judged. It has no other meaning."""

    text: str


class SaltReceived(Event):
    """The server wants a proof of the password. `salt` is the one of the user's bcrypt hash (29 characters), None where
    the dialect has none. The answer is the command `answer_salt`."""

    salt: str | None


class LoggedIn(Event):
    """The session may begin. `session` names it for people. `heartbeat`: seconds within which the server promises to
    send something, None if it does not promise that. `is_proved`: the server has proved that it knows the password.
    `can_attach`: the dialect has the command `attach`, and the server takes the same key for the same session.
    `journal` names the record in which it looks the key up, "" if the dialect has no name for it: if a later connection
    is told another name, the jobs are not handed over again."""

    session: str
    heartbeat: int | None = None
    is_proved: bool = False
    can_attach: bool = False
    journal: str = ""


class Accepted(Event):
    """The server has recorded the whole session: it will run, whether or not anybody waits, once all has left that the
    dialect wants to send. `session` is what `attach` needs: the one that the session has, which another connection may
    have begun."""

    session: str = ""


class Attached(Event):
    """The server goes on to tell of a session of `jobs` jobs, from this offset on. What comes before has ended well,
    unless the client has heard otherwise."""

    jobs: int
    offset: Offset


class JobStarted(Event):
    """Optional. Jobs are counted from 1, in the order of the session."""

    job: int


class Output(Event):
    """Optional. `job` as above, None where the server does not tell whose output it is; `stream` is "stdout" or
    "stderr"; the text may be any piece of what was printed."""

    job: int | None
    stream: str
    text: str


class JobFinished(Event):
    """Optional. `status` is "ok", "failed" or "skipped", `text` says why. A dialect that tells this of one job has to
    tell it of all: otherwise `Ended` "ok" is not believed."""

    job: int
    status: str
    text: str = ""


class Ended(Event):
    """The session is over, and so are its jobs. `status` is "ok" if all of them ended well, else "failed". After the
    last JobFinished it has to come within 30 seconds."""

    status: str
    text: str = ""


class Cancelled(Event):
    """The session will not run on. `state` is what it was before: "queued", so that nothing of it has run, "running",
    or "over": then nothing was cancelled."""

    state: str


class Listed(Event):
    """A session of the user's. `state` is a word for people, `accepted` a time (ISO 8601), `job` the job that says
    most of it, of so many `jobs`, and `title` says which job that is."""

    session: str
    state: str
    accepted: str
    job: int
    jobs: int
    title: str


class Refused(Event):
    """The server will not go on. `reason` says whose fault it is: "login", "jobs" or "session" for what the caller has
    to correct; "version", "protocol" or "busy" for everything else. The jobs that it had been handed in the last Part
    will not run."""

    reason: str
    text: str = ""


# The dialect


class Dialect:
    """One connection's worth of a dialect, the client's side of it. Subclass it, and write the methods of the first
    half.

    A dialect touches neither socket, clock, file nor randomness. Raise RemoteProtocolError for what the server may not
    send, UnsupportedCall (best in `__init__`) for a call that this dialect cannot carry.
    """

    # Whether the server may count a refused osuser login against an account, as it may with a proof of a password.
    counts_osuser_logins = True

    def __init__(self, call: Call) -> None:
        self.call = call
        self._events: deque[Event] = deque()
        self._parts: deque[Part] = deque()

    # What a dialect has to do. The commands come in this order, each when the event before it was told.

    def log_in(self) -> None:
        """The call begins. There may be no connection yet."""
        raise NotImplementedError

    def answer_salt(self, hash_: bytes) -> None:
        """The user's bcrypt hash, 60 bytes, for the salt of SaltReceived. Not called if there was none."""
        raise NotImplementedError

    def submit(self) -> None:
        """After LoggedIn: the jobs are to be handed over, if they have not been."""
        raise NotImplementedError

    def attach(self, session: str, offset: Offset | None) -> None:
        """After LoggedIn, if that had `can_attach`, in the place of `submit`: what follows is to be told of this
        session, from this offset on, None for from now on."""
        raise UnsupportedCall(f"this dialect cannot attach to the session {session}, from {offset or 'now'} on")

    def cancel(self, session: str) -> None:
        """The same, to end this session."""
        raise UnsupportedCall(f"this dialect cannot cancel the session {session}")

    def list_sessions(self) -> None:
        """The same, to be told of the user's sessions."""
        raise UnsupportedCall("this dialect cannot list sessions")

    def leave(self) -> None:
        """The client closes after this. What is sent now is sent only if that takes no waiting."""

    def receive(self, data: bytes) -> None:
        """Bytes that have come, in pieces of any size; b"" when the server has closed, which proves nothing. A dialect
        tells at once all events that it can tell, or raises RemoteProtocolError."""
        raise NotImplementedError

    # What a dialect uses for that

    def send(self, data: bytes, shown: str, jobs: int = 0) -> None:
        """Keeps a Part, until it has left."""
        self._parts.append(Part(data, jobs, shown))

    def report(self, event: Event) -> None:
        """The client takes the events in this order."""
        self._events.append(event)

    # What the client uses

    def next_event(self) -> Event | None:
        """The next event that was told, which is taken away; None if there is none."""
        return self._events.popleft() if self._events else None

    def next_part(self) -> Part | None:
        """What is to be sent next. It stays until it has left; None if there is nothing."""
        return self._parts[0] if self._parts else None

    def part_left(self) -> None:
        """The last byte of `next_part` was handed to the system."""
        self._parts.popleft()
