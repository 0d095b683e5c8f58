"""Retention: how long sessions that are over stay in journal and disk, and how they are pruned.

Here is when that happens and what is removed. The queries are in journal.py, the folders in home.py.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
import time
from pathlib import Path

from headless.server.home import Home
from headless.server.journal import Journal

log = logging.getLogger(__name__)

_SECONDS_PER_DAY = 86400
_PRUNE_EVERY_SECONDS = 3600.0


class Retention:
    """Prunes what has been over for more than `days` days."""

    def __init__(self, home: Home, record: Journal, days: float) -> None:
        self._home = home
        self._journal = record
        self._days = days

    async def run(self) -> None:
        """Prunes now and every hour, until it is cancelled. A failure is logged, and tried again an hour later."""
        while True:
            try:
                await self._prune()
            except (OSError, sqlite3.Error) as error:
                log.error("old sessions cannot be pruned: %s", error)
            await asyncio.sleep(_PRUNE_EVERY_SECONDS)

    async def _prune(self) -> None:
        """Removes old sessions, and stored output that no session has. Raises OSError, sqlite3.Error."""
        for session in self._journal.prune(time.time() - self._days * _SECONDS_PER_DAY):
            log.info("session %s: pruned, it was over for %g days", session, self._days)
        # Looked for here, where nobody accepts a batch meanwhile; removed where it holds up nobody.
        orphaned = self._home.orphaned_outputs(self._journal.sessions())
        await asyncio.get_running_loop().run_in_executor(None, _remove, orphaned)


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
