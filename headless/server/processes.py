"""The only way to the processes of jobs.

A job is started, found after a restart of the server, withdrawn and forgotten by its session and number alone, so that
jobs could run elsewhere one day. What can be done a minute later is `Busy`, whatever the reason.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from headless.dialects.vocabulary import Job
from headless.errors import Busy
from headless.server.home import Home
from headless.server.jobs import (
    JobRefused,
    Process,
    ProcessEnd,
    QueuedJob,
    job_end,
    known,
    output_of,
    path_below,
    prepare,
)
from headless.server.journal import JobEnd
from headless.server.settings import Settings
from headless.server.threads import Threads

if sys.platform == "win32":
    from headless.server.windows_jobs import WindowsJobs

    Platform = WindowsJobs
else:
    from headless.server.shims import Shims

    Platform = Shims

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class JobHandle:
    """Reports of a job that was handed over: it is queued, then it has started, then it has ended.

    `age` is how many seconds it had run when it was found; 0 for a new one, and where that is not known.
    """

    def __init__(
        self, starting: Coroutine[Any, Any, Process], end_of: Callable[[ProcessEnd | None], Awaitable[JobEnd]]
    ) -> None:
        self.age = 0.0
        self._starting = asyncio.ensure_future(starting)
        # An error may be for a caller who has left: asyncio is not to report that.
        self._starting.add_done_callback(lambda starting: starting.cancelled() or starting.exception())
        self._end_of = end_of
        self._ending: asyncio.Future[None] | None = None

    async def started(self) -> None:
        """Returns when the job has started. Raises JobRefused, or Busy: then nothing has run, and nothing will."""
        await asyncio.shield(self._starting)

    async def ended(self) -> JobEnd:
        """Returns how the job has ended, when it has. Raises Busy if that cannot be read now: ask again."""
        process = await asyncio.shield(self._starting)
        return await self._end_of(await process.wait())

    async def withdraw(self) -> None:
        """Ends the job with all that it has started; one that is queued ends as soon as it has started.

        Returns when that is done, within a few seconds whatever the job does. Goes on if the caller is cancelled.
        """
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        await asyncio.wait({self._starting})
        if not self._starting.cancelled() and self._starting.exception() is None:
            await self._starting.result().end()


class JobProcesses:
    """Starts, finds and forgets the jobs of one home."""

    def __init__(self, home: Home, settings: Settings, threads: Threads) -> None:
        self.home_id = home.identity
        self._home = home
        self._settings = settings
        self._threads = threads
        self._processes = Platform(threads, self.home_id)

    @staticmethod
    def running_pid(home: Home, session_id: str, number: int) -> int | None:
        """Returns the number of the job's process as long as it runs. Any process may ask. Raises OSError."""
        return Platform.running_pid(output_of(home, session_id, number))

    @property
    def are_of_another_server(self) -> bool:
        """Returns whether the home was replaced: its jobs are no longer for this server to end."""
        return bool(self._home.replaced)

    def start(self, queued: QueuedJob) -> JobHandle:
        """Begins to start the job, and returns at once."""
        return self._handle(queued.session_id, queued.number, self._start(queued))

    async def find(self, session_id: str, number: int) -> JobHandle | None:
        """Returns a job that an earlier server was about to start, whether it runs or has ended; None if it has not
        started, and will not. Raises Busy."""
        found = await _or_busy(self._processes.find(output_of(self._home, session_id, number)))
        if found is None:
            return None
        handle = self._handle(session_id, number, known(found))
        handle.age = found.age
        return handle

    async def forget(self, session_id: str, number: int) -> None:
        """Removes what only served to find the job again, since its end is in the journal. Raises Busy."""
        await _or_busy(self._threads.call(self._processes.forget, output_of(self._home, session_id, number)))

    async def path_of(self, job: Job) -> str:
        """Returns the path of the job's file below the folder for files; "" for one outside. Raises Busy."""
        try:
            return await _or_busy(self._threads.call(path_below, self._home.py, job.text))
        except JobRefused:
            return ""

    def _handle(self, session_id: str, number: int, starting: Coroutine[Any, Any, Process]) -> JobHandle:
        async def end_of(end: ProcessEnd | None) -> JobEnd:
            if end is not None and end.lost:
                log.warning("session %s: job %d: %d bytes of its output were not stored", session_id, number, end.lost)
            return await _or_busy(self._threads.call(job_end, output_of(self._home, session_id, number), end))

        return JobHandle(starting, end_of)

    async def _start(self, queued: QueuedJob) -> Process:
        """Returns a job that has started. Raises JobRefused, Busy."""
        spec = await _or_busy(self._threads.call(prepare, self._home, self._settings, queued))
        return await _or_busy(self._processes.start(spec))


async def _or_busy(result: Awaitable[_T]) -> _T:
    """Returns the result. Raises Busy in place of what may pass."""
    try:
        return await result
    except (OSError, MemoryError) as error:
        raise Busy(str(error)) from error
