"""A store whose database fails when a test says so, and whose clock goes faster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Callable

import pytest

from headless.server import store as store_module
from headless.server.accounts import Accounts, Limits
from headless.server.journal import Journal, Selection
from headless.server.store import Store
from support.faulty_database import FaultyDatabase
from support.homes import R41, make_home
from support.waiting import in_time

ACCEPT_SECONDS = store_module._ACCEPT_SECONDS
PACE = 10  # how many times as fast the clock of the store goes


class Bench:
    """A store, the connection that it writes with, and how often it has asked for room."""

    def __init__(self, folder: Path) -> None:
        self.home = make_home(folder, R41)
        self.rooms = 0
        self._opened: list[FaultyDatabase] = []
        self.store = Store(self._open, self._make_room)
        self.database = self._opened[0]

    def _open(self) -> Any:
        self._opened.append(FaultyDatabase(self.home.database()))
        return self._opened[-1]

    def _make_room(self) -> None:
        self.rooms += 1

    def states(self) -> dict[str, list[str]]:
        """What is on disk, as another process sees it: the states of the jobs of each session."""
        with closing(self.home.database()) as database:
            found: dict[str, list[str]] = {}
            for entry in Journal(database).entries(Selection()):
                found.setdefault(entry.session_id, []).append(entry.state)
            return found

    def limit(self, limits: Limits) -> None:
        """What the account may run from now on."""
        with closing(self.home.database()) as database, database:
            assert Accounts(database).set_limits("R41", limits)

    def run(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run(in_time(test()))


class QuickClock:
    """What the store knows of the time."""

    @staticmethod
    def monotonic() -> float:
        return PACE * time.monotonic()

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(seconds / PACE)


@contextmanager
def store_bench(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bench whose pauses are shorter, as its clock is quicker. It gives up nothing in the time of a test."""
    patch.setattr(store_module, "time", QuickClock)
    patch.setattr(store_module, "_FIRST_PAUSE", store_module._FIRST_PAUSE / PACE)
    patch.setattr(store_module, "_PAUSE_MAX", store_module._PAUSE_MAX / PACE)
    patch.setattr(store_module, "_ACCEPT_SECONDS", 100 * ACCEPT_SECONDS)
    bench = Bench(folder)
    yield bench
    bench.database.heal()
    bench.store.close(5)
