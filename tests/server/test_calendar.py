"""Retention by a clock that is wrong: what nobody can bring back is not removed because of it."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from headless.server import disk as disk_module
from headless.server import journal as journal_module
from headless.server.disk import Retention
from headless.server.journal import Journal, Selection
from headless.server.store import Store
from headless.server.threads import Threads
from support.homes import R41, make_home
from support.job_server import journal
from support.journals import Record, over
from support.raw_client import py_code, run
from support.server_here import ServerHere
from support.waiting import in_time, wait_until

pytestmark = pytest.mark.slow
HOUR, DAY = 3600.0, 86400.0
KEPT = 3.0  # days
TODAY = 1_800_000_000.0


class Clock:
    """What time.time() and time.monotonic() say, in the test's hand. `wrong` is by how much the first one is."""

    def __init__(self) -> None:
        self.wrong = 0.0
        self.passed = 0.0

    def time(self) -> float:
        return TODAY + self.passed + self.wrong

    def monotonic(self) -> float:
        return 1000.0 + self.passed


class Machine:
    """A home with a session that is over, and servers that look at it."""

    def __init__(self, folder, clock: Clock) -> None:
        self.home = make_home(folder, R41)
        self.clock = clock

    def run(self, hours: int = 0) -> list[str]:
        """A server runs for so long. Which sessions are left."""

        async def serve():
            store = Store(self.home.database, lambda: None)
            retention = Retention(self.home, store, Threads("files", 1, 100), KEPT)
            await retention.prune()
            for _ in range(hours):
                self.clock.passed += HOUR
                await retention.prune()
            store.close(5)

        asyncio.run(in_time(serve()))
        return self.sessions()

    def sessions(self) -> list[str]:
        with closing(self.home.database()) as database:
            return [entry.session_id for entry in Journal(database).entries(Selection())]

    def end_session(self, name: str) -> None:
        """One that is over now, as far as the clock knows."""
        with closing(self.home.database()) as database, database:
            over(Record(database), name)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(disk_module, "time", clock)
    monkeypatch.setattr(journal_module, "time", clock)
    return clock


@pytest.fixture
def machine(tmp_path, clock):
    machine = Machine(tmp_path / "home", clock)
    machine.run()
    machine.end_session("s1")
    return machine


def test_by_a_clock_that_is_right_a_session_is_kept_for_its_days_and_no_longer(machine):
    assert machine.run(hours=int(KEPT * 24) - 1) == ["s1"]
    assert machine.run(hours=2) == []


@pytest.mark.parametrize("days", [4, 10_000])
def test_a_clock_that_jumps_ahead_removes_nothing(machine, clock, days):
    machine.run(hours=1)
    clock.wrong = days * DAY
    assert machine.run(hours=24) == ["s1"]
    clock.wrong = 0.0
    assert machine.run(hours=24) == ["s1"]
    assert machine.run(hours=25) == []  # the third day is over


def test_many_starts_by_a_clock_that_is_ahead_remove_nothing(machine, clock):
    clock.wrong = 100 * DAY
    for _ in range(10):
        assert machine.run() == ["s1"]


@pytest.mark.parametrize("days", [4, 100])
def test_a_clock_that_jumps_back_removes_nothing_then_nor_when_it_is_right_again(machine, clock, days):
    clock.wrong = -days * DAY
    assert machine.run(hours=2) == ["s1"]
    machine.end_session("s2")  # which this clock calls old
    clock.wrong = 0.0
    assert sorted(machine.run(hours=2)) == ["s1", "s2"]
    assert machine.run(hours=int(KEPT * 24)) == []


def test_a_server_that_was_not_there_for_long_catches_up(machine, clock):
    clock.passed += 10 * DAY
    assert machine.run(hours=24) == ["s1"]
    assert machine.run(hours=24) == []


def test_the_first_server_of_a_home_believes_no_clock_that_is_far_ahead_of_the_journal(tmp_path, clock):
    machine = Machine(tmp_path / "home", clock)
    machine.end_session("s1")
    clock.wrong = 100 * DAY
    assert machine.run(hours=2) == ["s1"]


def test_the_first_server_of_a_new_home_believes_the_clock(tmp_path, clock):
    machine = Machine(tmp_path / "home", clock)
    machine.run()
    machine.end_session("s1")
    assert machine.run(hours=int(KEPT * 24) + 1) == []


def test_a_server_whose_clock_is_ahead_says_so_and_removes_nothing(tmp_path, clock):
    with ServerHere(tmp_path / "home", retention_days=KEPT) as server:
        run(server, py_code("print(1)"))
        server.stop()
        clock.wrong = 100 * DAY
        server.start()
        assert run(server, py_code("print(2)")).ended == "ok"
        assert float(server.query("SELECT value FROM facts WHERE name = 'calendar'")[0]) < TODAY + DAY
        server.stop()
        assert "the clock is 100.0 days ahead of the journal" in server.log
        clock.wrong = 0.0
        clock.passed += HOUR
        output = server.home / "output"
        (output / "of no session").mkdir()  # which goes after the others
        server.start()
        wait_until(lambda: not (output / "of no session").exists())
        assert len(journal(server)) == len(list(output.iterdir())) == 2
