"""The queue of accepted sessions: so many run at a time, the others wait in their order.

Here is which session runs when, that the jobs of a session run one after the other, and why one is ended. What happens
to a job is in the journal first, and is then made known to the followers of its session. How one job runs is in
jobs.py, what followers are told in reporter.py.

Wanting means are no outcome: a job that cannot be started now, or whose end cannot be journaled now, waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from headless.dialects.vocabulary import FAILED, OK, OVER, QUEUED, RUNNING, title_of
from headless.errors import Busy, UnknownSession
from headless.server.accounts import Account
from headless.server.jobs import REASON_OF_LOSS, JobRefused, QueuedJob
from headless.server.journal import (
    CANCELLED,
    INTERRUPTED,
    AcceptedSession,
    Cancellation,
    JobEnd,
    JobTaken,
    SubmittedSession,
)
from headless.server.processes import JobHandle, JobProcesses
from headless.server.session import Session
from headless.server.settings import Settings
from headless.server.store import PathNeeded, Store, StoreUnavailable
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

_REASON_OF_STOP = "the server was stopped"
_FIRST_PAUSE, _PAUSE_MAX = 0.1, 5.0  # seconds between attempts
_LOG_AGAIN_ATTEMPTS = 12
_SECONDS_TO_CANCEL = 1.0
_SECONDS_TO_END = 8.0  # for jobs that are ended; longer than the processes take
_SECONDS_TO_SETTLE = 15.0  # for what has become of the jobs that ran to be found out
_SETTLED_SECONDS = 0.01  # how often it is looked whether it is
_REQUESTS_SECONDS = 0.5  # how often the journal is asked for requests
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # random(4)

_T = TypeVar("_T")


class _Running:
    """A session that runs, its job as far as that was handed to the processes, and why it is being ended."""

    def __init__(self, session: Session, request: Cancellation | None = None) -> None:
        self.session = session
        self.request = request  # because of which no job of it is to start
        self.number = 0  # no job has begun
        self.lost_start: float | None = None  # when an earlier server has begun the job, which had not started
        self.has_worker = True  # not while nobody can find out what has become of its job
        self.handle: JobHandle | None = None
        self.ending: JobEnd | None = None
        self.task: asyncio.Future[None] | None = None

    async def end(self, state: str, reason: str) -> None:
        """Ends the job, if one runs or is being started."""
        if self.handle is not None and self.ending is None:
            self.ending = JobEnd(state, reason)
            await self.handle.withdraw()


class SessionQueue:
    """All sessions of a server that are not over."""

    def __init__(self, store: Store, jobs: JobProcesses, settings: Settings) -> None:
        self._store = store
        self._jobs = jobs
        self._settings = settings
        self._waiting: deque[Session] = deque()
        self._accepting: list[int] = []  # the accounts of sessions that are being journaled
        self._running: dict[Session, _Running] = {}
        self._by_session: dict[str, Session] = {}  # those that wait or run
        self._requests: list[Cancellation] = []
        self._background: set[asyncio.Future[None]] = set()
        self._may_start = False
        self.is_stopping = False

    async def recover(self) -> None:
        """Takes up what an earlier server of this home has left. Raises StoreUnavailable."""
        boot = _boot_id() and f"{_boot_id()} {self._jobs.home_id}"  # a copy of this home has nothing started here
        is_same_boot = boot != "" and boot == await self._store.fact("boot")
        self._may_start = is_same_boot
        self._requests = await self._store.cancellations()
        found = dict[_Running, asyncio.Future[None]]()
        for accepted in await self._store.unfinished():
            session = self._by_session[accepted.session_id] = Session(accepted)
            if accepted.running:
                self._running[session] = running = _Running(session)  # from now on, whoever else comes
                found[running] = self._start_in_background(self._recover_one(running, accepted, is_same_boot))
            else:
                log.info("session %s: queued again, %d jobs", accepted.session_id, accepted.job_count)
                self._waiting.append(session)
        self._start_in_background(self._finish_recovery(found, boot))
        self._start_in_background(self._watch_requests())

    async def accept(self, account: Account, submitted: SubmittedSession) -> Session:
        """The session, which is in the journal for good and will run; one that has the same key, if there is one.
        Raises Busy, AccountChanged, KeyTaken, SameJobs, StoreUnavailable, StoreUncertain, or sqlite3.Error if it is
        not."""
        self._check_room(account.number)
        self._accepting.append(account.number)
        return await asyncio.shield(asyncio.ensure_future(self._accept(account, submitted)))

    async def find(self, account: int, session_id: str) -> Session:
        """The session of this session. Raises UnknownSession if it is not one of the account with this number, Busy,
        StoreUnavailable."""
        session = self._by_session.get(session_id)
        if session is None:
            known = await self._store.known(session_id)
            if known is None:
                raise UnknownSession
            session = self._by_session.get(session_id)  # it may have come since
            if session is None and not known.is_over:
                raise Busy("the server has not taken up this session yet")
            session = session or Session.over(known)
        if session.account != account:
            raise UnknownSession
        return session

    async def cancel(self, account: Account, session: Session) -> str:
        """Ends a session that was found, or does not let it start, and returns what it was before: QUEUED, RUNNING or
        OVER. Raises StoreUnavailable, with nothing recorded; StoreUncertain."""
        if session.is_over:
            return OVER
        request = Cancellation(session.session_id, 0, f"the account {account.user}")
        await self._store.request_cancellation(request)
        self._requests.append(request)
        with suppress(StoreUnavailable):  # it is seen to again
            await self._see_to(request)
        while not session.is_over:
            await session.wait_for_change(_REQUESTS_SECONDS)
        if session.first_not_ok > session.job_count or session.progress(session.first_not_ok).state != CANCELLED:
            return OVER
        return RUNNING if session.progress(1).has_run else QUEUED

    async def stop(self, force_stop: asyncio.Event) -> None:
        """Starts no more sessions. The running ones have the grace, or until `force_stop` is set, to end. What still
        runs then goes on without this server, or is ended if the settings say so."""
        self.is_stopping = True
        tasks = [running.task for running in self._running.values() if running.task is not None]
        if tasks:
            forced = asyncio.ensure_future(force_stop.wait())
            ended = asyncio.ensure_future(asyncio.wait(tasks))
            await asyncio.wait({forced, ended}, timeout=self._settings.grace, return_when=asyncio.FIRST_COMPLETED)
            forced.cancel()
            ended.cancel()
        if self._settings.end_jobs and not self._jobs.are_of_another_server:
            await self._end_all()
        for running in list(self._running.values()):
            log.info("session %s: job %d goes on without the server", running.session.session_id, running.number)
        await _cancel([*(running.task for running in self._running.values()), *self._background])

    # Starting and recovering

    def _check_room(self, account: int) -> None:
        """Raises Busy if one more session of this account is too many."""
        settings, waiting = self._settings, len(self._waiting) + len(self._accepting)
        if waiting >= settings.max_waiting:
            raise Busy(f"{waiting} sessions wait already")
        if waiting >= settings.max_waiting_per_account:  # only then are they counted: there may be thousands
            waiting = [*(session.account for session in self._waiting), *self._accepting].count(account)
            if waiting >= settings.max_waiting_per_account:
                raise Busy(f"{waiting} sessions of this account wait already")

    async def _accept(self, account: Account, submitted: SubmittedSession) -> Session:
        """Runs on even if the session that asked for it is over: what is in the journal is in the queue."""
        try:
            session_id = await self._store.accept(account, submitted)
        finally:
            self._accepting.remove(account.number)
        if session_id != submitted.session_id:
            return await self.find(submitted.account, session_id)
        session = Session(AcceptedSession(session_id, submitted.account, submitted.user, len(submitted.jobs)))
        self._by_session[session_id] = session
        log.info(
            "session %s: accepted %d jobs of %s",
            session.session_id,
            session.job_count,
            escape_control_chars(session.user),
        )
        self._waiting.append(session)
        self._start_next()
        return session

    def _start_next(self) -> None:
        """Starts as many waiting sessions as there are free workers."""
        may_start = self._may_start and not self.is_stopping
        while may_start and self._waiting and self._busy_workers < self._settings.workers:
            session = self._waiting.popleft()
            self._start(_Running(session), self._begin_and_run)

    @property
    def _busy_workers(self) -> int:
        return sum(running.has_worker for running in self._running.values())

    def _start(self, running: _Running, run: Callable[[_Running], Awaitable[None]]) -> None:
        self._running[running.session] = running
        running.task = asyncio.ensure_future(self._guard(running, run))

    async def _guard(self, running: _Running, run: Callable[[_Running], Awaitable[None]]) -> None:
        try:
            await run(running)
        except JobTaken:
            log.error("session %s: another server of this home runs it", running.session.session_id)
        except Exception:  # a bug: whoever follows must not take that for an end
            log.exception("session %s: internal error at job %d", running.session.session_id, running.number)
        finally:
            self._drop(running.session)
            self._start_next()

    def _drop(self, session: Session) -> None:
        """It is over, or nobody knows how to go on with it."""
        del self._running[session]
        del self._by_session[session.session_id]

    async def _recover_one(self, running: _Running, accepted: AcceptedSession, is_same_boot: bool) -> None:
        """Finds out what has become of one session that ran. Its failure is no other's."""
        try:
            await self._recover_running(running, accepted, is_same_boot)
        except Exception:  # a bug; the next server tries again
            log.exception("session %s: internal error at job %d", accepted.session_id, accepted.running)
            self._drop(running.session)
            self._start_next()

    async def _recover_running(self, running: _Running, accepted: AcceptedSession, is_same_boot: bool) -> None:
        """Returns when it is clear what has become of the job that ran."""
        session, session_id, number = running.session, accepted.session_id, accepted.running
        what = f"session {session_id}: job {number}"
        handle = await self._persist(
            what, lambda: self._jobs.find(session_id, number), lambda: self._set_aside(running)
        )
        running.has_worker = True
        if handle is None and not is_same_boot:  # what was not on disk when the machine was switched off proves nothing
            await self._store.finish(session_id, number, JobEnd(INTERRUPTED, REASON_OF_LOSS))
            self._make_known(session, number, JobEnd(INTERRUPTED, REASON_OF_LOSS))
            self._drop(session)
            return
        running.number = number
        if handle is None:
            log.info("session %s: job %d had not started", session_id, number)
            running.lost_start = accepted.started
            session.set_not_started()
            self._start(running, self._begin_and_run)
            return
        log.info("session %s: job %d had started, resumed", session_id, number)
        running.handle = handle
        self._start(running, self._run)

    def _set_aside(self, running: _Running) -> None:
        """Lets others have the worker of a session that has to wait."""
        running.has_worker = False
        self._start_next()

    async def _finish_recovery(self, found: dict[_Running, asyncio.Future[None]], boot: str) -> None:
        """Lets sessions start when those that ran are found again, or have to wait for that."""
        end = asyncio.get_running_loop().time() + _SECONDS_TO_SETTLE
        while any(running.has_worker and not task.done() for running, task in found.items()):
            if asyncio.get_running_loop().time() > end:
                break
            await asyncio.sleep(_SETTLED_SECONDS)
        is_clear = all(task.done() for task in found.values())
        if is_clear:
            await self._store.set_fact("boot", boot)  # first: it says that what is lost from here on was started here
        self._may_start = True
        self._start_next()
        if not is_clear:
            await asyncio.wait(found.values())
            await self._store.set_fact("boot", boot)

    # Running

    async def _begin_and_run(self, running: _Running) -> None:
        session, number = running.session, running.number or 1
        request = running.request or self._request_for(session.session_id, number)
        if request is not None:
            await self._finish(session, number, _cancelled(request))
            return
        refused = await self._journal_start(
            session, lambda path: self._store.begin(session.session_id, number, path, running.lost_start)
        )
        if refused is not None:
            self._make_known(session, number, refused)
            return
        running.number = number
        await self._run(running)

    async def _journal_start(self, session: Session, write: Callable[[str | None], Awaitable[_T]]) -> _T:
        """What the write returns, which needs the path of a file if the account is limited to some folders."""
        try:
            return await write(None)
        except PathNeeded as needed:
            job = needed.job
        what = f"session {session.session_id}: the path of the next job"
        path = await self._persist(what, lambda: self._jobs.path_of(job))
        return await write(path)

    async def _run(self, running: _Running) -> None:
        """Runs the jobs of a session, one after the other, from the one that runs up to the first that fails."""
        session = running.session
        for number in range(running.number, session.job_count + 1):
            running.number = number
            session.set_progress(number, RUNNING)
            end = await self._run_job(running)
            running.handle = running.ending = None
            if not await self._finish(session, number, end):
                break

    async def _run_job(self, running: _Running) -> JobEnd:
        """Starts the job, if it does not run yet, and waits for its end."""
        session_id, number = running.session.session_id, running.number
        what = f"session {session_id}: job {number}"
        if running.handle is None:
            end = await self._persist(what, lambda: self._start_job(running))
            if end is not None:
                return end
        assert running.handle is not None
        with self._time_limit(running):
            end = await self._persist(what, running.handle.ended)
        if end.state != INTERRUPTED:
            return end
        request = self._request_for(session_id, number)
        ending = running.ending or (_cancelled(request) if request is not None else end)
        return end._replace(state=ending.state, message=ending.message)

    async def _start_job(self, running: _Running) -> JobEnd | None:
        """Returns None when the job has started, and how it ends if it is not to start. Raises what `_persist` tries
        again after."""
        session_id, number = running.session.session_id, running.number
        request = self._request_for(session_id, number)
        if request is not None:
            return _cancelled(request)
        job = await self._store.job(session_id, number)
        running.handle = self._jobs.start(QueuedJob(session_id, number, running.session.user, job))
        try:
            await running.handle.started()
        except JobRefused as error:
            return JobEnd(FAILED, f"the job could not be run: {error}")
        except Busy:
            running.handle = running.ending = None
            raise
        title = escape_control_chars(title_of(job.kind, job.text))
        log.info("session %s: job %d started: %s %s", session_id, number, job.kind, title)
        return None

    def _time_limit(self, running: _Running) -> _Timer:
        limit = self._settings.time_limit
        age = 0.0 if running.handle is None else running.handle.age  # of the kernel: the journal's clock may be set
        return _Timer(None if limit is None else max(0.0, limit - age), lambda: self._end_late(running))

    async def _finish(self, session: Session, number: int, end: JobEnd) -> bool:
        """Journals the end of a job, and the start of the next one, and then makes both known. Whether the next job is
        to run."""
        refused = await self._journal_start(
            session, lambda path: self._store.finish(session.session_id, number, end, path)
        )
        self._make_known(session, number, end)
        self._start_in_background(self._forget(session.session_id, number))
        if refused is not None:
            self._make_known(session, number + 1, refused)
        return end.state == OK and refused is None

    def _make_known(self, session: Session, number: int, end: JobEnd) -> None:
        reason = f": {escape_control_chars(end.message)}" if end.message else ""
        log.info("session %s: job %d %s%s", session.session_id, number, end.state, reason)
        session.set_progress(number, end.state, end.message)

    async def _forget(self, session_id: str, number: int) -> None:
        with suppress(Busy):  # it goes with the session
            await self._jobs.forget(session_id, number)

    async def _persist(
        self, what: str, attempt: Callable[[], Awaitable[_T]], on_failure: Callable[[], None] = lambda: None
    ) -> _T:
        """The result of the attempt, which is made again as long as means are wanting."""
        pause, attempts = _FIRST_PAUSE, 0
        while True:
            try:
                return await attempt()
            except (Busy, MemoryError) as error:
                if attempts % _LOG_AGAIN_ATTEMPTS == 0:
                    log.warning("%s has to wait, and is tried again: %s", what, escape_control_chars(str(error)))
            on_failure()
            attempts += 1
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE_MAX)

    # Ending

    def _end_late(self, running: _Running) -> None:
        reason = f"ended after {self._settings.time_limit:g} s, the limit of this server"
        self._start_in_background(running.end(FAILED, reason))

    async def _end_all(self) -> None:
        """Ends what runs, and waits until that is journaled, but not for ever."""
        end = asyncio.get_running_loop().time() + _SECONDS_TO_END
        while self._running and asyncio.get_running_loop().time() < end:
            ending = [running.end(INTERRUPTED, _REASON_OF_STOP) for running in self._running.values()]
            await asyncio.wait([asyncio.ensure_future(each) for each in ending], timeout=_SECONDS_TO_END)
            tasks = [running.task for running in self._running.values() if running.task is not None]
            if tasks:
                await asyncio.wait(tasks, timeout=0.1)
            else:  # what an earlier server has left is still being looked for
                await asyncio.sleep(0.1)

    async def _watch_requests(self) -> None:
        """Sees to the requests to cancel, until it is cancelled itself."""
        while True:
            with suppress(StoreUnavailable):  # it is asked again
                self._requests = await self._store.cancellations()
            for request in self._requests:
                await self._see_to(request)
            await asyncio.sleep(_REQUESTS_SECONDS)

    async def _see_to(self, request: Cancellation) -> None:
        """Ends what runs, and takes back what waits. A request for a later job stays until its turn has come."""
        session = next((each for each in self._waiting if each.session_id == request.session_id), None)
        running = next((each for each in self._running.values() if each.session.session_id == request.session_id), None)
        if session is not None and request.job in (0, 1):
            self._waiting.remove(session)
            self._start(_Running(session, request), self._begin_and_run)
        elif running is not None and request.job in (0, running.number):
            self._start_in_background(running.end(CANCELLED, _cancelled(request).message))
        elif session is None and (running is None or request.job < running.number):
            await self._store.drop_cancellation(request)

    def _request_for(self, session_id: str, number: int) -> Cancellation | None:
        return next(
            (each for each in self._requests if each.session_id == session_id and each.job in (0, number)), None
        )

    def _start_in_background(self, coroutine: Awaitable[None]) -> asyncio.Future[None]:
        task = asyncio.ensure_future(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


class _Timer:
    """Calls the function after so many seconds, unless the block has ended by then; None is never."""

    def __init__(self, seconds: float | None, function: Callable[[], None]) -> None:
        self._handle = None if seconds is None else asyncio.get_running_loop().call_later(seconds, function)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.cancel()


def _cancelled(request: Cancellation) -> JobEnd:
    return JobEnd(CANCELLED, f"cancelled by {request.requester}")


def _boot_id() -> str:
    """What changes whenever the machine is started; "" where nothing tells that."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


async def _cancel(tasks: list[asyncio.Future[None] | None]) -> None:
    """Returns when these have ended, or after a while."""
    ours = [task for task in tasks if task is not None]
    for task in ours:
        task.cancel()
    if ours:
        await asyncio.wait(ours, timeout=_SECONDS_TO_CANCEL)
