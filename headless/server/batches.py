"""The queue of accepted batches: so many run at a time, the others wait in order. What happens to a batch is written
into the journal first, and then told to whoever follows it.
"""

from __future__ import annotations

import asyncio
import codecs
import logging
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from headless.protocol.characters import made_fit_for_xml, on_one_line
from headless.protocol.messages import Alive, Ended, Finished, Message, Output, Started
from headless.server import journal
from headless.server.home import Home
from headless.server.jobs import JobRefused, RunningJob
from headless.server.journal import AcceptedBatch, Journal
from headless.server.process import Processes

log = logging.getLogger(__name__)

_OUTPUT_POLL_SECONDS = 0.05
_OUTPUT_BYTES = 65536
_STOPPING = "the server was stopped"


class _JobProgress(NamedTuple):
    state: str
    message: str = ""


class Batch:
    """A batch and how far it has come, for any number of followers."""

    def __init__(self, accepted: AcceptedBatch) -> None:
        self.accepted = accepted
        self.progress = [_JobProgress(journal.QUEUED)] * len(accepted.jobs)
        self._changed = asyncio.Event()

    def set(self, number: int, state: str, message: str = "") -> None:
        self.progress[number - 1] = _JobProgress(state, message)
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def is_over(self) -> bool:
        return self.progress[-1].state not in (journal.QUEUED, journal.RUNNING)

    async def change(self, seconds: float) -> bool:
        """Whether something changed within this time."""
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        return True


async def follow(batch: Batch, home: Home, heartbeat: float) -> AsyncIterator[Message]:
    """What is to be said about the batch, as it happens, up to `ended`; `alive` after so many seconds without anything.

    Asked for no faster than the follower can pass it on, so nothing piles up here.
    """
    failed = False
    for number in range(1, len(batch.accepted.jobs) + 1):
        while batch.progress[number - 1].state == journal.QUEUED:
            if not await batch.change(heartbeat):
                yield Alive()
        if batch.progress[number - 1].state != journal.SKIPPED:
            yield Started(number)
            async for message in _outputs(batch, number, home, heartbeat):
                yield message
        state, text = batch.progress[number - 1]
        status = "failed" if state == journal.INTERRUPTED else state
        failed = failed or status != "ok"
        yield Finished(number, status, text)
    yield Ended("failed" if failed else "ok")


async def _outputs(batch: Batch, number: int, home: Home, heartbeat: float) -> AsyncIterator[Message]:
    tails = [_Tail(home, batch.accepted.session, number, stream) for stream in ("stdout", "stderr")]
    idle = 0.0
    while True:
        is_running = batch.progress[number - 1].state == journal.RUNNING
        found = False
        for tail in tails:
            text = tail.read(is_complete=not is_running)
            if text:
                found = True
                yield Output(number, tail.stream, text)
        if found:
            idle = 0.0
        elif not is_running:
            return
        elif not await batch.change(_OUTPUT_POLL_SECONDS):
            idle += _OUTPUT_POLL_SECONDS
            if idle >= heartbeat:
                idle = 0.0
                yield Alive()


class _Tail:
    """What has been added to the stored output of a job since the last look."""

    def __init__(self, home: Home, session: str, number: int, stream: str) -> None:
        self.stream = stream
        self._path = home.output(session, number, stream)
        self._position = 0
        self._end = sys.maxsize  # where the job's output ends, whatever a child of it still adds
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self, is_complete: bool) -> str:
        """At most _OUTPUT_BYTES of it; "" if there is nothing, for the time being or for good."""
        try:
            with open(self._path, "rb") as file:
                if is_complete:
                    self._end = min(self._end, file.seek(0, os.SEEK_END))
                file.seek(self._position)
                data = file.read(min(_OUTPUT_BYTES, self._end - self._position))
        except FileNotFoundError:  # the process could not be started
            data = b""
        self._position += len(data)
        return made_fit_for_xml(self._decoder.decode(data, final=is_complete and len(data) < _OUTPUT_BYTES))


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


