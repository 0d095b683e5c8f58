"""What the events of a call prove: the one table over them, whatever dialect reports them.

A dialect may be sloppy, or the server hostile. Ended ok is believed only in the state in which it can be true. No event
counts that came before what it answers had left this side whole, and none that no bytes have brought: neither the end
of the stream nor what this side does proves anything. What a dialect hides, or makes up of bytes, is known to it alone.

A call may have several connections, one after the other: what was proved on one of them stays proved.
"""

from __future__ import annotations

from headless.dialects.base import (
    Accepted,
    Attached,
    Cancelled,
    Ended,
    Event,
    JobFinished,
    JobStarted,
    Listed,
    LoggedIn,
    Output,
    Part,
    Refused,
    SaltReceived,
)
from headless.dialects.vocabulary import FAILED, JOBS, OK, QUEUED, RUNNING, SKIPPED, STDERR, STDOUT, Offset
from headless.dialects.vocabulary import OVER as OVER_BEFORE
from headless.errors import LocalProtocolError, RemoteProtocolError, Submission

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

# States. Each one completes a sentence that begins with "when".
CONNECTED = "the login has not begun"
SALT_RECEIVED = "the server has to judge the proof of the password"
LOGGED_IN = "the jobs are not accepted"
ASKING = "the server has to answer the query"
ACCEPTED = "the jobs are accepted"
OVER = "the session is over"

Table = dict[str, dict[type[Event], str]]

# The state after each event. What is not listed is not allowed. What is reported of single jobs is checked besides.
OF_JOBS: Table = {
    CONNECTED: {SaltReceived: SALT_RECEIVED, LoggedIn: LOGGED_IN, Refused: OVER},
    SALT_RECEIVED: {LoggedIn: LOGGED_IN, Refused: OVER},
    LOGGED_IN: {
        Accepted: ACCEPTED,
        Attached: ACCEPTED,
        JobStarted: LOGGED_IN,
        Output: LOGGED_IN,
        JobFinished: LOGGED_IN,
        Ended: OVER,
        Refused: OVER,
    },
    ACCEPTED: {JobStarted: ACCEPTED, Output: ACCEPTED, JobFinished: ACCEPTED, Ended: OVER, Refused: OVER},
    OVER: {},
}
_LOGIN_FOR_A_QUERY: Table = {
    CONNECTED: {SaltReceived: SALT_RECEIVED, LoggedIn: ASKING, Refused: OVER},
    SALT_RECEIVED: {LoggedIn: ASKING, Refused: OVER},
    OVER: {},
}
OF_LOGIN: Table = {**_LOGIN_FOR_A_QUERY, ASKING: {Refused: OVER}}
OF_CANCEL: Table = {**_LOGIN_FOR_A_QUERY, ASKING: {Cancelled: OVER, Refused: OVER}}
OF_LIST: Table = {**_LOGIN_FOR_A_QUERY, ASKING: {Listed: ASKING, Ended: OVER, Refused: OVER}}
# What a dialect may report without bytes: it proves nothing, or what follows has to.
_WITHOUT_BYTES = (SaltReceived, LoggedIn, Output)
# What is only reported of jobs that a server has.
_ABOUT_JOBS = (Accepted, Attached, JobStarted, Output, JobFinished, Ended, Cancelled)


