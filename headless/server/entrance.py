"""What a session must be before it is recorded: runnable, allowed, and with room for it on the disk.

Here is what is checked, in threads and with a time limit. What a job is, jobs.py says, and what an account may run
accounts.py. How the caller is told is in session.py.
"""

from __future__ import annotations

import asyncio

from headless.dialects.vocabulary import PY_CODE, Job
from headless.errors import Busy
from headless.server.accounts import Account
from headless.server.disk import Disk
from headless.server.home import Home
from headless.server.jobs import check_scripts
from headless.server.journal import SubmittedSession
from headless.server.threads import Threads

_SECONDS = 5.0  # for the files of one session
_THREADS, _BACKLOG = 2, 500
_FEW = 100  # jobs that may be looked at in the event loop, if no file has to be


class Entrance:
    """Checks the sessions of one server."""

    def __init__(self, home: Home, disk: Disk) -> None:
        self._home = home
        self._disk = disk
        self._threads = Threads("looking for scripts", _THREADS, _BACKLOG)

    async def check(self, account: Account, submitted: SubmittedSession) -> None:
        """Raises JobRefused, Busy."""
        if len(submitted.jobs) <= _FEW and all(job.kind == PY_CODE for job in submitted.jobs):
            check_scripts(self._home, account, submitted.jobs, _SECONDS)  # which looks for no file then
            if self._disk.is_known_to_have_room(_size_of(submitted.jobs)):
                return
        try:
            await self._threads.call(self._check, account, submitted.jobs, timeout=2 * _SECONDS)
        except (asyncio.TimeoutError, TimeoutError):
            raise Busy("looking for the scripts of the jobs takes too long") from None
        except OSError as error:
            raise Busy(f"the disk of the server cannot be read: {error.strerror or error}") from None

    def _check(self, account: Account, jobs: tuple[Job, ...]) -> None:
        """Raises JobRefused, Busy, TimeoutError, OSError."""
        self._disk.check_room(_size_of(jobs))
        check_scripts(self._home, account, jobs, _SECONDS)


def _size_of(jobs: tuple[Job, ...]) -> int:
    """Characters, which are bytes as far as it matters here."""
    return sum(len(job.text) for job in jobs)
