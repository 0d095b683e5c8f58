"""Another process holds the lock of the journal, as a backup may, while batches are accepted, begin and end."""

from __future__ import annotations

import time

import pytest

from headless.server import store as store_module
from headless.server.accounts import Account, keys_from_hash
from support import scram
from support.credentials import HASH
from support.in_process import serve_here
from support.job_code import Gate
from support.job_server import QuickServer, journal, states
from support.locks import locked
from support.raw_client import RAW_NONCE, RawClient, challenge_login, connect, in_jobs, osuser_login, py_code, response
from support.waiting import wait_until

KINDS = ("IMMEDIATE", "EXCLUSIVE")


@pytest.fixture
def server(tmp_path):
    account = Account("R42", None, keys_from_hash(HASH.encode()))
    with QuickServer(tmp_path / "home", "--workers", "1", accounts=(account,)) as server:
        yield server


def leaves_trace(path, name: str) -> str:
    return py_code(f"open({str(path)!r}, 'a').write({name!r})")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("kind", "seconds"), [("IMMEDIATE", 30), ("EXCLUSIVE", 2)])
def test_what_was_accepted_before_runs_in_its_order_when_the_lock_is_gone(server, tmp_path, kind, seconds):
    gate, trace = Gate(tmp_path / "gate"), tmp_path / "trace"
    clients = [connect(server).log_in() for _ in range(4)]
    clients[0].submit(py_code(gate.code), leaves_trace(trace, "0"))
    for number, client in enumerate(clients[1:], 1):
        client.submit(leaves_trace(trace, str(number)))
    clients[0].expect("started")
    with locked(server.home, kind):
        gate.open()
        time.sleep(seconds)
        assert states(server, clients[0].session) == ["running", "queued"]
        assert not trace.exists()
    for client in clients:
        report = client.report()
        assert {status for status, _ in report.finished} == {report.ended} == {"ok"}
    assert trace.read_text() == "0123"
    assert {entry["state"] for entry in journal(server)} == {"ok"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_batch_is_refused_after_ten_seconds_and_never_runs(server, tmp_path, kind):
    trace = tmp_path / "trace"
    with connect(server).log_in() as client:
        with locked(server.home, kind):
            before = time.monotonic()
            client.send(in_jobs(leaves_trace(trace, "x")))
            text = client.expect_refusal("busy")
            assert 9 < time.monotonic() - before < 15
        assert "locked the journal" in text
    for _ in range(2):
        with connect(server).log_in() as client:
            client.submit(py_code("1"))
            assert client.report().ended == "ok"
        server.stop()
        server.start()
    assert not trace.exists()
    assert len(journal(server)) == 2


def test_a_batch_that_comes_meanwhile_is_accepted_if_the_lock_is_gone_in_time(server):
    with connect(server).log_in() as client:
        with locked(server.home):
            client.send(in_jobs(py_code("1")))
            time.sleep(1)
        client.expect("accepted")
        assert client.report().ended == "ok"


@pytest.mark.parametrize("kind", KINDS)
def test_others_log_in_meanwhile_by_both_logins_as_quickly_as_ever(server, kind):
    with locked(server.home, kind), connect(server).log_in() as waiting:
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
        assert time.monotonic() - before < 5  # 0.1; a loop that waits for the lock would take more than ten a login


def test_followers_are_told_meanwhile_that_the_server_is_alive(tmp_path):
    gate = Gate(tmp_path / "gate")

    def talk(address: str) -> None:
        with RawClient(address).log_in() as running, RawClient(address).log_in() as waiting:
            for client in (running, waiting):
                client.submit(py_code(gate.code))
            running.expect("started")
            with locked(tmp_path / "home"):
                gate.open()
                for client in (running, waiting):
                    assert [client.receive() for _ in range(3)] == ["<alive/>"] * 3
            assert running.report().ended == waiting.report().ended == "ok"

    serve_here(tmp_path / "home", talk, heartbeat=1, workers=1)


def test_a_server_that_is_stopped_meanwhile_ends_in_time_and_the_next_one_goes_on(server, tmp_path):
    gate, trace = Gate(tmp_path / "gate"), tmp_path / "trace"
    with connect(server).log_in() as running, connect(server).log_in() as waiting:
        running.submit(py_code(gate.code))
        running.expect("started")
        waiting.submit(leaves_trace(trace, "x"))
        with locked(server.home):
            gate.open()
            time.sleep(0.5)
            before = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - before < 18  # 14
    server.start()
    wait_until(lambda: states(server, waiting.session) == ["ok"])
    assert trace.read_text() == "x"
    assert states(server, running.session) == ["ok"]


def test_a_batch_that_is_given_up_is_not_in_the_journal_when_the_lock_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "_ACCEPT_SECONDS", 0.5)

    def talk(address: str) -> None:
        with RawClient(address).log_in() as late, RawClient(address).log_in() as client:
            with locked(tmp_path / "home"):
                late.send(in_jobs(py_code("1"), py_code("2")))
                late.expect_refusal("busy")
            client.submit(py_code("1"))
            assert client.report().ended == "ok"

    serve_here(tmp_path / "home", talk)
    server = QuickServer(tmp_path / "home")
    assert len(journal(server)) == 1
