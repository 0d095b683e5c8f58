"""The run of one session: its jobs one after the other, up to the first that fails.

What happens to a job is in the journal first, and is then reported to the followers of its session. A job that cannot
be started now, or whose end cannot be journaled now, has to wait: that is no outcome.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from headless.dialects.vocabulary import FAILED, OK, QUEUED, RUNNING, title_of
from headless.errors import Busy
from headless.server.jobs import REASON_OF_LOSS, JobRefused, QueuedJob
from headless.server.journal import INTERRUPTED, JobEnd, Journal
from headless.server.processes import JobHandle, JobProcesses
from headless.server.session import Session
from headless.server.store import PathNeeded, Store
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

_FIRST_PAUSE, _PAUSE_MAX = 0.1, 5.0  # seconds between attempts
_LOG_AGAIN_ATTEMPTS = 12

_T = TypeVar("_T")


class Tasks:
    """Holds tasks that nothing else refers to."""

    def __init__(self) -> None:
        self.running: set[asyncio.Future[Any]] = set()

    def start(self, work: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(work)
        self.running.add(task)
        task.add_done_callback(self.running.discard)


class Runner:
    """Runs a session from the job at hand on.

    A job has `time_limit` seconds, None for no limit. `requested` returns the end that somebody wants for this job of
    this session. `ending` is the one that its job is brought to, or that keeps it from starting.
    """

    def __init__(
        self,
        session: Session,
        store: Store,
        jobs: JobProcesses,
        time_limit: float | None,
        requested: Callable[[str, int], JobEnd | None],
    ) -> None:
        self.session = session
        self.ending: JobEnd | None = None
        self.has_worker = True  # not as long as the job of an earlier server cannot be found
        self.is_found = asyncio.Event()  # or there was none
        self.is_settled = asyncio.Event()  # found, or without a worker until it is
        self.task: asyncio.Future[None]
        self.background = Tasks()
        self._store = store
        self._jobs = jobs
        self._time_limit = time_limit
        self._requested = requested
        self._handle: JobHandle | None = None  # of the job at hand, once it was handed to the processes
        if session.state != RUNNING:
            self.settle()

    async def run(self, is_same_boot: bool, on_set_aside: Callable[[], None]) -> None:
        """Returns when the session is over. `is_same_boot` says that an earlier server ran since the machine was
        started. `on_set_aside` is called when the worker is free for another session. Raises JobTaken."""
        session = self.session
        if session.state == RUNNING:
            await self._find(is_same_boot, on_set_aside)
            self.settle()
        if session.state == QUEUED:
            await self._begin()
        while session.state == RUNNING:
            await self._finish(await self._run_job())

    def settle(self) -> None:
        """Marks that there is no job to be found any more."""
        self.is_found.set()
        self.is_settled.set()

    def end(self, end: JobEnd) -> None:
        """Ends the job, if one runs or is being started."""
        if self._handle is not None and self.ending is None:
            self.ending = end
            self.background.start(self._handle.withdraw())

    async def _find(self, is_same_boot: bool, on_set_aside: Callable[[], None]) -> None:
        """Finds the job that an earlier server has started."""
        session = self.session

        def set_aside() -> None:
            self.has_worker = False
            self.is_settled.set()
            on_set_aside()

        self._handle = await retry(self._name, lambda: self._jobs.find(session.id, session.job), set_aside)
        self.has_worker = True
        if self._handle is not None:
            log.info("%s had started, resumed", self._name)
        elif is_same_boot:
            log.info("%s had not started", self._name)
            await self._store.write(Journal.requeue, session.id, session.job, session.started)
            session.requeue()
        else:  # what was not on disk when the machine was switched off proves nothing
            end = JobEnd(INTERRUPTED, REASON_OF_LOSS)
            await self._store.finish(session.id, session.job, end)
            self._report(session.job, end)

    async def _begin(self) -> None:
        session = self.session
        end = self.ending or self._requested(session.id, session.job)
        if end is not None:
            await self._finish(end)
            return
        refused = await self._write(lambda path: self._store.begin(session.id, session.job, path))
        if refused is not None:
            self._report(session.job, refused)
        else:
            session.begin(session.job)

    async def _run_job(self) -> JobEnd:
        """Starts the job, if it has not started yet, and waits for its end."""
        end = None if self._handle is not None else await retry(self._name, self._start_job)
        if end is None:
            end = await self._wait()
        self._handle = self.ending = None
        return end

    async def _start_job(self) -> JobEnd | None:
        """Returns None when the job has started, or how it ends if it is not to start. Raises Busy."""
        session = self.session
        end = self._requested(session.id, session.job)
        if end is not None:
            return end
        job = await self._store.read(Journal.job, session.id, session.job)
        self._handle = self._jobs.start(QueuedJob(session.id, session.job, session.user, job))
        try:
            await self._handle.started()
        except JobRefused as error:
            return JobEnd(FAILED, f"the job could not be run: {error}")
        except Busy:
            self._handle = self.ending = None
            raise
        log.info("%s started: %s %s", self._name, job.kind, escape_control_chars(title_of(job.kind, job.text)))
        return None

    async def _wait(self) -> JobEnd:
        """Returns how the job has ended. The one who has ended it says why."""
        assert self._handle is not None
        timer = None
        if self._time_limit is not None:
            late = JobEnd(FAILED, f"ended after {self._time_limit:g} s, the limit of this server")
            seconds = max(0.0, self._time_limit - self._handle.age)
            timer = asyncio.get_running_loop().call_later(seconds, self.end, late)
        try:
            end = await retry(self._name, self._handle.ended)
        finally:
            if timer is not None:
                timer.cancel()
        if end.state != INTERRUPTED:
            return end
        asked = self.ending or self._requested(self.session.id, self.session.job) or end
        return end._replace(state=asked.state, message=asked.message)

    async def _finish(self, end: JobEnd) -> None:
        """Journals the end of the job and the start of the next one, and then reports both."""
        session, job = self.session, self.session.job
        refused = await self._write(lambda path: self._store.finish(session.id, job, end, path))
        self._report(job, end)
        self.background.start(self._forget(session.id, job))
        if refused is not None:
            self._report(job + 1, refused)
        elif end.state == OK and job < session.job_count:
            session.begin(job + 1)

    async def _write(self, write: Callable[[str | None], Awaitable[_T]]) -> _T:
        """Returns what the write returns, which needs the path of a file if the account is limited to some folders."""
        try:
            return await write(None)
        except PathNeeded as needed:
            job = needed.job
        what = f"session {self.session.id}: the path of the next job"
        return await write(await retry(what, lambda: self._jobs.path_of(job)))

    def _report(self, job: int, end: JobEnd) -> None:
        reason = f": {escape_control_chars(end.message)}" if end.message else ""
        log.info("session %s: job %d %s%s", self.session.id, job, end.state, reason)
        self.session.end(job, end.state, end.message)

    async def _forget(self, session_id: str, job: int) -> None:
        with suppress(Busy):  # it goes with the session
            await self._jobs.forget(session_id, job)

    @property
    def _name(self) -> str:
        return f"session {self.session.id}: job {self.session.job}"


async def retry(what: str, attempt: Callable[[], Awaitable[_T]], on_failure: Callable[[], None] = lambda: None) -> _T:
    """Returns the result of the attempt, which is made again as long as something that it needs is not there."""
    pause, attempts = _FIRST_PAUSE, 0
    while True:
        try:
            return await attempt()
        except (MemoryError, Busy) as error:
            if attempts % _LOG_AGAIN_ATTEMPTS == 0:
                log.warning("%s has to wait, and is tried again: %s", what, escape_control_chars(str(error)))
        on_failure()
        attempts += 1
        await asyncio.sleep(pause)
        pause = min(2 * pause, _PAUSE_MAX)
