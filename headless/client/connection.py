"""One connection: drives a dialect over a stream, and hands on what the server says, event by event.

It knows the commands and events of the seam, and nothing of what travels. What a dialect does wrong is named here: a
site's own may raise anything, and return nonsense.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import partial

from headless.client.stream import Stream, connect
from headless.client.waiting import DeadlinePassed
from headless.dialects.base import Accepted, Event, LoggedIn, Part, Received, SaltReceived
from headless.dialects.vocabulary import Value
from headless.errors import (
    ConnectionLost,
    Interrupted,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    UnsupportedCall,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from headless.client.output import Console
    from headless.client.password_prompt import NewSecret
    from headless.client.verdict import Verdict
    from headless.client.waiting import Waiter
    from headless.dialects.base import Dialect
    from headless.options import Service
    from headless.password_file import KnownSecret

    Result = TypeVar("Result")
    OpenStream = Callable[[Service, Waiter], Stream]

_OWN = "headless.dialects.own.dialect"
_MAX_MISSED_HEARTBEATS = 3
_MAX_HEARTBEAT = 10**9  # seconds
_MAX_PARTS_AT_THE_END = 1000  # that are sent without waiting: a dialect may always have one more
# Where an error is raised that is none of the dialect's own lines.
_NOT_THEIRS = (
    "<frozen",
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    os.path.join(os.path.dirname(os.__file__), "importlib"),
)


class Connection:
    """Drives `dialect` over one connection to a service, which `open_stream` opens."""

    def __init__(self, service: Service, dialect: Dialect, verdict: Verdict, console: Console, waiter: Waiter) -> None:
        self._service = service
        self.dialect = dialect
        self._verdict = verdict
        self._console = console
        self._waiter = waiter
        self.open_stream: OpenStream = connect
        # A signal strikes into the code of others, which may never end. Into ours it must not: it imports modules, and
        # Python shows an exception in the middle of that as a traceback.
        self._guard = None if type(dialect).__module__ == _OWN else waiter
        self._stream: Stream | None = None
        self._silence: float | None = None  # seconds without a byte that mean a lost connection
        self._heartbeat_seconds: int | None = None  # without a byte of ours after which the dialect sends one
        self._sent_at = self._active_at = 0.0  # a byte of ours; one of the server, or of ours but a keep-alive
        self._is_heartbeat = False  # what is being sent
        self._is_closed = False  # by the server
        self._failure: RemoteProtocolError | None = None  # of the dialect, behind the events that it reported before
        self._command: Callable[[], None] | None = None  # the next one that the dialect is due
        self._is_brought = False  # what the dialect reports now, by bytes
        self._is_proof_next = False  # in the part that leaves next, or in one after it
        self.has_proved = False  # the server has what proves who we are, and may count that as an attempt
        self._part: Part | None = None  # which is being sent
        self._rest = memoryview(b"")  # what has not left of it

    def log_in(self, secret: KnownSecret | NewSecret | None) -> Event:
        """Returns LoggedIn, or why the server refuses. Raises what `next_event` raises, SessionError, ParameterError,
        ImportError for a library that is missing."""
        service = self._service
        self._console.info(f"connecting to {service.host} port {service.port}")
        self._is_proof_next = secret is None and self.dialect.counts_osuser_logins
        ask(self._guard, self.dialect.log_in)
        self._stream = self.open_stream(service, self._waiter)
        self._console.info(f"connected to {self._stream.peer}")
        while isinstance(event := self.next_event(), SaltReceived):
            assert secret is not None  # else the verdict has refused it
            self._command = partial(self._answer_salt, secret, event.salt)
        if isinstance(event, LoggedIn):
            self._agree_on_heartbeats(event.heartbeat)
        return event

    def _agree_on_heartbeats(self, of_server: int | None) -> None:
        """Begins to watch for those that the server has promised, and to send ours if the dialect wants that."""
        if of_server is not None:
            if not 1 <= of_server <= _MAX_HEARTBEAT:
                raise RemoteProtocolError(f"a heartbeat that is not 1 to {_MAX_HEARTBEAT} seconds")
            self._silence = float(_MAX_MISSED_HEARTBEATS * of_server)
        ours = ask(self._guard, getattr, self.dialect, "heartbeat_seconds")
        if ours is not None and not (type(ours) is int and 1 <= ours <= _MAX_HEARTBEAT):
            raise LocalProtocolError(f"the dialect's heartbeat_seconds is not None, nor 1 to {_MAX_HEARTBEAT}")
        self._heartbeat_seconds = ours
        self._active_at = self._sent_at = self._waiter.clock()

    def _answer_salt(self, secret: KnownSecret | NewSecret, salt: str | None) -> None:
        hash_ = secret.hash_for(salt)
        self._is_proof_next = True
        ask(self._guard, self.dialect.answer_salt, hash_)

    def start(self, command: Callable[..., None], *arguments: object) -> None:
        """Gives the dialect this command as soon as all that has come is taken: it may have ended the session."""
        self._command = partial(ask, self._guard, command, *arguments)

    # Events

    def next_event(self) -> Event:
        """Returns the next event that means something. Without any, bytes are moved until there is one.

        Raises ConnectionLost, ProtocolError, UnsupportedCall, DeadlinePassed, Interrupted.
        """
        while (event := self._take_event()) is None:
            self._move(None)
        return event

    def next_event_within(self, seconds: float) -> Event | None:
        """Returns the same, or None if nothing has come for so long."""
        while (event := self._take_event()) is None:
            if not self._move(seconds):
                return None
        return event

    def next_event_before_all_left(self) -> Event | None:
        """Returns the same, or None as soon as all has left that the dialect wants to send. If that is nothing, also
        what has come already is not taken."""
        self._give_command()
        while self._is_due():
            event = self._take_event()
            if event is not None:
                return event
            self._move(None)
        return None

    def check_end(self) -> None:
        """Raises RemoteProtocolError if something has come after the last event."""
        if self._failure is not None:
            raise self._failure
        self.check_nothing_reported()

    def check_nothing_reported(self) -> None:
        """Raises RemoteProtocolError if the dialect has reported something after the last event."""
        event = shown = self._next_of_dialect()
        while isinstance(event, Received):  # what is behind it may say more of the jobs
            event = self._next_of_dialect()
        event = event or shown
        if event is not None:
            self._verdict.judge(event, self._is_brought)  # which allows nothing then

    def _take_event(self) -> Event | None:
        """Returns the next event that means something, of those that the dialect has reported."""
        while True:
            event = self._next_of_dialect()
            if event is None:
                self._is_brought = False  # what comes next was not there when the bytes were taken
                return None
            self._waiter.check()
            if not isinstance(event, Received):
                break
            self._console.received(event.text)
        self._verdict.judge(event, self._is_brought)
        if isinstance(event, Accepted):
            self._note_if_all_left()
        return event

    def _next_of_dialect(self) -> Event | None:
        event = ask(self._guard, self.dialect.next_event)
        if event is not None:
            if not _is_of(event, Event) or type(event) is Event:
                raise LocalProtocolError(f"the dialect reported what is no event: a value of {type(event).__name__}")
            _check_types(event)
        return event

    # Bytes

    def _is_due(self) -> bool:
        """Returns whether something is still to leave."""
        return (
            self._command is not None or self._part is not None or ask(self._guard, self.dialect.next_part) is not None
        )

    def _note_if_all_left(self) -> None:
        if not self._is_due():
            self._verdict.all_left()

    def _move(self, seconds: float | None) -> bool:
        """Gives the dialect its command, or receives, or sends, or waits until that is possible. Returns False if it
        was not within so many seconds."""
        assert self._stream is not None
        if self._failure is not None:
            raise self._failure
        if self._is_closed:
            raise ConnectionLost("the server closed the connection")
        if self._give_command():
            return True
        self._waiter.check()
        # What is here already comes before what is sent: it is no answer to what has not left yet.
        if self._receive() or self._send():
            return True
        try:
            with self._waiter.at_most(seconds), self._waiter.at_most(self._seconds_left(self._heartbeat_due())):
                self._wait()
        except DeadlinePassed:
            self._waiter.check()  # if that was not the end of these seconds
            return self._send_heartbeat()
        return True

    def _wait(self) -> None:
        """Raises ConnectionLost after a silence of the server that it has excluded."""
        assert self._stream is not None
        end = None if self._silence is None else self._active_at + self._silence
        if not self._stream.wait(self._seconds_left(end)):
            raise ConnectionLost(f"the server has been silent for more than {self._silence:.0f} s")

    def _seconds_left(self, end: float | None) -> float | None:
        """Returns the seconds until this moment, not less than 0."""
        return None if end is None else max(0.0, end - self._waiter.clock())

    def _heartbeat_due(self) -> float | None:
        """Returns the moment at which the dialect has to send a sign that this side still runs, if it ever has to."""
        if self._heartbeat_seconds is None or self._part is not None:
            return None
        return self._sent_at + self._heartbeat_seconds

    def _send_heartbeat(self) -> bool:
        """Returns whether it was time for that."""
        due = self._heartbeat_due()
        if due is None or self._waiter.clock() < due:
            return False
        self._sent_at, self._is_heartbeat = self._waiter.clock(), True
        ask(self._guard, self.dialect.send_heartbeat)
        return True

    def _give_command(self) -> bool:
        """Returns whether there was one: what the dialect reports then is taken before bytes come."""
        command, self._command = self._command, None
        if command is None:
            return False
        command()
        self._note_if_all_left()
        return True

    def _receive(self) -> bool:
        """Returns whether anything had come, the end of the stream included."""
        assert self._stream is not None
        data = self._stream.receive_now()
        if data is None:
            return False
        self._is_closed, self._is_brought = not data, bool(data)
        if data:
            self._active_at = self._waiter.clock()
            self._verdict.bytes_came()
        try:
            ask(self._guard, self.dialect.receive, data)
        except RemoteProtocolError as error:
            self._failure = error.with_traceback(None)  # in which there may be what was wrong, and large
        return True

    def _send(self) -> bool:
        """Returns whether anything has left."""
        assert self._stream is not None
        part = ask(self._guard, self.dialect.next_part)
        if part is not None and self._part is None:
            self._check_part(part)
            self._part, self._rest = part, memoryview(part.data)
        if part is not self._part:
            raise LocalProtocolError("the dialect has changed its mind in the middle of a part")
        if part is None:
            return False
        count = self._stream.send_now(self._rest)
        self._rest = self._rest[count:]
        if count:
            self._sent_at = self._waiter.clock()
            self._active_at = self._active_at if self._is_heartbeat else self._sent_at
        if self._rest:
            return count > 0
        self._part, self._is_heartbeat = None, False
        self.has_proved = self._is_proof_next
        self._verdict.part_left(part)
        ask(self._guard, self.dialect.part_left)
        self._console.sent(part.shown)
        self._note_if_all_left()
        return True

    def _check_part(self, part: Part) -> None:
        if not _is_of(part, Part):
            raise LocalProtocolError(f"the dialect wants to send what is no Part: a value of {type(part).__name__}")
        _check_types(part)
        self._verdict.check_part(part)

    # The end

    def leave(self, is_over: bool) -> None:
        """Says goodbye if that is still possible, and closes. Accepted jobs go on. `is_over`: the server has said its
        last word."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            if self._part is None:  # nothing may follow half a part
                self._say_goodbye(stream, is_over)
        except Interrupted:
            raise
        except Exception:  # a goodbye that is not received changes nothing
            pass
        finally:
            stream.close()

    def _say_goodbye(self, stream: Stream, is_over: bool) -> None:
        """Sends what the dialect wants to be sent at the end, if that takes no waiting, but no more jobs."""
        if not is_over:
            if ask(self._guard, self.dialect.next_part) is not None:  # which has not been sent, and is not to be now
                return
            ask(self._guard, self.dialect.leave)
        for _ in range(_MAX_PARTS_AT_THE_END):
            part = ask(self._guard, self.dialect.next_part)
            if part is None or part.jobs or stream.send_now(memoryview(part.data)) < len(part.data):
                return
            ask(self._guard, self.dialect.part_left)
            self._console.sent(part.shown)


