"""A batch and how far it has come, for whoever follows it.

Here is the state in memory. It is set by batch_queue.py, once the journal has it, and read by reporter.py. What is on
disk is in journal.py.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from headless.server.journal import QUEUED, RUNNING, AcceptedBatch


class JobProgress(NamedTuple):
    """How far one job has come: one of the journal's states, and why it has ended so."""

    state: str
    message: str = ""


class Batch:
    """A batch and how far it has come, for any number of followers. The first job has the number 1."""

    def __init__(self, accepted: AcceptedBatch) -> None:
        self.accepted = accepted
        self.progress = [JobProgress(QUEUED)] * len(accepted.jobs)
        self._changed = asyncio.Event()

    def set_progress(self, number: int, state: str, message: str = "") -> None:
        """Sets how far this job has come, and wakes the followers."""
        self.progress[number - 1] = JobProgress(state, message)
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def is_over(self) -> bool:
        return self.progress[-1].state not in (QUEUED, RUNNING)

    async def wait_for_change(self, timeout: float) -> bool:
        """Whether something changed within this time, in seconds."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout)
        except asyncio.TimeoutError:
            return False
        return True
