"""One session: what a client has asked for, and how far its jobs are."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import NamedTuple

from headless.dialects.vocabulary import FAILED, OK, QUEUED, RUNNING, SKIPPED, Job


class NewSession(NamedTuple):
    """Holds the jobs that a client submits, in the order in which they run. `account` is the number of the account,
    `user` its name, `key` what the client has made to name the session, if it has, and `host` its address."""

    id: str
    account: int
    user: str
    jobs: tuple[Job, ...]
    key: str | None = None
    host: str = ""

    def digest(self) -> bytes:
        """Returns what is the same for the same jobs in the same order, and for no others."""
        digest = hashlib.sha256()
        for job in self.jobs:
            text = job.text.encode("utf-8")
            digest.update(f"{job.kind} {len(text)} ".encode("ascii") + text)
        return digest.digest()


@dataclass(eq=False)
class Session:
    """Holds how far a session is. Any number of followers may wait for a change.

    The jobs run one after the other, so the job at hand says it all: those before it have ended well, those after it
    wait or are skipped. `job` is its number, from 1, and `state`, `message`, `title` and `started` are of that job.
    `number` grows from session to session. Times are seconds since the epoch; a job that has never run has none.
    """

    id: str
    account: int
    user: str
    job_count: int
    job: int = 1
    state: str = QUEUED
    message: str = ""
    started: float | None = None
    accepted: float = 0.0
    number: int = 0
    title: str = ""
    _changed: asyncio.Future[None] | None = None  # as long as it is waited for

    def state_of(self, job: int) -> str:
        if job == self.job:
            return self.state
        if job < self.job:
            return OK
        return QUEUED if self.state in (QUEUED, RUNNING, OK) else SKIPPED

    def has_run(self, job: int) -> bool:
        """Returns whether the job runs or has run."""
        return job < self.job or (job == self.job and self.started is not None)

    def outcome_of(self, job: int) -> tuple[str, str]:
        """Returns OK, FAILED or SKIPPED, and the reason, of a job that is over."""
        message = self.message if job == self.job else ""
        if not self.has_run(job):
            return SKIPPED, message
        return OK if self.state_of(job) == OK else FAILED, message

    @property
    def first_not_ok(self) -> int:
        """Returns the number of the first job that has not ended well; one more than there are if all have."""
        return self.job + (self.state == OK)

    @property
    def is_over(self) -> bool:
        return self.state_of(self.job_count) not in (QUEUED, RUNNING)

    def begin(self, job: int) -> None:
        """Sets that the job runs, and that those before it have ended well."""
        self.job, self.state, self.message, self.started = job, RUNNING, "", time.time()
        self.wake()

    def end(self, job: int, state: str, message: str) -> None:
        """Sets that the job has ended, or will not start."""
        self.started = self.started if job == self.job else None
        self.job, self.state, self.message = job, state, message
        self.wake()

    def requeue(self) -> None:
        """Sets that the job at hand waits: it was journaled as running, but has not started."""
        self.state, self.started = QUEUED, None
        self.wake()

    @property
    def changed(self) -> asyncio.Future[None]:
        """Returns a future that is done at the next change."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        return self._changed

    def wake(self) -> None:
        """Lets the followers look again."""
        if self._changed is not None:
            self._changed.set_result(None)
            self._changed = None

    async def wait_for_change(self, timeout: float | None = None) -> None:
        """Returns at the next change, or after so many seconds."""
        await asyncio.wait({self.changed}, timeout=timeout)
