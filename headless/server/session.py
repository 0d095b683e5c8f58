"""A session and how far it has come, for whoever follows it.

Here is the state in memory. It is set by queue.py, once the journal has it, and read by reporter.py. What is on
disk is in journal.py: what the jobs are, too, for they may be large, and many sessions may wait.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from headless.dialects.vocabulary import OK, QUEUED, RUNNING, SKIPPED
from headless.server.journal import AcceptedSession, KnownSession


class JobProgress(NamedTuple):
    """How far one job has come: one of the journal's states, why it has ended so, and whether it has ever run."""

    state: str
    message: str = ""
    has_run: bool = True


_QUEUED, _SKIPPED = JobProgress(QUEUED, has_run=False), JobProgress(SKIPPED, has_run=False)
_OK, _RUNNING = JobProgress(OK), JobProgress(RUNNING)


class Session:
    """A session and how far it has come, for any number of followers, who wait for `changed`. The first job has the
    number 1.

    Its jobs run one after the other. So the job at hand says it all, however many there are: what is before it has
    ended well, and what is behind it waits, or is skipped.
    """

    def __init__(self, accepted: AcceptedSession) -> None:
        self.session_id = accepted.session_id
        self.account = accepted.account
        self.user = accepted.user
        self.job_count = accepted.job_count
        self._number = accepted.running or 1
        self._at_hand = _RUNNING if accepted.running else _QUEUED
        self.changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    def over(cls, known: KnownSession) -> Session:
        """One that nothing will happen to any more."""
        session = cls(AcceptedSession(known.session_id, known.account, known.user, known.job_count))
        session._number, session._at_hand = known.job, JobProgress(known.state, known.message, known.has_run)
        return session

    def progress(self, number: int) -> JobProgress:
        """How far this job has come."""
        if number == self._number:
            return self._at_hand
        if number < self._number:
            return _OK
        return _QUEUED if self._at_hand.state in (QUEUED, RUNNING, OK) else _SKIPPED

    @property
    def first_not_ok(self) -> int:
        """The number of the first job that has not ended well, one more than there are if all have."""
        return self._number + (self._at_hand.state == OK)

    @property
    def is_over(self) -> bool:
        return self.progress(self.job_count).state not in (QUEUED, RUNNING)

    def set_progress(self, number: int, state: str, message: str = "") -> None:
        """Sets how far this job has come, after those before it have ended well, and wakes the followers."""
        has_run = state == RUNNING or self.progress(number).has_run
        self._number, self._at_hand = number, JobProgress(state, message, has_run)
        self.wake()

    def set_not_started(self) -> None:
        """The job at hand was journaled as running, and has not started: it waits."""
        self._at_hand = _QUEUED
        self.wake()

    def wake(self) -> None:
        """Lets the followers look again."""
        self.changed.set_result(None)
        self.changed = asyncio.get_running_loop().create_future()

    async def wait_for_change(self, timeout: float) -> bool:
        """Whether something changed within this time, in seconds."""
        return bool((await asyncio.wait({self.changed}, timeout=timeout))[0])
