"""What a client receives whose request is in the hands of the journal when the server is stopped, or gives it up: the
truth, or nothing. The database fails as the test says, and the server runs in the process of the test."""

from __future__ import annotations

import threading
import time
from unittest.mock import patch

import pytest

from headless.server import connection as connection_module
from headless.server import queue as queue_module
from headless.server import server as server_module
from headless.server import store as store_module
from headless.server.home import Home
from support.faulty_database import BROKEN, LOCKED, FaultyDatabase
from support.job_server import states
from support.process import PATIENCE
from support.raw_client import RawClient, connect, in_jobs, py_code
from support.server_here import ServerHere
from support.waiting import wait_until

pytestmark = pytest.mark.slow
CANCEL = '<cancel session="{}"/>'
both_ways = pytest.mark.parametrize("ends_jobs", [False, True], ids=["", "--end-jobs"])
once_or_twice = pytest.mark.parametrize("again", [False, True], ids=["SIGTERM", "twice"])


class Journaling(FaultyDatabase):
    """The connection of the journal. Only a COMMIT of rows of this table fails, or waits for `is_fast`."""

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


class FailingServer(ServerHere):
    """A server whose journal can fail."""

    database: Journaling

    def __enter__(self) -> FailingServer:
        super().__enter__()
        return self

    def start(self) -> None:
        opened: list[Journaling] = []
        open_database = Home.database

        def database(home: Home) -> Journaling:
            opened.append(Journaling(open_database(home)))
            return opened[-1]

        with patch.object(Home, "database", database):
            super().start()
        self.database = opened[0]  # which is the one that writes

    def hang_at_commit(self, client: RawClient, document: str) -> None:
        """Returns when what the client has sent is about to be committed, which takes until `is_fast` is set."""
        self.database.is_fast.clear()
        client.send(document)
        assert self.database.is_at_commit.wait(PATIENCE)

    def fail_to_accept(self, client: RawClient) -> None:
        """Returns when the journal has got a session, and cannot write."""
        self.database.break_down("INSERT INTO sessions", LOCKED)
        client.send(in_jobs(py_code("1")))
        self.wait_for_failures(1)

    def wait_for_failures(self, count: int) -> None:
        """Waits for so many more."""
        failures = self.database.failures
        wait_until(lambda: self.database.failures >= failures + count)

    def end_before_the_commit(self) -> None:
        self.wait()
        self.database.is_fast.set()


@pytest.fixture
def ends_jobs():
    return False


@pytest.fixture
def server(tmp_path, monkeypatch, ends_jobs):
    monkeypatch.setattr(server_module, "_STORE_SECONDS", 0.1)
    monkeypatch.setattr(server_module, "LINGER_SECONDS", 0.1)
    monkeypatch.setattr(connection_module, "LINGER_SECONDS", 0.1)
    monkeypatch.setattr(store_module, "_LAST_WRITE_SECONDS", 0.1)
    monkeypatch.setattr(store_module, "_FIRST_PAUSE", 0.005)
    monkeypatch.setattr(store_module, "_PAUSE_MAX", 0.02)
    monkeypatch.setattr(queue_module, "_REQUESTS_SECONDS", 0.05)
    with FailingServer(tmp_path / "home", workers=1, ends_jobs=ends_jobs) as server:
        yield server
        server.database.is_fast.set()
        server.database.heal()


@pytest.fixture
def client(server):
    with connect(server).log_in() as client:
        yield client


@both_ways
@once_or_twice
def test_a_session_that_cannot_be_recorded_in_time_is_refused_and_never_runs(server, client, again, monkeypatch):
    if again:  # none of these is waited for
        monkeypatch.setattr(server_module, "_STORE_SECONDS", 60)
        monkeypatch.setattr(store_module, "_ACCEPT_SECONDS", 60)
    server.fail_to_accept(client)
    server.ask_to_stop(at_once=again)
    assert "locked the journal" in client.expect_refusal("busy")
    server.wait()
    server.database.heal()
    assert states(server, client.session) == []


