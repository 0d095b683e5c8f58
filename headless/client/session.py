"""One session: hands the jobs over, or attaches to them, follows them to their end, and shows what happens.

A call may need several connections. After a lost one the session is resumed on another, if the server can attach.
"""

from __future__ import annotations

import os

from headless.client.connection import Connection
from headless.client.verdict import Verdict
from headless.client.waiting import DeadlinePassed, Waiter
from headless.dialects.base import Accepted, Attached, Ended, Event, JobFinished, JobStarted, LoggedIn, Output, Refused
from headless.dialects.vocabulary import BUSY, ENDED_WITHOUT_RESULT, JOBS, LOGIN, SESSION, Offset, title_of
from headless.errors import (
    ConnectionLost,
    HeadlessError,
    JobFailed,
    ParameterError,
    SessionError,
    Submission,
    TimedOut,
    explain,
)
from headless.options import NO_TIMEOUT, JobOptions
from headless.terminal import shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from headless.client.connection import OpenStream
    from headless.client.output import Console
    from headless.client.password_prompt import NewSecret
    from headless.dialects.base import Dialect
    from headless.dialects.vocabulary import Job
    from headless.options import WaitOptions
    from headless.password_file import KnownSecret

# All of this in seconds.
ACCEPTANCE_SECONDS = 30  # if PLANTA_PATIENCE says nothing else
END_SECONDS = 30.0  # from the end of the last job to the end of the session
_START_SECONDS = 1.0  # from the acceptance to the start of a job, before -v says that there was none
_ATTEMPT_SECONDS = 30.0  # to connect, log in and be accepted or attached
_OUTAGE_SECONDS = 600.0  # without a server, where no -t ends the call
_FIRST_PAUSE, _PAUSE_MAX = 0.1, 10.0  # between two connections
_PAUSE_AFTER_PROOF = 60.0  # a server may lock an account after a few wrong proofs


def acceptance_seconds(options: JobOptions | WaitOptions) -> int:
    """Returns how long connecting, logging in and being accepted may take together."""
    seconds = options.patience or ACCEPTANCE_SECONDS
    return min(options.timeout, seconds) if options.timeout > 0 else seconds


