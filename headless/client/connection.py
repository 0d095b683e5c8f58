"""One connection: drives a dialect over a stream, and hands on what the server says, event by event.

Here are the bytes of a connection, and its login. It knows the commands and events of the seam, and nothing of what
travels. What the events prove is in verdict.py, what is asked of a server in session.py.
"""

from __future__ import annotations

from functools import partial

from headless.client.stream import Stream, connect
from headless.client.waiting import DeadlinePassed
from headless.dialects.base import Accepted, LoggedIn, Received, SaltReceived
from headless.errors import ConnectionLost, Interrupted, LocalProtocolError, RemoteProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from headless.client.console import Console
    from headless.client.password_file import Secret
    from headless.client.waiting import Waiter
    from headless.dialects.base import Dialect, Event, Part
    from headless.options import Service

    class Judge(Protocol):
        """What is told of all that leaves and comes, and judges events."""

        def check_part(self, part: Part) -> None:
            """Raises LocalProtocolError for a part that must not leave."""

        def part_left(self, part: Part) -> None:
            """It has left whole."""

        def all_left(self) -> None:
            """The dialect has nothing to send."""

        def bytes_came(self) -> None:
            """Something has come that the events to come may be told of."""

        def judge(self, event: Event, is_brought: bool) -> None:
            """Raises RemoteProtocolError for an event that cannot be. `is_brought`: bytes have brought it."""


_MAX_MISSED_HEARTBEATS = 3
_MAX_HEARTBEAT = 10**9  # seconds
_GOODBYE_SECONDS = 0.5  # for the dialect to write one: a signal that has come is to end the process within a second
_MAX_PARTS_AT_THE_END = 1000  # that are sent without waiting: a dialect may always have one more


