"""What a client receives whose request is in the hands of the journal when the server is stopped, or gives it up: the
truth, or nothing. The database fails as the test says, and the server ends in the process of the test."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import closing

import pytest

from headless.server import connection as connection_module
from headless.server import queue as queue_module
from headless.server import server as server_module
from headless.server import store as store_module
from headless.server.home import Home
from headless.server.journal import Journal, Selection
from headless.server.server import Server
from headless.server.settings import Settings
from support.faulty_database import BROKEN, LOCKED, FaultyDatabase
from support.homes import R41, make_home
from support.job_code import Gate
from support.raw_client import RawClient, in_jobs, py_code
from support.server_here import ServerHere
from support.shims_of import end_shims
from support.waiting import wait_until

pytestmark = pytest.mark.slow
CANCEL = '<cancel session="{}"/>'


class Journaling(FaultyDatabase):
    """Where the journal writes. What a COMMIT does besides is done to those alone that insert into this table: it
    fails, and waits as long as `is_fast` is not set."""

    table = "INTO sessions"

    def __init__(self, database) -> None:
        super().__init__(database)
        self.is_fast, self.is_at_commit = threading.Event(), threading.Event()
        self.is_fast.set()
        self._is_meant = False

    def execute(self, statement, *values):
        if statement == "COMMIT" and not self._is_meant:
            return self.real.execute(statement)
        self._is_meant = not statement.startswith("BEGIN") and (self._is_meant or self.table in statement)
        if statement == "COMMIT" and not self.is_fast.is_set():
            self.is_at_commit.set()
            self.is_fast.wait()
        return super().execute(statement, *values)


class Bench:
    """A server in this process whose journal can fail. `stop` asks it to stop, `stop_at_once` does so again."""

    def __init__(self, home: Home, monkeypatch) -> None:
        self.home = home
        self.open_database = open_database = Home.database
        opened: list[Journaling] = []

        def database(home: Home) -> Journaling:
            opened.append(Journaling(open_database(home)))
            return opened[-1]

        monkeypatch.setattr(Home, "database", database)
        self.opened = opened

    @property
    def database(self) -> Journaling:
        """The first one that is opened writes."""
        return self.opened[0]

    def is_accepting(self) -> bool:
        """Whether the journal has got a session that is not recorded yet, and has tried."""
        return bool(self.server._queue._accepting) and self.database.failures > 0

    def run(self, talk, **settings) -> None:
        """Runs `talk(address)` in a thread, and ends the server, if it has not been stopped by then."""

        async def serve() -> None:
            loop = asyncio.get_running_loop()
            server = self.server = Server(self.home, Settings(port=0, grace=0, workers=1, **settings))
            self.is_stopped, self.is_forced = asyncio.Event(), asyncio.Event()
            self.stop = lambda: loop.call_soon_threadsafe(self.is_stopped.set)
            self.stop_at_once = lambda: loop.call_soon_threadsafe(self.is_forced.set)
            address = await server.open()
            await server.begin()
            talking = loop.run_in_executor(None, talk, address)
            await asyncio.wait({talking, asyncio.ensure_future(self.is_stopped.wait())}, return_when="FIRST_COMPLETED")
            await server.stop(self.is_forced)
            self.database.is_fast.set()
            await talking

        asyncio.run(serve())

    def states(self) -> list[str]:
        """Of all jobs, as another process sees them."""
        with closing(self.open_database(self.home)) as database:
            return [entry.state for entry in Journal(database).entries(Selection())]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "_STORE_SECONDS", 0.1)
    monkeypatch.setattr(server_module, "LINGER_SECONDS", 0.1)
    monkeypatch.setattr(connection_module, "LINGER_SECONDS", 0.1)
    monkeypatch.setattr(store_module, "_LAST_WRITE_SECONDS", 0.1)
    monkeypatch.setattr(store_module, "_FIRST_PAUSE", 0.005)
    monkeypatch.setattr(store_module, "_PAUSE_MAX", 0.02)
    monkeypatch.setattr(queue_module, "_REQUESTS_SECONDS", 0.05)
    bench = Bench(make_home(tmp_path / "home", R41), monkeypatch)
    yield bench
    end_shims(bench.home.folder)


@pytest.fixture(params=[False, True], ids=["", "--end-jobs"])
def ends_jobs(request):
    return request.param


def waits_for_the_next_server(client: RawClient) -> bool:
    client.expect("accepted")
    return "when it is back" in client.expect_refusal("busy")


@pytest.mark.parametrize("again", [False, True], ids=["SIGTERM", "twice"])
def test_a_session_that_cannot_be_recorded_in_time_is_refused_and_never_runs(bench, ends_jobs, again, monkeypatch):
    if again:  # none of these is waited for
        monkeypatch.setattr(server_module, "_STORE_SECONDS", 60)
        monkeypatch.setattr(store_module, "_ACCEPT_SECONDS", 60)

    def talk(address: str) -> None:
        with RawClient(address).log_in() as client:
            bench.database.break_down("BEGIN", LOCKED)
            client.send(in_jobs(py_code("1")))
            wait_until(bench.is_accepting)
            bench.stop()
            if again:
                bench.stop_at_once()
            assert "locked the journal" in client.expect_refusal("busy")

    bench.run(talk, end_jobs=ends_jobs)
    bench.database.heal()
    assert bench.states() == []


def test_a_session_that_can_be_recorded_in_time_is_accepted_and_waits_for_the_next_server(
    bench, ends_jobs, monkeypatch
):
    monkeypatch.setattr(server_module, "_STORE_SECONDS", 20)

    def talk(address: str) -> None:
        with RawClient(address).log_in() as client:
            bench.database.break_down("BEGIN", LOCKED)
            client.send(in_jobs(py_code("1")))
            wait_until(bench.is_accepting)
            bench.stop()
            failures = bench.database.failures
            wait_until(
                lambda: bench.database.failures > failures + 10
            )  # long after the connections would have been closed
            bench.database.heal()
            assert waits_for_the_next_server(client)

    bench.run(talk, end_jobs=ends_jobs)
    assert bench.states() == ["queued"]


def test_so_is_one_whose_commit_is_slow(bench, ends_jobs, monkeypatch):
    monkeypatch.setattr(server_module, "_STORE_SECONDS", 20)

    def talk(address: str) -> None:
        with RawClient(address).log_in() as client:
            bench.database.is_fast.clear()
            client.send(in_jobs(py_code("1")))
            assert bench.database.is_at_commit.wait(20)
            bench.stop()
            time.sleep(0.3)  # longer than connections linger
            bench.database.is_fast.set()
            assert waits_for_the_next_server(client)

    bench.run(talk, end_jobs=ends_jobs)
    assert bench.states() == ["queued"]


@pytest.mark.parametrize("again", [False, True], ids=["SIGTERM", "twice"])
def test_a_client_receives_nothing_if_the_server_ends_before_the_commit_does(bench, ends_jobs, again):
    def talk(address: str) -> None:
        with RawClient(address).log_in() as client:
            bench.database.is_fast.clear()
            client.send(in_jobs(py_code("1")))
            assert bench.database.is_at_commit.wait(20)
            bench.stop()
            if again:
                bench.stop_at_once()
            client.expect_end()

    bench.run(talk, end_jobs=ends_jobs)
    wait_until(lambda: bench.states() == ["queued"])


def test_nor_if_a_commit_has_failed_and_what_it_did_is_not_known(bench):
    def talk(address: str) -> None:
        with RawClient(address).log_in() as client:
            bench.database.break_down("COMMIT", BROKEN, late=True)
            client.send(in_jobs(py_code("1")))
            wait_until(lambda: bench.database.failures)
            bench.stop()
            client.expect_end()

    bench.run(talk)
    bench.database.heal()
    assert bench.states() == ["queued"]


@pytest.mark.version("asyncio")
def test_nor_who_waits_for_the_other_connection_that_has_the_same_key(bench):
    def talk(address: str) -> None:
        with RawClient(address).log_in() as first, RawClient(address).log_in() as second:
            bench.database.is_fast.clear()
            first.send(in_jobs(py_code("1"), key="0" * 32))
            assert bench.database.is_at_commit.wait(20)
            second.send(in_jobs(py_code("1"), key="0" * 32))
            with RawClient(address).log_in():  # the server has read what came before
                bench.stop()
            first.expect_end()
            second.expect_end()

    bench.run(talk)
    wait_until(lambda: bench.states() == ["queued"])


def test_a_bug_after_the_session_was_recorded_does_not_make_it_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("headless.server.queue.SessionQueue._start_next", lambda _: 1 / 0)
    monkeypatch.setattr("headless.server.queue.SessionQueue._finish_recovery", lambda *_: asyncio.sleep(0))
    with ServerHere(tmp_path / "home", logs_traceback=True) as server, RawClient(server.address).log_in() as client:
        client.send(in_jobs(py_code("1")))
        client.expect_end()


# Cancelling


@pytest.mark.parametrize("stops", [False, True], ids=["given up", "stopped"])
def test_who_cancels_receives_nothing_if_the_request_may_be_recorded(bench, tmp_path, monkeypatch, stops):
    gate = Gate(tmp_path / "gate")

    def talk(address: str) -> None:
        with RawClient(address).log_in() as running, RawClient(address).log_in() as client:
            running.submit(py_code(gate.code))
            running.expect("started")
            monkeypatch.setattr(store_module, "_ACCEPT_SECONDS", 20 if stops else 0.2)
            bench.database.table = "INTO cancellations"
            bench.database.break_down("COMMIT", BROKEN, late=True)
            client.send(CANCEL.format(running.session))
            wait_until(lambda: bench.database.failures)
            if stops:
                bench.stop()
            client.expect_end()
            bench.database.heal()
            if not stops:
                assert running.report().finished == [("failed", "cancelled by the account R41")]

    bench.run(talk)


def test_who_cancels_what_the_stopped_server_leaves_running_receives_nothing(bench, tmp_path):
    """The request is recorded, and the next server sees to it."""
    gate = Gate(tmp_path / "gate")

    def talk(address: str) -> None:
        with RawClient(address).log_in() as running, RawClient(address).log_in() as client:
            running.submit(py_code(f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{gate.code}"))
            running.expect("started")
            bench.database.table = "INTO cancellations"
            bench.database.is_fast.clear()
            client.send(CANCEL.format(running.session))
            assert bench.database.is_at_commit.wait(20)
            bench.stop()
            client.expect_end()

    bench.run(talk)
    gate.open()


def test_a_request_to_cancel_that_is_not_recorded_is_refused(bench, tmp_path, monkeypatch):
    gate = Gate(tmp_path / "gate")

    def talk(address: str) -> None:
        with RawClient(address).log_in() as running, RawClient(address).log_in() as client:
            running.submit(py_code(gate.code))
            running.expect("started")
            monkeypatch.setattr(store_module, "_ACCEPT_SECONDS", 0.2)
            bench.database.break_down("BEGIN", LOCKED)
            client.send(CANCEL.format(running.session))
            assert "locked the journal" in client.expect_refusal("busy")
            bench.database.heal()
            gate.open()
            assert running.report().ended == "ok"

    bench.run(talk, end_jobs=True)
