"""Retention: how long sessions that are over stay in journal and disk, and how they are pruned.

Here is when that happens, what is removed, and which clock decides. The queries are in journal.py, the folders in
home.py.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from pathlib import Path

from headless.errors import Busy
from headless.server.home import Home
from headless.server.journal import CALENDAR, Journal
from headless.server.store import Store
from headless.server.threads import Threads

log = logging.getLogger(__name__)

_SECONDS_PER_DAY = 86400
_EVERY_SECONDS = 3600.0
_AT_ONCE = 100  # sessions that are removed in one transaction
_PAUSE_SECONDS = 0.05  # between two of them: sessions want to write, too
_PACE = 2.0  # how much faster than the server's own time its calendar may go


class Retention:
    """Prunes what has been over for more than `days` days; None: only output that belongs to no session."""

    def __init__(self, home: Home, store: Store, threads: Threads, days: float | None) -> None:
        self._home = home
        self._store = store
        self._threads = threads
        self._days = days
        self._looked: float | None = None  # by the clock that is never set

    async def run(self) -> None:
        """Prunes now and every hour, until it is cancelled. A failure is logged, and tried again an hour later."""
        while True:
            try:
                await self.prune()
            except (OSError, Busy) as error:
                log.error("old sessions cannot be pruned: %s", error)
            await asyncio.sleep(_EVERY_SECONDS)

    async def prune(self) -> None:
        """Removes what is too old by now. Raises OSError, Busy."""
        today = await self._read_calendar()
        if self._days is not None:
            await self._prune(today - self._days * _SECONDS_PER_DAY)
        await self._remove_orphans()

    async def _read_calendar(self) -> float:
        """Now, in seconds since the epoch, as far as the clock can be believed.

        A clock that is wrong must not remove what nobody can bring back. So what the journal knows of the time goes
        on with the clock, but never faster than twice as fast as this server runs: after a jump it lags behind.
        """
        elapsed = 0.0 if self._looked is None else time.monotonic() - self._looked
        self._looked = time.monotonic()
        fact = await self._store.read(Journal.fact, CALENDAR)
        known = await self._store.read(Journal.last_acceptance) if fact is None else float(fact)
        now = time.time()
        if known is not None:
            believed = min(now, known + _PACE * elapsed)
            if now - believed > _SECONDS_PER_DAY:
                days = (now - believed) / _SECONDS_PER_DAY
                log.warning("the clock is %.1f days ahead of the journal, which follows slowly: --keep waits", days)
            now = believed
        if fact is None or now > float(fact):
            await self._store.write(Journal.set_fact, CALENDAR, repr(now))
        return now

    async def _prune(self, before: float) -> None:
        """Removes sessions that were over before that. Raises OSError, Busy."""
        while sessions := await self._store.write(Journal.prune, before, _AT_ONCE):
            for session_id in sessions:
                log.info("session %s: pruned, it was over for %g days", session_id, self._days)
            folders = [self._home.output(session_id, 1, "").parent for session_id in sessions]
            await self._threads.call(_remove, folders)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _remove_orphans(self) -> None:
        """Removes stored output that belongs to no session: its removal was interrupted."""
        folders = await self._threads.call(self._home.outputs)
        for start in range(0, len(folders), _AT_ONCE):
            some = {folder.name: folder for folder in folders[start : start + _AT_ONCE]}
            unknown = await self._store.read(Journal.unknown_sessions, some)
            await self._threads.call(_remove, [some[name] for name in unknown])


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
