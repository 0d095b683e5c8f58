"""Sessions run while others make the server wait for a disk, a name service or its log, or while it has much to remove.
What hangs does so until these sessions are over."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from headless.server import authentication, disk, peer, requests
from headless.server.jobs import check_scripts
from headless.server.journal import CALENDAR, Journal
from support.job_server import R42
from support.journals import over
from support.process import PATIENCE, current_user
from support.raw_client import RawClient, connect, in_jobs, osuser_login, py_code, right_answer
from support.server_here import ServerHere
from support.sockets import reset
from support.waiting import wait_until

pytestmark = pytest.mark.slow

FOR_EVER = 3 * PATIENCE  # for what has to end before that
F_SETPIPE_SZ = 1031  # fcntl(2)


class Hang:
    """A call that hangs until `end` is set."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.end = threading.Event()

    def __call__(self, *arguments: object) -> None:
        self.calls.append(arguments)
        assert self.end.wait(FOR_EVER)


@pytest.fixture
def hang():
    hang = Hang()
    yield hang
    hang.end.set()


def assert_sessions_run(address: str, *jobs: str) -> None:
    """Two of them, one after the other."""
    for _ in range(2):
        with RawClient(address).log_in() as client:
            client.submit(*jobs or (py_code("1"),))
            assert client.report().ended == "ok"


def test_a_session_whose_files_are_being_looked_for(tmp_path, monkeypatch, hang):
    def check(home, account, jobs, seconds):
        if len(jobs) == 2:
            hang()
        check_scripts(home, account, jobs, seconds)

    monkeypatch.setattr(requests, "_CHECK_SECONDS", FOR_EVER)
    monkeypatch.setattr(requests, "check_scripts", check)
    with ServerHere(tmp_path / "home") as server:
        (tmp_path / "home" / "py" / "x.py").touch()
        with RawClient(server.address).log_in() as client:
            client.send(in_jobs(*["<py_file>x.py</py_file>"] * 2))
            wait_until(lambda: hang.calls)
            assert_sessions_run(server.address)
            assert_sessions_run(server.address, "<py_file>x.py</py_file>")  # there is another thread
            hang.end.set()
            client.expect("accepted")


def log_in_by_password(address: str) -> None:
    with RawClient(address) as client:
        assert client.ask(right_answer(client, "R42")).tag == "welcome"


@pytest.mark.skipif(not peer.knows_owners(), reason="the name service is asked where connections have owners")
def test_a_name_service_that_hangs_which_is_asked_one_question_of_each_user_at_a_time(tmp_path, monkeypatch, hang):
    def is_user(_, name):
        hang(name)
        return True

    monkeypatch.setattr(authentication, "_NAME_SECONDS", FOR_EVER)
    monkeypatch.setattr(peer, "is_user", is_user)
    with ServerHere(tmp_path / "home", accounts=(R42,)) as server:
        waiting = [RawClient(server.address) for _ in range(5)]
        for client in waiting:
            client.send(osuser_login())
        wait_until(lambda: hang.calls)
        for _ in range(5):
            with RawClient(server.address) as client:
                client.send(osuser_login("stranger"))
                client.expect_refusal("busy")
        for _ in range(5):
            log_in_by_password(server.address)
        assert hang.calls == [(current_user(),)]
        hang.end.set()
        for client in waiting:
            with client:
                client.expect("welcome")


def test_a_list_of_sessions_that_takes_long(tmp_path, monkeypatch, hang):
    def sessions_of(*arguments):
        hang(*arguments)
        return []

    monkeypatch.setattr("headless.server.store._READ_SECONDS", FOR_EVER)
    monkeypatch.setattr(Journal, "sessions_of", sessions_of)
    with ServerHere(tmp_path / "home") as server, RawClient(server.address).log_in() as client:
        client.send("<sessions/>")
        wait_until(lambda: hang.calls)
        assert_sessions_run(server.address)
        hang.end.set()
        assert client.element().tag == "ended"


def test_a_log_that_is_not_read_stops_no_session_and_not_the_end(own_server):
    process, count = own_server.process, 1000  # the pipe has room for 700
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(process.stderr, F_SETPIPE_SZ, 4096)
        count = 100
    for _ in range(count):
        reset(connect(own_server).sock)
    assert_sessions_run(own_server.address)
    process.terminate()
    assert process.wait(PATIENCE) == 0


def test_sessions_that_are_too_old_are_removed_a_few_at_a_time_with_room_for_others_between(home, record, monkeypatch):
    prune, pieces = Journal.prune, []

    def remember(*arguments):
        pieces.append(prune(*arguments))
        return pieces[-1]

    for number in range(30):
        over(record, f"{number:016x}")
    record.make_older("over", 10 * 86400)
    record.make_older("accepted", 10 * 86400)
    record.set_fact(CALENDAR, repr(time.time()))
    monkeypatch.setattr(Journal, "prune", remember)
    monkeypatch.setattr(disk, "_AT_ONCE", 10)
    monkeypatch.setattr(disk, "_PAUSE_SECONDS", FOR_EVER)
    with ServerHere(home.folder, retention_days=1) as server:
        wait_until(lambda: pieces)
        assert_sessions_run(server.address)
        assert [len(piece) for piece in pieces] == [10]  # and the next ones after the pause