class Session:
    """Runs one session of the command. `verdict` says at any moment how far it has come, `id` is what the server calls
    it, "" until it has, and `can_attach` whether another connection can resume it.

    `secret` is None where no password is asked for. `make_dialect` gives the dialect of each connection, and `observe`
    gets each event that the verdict has taken as a fact. `open_stream` takes the place of the network.
    """

    def __init__(
        self,
        options: JobOptions | WaitOptions,
        secret: KnownSecret | NewSecret | None,
        make_dialect: Callable[[], Dialect],
        console: Console,
        waiter: Waiter,
    ) -> None:
        self._options = options
        self._secret = secret
        self._make_dialect = make_dialect
        self._console = console
        self._waiter = waiter
        self.observe: Callable[[Event], None] | None = None
        self.open_stream: OpenStream | None = None
        self._jobs: tuple[Job, ...] | None
        if isinstance(options, JobOptions):
            self._jobs, self.id, self._begins_now = options.jobs, "", False
        else:  # only the server knows the jobs of the session
            self._jobs, self.id, self._begins_now = None, options.session, options.from_now
        self.verdict = Verdict(None if self._jobs is None else len(self._jobs), has_secret=secret is not None)
        self.can_attach = False
        self._journal = ""  # of the server that has let us in
        self.connections = 0  # that have been tried
        self._connection: Connection | None = None
        self._lost: ConnectionLost | None = None  # why there had to be another connection
        self._longest_pause = _FIRST_PAUSE
        self._is_logged_in = False  # on this connection
        self._is_saved = False  # the secret
        self._is_timed = False  # -t counts
        self._end_seconds = END_SECONDS  # what is left of them on this connection
        self._shown = 0  # the last job that was shown to have started
        self._is_start_awaited = options.verbosity > 0  # nothing was said yet of a start that does not come

    @property
    def can_be_resumed(self) -> bool:
        """Returns whether another call can follow the jobs from here."""
        is_submitted = self.verdict.submission is Submission.SUBMITTED
        return self.can_attach and is_submitted and not self.verdict.is_over

    def run(self) -> None:
        """Returns when the server has said that all jobs ended well or, without a time-out, that it will run them.

        Raises HeadlessError, ProtocolError or ImportError for every other end.
        """
        self._waiter.set_deadline(acceptance_seconds(self._options))
        try:
            self._run()
        except DeadlinePassed:
            raise self._out_of_time() from None
        except (ParameterError, ImportError) as error:
            is_submitted = self._may_be_known() or self.verdict.was_accepted
            if is_submitted or (isinstance(error, ImportError) and self._may_have_jobs()):
                raise SessionError(explain(error)[1]) from None  # it is too late to correct the call
            raise
        finally:
            self._leave()

    # Connections

    def _run(self) -> None:
        """Follows the jobs over as many connections as it takes."""
        lost, offset = None, self.verdict.offset
        while True:
            with self._waiter.at_most(None if self._waiter.has_deadline() else _OUTAGE_SECONDS):
                self._connect(lost)
            try:
                self._follow()
            except ConnectionLost as error:
                lost = error
            else:
                return
            if self.verdict.offset != offset:
                offset, self._longest_pause = self.verdict.offset, _FIRST_PAUSE

    def _connect(self, lost: ConnectionLost | None) -> None:
        """Tries until the server reports on the jobs. `lost` is why there is no connection any more. Raises it if no
        other one may be had, DeadlinePassed."""
        while True:
            if lost is not None:
                self._pause(lost)
            try:
                with self._waiter.at_most(_ATTEMPT_SECONDS):
                    self._begin()
            except ConnectionLost as error:
                lost = error
            except DeadlinePassed:
                self._waiter.check()  # if that was not the one of this attempt
                lost = ConnectionLost(f"the server has not answered within {_ATTEMPT_SECONDS:.0f} s")
            else:
                return

    def _pause(self, lost: ConnectionLost) -> None:
        """Lets go of a connection that is lost, and waits until there may be another."""
        if not self._may_reconnect():
            raise lost
        pause = self._next_pause() + (_PAUSE_AFTER_PROOF if self._may_count_as_wrong() else 0.0)
        self._lost = lost
        self._leave()
        self.verdict.connect()
        self._console.info(f"{lost}; connecting again in {pause:.1f} s")
        self._waiter.sleep(pause)

    def _next_pause(self) -> float:
        """Returns seconds. They grow, and differ between clients that have lost the same server at the same moment."""
        pause = self._longest_pause * (0.5 + os.urandom(1)[0] / 512)
        self._longest_pause = min(2 * self._longest_pause, _PAUSE_MAX)
        return pause

    def _may_reconnect(self) -> bool:
        """Returns whether another connection can bring what this one has not. Never if the jobs could run twice."""
        if self.verdict.was_accepted and self._options.timeout == 0:
            return False  # what was still to leave belonged to this one
        return self.can_attach or (self._is_patient() and not self._may_have_jobs())

    def _is_patient(self) -> bool:
        """Returns whether a server is waited for that has not let us in. What comes after the login could be the jobs,
        whatever a dialect says of it."""
        return self._options.patience > 0 and not self._is_logged_in

    def _may_have_jobs(self) -> bool:
        """Returns whether the server may have the jobs. `wait` has none, until it has found them."""
        none = Submission.UNKNOWN if self._jobs is None else Submission.NOT_SUBMITTED
        return self.verdict.submission not in (Submission.NOT_SUBMITTED, none)

    def _may_be_known(self) -> bool:
        """Returns whether the server may have the jobs from an earlier connection: then it is too late to correct the
        call."""
        return self.connections > 1 and self._may_have_jobs()

    def _may_count_as_wrong(self) -> bool:
        """Returns whether the server may have counted the login on this connection as a wrong one. It had the proof,
        and has refused it, or has said nothing; but that means little if it has granted a login of this call before."""
        connection = self._connection
        if connection is None or not connection.has_proved or self._is_logged_in:
            return False
        return self.verdict.is_over or not self.can_attach

    def _begin(self) -> None:
        """Connects, and returns when the server has begun to report on the jobs. Raises ConnectionLost, DeadlinePassed,
        Interrupted, ProtocolError, HeadlessError."""
        self.connections += 1
        self._is_logged_in = False
        self._end_seconds = END_SECONDS
        service = self._options.service
        self._connection = Connection(service, self._make_dialect(), self.verdict, self._console, self._waiter)
        if self.open_stream is not None:
            self._connection.open_stream = self.open_stream
        self._handle(self._connection.log_in(self._secret))
        self._handle_until(lambda: self.verdict.is_attached or self._is_over())

    def _follow(self) -> None:
        """Returns when all was reported that the caller waits for. Raises the same."""
        assert self._connection is not None
        if self._options.timeout == 0:
            # Sends what is due when the jobs are accepted: the server may wait for it before it runs them.
            while (event := self._connection.next_event_before_all_left()) is not None:
                self._handle(event)
            if self.verdict.failure:
                raise JobFailed(shorten(self.verdict.failure))
            return
        if self._is_start_awaited and self.can_attach:  # where one can attach, the server has to report the start
            self._await_start()
        self._handle_until(self._is_over)

    def _await_start(self) -> None:
        """Says once if there is none."""
        assert self._connection is not None
        if self.verdict.has_job_reports or self.verdict.offset != Offset():
            return
        self._is_start_awaited = False
        event = self._connection.next_event_within(_START_SECONDS)
        if event is None:
            self._console.info("accepted, not started yet")
        else:
            self._handle(event)

    def _handle_until(self, is_reached: Callable[[], bool]) -> None:
        """Takes events. After the end of the last job there is a limit to that."""
        assert self._connection is not None
        while not (is_reached() or self.verdict.is_all_finished):
            self._handle(self._connection.next_event())
        begun = self._waiter.clock()
        try:
            with self._waiter.at_most(self._end_seconds):
                while not is_reached():
                    self._handle(self._connection.next_event())
        finally:
            self._end_seconds -= self._waiter.clock() - begun

    def _is_over(self) -> bool:
        """Raises RemoteProtocolError if something follows the end."""
        assert self._connection is not None
        if self.verdict.is_over:
            self._connection.check_end()
        return self.verdict.is_over

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave(is_over=self.verdict.is_over)

    # Events

    def _handle(self, event: Event) -> None:
        self._start_time_out()
        if self.observe is not None:
            self.observe(event)
        if isinstance(event, LoggedIn):
            self._logged_in(event)
        elif isinstance(event, Accepted):
            is_new = event.session not in ("", self.id)  # an earlier connection has handed them over
            self.id = event.session or self.id
            self._console.info("the server has accepted the jobs" + (f", session {self.id}" if is_new else ""))
        elif isinstance(event, Attached):
            self._console.info(f"attached to session {self.id}, from job {event.offset.job} on")
        elif isinstance(event, Refused):
            assert self._connection is not None
            self._connection.check_nothing_reported()
            raise self._refusal(event)
        elif isinstance(event, Ended):
            self._console.info(f"session ended: {event.status}")
            if not event.has_result:
                self._console.info(f"proof: {ENDED_WITHOUT_RESULT}")
            if self.verdict.failure:
                raise JobFailed(shorten(self.verdict.failure))
        else:
            self._show_job(event)

    def _start_time_out(self) -> None:
        """Lets -t count from the acceptance of the jobs, or from the first report on one where they are taken one by
        one."""
        has_begun = self.verdict.was_accepted or self.verdict.has_job_reports
        if has_begun and not self._is_timed and self._options.timeout != 0:
            self._is_timed = True
            self._waiter.set_deadline(None if self._options.timeout == NO_TIMEOUT else self._options.timeout)

    def _logged_in(self, event: LoggedIn) -> None:
        """Hands the jobs over, or attaches where an earlier connection has ended."""
        assert self._connection is not None
        submits = not (self.verdict.was_accepted or self._jobs is None)
        self._console.info(f"logged in, session {event.session}" if submits and event.session else "logged in")
        self.can_attach = event.can_attach
        self._is_logged_in = True
        if self._secret is not None and not self._is_saved:
            self._is_saved = True
            self._save(self._secret, event.is_proved)
        if not event.can_attach and (self._may_be_known() or self._jobs is None):
            kind = SessionError if self._may_be_known() else ParameterError
            raise kind("this server cannot resume a session that another connection has begun")
        is_another = event.journal != self._journal and self._may_be_known()
        self._journal = event.journal
        if is_another:
            raise SessionError("another server answers, or one that has lost its journal")
        dialect = self._connection.dialect
        if submits:
            self.id = event.session
            self._connection.start(dialect.submit)
        else:
            is_all_left_out = self._begins_now and not self.verdict.was_accepted
            self._connection.start(dialect.attach, self.id, None if is_all_left_out else self.verdict.offset)

    def _save(self, secret: KnownSecret | NewSecret, is_proved: bool) -> None:
        if not is_proved:
            self._console.info("the server has not proved that it knows the password")
        made = secret.save()
        if made:
            self._console.info(made)

    def _show_job(self, event: Event) -> None:
        if isinstance(event, JobStarted) and event.job > self._shown:  # it is said again after an attachment
            self._shown = event.job
            job = self._jobs[event.job - 1] if self._jobs else None
            title = f": {shorten(f'{job.kind} {title_of(job.kind, job.text)}')}" if job else ""
            self._console.info(f"job {event.job} started{title}")
        elif isinstance(event, Output):
            self._console.output(event.stream if event.job is None else f"job {event.job} {event.stream}", event.text)
        elif isinstance(event, JobFinished):
            reason = f": {shorten(event.text)}" if event.text else ""
            self._console.info(f"job {event.job} {event.status}{reason}")

    # Other ends

    def _refusal(self, refused: Refused) -> HeadlessError:
        text = f": {shorten(refused.text)}" if refused.text else ""
        is_begun = self.can_attach and (self.verdict.was_accepted or self.connections > 1)
        if refused.reason == BUSY and (is_begun or self._is_patient()):
            return ConnectionLost(f"the server ended the session (busy){text}")
        if self.verdict.was_accepted:
            return SessionError(f"the server ended the session ({refused.reason}){text}")
        if refused.reason in (LOGIN, JOBS, SESSION) and not self._may_be_known():
            return ParameterError(f"the server refused the {refused.reason}{text}")
        return SessionError(f"the server refused the session ({refused.reason}){text}")

    def _out_of_time(self) -> SessionError | TimedOut:
        timeout = self._options.timeout
        if self.verdict.is_all_finished and timeout != 0:
            return self._without_end(is_end_of_timeout=timeout > 0 and self._waiter.remaining() == 0)
        is_submitted = self.verdict.submission is Submission.SUBMITTED
        if self.verdict.is_attached and (timeout == 0 or not is_submitted):
            return SessionError("the server has accepted the jobs, and not taken in time what was still to be sent")
        if self.verdict.is_attached:
            return TimedOut(f"the jobs have not ended within {timeout} s, and go on")
        last = f" ({self._lost})" if self._lost is not None else ""
        if self.verdict.was_accepted:
            return SessionError(f"the connection was lost, and no other one could be had in time{last}")
        if self._jobs is None:
            return SessionError(f"the server has not answered in time{last}")
        return SessionError(f"the server has not accepted the jobs in time{last}")

    def _without_end(self, is_end_of_timeout: bool) -> SessionError | TimedOut:
        """Returns the error of a session whose jobs have all ended: after -t N, or before that."""
        if self.verdict.failure:
            return JobFailed(shorten(self.verdict.failure))
        kind, seconds = (TimedOut, self._options.timeout) if is_end_of_timeout else (SessionError, int(END_SECONDS))
        return kind(f"all jobs have ended, and the server has not reported the end of the session within {seconds} s")