def ask(waiter: Waiter | None, method: Callable[..., Result], *arguments: object) -> Result:
    """Returns what a method of a dialect does. Raises ProtocolError, UnsupportedCall, ImportError, MemoryError, and
    Interrupted at once where there is a waiter, for it may never end. Every other exception becomes a
    LocalProtocolError."""
    try:
        with nullcontext() if waiter is None else waiter.interruptible(also_before=False):
            try:
                return method(*arguments)
            except Exception as error:
                str(error)  # which is the dialect's, too, and may raise anything
                raise
    except (ProtocolError, UnsupportedCall, Interrupted, ImportError, MemoryError):
        raise
    except BaseException as error:
        # Without its text, in which there may be a hash.
        raise LocalProtocolError(f"the dialect failed: {type(error).__name__}{place_of(error)}") from None


def place_of(error: BaseException) -> str:
    """Returns the last line of the dialect's that the error came through, if any."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(_NOT_THEIRS):
            place = f" (line {trace.tb_lineno} of {file})"
        trace = trace.tb_next
    return place


def _is_of(value: object, kind: type) -> bool:
    """Returns whether it is a value of this class, without a question to the value: its answer may never end."""
    return kind in type(value).__mro__


def _check_types(value: Event | Part) -> None:
    try:
        Value.check_types(value)  # whatever the class of a dialect has in its place
    except TypeError as error:
        raise LocalProtocolError(f"the dialect is wrong: {error}") from None
