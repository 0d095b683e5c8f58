"""The limit of a job's time: one of each job, that counts what the job has run under an earlier server."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from contextlib import closing
from typing import NamedTuple
from unittest.mock import patch

import pytest

from headless.dialects.vocabulary import FAILED, OK, SKIPPED
from headless.server import processes
from headless.server.jobs import ProcessEnd
from headless.server.journal import JobView, Journal, Selection
from headless.server.processes import JobProcesses
from headless.server.queue import SessionQueue
from headless.server.settings import Settings
from headless.server.store import Store
from headless.server.threads import Threads
from support.crashes import printed, submitted, traced, traces
from support.job_code import Gate, is_free
from support.job_processes import IGNORE_SIGTERM, Lock, with_child
from support.job_server import journal, states
from support.journals import new_session
from support.raw_client import connect, py_code
from support.server_here import ServerHere
from support.waiting import in_time, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="shims are found by /proc"),
]


class FakeProcess:
    """It runs for so many seconds, unless it is ended before. In one loop with the limit, so that the load of the
    machine changes nothing."""

    def __init__(self, seconds: float, age: float = 0.0) -> None:
        self.age = age
        self._seconds = seconds
        self._is_asked = asyncio.Event()

    async def wait(self) -> ProcessEnd:
        await asyncio.wait({asyncio.ensure_future(self._is_asked.wait())}, timeout=self._seconds)
        was_asked = self._is_asked.is_set()
        return ProcessEnd(-15 if was_asked else 0, was_asked, time.time(), self._seconds)

    async def end(self) -> None:
        self._is_asked.set()


class FakeProcesses:
    """The next processes that start run for so many seconds; what is found is of this age."""

    def __init__(self, *seconds: float, age: float = 0.0) -> None:
        self._seconds = list(seconds)
        self._age = age

    async def start(self, _spec: object) -> FakeProcess:
        return FakeProcess(self._seconds.pop(0))

    async def find(self, _output: str) -> FakeProcess:
        return FakeProcess(self._seconds.pop(0), self._age)

    def forget(self, _output: str) -> None:
        pass


class Ran(NamedTuple):
    """How jobs have ended."""

    states: list[str]
    messages: list[str]


def ran(home, limit: float, fake: FakeProcesses) -> Ran:
    """What a queue with this limit makes of the sessions of this home."""

    def entries() -> list[JobView]:
        with closing(home.database()) as database:
            return [*Journal(database).entries(Selection())][::-1]

    async def run() -> None:
        store = Store(home.database, lambda: None)
        settings = Settings(workers=1, time_limit=limit)
        queue = SessionQueue(store, JobProcesses(home, settings, Threads("files", 1, 100)), settings)
        await queue.recover()
        await until(lambda: all(entry.state in (OK, FAILED, SKIPPED) for entry in entries()))
        await queue.stop(asyncio.Event())
        store.close(5)

    with patch.object(processes, "Platform", lambda *_: fake):
        asyncio.run(in_time(run()))
    return Ran([entry.state for entry in entries()], [entry.message for entry in entries()])


def test_the_limit_is_one_of_each_job_and_not_of_the_session(home, record):
    record.accept(new_session("s", jobs=4))
    assert ran(home, 0.08, FakeProcesses(*[0.04] * 3, 60)) == (
        [OK] * 3 + [FAILED],
        [""] * 3 + ["ended after 0.08 s, the limit of this server"],
    )


@pytest.mark.parametrize(
    ("limit", "found", "ends"),
    [
        (3600.0, ([60.0], 3700.0), [FAILED, SKIPPED]),
        (3600.0, ([60.0], 3599.9), [FAILED, SKIPPED]),
        (0.2, ([0.05, 0.15], 0.1), [OK, OK]),  # the second one has the whole limit
    ],
    ids=["too old", "gets too old", "in time"],
)
def test_the_limit_counts_what_a_job_has_run_under_an_earlier_server(home, record, limit, found, ends):
    record.accept(new_session("s", jobs=2))
    record.begin("s")
    assert ran(home, limit, FakeProcesses(*found[0], age=found[1])).states == ends


def test_a_job_that_ends_by_itself_while_it_is_to_be_ended_has_its_own_end(home, record, monkeypatch):
    async def wait(process) -> ProcessEnd:
        await process._is_asked.wait()
        return ProcessEnd(0, False, time.time(), 0.02)

    monkeypatch.setattr(FakeProcess, "wait", wait)
    record.accept(new_session("s"))
    assert ran(home, 0.02, FakeProcesses(60)) == ([OK], [""])


def test_the_age_of_a_job_is_that_of_its_process_whatever_clock_was_set(tmp_path, monkeypatch):
    from headless.server import shims  # not on Windows

    ages: list[float] = []
    age_of = shims.age_of

    def noted(job) -> float:
        ages.append(age_of(job))
        return ages[-1]

    monkeypatch.setattr(shims, "age_of", noted)
    gate = Gate(tmp_path / "gate")
    with ServerHere(tmp_path / "home", time_limit=3600.0, ends_jobs=False) as server:
        before = time.monotonic()
        with connect(server) as client:
            printed(submitted(client, py_code("print('.')\n" + gate.code)))
            started = time.monotonic()
        server.stop()
        with closing(sqlite3.connect(server.home / "planta.sqlite")) as database, database:
            database.execute("UPDATE jobs SET started = started - 7200")
        time.sleep(0.1)
        least = time.monotonic() - started
        server.start()
        with connect(server).log_in() as again:
            again.attach(client.session)
            again.expect("started")  # what is too old is ended now
            (age,) = ages
            assert least - 0.03 <= age <= time.monotonic() - before + 0.03  # the kernel counts hundredths
            gate.open()
            assert again.report().ended == "ok"
        assert states(server, client.session) == ["ok"]


def test_a_job_that_runs_longer_than_the_limit_is_ended_with_all_that_it_has_started_and_failed(tmp_path):
    lock = Lock(tmp_path / "lock")
    with ServerHere(tmp_path / "home", time_limit=1.0) as server, connect(server) as client:
        job = with_child(lock, IGNORE_SIGTERM + lock.code(), "import time; time.sleep(60)")
        submitted(client, py_code(job), traced())
        assert client.report().finished == [("failed", "ended after 1 s, the limit of this server"), ("skipped", "")]
        assert is_free(tmp_path / "lock")
        assert states(server, client.session) == ["failed", "skipped"]
        assert journal(server, client.session)[0]["seconds"] >= 1
        assert not traces(server)
