"""How long an honest session takes while others make the server wait for a disk, a name service or its log, or while it
has much to remove. What hangs does so until the honest sessions are over. A bound has the measured value beside it."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import closing

import pytest

from headless.server import authentication, disk, peer, requests
from headless.server.jobs import check_scripts
from headless.server.journal import Journal
from support.homes import R41, make_home
from support.job_server import R42, JobServer, QuickServer
from support.journals import Record, over
from support.process import PATIENCE, current_user
from support.raw_client import RawClient, connect, in_jobs, osuser_login, py_code, right_answer, run
from support.server_here import ServerHere
from support.sockets import reset
from support.waiting import wait_until

pytestmark = pytest.mark.slow

FOR_EVER = 3 * PATIENCE  # for what has to end before that
SECONDS = 3.0  # what is too long for one session; one takes 0.05 s
TIMES = 10  # and how many times one that has the server for itself, for a machine that is busy
STRANGERS = 12_000  # each is a line of the log, which keeps 10,000
SESSIONS = 100_000
F_SETPIPE_SZ = 1031  # fcntl(2)


def longest_session(server: JobServer, seconds: float) -> float:
    """Returns the longest time of those that run one after the other for so many seconds."""
    longest, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        before = time.monotonic()
        assert run(server, py_code("1")).ended == "ok"
        longest = max(longest, time.monotonic() - before)
    return longest


def longest_allowed(server: JobServer) -> float:
    return max(SECONDS, TIMES * longest_session(server, 1))


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


@pytest.mark.large
def test_thousands_of_files_whose_paths_take_long_to_follow(tmp_path):
    with QuickServer(tmp_path / "home", "--workers", "2") as server:
        (server.home / "py" / "a").mkdir()
        (server.home / "py" / "x.py").touch()
        allowed = longest_allowed(server)
        path = "a/../" * 300 + "x.py"
        with connect(server).log_in() as client:
            client.send(in_jobs(*[f"<py_file>{path}</py_file>"] * 9900))
            assert longest_session(server, 5) < allowed  # 0.3; the files take 13 in all
            assert client.element().tag in ("accepted", "refused")


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


@pytest.fixture
def unread(tmp_path):
    """A server whose stderr is not read."""
    with QuickServer(tmp_path / "home", "--workers", "2") as server:
        yield server


def strangers(server: JobServer, count: int) -> None:
    """Lets so many come and go. Returns when the server has seen them all."""
    for _ in range(count):
        reset(connect(server).sock)
    assert run(server, py_code("1")).ended == "ok"


def test_a_log_that_is_not_read_stops_no_session_and_not_the_end(unread):
    count = 1000  # the pipe has room for 700
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(unread.process.stderr, F_SETPIPE_SZ, 4096)
        count = 100
    strangers(unread, count)
    assert run(unread, py_code("1")).ended == "ok"
    unread.process.terminate()
    assert unread.process.wait(PATIENCE) == 0


@pytest.mark.large
def test_lines_that_the_log_loses_are_counted_and_reported_when_it_is_read(unread):
    allowed = longest_allowed(unread)
    strangers(unread, STRANGERS)
    assert longest_session(unread, 1) < allowed
    lines: list[str] = []
    assert unread.process.stderr is not None
    reader = threading.Thread(target=lines.extend, args=(unread.process.stderr,))
    reader.start()
    wait_until(lambda: run(unread, py_code("1")) and any("lines of the log were lost" in line for line in lines))
    unread.process.terminate()
    reader.join(PATIENCE)
    assert unread.process.wait(PATIENCE) == 0
    losses = [line for line in lines if "lines of the log were lost: they came faster than they were read" in line]
    lost = sum(int(line.split(" lines of the log")[0].split()[-1]) for line in losses)
    assert STRANGERS - 10_000 - 2000 < lost < STRANGERS


@pytest.fixture
def old(tmp_path):
    """A home with 30 sessions that are long over."""
    home = make_home(tmp_path / "home", R41)
    with closing(home.database()) as database, database:
        journal = Record(database)
        for number in range(30):
            over(journal, f"{number:016x}")
        database.execute("UPDATE sessions SET over = 1")
        database.execute("INSERT INTO facts VALUES ('calendar', ?)", (repr(time.time() - 10 * 86400),))
    return home


def test_sessions_that_are_too_old_are_removed_a_few_at_a_time_with_room_for_others_between(old, monkeypatch):
    prune, pieces = Journal.prune, []

    def record(*arguments):
        pieces.append(prune(*arguments))
        return pieces[-1]

    monkeypatch.setattr(Journal, "prune", record)
    monkeypatch.setattr(disk, "_AT_ONCE", 10)
    monkeypatch.setattr(disk, "_PAUSE_SECONDS", FOR_EVER)
    with ServerHere(old.folder, retention_days=1) as server:
        wait_until(lambda: pieces)
        assert_sessions_run(server.address)
        assert [len(piece) for piece in pieces] == [10]  # and the next ones after the pause


@pytest.mark.large
def test_a_hundred_thousand_sessions_that_are_too_old(tmp_path):
    home, old = make_home(tmp_path / "home"), time.time() - 10 * 86400
    with closing(home.database()) as database, database:
        rows = [(f"s{number}",) for number in range(SESSIONS)]
        database.executemany(
            "INSERT INTO sessions (session_id, account, user, job_count, accepted, over, digest)"
            " VALUES (?, 1, 'R41', 1, 0, 1, x'')",
            rows,
        )
        database.executemany(
            "INSERT INTO jobs (session_id, job, kind, text, title, state) VALUES (?,1,'','','','ok')", rows
        )
        database.execute("INSERT INTO facts VALUES ('calendar', ?)", (repr(old),))
    with QuickServer(tmp_path / "other home") as server:
        allowed = longest_allowed(server)
    with QuickServer(tmp_path / "home", "--keep", "1") as server:
        assert longest_session(server, 3) < allowed  # 0.2
        (left,) = server.query("SELECT count(*) FROM sessions WHERE over = 1")
        assert left < SESSIONS - 1000