@both_ways
@pytest.mark.parametrize("is_locked", [True, False], ids=["a lock", "a slow commit"])
def test_a_session_that_can_be_recorded_in_time_waits_for_the_next_server(server, client, monkeypatch, is_locked):
    monkeypatch.setattr(server_module, "_STORE_SECONDS", 20)
    if is_locked:
        server.fail_to_accept(client)
    else:
        server.hang_at_commit(client, in_jobs(py_code("1")))
    server.ask_to_stop()
    if is_locked:
        server.wait_for_failures(11)
    else:
        time.sleep(0.3)  # longer than connections linger, as those failures take
    server.database.heal()
    server.database.is_fast.set()
    client.expect("accepted")
    assert "when it is back" in client.expect_refusal("busy")
    server.wait()
    assert states(server, client.session) == ["queued"]


@both_ways
@once_or_twice
def test_a_client_receives_nothing_if_the_server_ends_before_the_commit_does(server, client, again):
    server.hang_at_commit(client, in_jobs(py_code("1")))
    server.ask_to_stop(at_once=again)
    client.expect_end()
    server.end_before_the_commit()
    wait_until(lambda: states(server, client.session) == ["queued"])


def test_nor_if_a_commit_has_failed_and_what_it_did_is_not_known(server, client):
    server.database.break_down("COMMIT", BROKEN, late=True)
    client.send(in_jobs(py_code("1")))
    server.wait_for_failures(1)
    server.ask_to_stop()
    client.expect_end()
    server.wait()
    assert states(server, client.session) == ["queued"]


@pytest.mark.version("asyncio")
def test_nor_does_another_connection_that_has_the_same_key(server, client):
    jobs = in_jobs(py_code("1"), key="0" * 32)
    with connect(server).log_in() as second:
        server.hang_at_commit(client, jobs)
        second.send(jobs)
        with connect(server).log_in():  # the server has read what came before
            server.ask_to_stop()
        client.expect_end()
        second.expect_end()
    server.end_before_the_commit()
    wait_until(lambda: states(server, client.session) == ["queued"])


def test_a_bug_after_the_session_was_recorded_does_not_make_it_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(queue_module, "Runner", lambda *_: 1 / 0)
    with ServerHere(tmp_path / "home", logs_traceback=True) as server, connect(server).log_in() as client:
        client.send(in_jobs(py_code("1")))
        client.expect_end()


# Cancelling


@pytest.fixture
def running(server, gate):
    """The client of a job that runs and takes no notice of SIGTERM."""
    ignore = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    with connect(server).log_in() as running:
        running.submit(py_code(f"{ignore}print('.')\n{gate.code}"))
        running.expect("started")
        running.expect("output")
        yield running


@pytest.mark.parametrize("stops", [False, True], ids=["given up", "stopped"])
def test_a_request_to_cancel_that_may_be_recorded_is_not_answered(server, client, running, monkeypatch, stops):
    monkeypatch.setattr(store_module, "_ACCEPT_SECONDS", 20 if stops else 0.2)
    server.database.table = "INTO cancellations"
    server.database.break_down("COMMIT", BROKEN, late=True)
    client.send(CANCEL.format(running.session))
    server.wait_for_failures(1)
    if stops:
        server.ask_to_stop()
    client.expect_end()
    server.database.heal()
    if not stops:
        assert running.report().finished == [("failed", "cancelled by the account R41")]


def test_nor_is_one_that_the_stopped_server_leaves_to_the_next(server, client, running, gate):
    server.database.table = "INTO cancellations"
    server.hang_at_commit(client, CANCEL.format(running.session))
    server.ask_to_stop()
    client.expect_end()
    server.end_before_the_commit()
    gate.open()


@pytest.mark.parametrize("ends_jobs", [True])
def test_a_request_to_cancel_that_is_not_recorded_is_refused(server, client, running, gate, monkeypatch):
    monkeypatch.setattr(store_module, "_ACCEPT_SECONDS", 0.2)
    server.database.break_down("BEGIN", LOCKED)
    client.send(CANCEL.format(running.session))
    assert "locked the journal" in client.expect_refusal("busy")
    server.database.heal()
    gate.open()
    assert running.report().ended == "ok"
