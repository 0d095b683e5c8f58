"""What an honest session takes while others make the server wait for a disk, a name service or its log, or while it
has much to remove. What was measured when a bound was chosen stands beside it."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from headless.server import peer, requests
from headless.server.accounts import Account, Accounts, keys_from_hash
from headless.server.batch_queue import BatchQueue
from headless.server.journal import Journal
from support import scram
from support.credentials import HASH
from support.homes import R41, make_home
from support.in_process import serve_here
from support.job_server import JobServer, QuickServer
from support.journals import Record, batch, over
from support.process import PATIENCE, current_user
from support.raw_client import (
    RAW_NONCE,
    RawClient,
    challenge_login,
    connect,
    in_jobs,
    osuser_login,
    py_code,
    response,
    run,
)
from support.sockets import reset
from support.waiting import wait_until

SECONDS = 3.0  # what is too long for one session; one takes 0.05 s
TIMES = 10  # and how many times one that has the server for itself, for a machine that is busy
STRANGERS = 12_000  # each is a line of the log, which keeps 10,000
SESSIONS = 100_000


def longest_session(server: JobServer, seconds: float) -> float:
    """Of those that run one after the other for so many seconds."""
    longest, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        before = time.monotonic()
        assert run(server, py_code("1")).ended == "ok"
        longest = max(longest, time.monotonic() - before)
    return longest


def longest_allowed(server: JobServer) -> float:
    return max(SECONDS, TIMES * longest_session(server, 1))


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
        challenge = client.ask(challenge_login("R42"))
        nonce, salt = challenge.attrib["nonce"], challenge.attrib["salt"]
        proof = scram.proof(HASH.encode(), scram.auth_message("R42", RAW_NONCE, nonce, salt))
        assert client.ask(response(nonce, proof)).tag == "welcome"


@pytest.mark.skipif(not peer.can_tell(), reason="the name service is asked where connections have owners")
def test_a_name_service_that_hangs_which_is_asked_one_question_of_each_user_at_a_time(tmp_path, monkeypatch):
    asked, hung = [], threading.Event()

    def is_user(_, name):
        asked.append(name)
        return hung.wait(PATIENCE)

    def talk(address: str) -> None:
        try:
            talk_to_it(address)
        finally:
            hung.set()

    def talk_to_it(address: str) -> None:
        waiting = [RawClient(address) for _ in range(20)]
        for client in waiting:
            client.send(osuser_login())
        wait_until(lambda: asked)
        for _ in range(50):
            with RawClient(address) as client:
                client.send(osuser_login("stranger"))
                client.expect_refusal("busy")
        assert asked == [current_user()]
        before = time.monotonic()
        for _ in range(20):
            log_in_by_password(address)
        assert time.monotonic() - before < SECONDS  # 0.1
        for client in waiting:
            assert client.expect_refusal("busy") == "the name service of the server does not answer"
        hung.set()
        with RawClient(address) as client:
            assert client.ask(osuser_login()).tag == "welcome"

    home = make_home(tmp_path / "home", R41)
    with closing(home.database()) as database, database:
        Accounts(database).add(Account("R42", None, keys_from_hash(HASH.encode())))
    monkeypatch.setattr(peer, "is_user", is_user)
    serve_here(tmp_path / "home", talk)


def test_a_list_of_sessions_that_takes_long(tmp_path, monkeypatch):
    hung, asked = threading.Event(), []

    def batches_of(*arguments):
        asked.append(arguments)
        hung.wait(PATIENCE)
        return []

    def talk(address: str) -> None:
        with RawClient(address).log_in() as client:
            client.send("<sessions/>")
            wait_until(lambda: asked)
            before = time.monotonic()
            for _ in range(10):
                with RawClient(address).log_in() as other:
                    other.submit(py_code("1"))
                    assert other.report().ended == "ok"
            assert time.monotonic() - before < SECONDS  # 0.6
            hung.set()
            assert client.element().tag == "ended"

    monkeypatch.setattr(Journal, "batches_of", batches_of)
    serve_here(tmp_path / "home", talk)


def test_a_list_of_sessions_is_read_in_pieces_and_is_whole_all_the_same(tmp_path, monkeypatch):
    batches_of, pieces = Journal.batches_of, []

    def record(*arguments):
        pieces.append(batches_of(*arguments))
        return pieces[-1]

    def talk(address: str) -> None:
        with RawClient(address).log_in() as client:
            client.send("<sessions/>")
            listed = []
            while (element := client.element()).tag == "listed":
                listed.append(element.attrib["session"])
        assert listed == expected
        assert [len(piece) for piece in pieces] == [10, 10, 5, 0]  # more is not held for a client that does not read

    home = make_home(tmp_path / "home", R41)
    with closing(home.database()) as database, database:
        journal = Record(database)
        sessions = [f"{number:016x}" for number in range(30)]
        for number, session in enumerate(sessions):
            if number % 6:
                over(journal, session)
            else:
                journal.accept(batch(session))
    expected = [sessions[0], *sessions[6:]]  # the last 20 that are over, and what waits
    monkeypatch.setattr(Journal, "batches_of", record)
    monkeypatch.setattr(requests, "_LISTED_AT_ONCE", 10)
    monkeypatch.setattr(BatchQueue, "_start_next", lambda _: None)  # what waits stays as it is
    serve_here(tmp_path / "home", talk)


@pytest.fixture
def unread(tmp_path):
    """A server whose stderr nobody reads."""
    with QuickServer(tmp_path / "home", "--workers", "2") as server:
        yield server


def strangers(server: JobServer, count: int) -> None:
    """So many come and go. Returns when the server has seen them all."""
    for _ in range(count):
        reset(connect(server).sock)
    assert run(server, py_code("1")).ended == "ok"


def test_a_log_that_nobody_reads_stops_no_session_and_not_the_end(unread):
    allowed = longest_allowed(unread)
    strangers(unread, 2000)  # the pipe has room for 700
    assert longest_session(unread, 1) < allowed
    unread.process.terminate()
    assert unread.process.wait(PATIENCE) == 0


def test_lines_that_the_log_loses_are_counted_and_told_when_somebody_reads(unread):
    allowed = longest_allowed(unread)
    strangers(unread, STRANGERS)
    assert longest_session(unread, 1) < allowed
    lines: list[str] = []
    assert unread.process.stderr is not None
    reading = threading.Thread(target=lines.extend, args=(unread.process.stderr,))
    reading.start()
    wait_until(lambda: run(unread, py_code("1")) and any("lines of the log were lost" in line for line in lines))
    unread.process.terminate()
    reading.join(PATIENCE)
    assert unread.process.wait(PATIENCE) == 0
    (loss,) = [line for line in lines if "lost: nobody read them fast enough" in line]
    lost = int(loss.split(" lines of the log")[0].split()[-1])
    assert STRANGERS - 10_000 - 2000 < lost < STRANGERS


def test_a_hundred_thousand_sessions_that_are_too_old(tmp_path):
    home, old = make_home(tmp_path / "home"), time.time() - 10 * 86400
    with closing(home.database()) as database, database:
        rows = [(f"s{number}",) for number in range(SESSIONS)]
        database.executemany(
            "INSERT INTO batches (session, account, user, accepted, over, digest) VALUES (?, 1, 'R41', 0, 1, x'')", rows
        )
        database.executemany(
            "INSERT INTO jobs (session, job, kind, text, title, state) VALUES (?,1,'','','','ok')", rows
        )
        database.execute("INSERT INTO facts VALUES ('calendar', ?)", (repr(old),))
    with QuickServer(tmp_path / "other home") as server:
        allowed = longest_allowed(server)
    with QuickServer(tmp_path / "home", "--keep", "1") as server:
        assert longest_session(server, 3) < allowed  # 0.2
        (left,) = server.query("SELECT count(*) FROM batches WHERE over = 1")
        assert left < SESSIONS - 1000
