"""One connection: drives a wire over a stream, and hands on what the server says, event by event.

Here are the bytes of a connection, and its login. It knows the commands and events of the seam, and nothing of what
travels. What the events prove is in verdict.py, what is asked of a server in session.py.
"""

from __future__ import annotations

from functools import partial

from headless.client.stream import Stream, connect
from headless.outcome import ConnectionLost, Interrupted
from headless.protocol.errors import LocalProtocolError, RemoteProtocolError
from headless.protocol.wire import LoggedIn, Received, SaltReceived

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from headless.client.console import Console
    from headless.client.password_file import Secret
    from headless.client.waiting import Waiter
    from headless.options import Service
    from headless.protocol.wire import Event, Part, Wire

    class Judge(Protocol):
        """What is told of all that leaves and comes, and judges events."""

        def part_left(self, part: Part) -> None:
            """Raises LocalProtocolError for a part that cannot be."""

        def bytes_came(self) -> None:
            """Something has come that the events to come may be told of."""

        def judge(self, event: Event) -> None:
            """Raises RemoteProtocolError for an event that cannot be."""


_MAX_MISSED_HEARTBEATS = 3


class Connection:
    """One connection to a service, for one wire, `wire`."""

    def __init__(self, service: Service, wire: Wire, judge: Judge, console: Console, waiter: Waiter) -> None:
        self._service = service
        self.wire = wire
        self._judge = judge
        self._console = console
        self._waiter = waiter
        self._stream: Stream | None = None
        self._silence: float | None = None  # seconds without a byte that mean a lost connection
        self._is_closed = False  # by the server
        self._failure: RemoteProtocolError | None = None  # what the wire raised, behind the events that it told before
        self._command: Callable[[], None] | None = None  # the next one that the wire is due
        self._part: Part | None = None  # which is being sent
        self._rest = memoryview(b"")  # what has not left of it

    def log_in(self, secret: Secret | None) -> Event:
        """LoggedIn, or why the server refuses. Raises what `next_event` raises, SessionError, ParameterError."""
        service = self._service
        self._console.info(f"connecting to {service.host} port {service.port}")
        self.wire.log_in()
        self._stream = connect(service, self._waiter)
        self._console.info(f"connected to {self._stream.peer}")
        while isinstance(event := self.next_event(), SaltReceived):
            assert secret is not None  # the verdict has seen to that
            self.start(partial(self._answer_salt, secret, event.salt))
        if isinstance(event, LoggedIn) and event.heartbeat is not None:
            self._silence = float(_MAX_MISSED_HEARTBEATS * event.heartbeat)
        return event

    def _answer_salt(self, secret: Secret, salt: str | None) -> None:
        self.wire.answer_salt(secret.hash_for(salt))

    def start(self, command: Callable[[], None]) -> None:
        """Gives the wire this command as soon as all that has come is taken: it may have ended the session."""
        self._command = command

    def next_event(self) -> Event:
        """The next event that means something. Without any, bytes are moved until there is one.

        Raises ConnectionLost, ProtocolError, DeadlinePassed, Interrupted.
        """
        while True:
            self._waiter.check()
            event = self.wire.next_event()
            if event is None:
                self._move()
            elif isinstance(event, Received):
                self._console.received(event.text)
            else:
                self._judge.judge(event)
                return event

    def check_end(self) -> None:
        """Raises RemoteProtocolError if something has come after the last event."""
        if self._failure is not None:
            raise self._failure
        if self.wire.next_event() is not None:
            raise RemoteProtocolError("something follows the end of the session")

    def _move(self) -> None:
        """Receives, or gives the wire its command, or sends, or waits until that is possible."""
        assert self._stream is not None
        if self._failure is not None:
            raise self._failure
        if self._is_closed:
            raise ConnectionLost("the server closed the connection")
        if self._command is not None:
            command, self._command = self._command, None
            command()
        # What is here already comes first: it is no answer to what has not left yet.
        if not self._receive() and not self._send():
            self._stream.wait(self._silence)

    def _receive(self) -> bool:
        """Whether anything had come, the end of the stream included."""
        assert self._stream is not None
        data = self._stream.receive_now()
        if data is None:
            return False
        self._is_closed = not data
        self._judge.bytes_came()
        try:
            self.wire.receive(data)
        except RemoteProtocolError as error:
            self._failure = error.with_traceback(None)  # in which there may be what was wrong, and large
        return True

    def _send(self) -> bool:
        """Whether anything has left."""
        assert self._stream is not None
        part = self.wire.next_part()
        if part is None:
            return False
        if self._part is None:
            self._part, self._rest = part, memoryview(part.data)
        if part is not self._part:
            raise LocalProtocolError("the wire has changed its mind in the middle of a part")
        count = self._stream.send_now(self._rest)
        self._rest = self._rest[count:]
        if not self._rest:
            self._part = None
            self._judge.part_left(part)
            self.wire.part_left()
            self._console.sent(part.shown)
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
        """Sends what the wire wants to be sent at the end, if that takes no waiting, but no more jobs."""
        if not is_over:
            if self.wire.next_part() is not None:  # which has not been sent, and is not to be now
                return
            self.wire.leave()
        while (part := self.wire.next_part()) is not None and not part.jobs:
            if stream.send_now(memoryview(part.data)) < len(part.data):
                return
            self.wire.part_left()
            self._console.sent(part.shown)
