"""What ends a job before its time: a cancellation, its time limit, what it does to its shim."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from headless.dialects.vocabulary import FAILED, OK, SKIPPED
from headless.server import processes, queue
from headless.server.commands import cancel
from headless.server.jobs import ProcessEnd
from headless.server.journal import JobView, Journal, Selection
from headless.server.processes import JobProcesses
from headless.server.queue import SessionQueue
from headless.server.settings import Settings
from headless.server.store import Store
from headless.server.threads import Threads
from support.crashes import (
    FOR_A_MINUTE,
    check_received,
    printed,
    received_by,
    recorded,
    shim_of,
    submitted,
    traced,
    traces,
)
from support.homes import R41, make_home, prints
from support.job_processes import IGNORE_SIGTERM, Lock, with_child
from support.job_server import QuickServer, states
from support.journals import new_session
from support.process import PATIENCE, ROOT, current_user
from support.raw_client import RawClient, connect, py_code, run
from support.server_here import ServerHere
from support.shims_of import end_shims, send
from support.waiting import in_time, until, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="shims are found by /proc"),
]


def end_of_first(client: RawClient) -> tuple[str, str]:
    """Returns what is reported of the first job."""
    report = client.report()
    assert report.ended == "failed"
    assert [status for status, _ in report.finished[1:]] == ["skipped"] * (len(report.finished) - 1)
    return report.finished[0]


# Cancelling


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Requests to cancel are seen at once, and so are their results."""
    monkeypatch.setattr(queue, "_REQUESTS_SECONDS", 0.05)
    monkeypatch.setattr(cancel, "_WAIT_SECONDS", 5.0)
    monkeypatch.setattr(cancel, "_POLL_SECONDS", 0.02)


@pytest.fixture
def server(tmp_path):
    with ServerHere(tmp_path / "home", workers=1) as server:
        yield server


def cancels(server: QuickServer, *argv: str) -> str:
    """Returns what `jobs cancel` prints."""
    (line,) = prints("jobs", "cancel", *argv, "--home", str(server.home))
    return line


BY = f"cancelled by {current_user()}"


@pytest.mark.version("the shim's interpreter")
@pytest.mark.parametrize("job", [(), ("1",)], ids=["all", "one"])
def test_a_job_that_runs_is_cancelled_with_all_that_it_has_started(server, tmp_path, job):
    lock = Lock(tmp_path / "lock")
    does = IGNORE_SIGTERM if not job else ""  # which takes a second more
    with connect(server) as client:
        submitted(client, py_code(with_child(lock, does + lock.code(), FOR_A_MINUTE)), traced())
        client.expect("started")
        wait_until(lambda: lock.is_taken)
        assert cancels(server, client.session, *job).startswith("cancelled: 1")
        assert lock.is_free()
        assert end_of_first(client) == ("failed", BY)
    jobs = [(job.state, job.message) for job in recorded(server)[client.session]]
    assert jobs == [("cancelled", BY), ("skipped", "")]
    assert not traces(server)
    wait_until(lambda: server.query("SELECT count(*) FROM cancellations") == (0,))


@pytest.mark.parametrize("is_waiting", [False, True], ids=["running", "waiting"])
def test_a_later_job_is_cancelled_when_its_turn_has_come(server, gate, monkeypatch, is_waiting):
    monkeypatch.setattr(cancel, "_WAIT_SECONDS", 0.1)
    with connect(server) as first, connect(server) as second:
        session = ("print('.')\n" + gate.code, "", "")
        if is_waiting:
            printed(submitted(first, py_code(session[0])))
            submitted(second, *map(traced, session))
        else:
            printed(submitted(second, *map(traced, session)))
        assert cancels(server, second.session, "2").startswith("requested")
        wait_until(lambda: server.server._queue._requests)
        gate.open()
        report = second.report()
    assert report.finished == [("ok", ""), ("failed", BY), ("skipped", "")]
    assert states(server, second.session) == ["ok", "cancelled", "skipped"]
    assert len(traces(server)) == 2
    check_received(recorded(server)[second.session], received_by(report))


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "waiting"])
def test_what_is_cancelled_without_a_server_is_cancelled_by_the_next(tmp_path, is_running):
    with ServerHere(tmp_path / "home", workers=1, ends_jobs=False) as server:
        with connect(server) as running, connect(server) as waiting:
            printed(submitted(running, traced(FOR_A_MINUTE), traced()))
            submitted(waiting, traced())
        server.stop()
        meant = running if is_running else waiting
        assert cancels(server, meant.session, "1").startswith("requested: no server runs")
        server.start()
        wait_until(lambda: states(server, meant.session)[0] == "cancelled")
        assert [line for line in traces(server) if line.startswith(waiting.session)] == []


# A job that stops its shim


