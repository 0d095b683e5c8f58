"""`headless status`, and whether a server runs."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from headless.dialects.vocabulary import FAILED
from headless.server import home as home_module
from headless.server import server as server_module
from headless.server.home import Home
from headless.server.journal import INTERRUPTED, JobEnd, JobStart
from headless.server.processes import JobProcesses
from headless.server.queue import SessionQueue
from headless.server.server import Server
from headless.server.settings import Settings
from headless.system import try_lock
from support.command_here import Ended, headless
from support.journals import new_session, over, running
from support.process import PATIENCE
from support.raw_client import connect
from support.server_here import ServerHere
from support.waiting import until, wait_until

pytestmark = pytest.mark.slow


HOUR = 3600.0


def status(home: Home, *options: str) -> Ended:
    done = headless("status", *options, "--home", str(home.folder))
    assert done.stderr == ""
    return done


def figures(home: Home, *options: str) -> dict[str, Any]:
    return json.loads(status(home, "--json", *options).stdout)


@pytest.fixture
def left(record):
    """The figures that a server has left in the journal."""
    record.set_fact("status", '{"sessions": 3, "dropped_log_lines": 7}')


@pytest.mark.usefixtures("left")
def test_the_figures_are_one_line_or_one_object_and_the_status_0_while_a_server_runs(home, record, monkeypatch):
    gib = 2**30
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(20 * gib, 0, int(12.34 * gib)))
    over(record, "a", FAILED)
    with home.lock():
        done, shown = status(home), figures(home)
    line = "server=up sessions=3 queued=0 running=0 failed=1 oldest_queued=- disk_free=12.3GiB log_dropped=7"
    line += " started=- last_seen=- refused_logins=0\n"
    assert (done.returncode, done.stdout) == (0, line)
    since = datetime.fromisoformat(shown.pop("since")).timestamp()
    assert 0 <= time.time() - 24 * HOUR - since < PATIENCE
    assert shown == {
        "server": True, "sessions": 3, "queued": 0, "running": 0, "failed": 1, "oldest_queued": None,
        "disk_free": int(12.34 * gib), "log_dropped": 7, "started": None, "last_seen": None, "refused_logins": 0,
    }  # fmt: skip


@pytest.mark.usefixtures("left")
def test_without_a_server_the_status_is_1_and_what_only_a_server_knows_is_not_shown(home, record):
    record.accept(new_session("a"))
    done = status(home)
    assert done.returncode == 1
    shown = dict(figure.split("=") for figure in done.stdout.split())
    assert (shown["server"], shown["sessions"], shown["queued"], shown["log_dropped"]) == ("down", "-", "1", "-")


def test_a_server_that_has_left_no_figures_yet_is_up(home):
    with home.lock():
        done = status(home)
    assert done.returncode == 0
    assert "server=up sessions=- " in done.stdout and " log_dropped=- " in done.stdout


def test_a_server_counts_the_clients_that_are_logged_in(tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "_STATUS_SECONDS", 0.05)
    with ServerHere(tmp_path / "home") as server:
        home = Home(str(server.home))
        with connect(server).log_in():
            wait_until(lambda: figures(home)["sessions"] == 1)
        wait_until(lambda: figures(home)["sessions"] == 0)


@pytest.mark.usefixtures("left")
def test_the_figures_of_an_earlier_server_are_not_shown_while_the_next_one_begins(home, monkeypatch):

    async def recover(_queue) -> None:
        await until(lambda: (figures(home)["sessions"], figures(home)["log_dropped"]) == (0, 8))

    monkeypatch.setattr(SessionQueue, "recover", recover)

    async def begin() -> None:
        server = Server(home, Settings(port=0), lambda: 8)
        await server.open()
        await server.begin()
        stop_at_once = asyncio.Event()
        stop_at_once.set()
        await server.stop(stop_at_once)

    with home.lock():
        asyncio.run(begin())


def test_what_waits_longest_is_shown_with_its_age(home, record):
    for session, age in (("a", 50), ("b", 90), ("c", 1000)):
        record.accept(new_session(session, jobs=2))
        record.make_older("accepted", age, session)
    record.begin("c")  # its second job waits for the first one alone
    shown = figures(home)
    assert 90 <= shown["oldest_queued"] < 90 + PATIENCE
    assert shown["queued"] == 5
    assert re.search(r" oldest_queued=\d+s ", status(home).stdout)


def test_only_jobs_that_really_run_are_counted_as_running(home, record, monkeypatch):
    for session in ("a", "b", "c"):
        running(record, session)
    monkeypatch.setattr(JobProcesses, "running_pid", lambda *job: 4711 if job[-2] != "c" else None)
    assert figures(home)["running"] == 2
    with home.lock():
        assert figures(home)["running"] == 3


def test_what_failed_counts_from_when_that_was_known(home, record):
    for session, age in (("a", 48 * HOUR), ("b", HOUR), ("c", 0)):
        over(record, session, FAILED)
        record.make_older("over", age, session)
    for since, count in (((), 2), (("--since", "30m"), 1), (("--since", "3d"), 3)):
        assert figures(home, *since)["failed"] == count, since
    running(record, "d")
    record.make_older("started", 48 * HOUR, "d")
    record.finish("d", 1, JobEnd(INTERRUPTED))  # whose end was not seen
    record.accept(new_session("e", user="gone"))
    assert record.begin("e", 1, JobStart(lambda *_: "the account has been removed", set()))  # which has not started
    assert figures(home)["failed"] == 4


# Whether a server runs


def test_a_server_is_seen_as_long_as_it_holds_its_lock_and_those_who_ask_are_not_taken_for_one(home):
    assert not home.is_served  # there is no such file yet
    with home.lock():
        assert home.is_served
        assert home.is_served
    assert not home.is_served
    with open(home.folder / "lock", "rb") as file:
        assert try_lock(file.fileno(), shared=True)
        assert not home.is_served


def test_to_ask_makes_no_server_fail_that_starts_meanwhile(home, monkeypatch):
    monkeypatch.setattr(home_module, "_LOCK_SECONDS", PATIENCE)  # for a machine that is busy
    home.lock().close()
    stop = threading.Event()
    asked: list[bool] = []

    def ask() -> None:
        while not stop.is_set():
            asked.append(home.is_served)

    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            pool.submit(ask)
        try:
            for _ in range(30):
                home.lock().close()  # raises HomeError if it is never free
        finally:
            stop.set()
    assert len(asked) > 30