class Batches:
    """All batches of a server that are not over."""

    def __init__(self, home: Home, record: Journal, processes: Processes, workers: int) -> None:
        self._home = home
        self._journal = record
        self._processes = processes
        self._workers = workers
        self._waiting: deque[Batch] = deque()
        self._running: set[asyncio.Future[None]] = set()
        self._jobs: dict[Batch, RunningJob] = {}
        self._is_stopping = False

    def recover(self) -> None:
        """Takes up what an earlier server of this home accepted and did not start."""
        for session, number in self._journal.interrupt_running():
            log.warning("session %s: job %d interrupted: %s", session, number, journal.REASON_OF_CRASH)
        for accepted in self._journal.queued():
            log.info("session %s: queued again, %d jobs", accepted.session, len(accepted.jobs))
            self._waiting.append(Batch(accepted))
        self._start_what_fits()

    def accept(self, accepted: AcceptedBatch) -> Batch:
        """The batch, which is in the journal for good and will run. Raises OSError or sqlite3.Error if it is not."""
        self._home.output(accepted.session, 1, "py").parent.mkdir(mode=0o700)
        self._journal.accept(accepted)
        user = on_one_line(accepted.user)
        log.info("session %s: accepted %d jobs of %s", accepted.session, len(accepted.jobs), user)
        batch = Batch(accepted)
        self._waiting.append(batch)
        self._start_what_fits()
        return batch

    async def forget(self, days: float) -> None:
        """Removes what has been over for so many days from journal and disk, and output that no session has."""
        for session in self._journal.prune(time.time() - days * 86400):
            log.info("session %s: forgotten, it was over for %g days", session, days)
        # Looked for here, where nobody accepts a batch meanwhile; removed where it holds up nobody.
        doomed = self._home.orphaned_outputs(self._journal.sessions())
        await asyncio.get_running_loop().run_in_executor(None, _remove, doomed)

    async def stop(self, grace: float, hurry: asyncio.Event) -> None:
        """Starts no more batches, gives the running ones so many seconds, or until told to hurry, and ends what is left
        of them."""
        self._is_stopping = True
        if self._running:
            hurried = asyncio.ensure_future(hurry.wait())
            ended = asyncio.ensure_future(asyncio.wait(self._running))
            await asyncio.wait({hurried, ended}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()
            ended.cancel()
        while self._running:  # again, if a job was about to start
            running = set(self._running)
            await asyncio.gather(*(job.interrupt(_STOPPING) for job in self._jobs.values()))
            await asyncio.wait(running, timeout=0.1)

    def _start_what_fits(self) -> None:
        while self._waiting and len(self._running) < self._workers and not self._is_stopping:
            running = asyncio.ensure_future(self._run(self._waiting.popleft()))
            self._running.add(running)
            running.add_done_callback(self._ended)

    def _ended(self, running: asyncio.Future[None]) -> None:
        self._running.discard(running)
        self._start_what_fits()

    async def _run(self, batch: Batch) -> None:
        session = batch.accepted.session
        number = 1
        try:
            self._journal.begin(session)
            for number in range(1, len(batch.accepted.jobs) + 1):
                batch.set(number, journal.RUNNING)
                log.info("session %s: job %d started", session, number)
                state, message = await self._run_job(batch, number)
                self._journal.finish(session, number, state, message)
                log.info(
                    "session %s: job %d %s", session, number, on_one_line(f"{state}: {message}" if message else state)
                )
                batch.set(number, state, message)
                if state != journal.OK:
                    break
        except Exception:  # a full disk, say: whoever waits must not wait for ever
            log.exception("session %s: given up at job %d", session, number)
            batch.set(number, journal.FAILED, "the server could not go on, its log says why")
        for rest in range(number + 1, len(batch.accepted.jobs) + 1):
            batch.set(rest, journal.SKIPPED)

    async def _run_job(self, batch: Batch, number: int) -> tuple[str, str]:
        try:
            self._jobs[batch] = job = await RunningJob.start(self._home, self._processes, batch.accepted, number)
            return await job.end()
        except (OSError, JobRefused) as error:
            return journal.FAILED, f"the job could not be run: {error}"
        finally:
            self._jobs.pop(batch, None)
