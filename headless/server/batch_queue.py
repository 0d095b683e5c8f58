"""The queue of accepted batches: so many run at a time, the others wait in their order.

Here is which batch runs when, and that the jobs of a batch run one after the other. What happens to a job is written
to the journal first, and then made known to the followers of its batch. How one job runs is in jobs.py, what followers
are told in reporter.py.

(Not queue.py: forkserver.py is run as a script, and finds this folder before the standard library.)
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from headless.protocol.vocabulary import FAILED, OK, SKIPPED
from headless.server.batch import Batch
from headless.server.home import Home
from headless.server.jobs import JobRefused, RunningJob
from headless.server.journal import REASON_OF_CRASH, RUNNING, AcceptedBatch, Journal
from headless.server.process import Processes
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

_REASON_OF_STOP = "the server was stopped"
_STOP_POLL_SECONDS = 0.1


class BatchQueue:
    """All batches of a server that are not over. `workers` is how many run at a time."""

    def __init__(self, home: Home, record: Journal, processes: Processes, workers: int) -> None:
        self._home = home
        self._journal = record
        self._processes = processes
        self._workers = workers
        self._waiting: deque[Batch] = deque()
        self._running: set[asyncio.Future[None]] = set()
        self._jobs: dict[Batch, RunningJob] = {}
        self.is_stopping = False

    def recover(self) -> None:
        """Takes up what an earlier server of this home accepted and did not start. Raises sqlite3.Error."""
        for session, number in self._journal.interrupt_running():
            log.warning("session %s: job %d interrupted: %s", session, number, REASON_OF_CRASH)
        for accepted in self._journal.queued():
            log.info("session %s: queued again, %d jobs", accepted.session, len(accepted.jobs))
            self._waiting.append(Batch(accepted))
        self._start_next()

    def accept(self, accepted: AcceptedBatch) -> Batch:
        """The batch, which is in the journal for good and will run. Raises OSError or sqlite3.Error if it is not."""
        self._home.output(accepted.session, 1, "py").parent.mkdir(mode=0o700)
        self._journal.accept(accepted)
        user = escape_control_chars(accepted.user)
        log.info("session %s: accepted %d jobs of %s", accepted.session, len(accepted.jobs), user)
        batch = Batch(accepted)
        self._waiting.append(batch)
        self._start_next()
        return batch

    async def stop(self, grace: float, force_stop: asyncio.Event) -> None:
        """Starts no more batches. The running ones have `grace` seconds, or until `force_stop` is set, to end; what is
        left of them then is ended."""
        self.is_stopping = True
        if self._running:
            forced = asyncio.ensure_future(force_stop.wait())
            ended = asyncio.ensure_future(asyncio.wait(self._running))
            await asyncio.wait({forced, ended}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
            forced.cancel()
            ended.cancel()
        while self._running:  # again, if a job was about to start
            running = set(self._running)
            await asyncio.gather(*(job.interrupt(_REASON_OF_STOP) for job in self._jobs.values()))
            await asyncio.wait(running, timeout=_STOP_POLL_SECONDS)

    def _start_next(self) -> None:
        """Starts as many waiting batches as there are free workers."""
        while self._waiting and len(self._running) < self._workers and not self.is_stopping:
            running = asyncio.ensure_future(self._run(self._waiting.popleft()))
            self._running.add(running)
            running.add_done_callback(self._on_batch_over)

    def _on_batch_over(self, running: asyncio.Future[None]) -> None:
        self._running.discard(running)
        self._start_next()

    async def _run(self, batch: Batch) -> None:
        """Runs the jobs of a batch, one after the other, up to the first that fails."""
        session = batch.accepted.session
        number = 1
        try:
            self._journal.begin(session)
            for number in range(1, len(batch.accepted.jobs) + 1):
                if not await self._run_and_record(batch, number):
                    break
        except Exception:  # a full disk, say: whoever waits must not wait for ever
            log.exception("session %s: given up at job %d", session, number)
            batch.set_progress(number, FAILED, "the server could not go on, its log says why")
        for rest in range(number + 1, len(batch.accepted.jobs) + 1):
            batch.set_progress(rest, SKIPPED)

    async def _run_and_record(self, batch: Batch, number: int) -> bool:
        """Whether the job ended well, and the next one is to run. Raises sqlite3.Error."""
        session = batch.accepted.session
        batch.set_progress(number, RUNNING)
        log.info("session %s: job %d started", session, number)
        state, message = await self._run_job(batch, number)
        self._journal.finish(session, number, state, message)
        reason = f": {escape_control_chars(message)}" if message else ""
        log.info("session %s: job %d %s%s", session, number, state, reason)
        batch.set_progress(number, state, message)
        return state == OK

    async def _run_job(self, batch: Batch, number: int) -> tuple[str, str]:
        """How the job ended, as a state of the journal, and why."""
        try:
            self._jobs[batch] = job = await RunningJob.start(self._home, self._processes, batch.accepted, number)
            return await job.wait()
        except (OSError, JobRefused) as error:
            return FAILED, f"the job could not be run: {error}"
        finally:
            self._jobs.pop(batch, None)
