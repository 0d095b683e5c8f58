"""A batch and how far it has come, for whoever follows it.

Here is the state in memory. It is set by batch_queue.py, once the journal has it, and read by reporter.py. What is on
disk is in journal.py: what the jobs are, too, for they may be large, and many batches may wait.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from headless.protocol.vocabulary import OK, QUEUED, RUNNING
from headless.server.journal import AcceptedBatch, KnownBatch


class JobProgress(NamedTuple):
    """How far one job has come: one of the journal's states, why it has ended so, and whether it has ever run."""

    state: str
    message: str = ""
    has_run: bool = True


_QUEUED, _OK = JobProgress(QUEUED, has_run=False), JobProgress(OK)


class Batch:
    """A batch and how far it has come, for any number of followers. The first job has the number 1."""

    def __init__(self, accepted: AcceptedBatch) -> None:
        self.session = accepted.session
        self.account = accepted.account
        self.user = accepted.user
        self.job_count = accepted.job_count
        self.progress = [_QUEUED] * accepted.job_count
        if accepted.running:  # what was before the job that runs has ended well
            self.progress[: accepted.running] = [_OK] * (accepted.running - 1) + [JobProgress(RUNNING)]
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    def over(cls, known: KnownBatch) -> Batch:
        """One that nothing will happen to any more."""
        batch = cls(AcceptedBatch(known.session, known.account, known.user, len(known.jobs)))
        batch.progress = [JobProgress(*job) for job in known.jobs]
        return batch

    def set_progress(self, number: int, state: str, message: str = "") -> None:
        """Sets how far this job has come, and wakes the followers."""
        has_run = state == RUNNING or self.progress[number - 1].has_run
        self.progress[number - 1] = JobProgress(state, message, has_run)
        self._changed.set_result(None)
        self._changed = asyncio.get_running_loop().create_future()

    @property
    def is_over(self) -> bool:
        return self.progress[-1].state not in (QUEUED, RUNNING)

    async def wait_for_change(self, timeout: float) -> bool:
        """Whether something changed within this time, in seconds."""
        return bool((await asyncio.wait({self._changed}, timeout=timeout))[0])
