"""One home, one server, and the jobs of no other: a copy of a home harms nothing of the original. A server with a
replaced home accepts and starts nothing more."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("fcntl", reason="Windows lets nobody remove what is open")

from headless.dialects.vocabulary import PY_CODE, Job
from headless.errors import HomeError, HomeReplaced
from headless.server import home as home_module
from headless.server import server as server_module
from headless.server import shims
from headless.server.home import Home
from headless.server.jobs import QueuedJob, prepare
from headless.server.settings import Settings
from headless.server.store import Store, StoreUncertain
from headless.system import try_lock
from support.crashes import check, planted, printed, recorded, submitted, traced, wait_until_quiet
from support.homes import R41, make_home
from support.job_processes import IGNORE_SIGTERM
from support.job_server import QuickServer, journal, states
from support.journals import new_session
from support.process import PATIENCE
from support.raw_client import connect, in_jobs, py_code
from support.server_here import ServerHere
from support.shims_of import shims_of
from support.waiting import in_time, wait_until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="shims are found by /proc")

# A copy


@pytest.fixture
def server(tmp_path):
    """A server that leaves its jobs running."""
    with ServerHere(tmp_path / "home", workers=1, ends_jobs=False) as server:
        yield server


def copy_home(server: QuickServer, target: Path) -> None:
    """Copies a backup of the database and all the rest, as without reading the manual."""
    shutil.copytree(server.home, target, ignore=shutil.ignore_patterns("planta.sqlite*", "lock"))
    copy_database(server.home / "planta.sqlite", target / "planta.sqlite")


def copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as database, closing(sqlite3.connect(target)) as copy:
        database.backup(copy)


def with_garbage(output: Path) -> None:
    record_in(output).write_text("garbage")


def with_the_record_itself(output: Path) -> None:
    """As `cp -al` makes it."""
    record = record_in(output)
    record.unlink()
    os.link(output.parent.parent / "home" / "output" / record.relative_to(output), record)


def record_in(output: Path) -> Path:
    (record,) = output.glob("*/1.shim")
    return record


@pytest.mark.slow
@pytest.mark.parametrize("change", [Path.exists, shutil.rmtree, with_garbage, with_the_record_itself])
def test_a_server_on_a_copy_of_a_home_leaves_the_jobs_of_the_original_alone(server, gate, tmp_path, change):
    with connect(server) as client:
        printed(submitted(client, traced("print('.')\n" + gate.code), traced()))
        copy_home(server, tmp_path / "copy")
        change(tmp_path / "copy" / "output")
        with ServerHere(tmp_path / "copy", workers=1) as copy:
            wait_until_quiet(copy)
            assert states(copy, client.session) == ["interrupted", "skipped"]
        gate.open()
        assert client.report().ended == "ok"
    check(server)


@pytest.mark.slow
def test_a_copy_knows_how_a_job_ended_that_had_ended_before(server, gate, tmp_path):
    with connect(server) as client:
        printed(submitted(client, traced("print('.')\n" + gate.code)))
    server.stop()
    gate.open()
    wait_until(lambda: not shims_of(server.home))
    copy_home(server, tmp_path / "copy")
    with ServerHere(tmp_path / "copy") as copy:
        wait_until_quiet(copy)
        assert states(copy, client.session) == ["ok"]


@pytest.mark.slow
def test_a_home_that_was_moved_on_its_disk_keeps_its_jobs(server, gate, tmp_path):
    with connect(server) as client:
        printed(submitted(client, traced("print('.')\n" + gate.code)))
    server.stop()
    server.home = server.home.rename(tmp_path / "moved")
    server.start()
    assert states(server, client.session) == ["running"]
    gate.open()
    wait_until_quiet(server)
    (entry,) = journal(server, client.session)
    assert (entry["state"], entry["stdout"]) == ("ok", ".\n")


@pytest.mark.slow
def test_what_is_left_of_a_job_is_not_looked_for_in_another_home(folder):
    spec = folder.spec(IGNORE_SIGTERM)
    with subprocess.Popen(["sleep", "60"], env={**spec.environment, "PLANTA_HOME_ID": "1-2"}) as process:
        shims.kill_left(spec.output, 0, None, "1-3")
        assert process.poll() is None
        shims.kill_left(spec.output, 0, None, "1-2")
        assert process.wait(5) == -9


# A home that is replaced under its server


def replace_database(home: Path) -> None:
    """As an administrator restores a backup."""
    copy_database(home / "planta.sqlite", home / "new")
    (home / "new").replace(home / "planta.sqlite")


def move_home(home: Path) -> None:
    home.rename(home.with_name("moved"))


def remove_home(home: Path) -> None:
    move_home(home)  # at once: the server may be making a file in it
    shutil.rmtree(home.with_name("moved"))


def move_and_make_home(home: Path) -> None:
    move_home(home)
    make_home(home, R41)


REPLACEMENTS = {
    "no lock": lambda home: (home / "lock").unlink(),
    "another lock": lambda home: (home / "lock").unlink() or (home / "lock").touch(),
    "no database": lambda home: (home / "planta.sqlite").unlink(),
    "another database": replace_database,
    "no -wal": lambda home: (home / "planta.sqlite-wal").unlink(),
    "no -shm": lambda home: (home / "planta.sqlite-shm").unlink(),
    "nothing": remove_home,
    "moved": move_home,
    "another home": move_and_make_home,
}


@pytest.mark.slow
@pytest.mark.parametrize("replace", REPLACEMENTS.values(), ids=REPLACEMENTS)
def test_a_server_whose_home_was_replaced_refuses_as_busy_and_ends(tmp_path, monkeypatch, replace):
    monkeypatch.setattr(server_module, "_STATUS_SECONDS", 0.1)
    with ServerHere(tmp_path / "home", grace=60.0, ends_jobs=False) as server:
        with connect(server).log_in() as client:
            replace(server.home)
            client.send(in_jobs(py_code("print(1)")))
            text = client.expect_refusal("busy")
        assert server.wait() == 1
        assert any(word in text for word in ("replaced", "cannot be read", "stopping"))
        assert str(tmp_path) not in text
        assert server.log.count("was removed or replaced") == 1
        if (server.home / "planta.sqlite").exists():
            assert not recorded(server)


@pytest.mark.slow
@pytest.mark.parametrize("is_seen_early", [False, True], ids=["seen when a job ends", "seen before, --end-jobs"])
def test_where_a_second_server_could_begin_nothing_runs_twice_and_jobs_go_on(
    tmp_path, gate, monkeypatch, is_seen_early
):
    monkeypatch.setattr(server_module, "LINGER_SECONDS", 0.2)
    monkeypatch.setattr(server_module, "_STATUS_SECONDS", 0.1 if is_seen_early else 60)
    with (
        ServerHere(tmp_path / "home", workers=1, ends_jobs=is_seen_early) as server,
        connect(server) as client,
        connect(server) as waiting,
    ):
        printed(submitted(client, traced("print('.')\n" + gate.code), traced()))
        submitted(waiting, traced(), traced(), traced())
        (server.home / "lock").unlink()
        with ServerHere(server.home, workers=1) as second:
            if is_seen_early:
                assert server.wait() == 1
            assert states(second, client.session) == ["running", "queued"]
            gate.open()
            assert server.wait() == 1
            wait_until_quiet(second)
            check(second)
            assert states(second, client.session) == ["ok"] * 2
            assert states(second, waiting.session) == ["ok"] * 3


def test_what_was_committed_to_a_database_that_is_not_there_any_more_is_uncertain(tmp_path):
    seen = []

    def check_journal(home: Home) -> None:
        seen.append(home)
        if len(seen) % 2 == 0:
            raise HomeReplaced("it was replaced")

    async def accept() -> None:
        home = make_home(tmp_path / "home", R41)
        store = Store(home.database, lambda: None, lambda: check_journal(home))
        with pytest.raises(StoreUncertain):
            await store.accept(R41, new_session("s1"))
        store.close(0)

    asyncio.run(in_time(accept()))


@pytest.mark.slow
def test_a_server_that_has_nothing_to_do_ends_too_with_1_and_says_why(tmp_path):
    quickly = "from headless.server import server\nserver._STATUS_SECONDS = 0.05"
    server = QuickServer(tmp_path / "home", "--grace", "60", ends_jobs=False)
    with planted(tmp_path / "quickly.py", quickly), server:
        (server.home / "lock").unlink()
        assert server.wait() == 1
    *log, reason = server.log.splitlines()
    assert any("was removed or replaced" in line for line in log)
    assert re.match("headless serve: .* was removed or replaced", reason)


@pytest.fixture
def held(tmp_path):
    """A home that is locked, with its database open."""
    home = make_home(tmp_path / "home", R41)
    with home.lock(), closing(home.database()):
        yield home


def test_what_was_replaced_once_stays_so(held):
    seen = []
    held.on_replaced = lambda: seen.append(1)
    lock = held.folder / "lock"
    held.check_held()
    held.check_journal()
    lock.rename(lock.with_name("away"))
    for _ in range(2):
        with pytest.raises(HomeReplaced):
            held.check_held()
    lock.with_name("away").rename(lock)
    with pytest.raises(HomeReplaced):  # what was done meanwhile is not known
        held.check_journal()
    assert seen == [1]


def test_a_job_whose_start_is_recorded_is_not_started_in_a_home_that_was_replaced_meanwhile(held):
    (held.folder / "lock").unlink()
    with pytest.raises(HomeReplaced):
        prepare(held, Settings(), QueuedJob("s1", 1, "R41", Job(PY_CODE, "print(1)")))
    assert not list((held.folder / "output").iterdir())


def test_two_threads_that_see_a_replacement_together_report_it_once(held, monkeypatch):
    seen, both = [], threading.Barrier(2)

    def is_at(*_) -> bool:
        both.wait(PATIENCE)
        return False

    def check() -> None:
        with pytest.raises(HomeReplaced):
            held.check_held()

    held.on_replaced = lambda: seen.append(1)
    monkeypatch.setattr(home_module, "_is_at", is_at)
    threads = [threading.Thread(target=check) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1]


def test_a_fault_of_the_disk_is_no_replacement(held, monkeypatch):
    def fail(_path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", fail)
        with pytest.raises(OSError, match="Input/output error"):
            held.check_held()
    held.check_held()


@pytest.mark.slow
def test_a_lock_that_was_removed_while_another_server_waited_for_it_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(home_module, "_LOCK_SECONDS", 0.1)
    home = make_home(tmp_path / "home", R41)

    def remove_and_lock(descriptor: int) -> bool:
        if not removed:
            removed.append(True)
            (home.folder / "lock").unlink()
        return try_lock(descriptor)

    removed: list[bool] = []
    monkeypatch.setattr(home_module, "try_lock", remove_and_lock)
    with home.lock() as first:
        assert os.fstat(first.fileno()).st_ino == (home.folder / "lock").stat().st_ino
        with pytest.raises(HomeError, match="another server"):
            Home(str(home.folder)).lock()