class Connection:
    """One connection to a service, for one dialect, `dialect`."""

    def __init__(self, service: Service, dialect: Dialect, judge: Judge, console: Console, waiter: Waiter) -> None:
        self._service = service
        self.dialect = dialect
        self._judge = judge
        self._console = console
        self._waiter = waiter
        self._stream: Stream | None = None
        self._silence: float | None = None  # seconds without a byte that mean a lost connection
        self._is_closed = False  # by the server
        self._failure: RemoteProtocolError | None = (
            None  # what the dialect raised, behind the events that it told before
        )
        self._command: Callable[[], None] | None = None  # the next one that the dialect is due
        self._is_brought = False  # what the dialect tells now, by bytes
        self._is_proof_next = False  # in the part that leaves next, or in one after it
        self.has_proved = False  # the server has what proves who we are, and may count that as an attempt
        self._part: Part | None = None  # which is being sent
        self._rest = memoryview(b"")  # what has not left of it

    def log_in(self, secret: Secret | None) -> Event:
        """LoggedIn, or why the server refuses. Raises what `next_event` raises, SessionError, ParameterError."""
        service = self._service
        self._console.info(f"connecting to {service.host} port {service.port}")
        self._is_proof_next = secret is None and self.dialect.counts_osuser_logins
        self.dialect.log_in()
        self._stream = connect(service, self._waiter)
        self._console.info(f"connected to {self._stream.peer}")
        while isinstance(event := self.next_event(), SaltReceived):
            assert secret is not None  # the verdict has seen to that
            self.start(partial(self._answer_salt, secret, event.salt))
        if isinstance(event, LoggedIn) and event.heartbeat is not None:
            if not 1 <= event.heartbeat <= _MAX_HEARTBEAT:
                raise RemoteProtocolError(f"a heartbeat that is not 1 to {_MAX_HEARTBEAT} seconds")
            self._silence = float(_MAX_MISSED_HEARTBEATS * event.heartbeat)
        return event

    def _answer_salt(self, secret: Secret, salt: str | None) -> None:
        hash_ = secret.hash_for(salt)
        self._is_proof_next = True
        self.dialect.answer_salt(hash_)

    def start(self, command: Callable[[], None]) -> None:
        """Gives the dialect this command as soon as all that has come is taken: it may have ended the session."""
        self._command = command

    def next_event(self) -> Event:
        """The next event that means something. Without any, bytes are moved until there is one.

        Raises ConnectionLost, ProtocolError, DeadlinePassed, Interrupted.
        """
        while (event := self._take_event()) is None:
            self._move(None)
        return event

    def next_event_within(self, seconds: float) -> Event | None:
        """The same, or None if nothing has come for so long."""
        while (event := self._take_event()) is None:
            if not self._move(seconds):
                return None
        return event

    def next_event_before_all_left(self) -> Event | None:
        """The same, or None as soon as all has left that the dialect wants to send. If that is nothing, also what has
        come already is not taken."""
        self._give_command()
        while self._is_due():
            event = self._take_event()
            if event is not None:
                return event
            self._move(None)
        return None

    def _take_event(self) -> Event | None:
        """The next event that means something, of those that the dialect has told."""
        while True:
            self._waiter.check()
            event = self.dialect.next_event()
            if event is None:
                self._is_brought = False  # what comes next was not there when the bytes were taken
                return None
            if isinstance(event, Received):
                self._console.received(event.text)
                continue
            self._judge.judge(event, self._is_brought)
            if isinstance(event, Accepted):
                self._note_if_all_left()
            return event

    def _is_due(self) -> bool:
        """Whether something is still to leave."""
        return self._command is not None or self._part is not None or self.dialect.next_part() is not None

    def _note_if_all_left(self) -> None:
        if not self._is_due():
            self._judge.all_left()

    def check_end(self) -> None:
        """Raises RemoteProtocolError if something has come after the last event."""
        if self._failure is not None:
            raise self._failure
        self.check_nothing_told()

    def check_nothing_told(self) -> None:
        """Raises RemoteProtocolError if the dialect has told something after the last event."""
        event = shown = self.dialect.next_event()
        while isinstance(event, Received):  # what is behind it may say more of the jobs
            event = self.dialect.next_event()
        event = event or shown
        if event is not None:
            self._judge.judge(event, self._is_brought)  # which allows nothing then

    def _move(self, seconds: float | None) -> bool:
        """Receives, or gives the dialect its command, or sends, or waits until that is possible: False if it was not
        within so many seconds."""
        assert self._stream is not None
        if self._failure is not None:
            raise self._failure
        if self._is_closed:
            raise ConnectionLost("the server closed the connection")
        # What is here already comes before what is sent: it is no answer to what has not left yet.
        return self._give_command() or self._receive() or self._send() or self._wait(seconds)

    def _wait(self, seconds: float | None) -> bool:
        """Whether there may be something to do now."""
        assert self._stream is not None
        try:
            with self._waiter.at_most(seconds):
                self._stream.wait(self._silence)
        except DeadlinePassed:
            self._waiter.check()  # if that was not the end of these seconds
            return False
        return True

    def _give_command(self) -> bool:
        """Whether there was one: what the dialect tells then is taken before bytes come."""
        command, self._command = self._command, None
        if command is None:
            return False
        command()
        self._note_if_all_left()
        return True

    def _receive(self) -> bool:
        """Whether anything had come, the end of the stream included."""
        assert self._stream is not None
        data = self._stream.receive_now()
        if data is None:
            return False
        self._is_closed, self._is_brought = not data, bool(data)
        if data:
            self._judge.bytes_came()
        try:
            self.dialect.receive(data)
        except RemoteProtocolError as error:
            self._failure = error.with_traceback(None)  # in which there may be what was wrong, and large
        return True

    def _send(self) -> bool:
        """Whether anything has left."""
        assert self._stream is not None
        part = self.dialect.next_part()
        if part is not None and self._part is None:
            self._judge.check_part(part)
            self._part, self._rest = part, memoryview(part.data)
        if part is not self._part:
            raise LocalProtocolError("the dialect has changed its mind in the middle of a part")
        if part is None:
            return False
        count = self._stream.send_now(self._rest)
        self._rest = self._rest[count:]
        if not self._rest:
            self._part = None
            self.has_proved = self._is_proof_next
            self._judge.part_left(part)
            self.dialect.part_left()
            self._console.sent(part.shown)
            self._note_if_all_left()
            return True
        return count > 0

    def leave(self, is_over: bool) -> None:
        """Says goodbye if that is still possible, and closes. Accepted jobs go on. `is_over`: the server has said its
        last word."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            if self._part is None:  # nothing may stand in the middle of a part
                self._say_goodbye(stream, is_over)
        except Interrupted:
            raise
        except Exception:  # a goodbye that nobody receives changes nothing
            pass
        finally:
            stream.close()

    def _say_goodbye(self, stream: Stream, is_over: bool) -> None:
        """Sends what the dialect wants to be sent at the end, if that takes no waiting, but no more jobs."""
        if not is_over:
            if self.dialect.next_part() is not None:  # which has not been sent, and is not to be now
                return
            with self._waiter.at_most(_GOODBYE_SECONDS):
                self.dialect.leave()
        for _ in range(_MAX_PARTS_AT_THE_END):
            part = self.dialect.next_part()
            if part is None or part.jobs or stream.send_now(memoryview(part.data)) < len(part.data):
                return
            self.dialect.part_left()
            self._console.sent(part.shown)
