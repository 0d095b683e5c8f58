"""Somebody else holds the lock of the journal, as a backup may, while sessions are accepted, begin and end."""

from __future__ import annotations

import time

import pytest

from headless.server import connection as connection_module
from headless.server import queue
from headless.server import server as server_module
from headless.server import store as store_module
from headless.server.accounts import Account, keys_from_hash
from headless.server.output import FollowedOutput
from support import scram
from support.crashes import printed
from support.credentials import HASH
from support.homes import locked
from support.job_code import Gate
from support.job_server import QuickServer, journal, states
from support.process import PATIENCE
from support.raw_client import RAW_NONCE, challenge_login, connect, in_jobs, osuser_login, py_code, response, run
from support.server_here import ServerHere
from support.shims_of import shims_of
from support.waiting import wait_until

pytestmark = pytest.mark.slow
KINDS = ("IMMEDIATE", "EXCLUSIVE")
ACCEPT_SECONDS = 0.5


@pytest.fixture
def server(tmp_path, monkeypatch):
    """One whose times are a tenth of those that a server has, but for that of a new session: one that comes while
    nothing is locked is accepted, however busy the machine is."""
    monkeypatch.setattr(store_module, "_LAST_WRITE_SECONDS", 0.1)
    monkeypatch.setattr(store_module, "_FIRST_PAUSE", 0.005)
    monkeypatch.setattr(store_module, "_PAUSE_MAX", 0.1)
    monkeypatch.setattr(server_module, "_STORE_SECONDS", 0.5)
    monkeypatch.setattr(server_module, "LINGER_SECONDS", 0.1)
    monkeypatch.setattr(connection_module, "LINGER_SECONDS", 0.1)
    with ServerHere(tmp_path / "home", workers=1) as server:
        yield server


def leaves_trace(path, name: str) -> str:
    return py_code(f"open({str(path)!r}, 'a').write({name!r})")


@pytest.mark.version("sqlite3 transactions")
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_accepted_runs_in_its_order_when_the_lock_is_gone_and_what_comes_meanwhile_is_refused(
    server, tmp_path, monkeypatch, kind
):
    """Long after what is new is given up, what was accepted still waits."""
    gate, trace = Gate(tmp_path / "gate"), tmp_path / "trace"
    clients = [connect(server).log_in() for _ in range(3)]
    clients[0].submit(py_code(gate.code), leaves_trace(trace, "0"))
    for number, client in enumerate(clients[1:], 1):
        client.submit(leaves_trace(trace, str(number)))
    clients[0].expect("started")
    monkeypatch.setattr(store_module, "_ACCEPT_SECONDS", ACCEPT_SECONDS)
    with connect(server).log_in() as late, locked(server.home, kind):
        gate.open()
        before = time.monotonic()
        late.send(in_jobs(leaves_trace(trace, "x")))
        text = late.expect_refusal("busy")
        assert 0.9 * ACCEPT_SECONDS < time.monotonic() - before < 20 * ACCEPT_SECONDS
        assert "locked the journal" in text
        assert states(server, clients[0].session) == ["running", "queued"]
        assert not trace.exists()
    for client in clients:
        report = client.report()
        assert {status for status, _ in report.finished} == {report.ended} == {"ok"}
    assert trace.read_text() == "012"
    # Nor will it run when there is another server.
    assert [entry["session"] for entry in journal(server)] == [
        clients[0].session,
        *(each.session for each in clients),
    ]
    assert {entry["state"] for entry in journal(server)} == {"ok"}


def test_a_session_that_comes_meanwhile_is_accepted_if_the_lock_is_gone_in_time(server):
    with connect(server).log_in() as client:
        with locked(server.home):
            client.send(in_jobs(py_code("1")))
            wait_until(lambda: server.server._queue._accepting)
            time.sleep(0.1)
        client.expect("accepted")
        assert client.report().ended == "ok"


def test_others_log_in_meanwhile_by_both_logins_as_quickly_as_ever(tmp_path):
    """The lock is that of another process."""
    account = Account("R42", None, keys_from_hash(HASH.encode()))
    with QuickServer(tmp_path / "home", accounts=(account,)) as server:
        with locked(server.home), connect(server).log_in() as waiting:
            waiting.send(in_jobs(py_code("1")))
            before = time.monotonic()
            for _ in range(10):
                with connect(server) as client:
                    assert client.ask(osuser_login()).tag == "welcome"
                with connect(server) as client:
                    challenge = client.ask(challenge_login("R42"))
                    nonce, salt = challenge.attrib["nonce"], challenge.attrib["salt"]
                    proof = scram.proof(HASH.encode(), scram.auth_message("R42", RAW_NONCE, nonce, salt))
                    assert client.ask(response(nonce, proof)).tag == "welcome"
            # 0.1; a loop that waits for the lock would take more than ten a login
            assert time.monotonic() - before < 10
            assert states(server, waiting.session) == []
        assert run(server, py_code("1")).ended == "ok"


def test_followers_get_the_heartbeat_meanwhile(tmp_path, monkeypatch):
    gate = Gate(tmp_path / "gate")
    monkeypatch.setattr(
        server_module, "FollowedOutput", lambda home, _: FollowedOutput(home, PATIENCE)
    )  # of a slow disk
    with (
        ServerHere(tmp_path / "home", heartbeat=0.1, workers=1) as server,
        connect(server).log_in() as running,
        connect(server).log_in() as waiting,
    ):
        for client in (running, waiting):
            client.submit(py_code(gate.code))
        running.expect("started")
        with locked(server.home):
            gate.open()
            for client in (running, waiting):
                assert [client.receive() for _ in range(5)] == ["<alive/>"] * 5
        assert running.report().ended == waiting.report().ended == "ok"


def stops_and_goes_on(server: QuickServer, tmp_path, seconds: float) -> None:
    """A server that is stopped while the journal is locked ends within these seconds, and the next one goes on."""
    gate, trace = Gate(tmp_path / "gate"), tmp_path / "trace"
    with connect(server).log_in() as running, connect(server).log_in() as waiting:
        running.submit(py_code(f"print('.')\n{gate.code}"))
        printed(running)  # it is said to have started before it has a process
        waiting.submit(leaves_trace(trace, "x"))
        with locked(server.home):
            gate.open()
            wait_until(lambda: not shims_of(server.home))
            before = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - before < seconds
    assert states(server, running.session) == ["running"]
    server.start()
    wait_until(lambda: states(server, waiting.session) == ["ok"])
    assert trace.read_text() == "x"
    assert states(server, running.session) == ["ok"]


@pytest.mark.parametrize("ends_jobs", [False, True], ids=["", "--end-jobs"])
def test_a_server_that_is_stopped_meanwhile_ends_in_time_and_the_next_one_goes_on(
    server, tmp_path, monkeypatch, ends_jobs
):
    monkeypatch.setattr(queue, "_SECONDS_TO_END", 0.5)
    server.ends_jobs = ends_jobs
    server.stop()
    server.start()
    stops_and_goes_on(server, tmp_path, 10)  # 0.7


@pytest.mark.large
@pytest.mark.timeout(120)
@pytest.mark.parametrize("options", [(), ("--end-jobs",)], ids=["", "--end-jobs"])
def test_so_does_a_real_one(tmp_path, options):
    with QuickServer(tmp_path / "home", "--workers", "1", *options, ends_jobs=False) as server:
        stops_and_goes_on(server, tmp_path, 18)  # 6, and with --end-jobs 14