class Verdict:
    """Judges how far a call has come, from each connection that begins, each part that has left, bytes that came, and
    each event, as they happen.

    `submission` says whether the server has the jobs, `was_accepted` whether it has said that it will run them all.
    `failure` is why the first job that failed did, "" if none has. `jobs` is their number, None as long as only the
    server knows it, and 0 for a query, which has another `table`.
    """

    def __init__(self, jobs: int | None, has_secret: bool, table: Table = OF_JOBS) -> None:
        self._jobs = jobs
        self._has_secret = has_secret
        self._table = table
        self._handed_over = 0  # jobs whose part has left
        self._may_be_known = False  # the jobs, from an earlier connection
        self._may_run = False  # something was reported that is only reported of jobs that a server has
        self.has_job_reports = False  # a job was reported to have started or finished
        self.was_accepted = False  # the server has said that the whole session will run
        self.submission = Submission.NOT_SUBMITTED if jobs is not None else Submission.UNKNOWN
        self.failure = ""
        self.connect()

    def connect(self) -> None:
        """Begins another connection."""
        self._state = CONNECTED
        self._may_be_known = self._may_be_known or self._handed_over > 0
        self._handed_over = 0
        self._answerable = 0  # the same, when bytes came for the last time: what an event may be about
        self._last_part = 0  # jobs of the last part that handed over any
        self._parts = self._answerable_parts = self._parts_of_salt = self._parts_of_login = 0
        self._running = 0  # the job that was reported to have started, and not yet to have finished
        if not self.was_accepted:
            self._finished = 0
            self._characters = {STDOUT: 0, STDERR: 0}  # that the job has printed whose turn it is

    @property
    def is_over(self) -> bool:
        return self._state == OVER

    @property
    def is_attached(self) -> bool:
        """Returns whether this connection reports on the accepted jobs."""
        return self._state == ACCEPTED

    @property
    def is_all_finished(self) -> bool:
        """Returns whether each job was reported to have finished, and the session not to have ended."""
        return self._finished == self._jobs and self._state != OVER

    @property
    def offset(self) -> Offset:
        """Returns how far the server has reported on the jobs."""
        return Offset(self._finished + 1, self._characters[STDOUT], self._characters[STDERR])

    # What happens

    def check_part(self, part: Part) -> None:
        """Raises LocalProtocolError for a part that cannot hand over so many jobs. It must not leave: jobs that are
        handed over twice could run twice."""
        if not part.jobs:
            return
        total = self._handed_over + part.jobs
        if part.jobs > 0 and part.data and total <= (self._jobs or 0):
            return
        if self._parts:  # a dialect that counts wrong here may have done so before
            self._doubt()
        if part.jobs < 0 or not part.data:
            text = f"the dialect sent a Part of {len(part.data)} bytes that hands over {part.jobs} jobs"
        else:
            text = f"the dialect hands over {total} jobs, and there are {self._jobs or 0}"
        raise LocalProtocolError(text)

    def part_left(self, part: Part) -> None:
        """Notes that its last byte has."""
        self._handed_over += part.jobs
        self._parts += 1
        if part.jobs:
            self._last_part = part.jobs
            self._doubt()

    def all_left(self) -> None:
        """Notes that the dialect has nothing to send: a server that has accepted the jobs waits for nothing more."""
        if self._state == ACCEPTED:
            self.submission = Submission.SUBMITTED

    def bytes_came(self) -> None:
        self._answerable = self._handed_over
        self._answerable_parts = self._parts

    def judge(self, event: Event, is_brought: bool = True) -> None:
        """Takes the event as a fact. `is_brought` says whether bytes have brought it. Raises RemoteProtocolError if it
        cannot be one."""
        if isinstance(event, _ABOUT_JOBS):  # also if it is wrong: the server may have some then
            self._may_run = True
            self._doubt()
        following = self._table[self._state].get(type(event))
        if following is None:
            raise RemoteProtocolError(f"'{type(event).__name__}' is not allowed when {self._state}")
        if not is_brought and not isinstance(event, _WITHOUT_BYTES):
            raise RemoteProtocolError(f"no bytes have brought '{type(event).__name__}', so it proves nothing")
        self._JUDGES[type(event)](self, event)
        self._state = following

    def _doubt(self) -> None:
        """Notes that the server may have the jobs."""
        if self.submission is Submission.NOT_SUBMITTED:
            self.submission = Submission.UNKNOWN

    # Single events

    def _judge_salt(self, _event: SaltReceived) -> None:
        if not self._has_secret:
            raise RemoteProtocolError("the server wants a proof of a password, and the login has none")
        self._parts_of_salt = self._parts

    def _judge_login(self, _event: LoggedIn) -> None:
        if self._has_secret and self._state == CONNECTED:
            raise RemoteProtocolError("the server wants no proof of the password")
        if self._has_secret and self._answerable_parts <= self._parts_of_salt:
            raise RemoteProtocolError("the login was granted before the proof of the password had left")
        self._parts_of_login = self._parts

    def _judge_answer(self, event: Cancelled | Listed | Ended) -> None:
        if self._answerable_parts <= self._parts_of_login:
            raise RemoteProtocolError(f"'{type(event).__name__}' came before the query had left")
        is_unknown = isinstance(event, Cancelled) and event.state not in (QUEUED, RUNNING, OVER_BEFORE)
        if is_unknown or (isinstance(event, Ended) and event.status != OK):
            raise RemoteProtocolError(f"{event!r} is no answer to the query")

    def _judge_refusal(self, event: Refused) -> None:
        """Notes it if no job has run, nor will. What was handed over at once is refused as a whole, before any of it
        has run; what an earlier connection has handed over, only if the jobs are what is wrong."""
        if self._jobs is None or self._may_run or self._handed_over != self._answerable:
            return
        is_whole = self._handed_over == self._last_part
        if self._may_be_known:
            is_whole = is_whole and event.reason == JOBS and self._handed_over > 0
        if is_whole:
            self.submission = Submission.NOT_SUBMITTED

    def _judge_acceptance(self, _event: Accepted) -> None:
        if self._answerable != self._jobs:
            raise RemoteProtocolError(
                f"the jobs were accepted when {self._answerable} of {self._jobs} had been handed over"
            )
        self.was_accepted = True

    def _judge_attachment(self, event: Attached) -> None:
        offset = event.offset
        if not (self.was_accepted or self._jobs is None) or self._answerable_parts <= self._parts_of_login:
            raise RemoteProtocolError("the server attaches to a session that it was not asked for")
        if self._jobs is None and event.jobs > 0:
            self._jobs = event.jobs
            self._finished, self._characters = offset.job - 1, {STDOUT: offset.stdout, STDERR: offset.stderr}
        if (event.jobs, offset) != (self._jobs, self.offset) or not 1 <= offset.job <= event.jobs + 1:
            raise RemoteProtocolError("the server attaches to other jobs, or at another offset, than it was asked for")
        self._handed_over = self._answerable = event.jobs
        self.has_job_reports = self.has_job_reports or offset.job > 1
        self.was_accepted = True
        self.submission = Submission.SUBMITTED

    def _judge_job(self, event: JobStarted | Output | JobFinished) -> None:
        turn = self._finished + 1
        if isinstance(event, Output) and event.stream not in (STDOUT, STDERR):
            raise RemoteProtocolError(f"output of an unknown stream {event.stream!r}")
        if isinstance(event, Output) and event.job is None:
            return
        if event.job != turn or turn > self._answerable or (isinstance(event, JobStarted) and self._running == turn):
            raise RemoteProtocolError(f"'{type(event).__name__}' of job {event.job} is out of turn")
        if isinstance(event, Output):
            self._characters[event.stream] += len(event.text)
            return
        self.has_job_reports = True
        self.submission = Submission.SUBMITTED
        if isinstance(event, JobStarted):
            self._running = event.job
            return
        self._finished += 1
        self._characters = {STDOUT: 0, STDERR: 0}
        if event.status not in (OK, FAILED, SKIPPED):
            raise RemoteProtocolError(f"a job with an unknown status {event.status!r}")
        if event.status != OK and not self.failure:
            self.failure = f"job {event.job} {event.status}" + (f": {event.text}" if event.text else "")

    def _judge_end(self, event: Ended) -> None:
        if self._state == ASKING:
            self._judge_answer(event)
            return
        if event.status not in (OK, FAILED):
            raise RemoteProtocolError(f"a session with an unknown status {event.status!r}")
        if self._state == ACCEPTED:
            self.submission = Submission.SUBMITTED
        if event.status == FAILED:
            self.failure = self.failure or event.text or "the server ended the session as failed"
            return
        if self.failure:
            return  # a session that ended in order, with a job that failed
        if self._state != ACCEPTED:
            raise RemoteProtocolError("the session ended ok before the jobs were accepted")
        assert self._jobs is not None
        if self.has_job_reports and self._finished < self._jobs:
            raise RemoteProtocolError(f"the session ended ok with {self._finished} of {self._jobs} jobs done")

    _JUDGES: ClassVar[dict[type[Event], Callable[[Verdict, Any], None]]] = {
        SaltReceived: _judge_salt,
        LoggedIn: _judge_login,
        Accepted: _judge_acceptance,
        Attached: _judge_attachment,
        JobStarted: _judge_job,
        Output: _judge_job,
        JobFinished: _judge_job,
        Ended: _judge_end,
        Cancelled: _judge_answer,
        Listed: _judge_answer,
        Refused: _judge_refusal,
    }
