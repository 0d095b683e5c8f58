"""The disk that the home is on: how much room is left, what is set aside for the journal, and what is pruned."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from headless.errors import Busy
from headless.server.home import Home
from headless.server.journal import CALENDAR, Journal
from headless.server.store import Store
from headless.server.threads import Threads

log = logging.getLogger(__name__)

_RESERVE_BYTES = 4 * 1024 * 1024
_KNOWN_SECONDS = 0.1  # for which a look counts, where there is plenty: more than can be written in that time
_PLENTY_BYTES = 512 * 1024 * 1024
_JOURNAL_FACTOR = 2  # what is accepted is written to the log of the database, and then to the database

_SECONDS_PER_DAY = 86400
_EVERY_SECONDS = 3600.0
_AT_ONCE = 100  # sessions that are removed in one transaction
_PAUSE_SECONDS = 0.05  # between two of them, in which others write
_PACE = 2.0  # how much faster than the server's own time its calendar may go


class Disk:
    """Watches the disk of one home. `floor` is how many bytes accepted sessions leave free.

    Jobs and others can fill it. Then no more sessions are accepted, and the journal uses its reserve: the ends of the
    jobs that run have to be recorded.
    """

    def __init__(self, folder: Path, floor: int) -> None:
        self._folder = folder
        self._reserve = folder / "reserve"
        self._floor = floor
        self._known_room = 0  # above the floor, when that was looked at
        self._looked = float("-inf")

    def check_room(self, size: int) -> None:
        """Raises Busy if a session of so many bytes has no room, OSError if that is not known."""
        self._known_room = self.free() - self._floor
        self._looked = time.monotonic()
        if self._known_room < _JOURNAL_FACTOR * size:
            raise Busy("the disk of the server is full")
        self._known_room -= _JOURNAL_FACTOR * size

    def is_known_to_have_room(self, size: int) -> bool:
        """Returns whether a look a moment ago has shown so much room that a session of so many bytes has its share in
        any case, besides those that were checked since. Does not look again."""
        is_old = time.monotonic() - self._looked > _KNOWN_SECONDS
        if is_old or self._known_room < _PLENTY_BYTES + _JOURNAL_FACTOR * size:
            return False
        self._known_room -= _JOURNAL_FACTOR * size
        return True

    def free(self) -> int:
        """Returns the bytes that this user could write. Raises OSError."""
        return shutil.disk_usage(self._folder).free

    def set_aside(self) -> None:
        """Fills the reserve, unless there is no more room than that. Never raises."""
        with suppress(OSError):
            if self.free() < self._floor + _RESERVE_BYTES:
                return
            with open(self._reserve, "ab", opener=_open_private) as file:
                while file.tell() < _RESERVE_BYTES:
                    file.write(bytes(65536))

    def make_room(self) -> None:
        """Gives the reserve to the journal. Never raises."""
        with suppress(OSError):
            os.truncate(self._reserve, 0)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Retention:
    """Prunes sessions that have been over for more than `days` days, with None no session; and output that belongs to
    no session."""

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
        now = await self._read_calendar()
        if self._days is not None:
            await self._prune(now - self._days * _SECONDS_PER_DAY)
        await self._remove_orphans()

    async def _read_calendar(self) -> float:
        """Returns the time, in seconds since the epoch, as far as the clock can be believed.

        A wrong clock must not remove what cannot be brought back. So the time that the journal knows follows the clock
        at most twice as fast as this server runs: after a jump it lags behind.
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
        """Removes what was over before that. Raises OSError, Busy."""
        await self._store.write(Journal.prune_history, before)
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
