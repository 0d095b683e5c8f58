"""What --keep removes, and when, by a clock that may jump; and what the log says of a session."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from contextlib import closing

import pytest

from headless.dialects.vocabulary import OK
from headless.server import disk as disk_module
from headless.server import journal as journal_module
from headless.server.disk import Retention
from headless.server.history import RefusedLogin
from headless.server.journal import Journal, Selection
from headless.server.store import Store
from headless.server.threads import Threads
from support.homes import R41, make_home
from support.job_server import QuickServer, journal
from support.journals import Record, end, new_session, over, running
from support.raw_client import connect, py_code, run
from support.server_here import ServerHere
from support.waiting import in_time, until, wait_until

pytestmark = pytest.mark.slow


HOUR, DAY = 3600.0, 86400.0
KEPT = 3.0  # days
TODAY = 1_800_000_000.0


def prune(home, days: float) -> None:
    """Removes what is that old, as a server does from time to time."""

    async def run() -> None:
        store = Store(home.database, lambda: None)
        await Retention(home, store, Threads("files", 1, 100), days).prune()
        store.close(5)

    asyncio.run(in_time(run()))


def test_what_was_over_before_that_time_goes_at_once_with_all_output_of_no_session(home, record, monkeypatch):
    monkeypatch.setattr(disk_module, "_AT_ONCE", 2)
    monkeypatch.setattr(disk_module, "_PAUSE_SECONDS", 0)
    for number in range(5):
        over(record, f"old {number}")
        (home.folder / "output" / f"of no session {number}").mkdir()
    running(record, "running", jobs=2)
    record.finish("running", 1, end(OK))
    record.accept(new_session("queued"))
    record.make_older("accepted", 4 * DAY)
    record.make_older("started", 4 * DAY)
    record.make_older("ended", 4 * DAY)
    record.make_older("over", 4 * DAY)
    over(record, "young")
    four_days_ago = time.time() - 4 * DAY
    record.add_refusals([(RefusedLogin("R41", "h", "why", four_days_ago, four_days_ago, 1), True)])
    for _ in range(2):
        record.begin_server()
    record.execute("UPDATE servers SET last_seen = ?", four_days_ago)
    prune(home, days=5)
    assert record.has_session("old 0")
    assert (len(record.refusals(0.0)), len(record.servers(0.0))) == (1, 2)
    prune(home, days=3)
    assert (len(record.refusals(0.0)), len(record.servers(0.0))) == (0, 1)
    left = [entry.session_id for entry in record.page(Selection())]
    assert left == ["running", "running", "queued", "young"]
    assert list((home.folder / "output").iterdir()) == []


def test_it_is_done_again_and_again_also_after_a_failure(home, monkeypatch, caplog):
    monkeypatch.setattr(disk_module, "_EVERY_SECONDS", 0.001)
    failures = [OSError(5, "Input/output error"), None, None]
    looks: list[object] = []

    async def look(_retention) -> None:
        looks.append(failure := failures[len(looks)] if len(looks) < len(failures) else None)
        if failure:
            raise failure

    async def run() -> None:
        store = Store(home.database, lambda: None)
        running = asyncio.ensure_future(Retention(home, store, Threads("files", 1, 100), 3.0).run())
        await until(lambda: len(looks) >= 3)
        running.cancel()
        store.close(5)

    monkeypatch.setattr(Retention, "prune", look)
    asyncio.run(in_time(run()))
    assert caplog.messages == ["old sessions cannot be pruned: [Errno 5] Input/output error"]


def test_a_server_prunes_old_sessions_and_their_output_and_keeps_the_others_and_without_keep_all(tmp_path):
    with ServerHere(tmp_path / "home") as server:
        for _ in range(2):
            run(server, py_code("print(1)"))
        old, young = (entry["session"] for entry in journal(server))
        output = server.home / "output"

        def starts_and_prunes() -> None:
            server.stop()
            (output / "of no session").mkdir()
            server.start()
            wait_until(lambda: not (output / "of no session").exists())

        with closing(make_home(server.home).database()) as database, database:
            Record(database).make_older("over", 4 * DAY, old)
        starts_and_prunes()
        assert [entry["session"] for entry in journal(server)] == [old, young]
        server.settings["retention_days"] = 3.0
        starts_and_prunes()
        assert [path.name for path in output.iterdir()] == [young]
        assert [entry["session"] for entry in journal(server)] == [young]
        assert journal(server, young)[0]["stdout"] == f"1{os.linesep}"
        server.stop()
        assert f"session {old}: pruned" in server.log


@pytest.mark.skipif(sys.platform != "linux", reason="no file can have such a name")
def test_a_folder_that_no_session_can_have_does_not_end_the_pruning_for_ever(tmp_path):
    output = tmp_path / "home" / "output"
    make_home(tmp_path / "home")
    (output / "of no session").mkdir()
    (output / "\udcff").mkdir()
    with ServerHere(tmp_path / "home"):
        wait_until(lambda: not (output / "of no session").exists())
        assert (output / "\udcff").exists()


# A clock that jumps


class Clock:
    """A clock of the test. `wrong` is by how many seconds time() is ahead of monotonic()."""

    def __init__(self) -> None:
        self.wrong = 0.0
        self.passed = 0.0

    def time(self) -> float:
        return TODAY + self.passed + self.wrong

    def monotonic(self) -> float:
        return 1000.0 + self.passed


class Machine:
    """A home, and servers that prune it."""

    def __init__(self, folder, clock: Clock) -> None:
        self.home = make_home(folder, R41)
        self.clock = clock

    def run(self, hours: int = 0) -> list[str]:
        """Lets a server run for so long, and returns which sessions are left."""

        async def serve():
            store = Store(self.home.database, lambda: None)
            retention = Retention(self.home, store, Threads("files", 1, 100), KEPT)
            await retention.prune()
            for _ in range(hours):
                self.clock.passed += HOUR
                await retention.prune()
            store.close(5)

        asyncio.run(in_time(serve()))
        with closing(self.home.database()) as database:
            return [entry.session_id for entry in Journal(database).page(Selection())]

    def end_session(self, name: str) -> None:
        """Adds a session that is over now by the clock."""
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


def test_a_session_is_kept_for_its_days_and_no_longer_by_a_clock_that_is_right(machine):
    assert machine.run(hours=int(KEPT * 24) - 1) == ["s1"]
    assert machine.run(hours=2) == []


@pytest.mark.parametrize("days", [4, 10_000])
def test_a_clock_that_jumps_ahead_removes_nothing_however_many_servers_start(machine, clock, caplog, days):
    machine.run(hours=1)
    assert caplog.text == ""
    clock.wrong = days * DAY
    for _ in range(10):
        assert machine.run() == ["s1"]
    assert f"the clock is {days}.0 days ahead of the journal" in caplog.text
    assert machine.run(hours=24) == ["s1"]
    clock.wrong = 0.0
    assert machine.run(hours=24) == ["s1"]
    assert machine.run(hours=25) == []  # the third day is over


@pytest.mark.parametrize("days", [4, 100])
def test_a_clock_that_jumps_back_removes_nothing_then_nor_when_it_is_right_again(machine, clock, days):
    clock.wrong = -days * DAY
    assert machine.run(hours=2) == ["s1"]
    machine.end_session("s2")  # which this clock calls old
    clock.wrong = 0.0
    assert machine.run(hours=2) == ["s1", "s2"]
    assert machine.run(hours=int(KEPT * 24)) == []


def test_a_server_that_was_not_there_for_long_catches_up(machine, clock):
    clock.passed += 10 * DAY
    assert machine.run(hours=24) == ["s1"]
    assert machine.run(hours=24) == []


def test_the_first_server_believes_its_clock_in_a_new_home_and_none_that_is_far_ahead_of_the_journal(tmp_path, clock):
    used, new = (Machine(tmp_path / name, clock) for name in ("used", "new"))
    used.end_session("s1")
    new.run()
    new.end_session("s1")
    assert new.run(hours=int(KEPT * 24) + 1) == []
    clock.wrong = 100 * DAY
    assert used.run(hours=2) == ["s1"]


# The log


def test_every_event_of_a_session_is_one_line_with_its_name(tmp_path):
    with QuickServer(tmp_path / "home") as server:
        with connect(server).log_in() as client:
            client.submit(py_code("1"), py_code("raise SystemExit('no\\nsuch table')"), py_code("1"))
            client.report()
        with connect(server).log_in() as nonsense:
            nonsense.send("<nonsense/>")
            nonsense.expect_refusal("protocol")
        server.stop()
    lines = server.log.splitlines()
    events = [line.partition(f"session {client.session}: ")[2] for line in lines if client.session in line]
    assert events[0].startswith("R41 logged in from 127.0.0.1 port ")
    assert events[1:] == [
        "accepted 3 jobs of R41", "job 1 started: py_code 1", "job 1 ok",
        "job 2 started: py_code raise SystemExit('no\\nsuch table')", "job 2 failed: such table",
        "result sent",
    ]  # fmt: skip
    assert any(f"session {nonsense.session}: refused (protocol): " in line for line in lines)
    of_the_server = [
        line.partition(" INFO ")[2] for line in lines if not re.search("session [0-9a-f]|port|runs as root", line)
    ]
    assert of_the_server == [f"listening on {server.address}", "stopping: running sessions get 0 s", "stopped"]
