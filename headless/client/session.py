"""One session: drives a wire over a stream, from the login to the end of the jobs, and shows what happens.

It knows the commands and events of the seam, and nothing of what travels. What the events prove is in verdict.py, how
long things may take is decided here.
"""

from __future__ import annotations

from headless.client.deadline import DeadlinePassed
from headless.client.stream import Stream, connect
from headless.client.verdict import Verdict
from headless.options import NO_TIMEOUT
from headless.outcome import Interrupted, JobFailed, ParameterError, SessionError, TimedOut
from headless.protocol.errors import LocalProtocolError, RemoteProtocolError
from headless.protocol.text import shorten
from headless.protocol.vocabulary import JOBS, LOGIN
from headless.protocol.wire import (
    Accepted,
    Ended,
    Event,
    JobFinished,
    JobStarted,
    LoggedIn,
    Output,
    Part,
    Received,
    Refused,
    SaltReceived,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from headless.client.console import Console
    from headless.client.password_file import Secret
    from headless.client.waiting import Waiter
    from headless.options import Options
    from headless.protocol.wire import Wire

_MAX_MISSED_HEARTBEATS = 3


def acceptance_seconds(timeout: int) -> int:
    """How long connecting, logging in and being accepted may take together, with this -t."""
    return min(timeout, 30) if timeout > 0 else 30


class Session:
    """One session of the command. `verdict` says at any moment how far it has come.

    `secret` is None where no password is asked for.
    """

    def __init__(self, options: Options, secret: Secret | None, wire: Wire, console: Console, waiter: Waiter) -> None:
        self._options = options
        self._secret = secret
        self._wire = wire
        self._console = console
        self._waiter = waiter
        self.verdict = Verdict(len(options.jobs), has_secret=secret is not None)
        self._stream: Stream | None = None
        self._silence: float | None = None  # seconds without a byte that mean a lost connection
        self._is_timed = False  # -t counts
        self._is_closed = False  # by the server
        self._failure: RemoteProtocolError | None = None  # what the wire raised, behind the events that it told before
        self._command: Callable[[], None] | None = None  # the next one that the wire is due
        self._part: Part | None = None  # which is being sent
        self._rest = memoryview(b"")  # what has not left of it

    def run(self) -> None:
        """Returns when the server has said that all jobs ended well or, without a time-out, that it will run them.

        Raises HeadlessError or ProtocolError for every other end.
        """
        self._waiter.set_deadline(acceptance_seconds(self._options.timeout))
        try:
            self._begin()
            while not self._is_done():
                self._handle(self._next_event())
        except DeadlinePassed:
            raise self._out_of_time() from None
        finally:
            self._leave()

    def _begin(self) -> None:
        service = self._options.service
        self._console.info(f"connecting to {service.host} port {service.port}")
        self._wire.log_in()
        self._stream = connect(service, self._waiter)
        self._console.info(f"connected to {self._stream.peer}")

    def _is_done(self) -> bool:
        """Raises RemoteProtocolError if something follows the end."""
        if not self.verdict.is_over:
            return self.verdict.was_accepted and self._options.timeout == 0
        if self._failure is not None:
            raise self._failure
        if self._wire.next_event() is not None:
            raise RemoteProtocolError("something follows the end of the session")
        return True

    # Events

    def _handle(self, event: Event) -> None:
        if isinstance(event, Received):
            self._console.received(event.text)
            return
        self.verdict.judge(event)
        self._start_time_out()
        if isinstance(event, SaltReceived):
            self._command = lambda: self._answer_salt(event)
        elif isinstance(event, LoggedIn):
            self._show_login(event)
            self._command = self._wire.submit
        elif isinstance(event, Accepted):
            self._console.info("the server has accepted the jobs")
        elif isinstance(event, Refused):
            raise self._refusal(event)
        elif isinstance(event, Ended):
            self._end(event)
        else:
            self._show_job(event)

    def _start_time_out(self) -> None:
        """-t counts from the acceptance of the jobs, or from the first word of one where they are taken one by one."""
        has_begun = self.verdict.was_accepted or self.verdict.is_told_of_jobs
        if has_begun and not self._is_timed and self._options.timeout != 0:
            self._is_timed = True
            self._waiter.set_deadline(None if self._options.timeout == NO_TIMEOUT else self._options.timeout)

    def _answer_salt(self, event: SaltReceived) -> None:
        assert self._secret is not None  # the verdict has seen to that
        self._wire.answer_salt(self._secret.hash_for(event.salt))

    def _show_login(self, event: LoggedIn) -> None:
        if event.heartbeat is not None:
            self._silence = float(_MAX_MISSED_HEARTBEATS * event.heartbeat)
        self._console.info(f"logged in, session {event.session}" if event.session else "logged in")
        if self._secret is not None:
            if not event.is_proved:
                self._console.info("the server has not proved that it knows the password")
            made = self._secret.save()
            if made:
                self._console.info(made)

    def _end(self, event: Ended) -> None:
        self._console.info(f"session ended: {event.status}")
        if self.verdict.failure:
            raise JobFailed(shorten(self.verdict.failure))

    def _show_job(self, event: Event) -> None:
        if isinstance(event, JobStarted):
            self._console.info(f"job {event.job} started: {self._options.jobs[event.job - 1].kind}")
        elif isinstance(event, Output):
            whose = event.stream if event.job is None else f"job {event.job} {event.stream}"
            self._console.output(whose, event.text)
        elif isinstance(event, JobFinished):
            reason = f": {shorten(event.text)}" if event.text else ""
            self._console.info(f"job {event.job} {event.status}{reason}")

    def _refusal(self, refused: Refused) -> ParameterError | SessionError:
        text = f": {shorten(refused.text)}" if refused.text else ""
        if self.verdict.was_accepted:
            return SessionError(f"the server ended the session ({refused.reason}){text}")
        if refused.reason in (LOGIN, JOBS):
            return ParameterError(f"the server refused the {refused.reason}{text}")
        return SessionError(f"the server refused the session ({refused.reason}){text}")

    def _out_of_time(self) -> SessionError | TimedOut:
        if self.verdict.was_accepted:
            return TimedOut(f"the jobs have not ended within {self._options.timeout} s, and go on")
        return SessionError("the server has not accepted the jobs in time")

    # Bytes

    def _next_event(self) -> Event:
        """The next event, of those that were told; without any, bytes are moved until there is one."""
        assert self._stream is not None
        while True:
            self._waiter.check()
            event = self._wire.next_event()
            if event is not None:
                return event
            if self._failure is not None:
                raise self._failure
            if self._is_closed:
                raise SessionError("the server closed the connection")
            if self._command is not None:  # only now: what came with the question may have ended the session
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
        self.verdict.bytes_came()
        try:
            self._wire.receive(data)
        except RemoteProtocolError as error:
            self._failure = error.with_traceback(None)  # in which there may be what was wrong, and large
        return True

    def _send(self) -> bool:
        """Whether anything has left."""
        assert self._stream is not None
        part = self._wire.next_part()
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
            self.verdict.part_left(part)
            self._wire.part_left()
            self._console.sent(part.shown)
            return True
        return count > 0

    def _leave(self) -> None:
        """Says goodbye if that is still possible, and closes. Accepted jobs go on."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            if self._part is None:  # nothing may stand in the middle of a part
                self._say_goodbye(stream)
        except Interrupted:
            raise
        except Exception:  # a goodbye that nobody receives changes nothing
            pass
        finally:
            stream.close()

    def _say_goodbye(self, stream: Stream) -> None:
        """Sends what the wire wants to be sent at the end, if that takes no waiting, but no more jobs."""
        if not self.verdict.is_over:
            if self._wire.next_part() is not None:  # which has not been sent, and is not to be now
                return
            self._wire.leave()
        while (part := self._wire.next_part()) is not None and not part.jobs:
            if stream.send_now(memoryview(part.data)) < len(part.data):
                return
            self._wire.part_left()
            self._console.sent(part.shown)