def test_a_job_that_stops_its_shim_delays_no_other_and_no_next_server(tmp_path):
    with ServerHere(tmp_path / "home", workers=2, ends_jobs=False) as server:
        with connect(server) as client:
            printed(submitted(client, py_code(FOR_A_MINUTE), traced()))
            shim = shim_of(server, client.session)
            send(shim, signal.SIGSTOP)
            wait_until(lambda: "State:\tT" in Path(f"/proc/{shim}/status").read_text())
            assert run(server, traced()).ended == "ok"
        server.stop()
        server.start()
        assert run(server, traced()).ended == "ok"
        assert states(server, client.session) == ["running", "queued"]
        assert cancels(server, client.session).startswith("cancelled: 1")


# The first process of a container

ZOMBIES = """
import os
for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        state, parent = open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[:2]
    except OSError:
        continue
    if state == 'Z': print(pid, parent)
print('first', open('/proc/1/cmdline').read().split('\\0')[1:4])
"""


def test_a_server_that_is_the_first_process_of_a_container_reaps_what_jobs_leave_behind(tmp_path):
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True, timeout=PATIENCE)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no container can be made here: {error}")
    server = QuickServer(tmp_path / "home")
    make_home(server.home, R41)
    serve = [sys.executable, "-m", "headless", "serve", "--home", str(server.home), "--listen", "127.0.0.1:0"]
    options = ["--grace", "0", "--end-jobs", "--trust-osuser", "--log", str(tmp_path / "log")]
    command = [*unshare, *serve, *options]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as container:
        assert container.stdout is not None
        try:
            server.address = container.stdout.readline().removeprefix("listening on ").strip()
            orphans = "subprocess.Popen(['sleep', '60'], start_new_session=True)\n" * 5
            lost = run(server, py_code(f"import os, subprocess\n{orphans}os.kill(os.getppid(), 9)\n{FOR_A_MINUTE}"))
            assert [status for status, _ in lost.finished] == ["failed"]
            report = run(server, py_code(ZOMBIES))
            assert report.output == {(1, "stdout"): "first ['-m', 'headless', 'serve']\n"}
            (first,) = Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split()
            send(int(first), signal.SIGTERM)
            assert container.wait(PATIENCE) == 0
        finally:
            container.kill()
            end_shims(server.home)
    assert (tmp_path / "log").exists()


# The limit of a job's time


class FakeProcess:
    """Ends after so many seconds, or when it is asked to. The load of the machine changes nothing."""

    def __init__(self, seconds: float, age: float = 0.0, ends_well: bool = False) -> None:
        self.age = age
        self._seconds = seconds
        self._ends_well = ends_well
        self._is_asked = asyncio.Event()

    async def wait(self) -> ProcessEnd:
        await asyncio.wait({asyncio.ensure_future(self._is_asked.wait())}, timeout=self._seconds)
        is_ended = self._is_asked.is_set() and not self._ends_well
        return ProcessEnd(-15 if is_ended else 0, is_ended, time.time(), self._seconds)

    async def end(self) -> None:
        self._is_asked.set()


class FakeProcesses:
    """Starts processes that take so many seconds, and finds them with this age."""

    def __init__(self, *seconds: float, **options: Any) -> None:
        self._seconds = iter(seconds)
        self._options = options

    async def start(self, _spec: object) -> FakeProcess:
        return FakeProcess(next(self._seconds), **{**self._options, "age": 0.0})

    async def find(self, _output: str) -> FakeProcess:
        return FakeProcess(next(self._seconds), **self._options)

    def forget(self, _output: str) -> None:
        pass


def ends(home, limit: float, fake: FakeProcesses) -> list[tuple[str, str]]:
    """The states and messages of the jobs of this home after a queue with this limit has run them."""

    def entries() -> list[JobView]:
        with closing(home.database()) as database:
            return Journal(database).page(Selection())

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
    return [(entry.state, entry.message) for entry in entries()]


def test_the_limit_is_one_of_each_job_and_not_of_the_session(home, record):
    record.accept(new_session("s", jobs=4))
    limited = (FAILED, "ended after 0.08 s, the limit of this server")
    assert ends(home, 0.08, FakeProcesses(*[0.04] * 3, 60)) == [(OK, "")] * 3 + [limited]


@pytest.mark.parametrize(
    ("limit", "found", "states"),
    [
        (3600.0, (60.0, 3700.0), [FAILED, SKIPPED]),
        (3600.0, (60.0, 3599.9), [FAILED, SKIPPED]),
        (0.2, (0.05, 0.15, 0.1), [OK, OK]),  # the second one has the whole limit
    ],
    ids=["too old", "gets too old", "in time"],
)
def test_the_limit_counts_what_a_job_has_run_under_an_earlier_server(home, record, limit, found, states):
    record.accept(new_session("s", jobs=2))
    record.begin("s")
    *seconds, age = found
    assert [state for state, _ in ends(home, limit, FakeProcesses(*seconds, age=age))] == states


def test_a_job_that_ends_by_itself_while_it_is_to_be_ended_has_its_own_end(home, record):
    record.accept(new_session("s"))
    assert ends(home, 0.02, FakeProcesses(60, ends_well=True)) == [(OK, "")]
