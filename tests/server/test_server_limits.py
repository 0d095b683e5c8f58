"""Each limit of a server is reached. What is over one is refused as busy, and what is below goes on."""

from __future__ import annotations

import ssl
import struct
import time
from contextlib import ExitStack
from functools import partial

import pytest
import trustme

from headless.errors import Busy
from headless.server import authentication, peer, requests
from headless.server.accounts import Account
from headless.server.admission import Admission, BytesInFlight
from headless.server.settings import Settings
from support.homes import make_home
from support.job_code import Gate
from support.job_server import QuickServer
from support.process import current_user
from support.raw_client import RawClient, in_jobs, osuser_login, py_code, run
from support.server_here import ServerHere
from support.waiting import wait_until

MIB = 1024 * 1024
OTHER = "127.0.0.2"  # another address of this machine

pytestmark = pytest.mark.slow


def serve(tmp_path, talk, **settings) -> None:
    """Runs `talk(enter)`, in which `enter()` is a new connection."""
    with ServerHere(tmp_path / "home", **settings) as server, ExitStack() as stack:
        talk(lambda source="": stack.enter_context(RawClient(server.address, source)))


def is_let_in(enter, source: str = "") -> bool:
    client = enter(source)
    answer = client.ask(osuser_login(user="R41"))
    assert answer.tag == "welcome" or answer.attrib == {"reason": "busy"}
    client.sock.close()
    return answer.tag == "welcome"


# Connections


def test_connections_in_all(tmp_path):
    def talk(enter):
        clients = [enter(source).log_in() for source in ("", "", OTHER)]
        assert "3 connections" in enter().expect_refusal("busy")
        clients[0].sock.close()
        wait_until(lambda: is_let_in(enter))

    serve(tmp_path, talk, max_connections=3)


def test_connections_of_one_address(tmp_path):
    def talk(enter):
        clients = [enter().log_in() for _ in range(2)]
        assert "2 connections from this address" in enter().expect_refusal("busy")
        assert is_let_in(enter, OTHER)
        clients[0].sock.close()
        wait_until(lambda: is_let_in(enter))

    serve(tmp_path, talk, max_connections_per_address=2)


def test_connections_without_a_login_in_all(tmp_path):
    def talk(enter):
        strangers = [enter(source) for source in ("", OTHER)]
        assert "2 connections without a login" in enter().expect_refusal("busy")
        strangers[0].log_in()  # and is no stranger any more
        assert is_let_in(enter)

    serve(tmp_path, talk, max_strangers=2)


def test_connections_without_a_login_of_one_address(tmp_path):
    def talk(enter):
        strangers = [enter() for _ in range(2)]
        assert "2 connections without a login from this address" in enter().expect_refusal("busy")
        assert is_let_in(enter, OTHER)
        strangers[0].log_in()
        assert is_let_in(enter)

    serve(tmp_path, talk, max_strangers_per_address=2)


def test_connections_of_one_account(tmp_path):
    """Whatever they wait for. No other client is harmed, and what goes makes room."""
    make_home(tmp_path / "home", Account("R43", current_user(), None))

    def talk(enter):
        clients = [enter().log_in() for _ in range(2)]
        clients[0].submit(py_code("1"))
        assert clients[0].report().ended == "ok"
        clients[0] = enter().log_in()
        late = enter()
        late.send(osuser_login(user="R41"))
        assert "2 connections of this account" in late.expect_refusal("busy")
        enter().log_in("R43")
        clients[1].sock.close()
        wait_until(lambda: is_let_in(enter))

    serve(tmp_path, talk, max_connections_per_account=2)


@pytest.mark.parametrize("limit", ["max_strangers", "max_strangers_per_address", "max_connections"])
def test_tls_handshakes_that_are_not_finished(tmp_path, limit):
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    def is_encrypted(enter) -> bool:
        client = enter()
        try:
            client.sock = trusting.wrap_socket(client.sock, server_hostname="127.0.0.1")
        except OSError:
            return False
        with client.sock:
            return client.ask(osuser_login()).tag == "welcome"

    def talk(enter):
        silent = [enter() for _ in range(2)]
        wait_until(lambda: not is_encrypted(enter))
        silent[0].sock.close()
        wait_until(lambda: is_encrypted(enter))

    serve(tmp_path, talk, tls=context, **{limit: 2})


def test_a_handshake_counts_as_a_connection_until_it_enters():
    admission = Admission(Settings(max_connections=1))
    admission.begin_handshake("a")
    with pytest.raises(Busy):
        admission.enter("b")
    admission.end_handshake("a")
    admission.enter("b")


# Messages


def test_bytes_of_messages_that_are_not_whole(tmp_path, monkeypatch):
    """A client with more of them than there is room for is refused, and one that leaves makes room."""
    part, whole, held = 400 * 1024, in_jobs(py_code("#" * (400 * 1024))), []
    hold = BytesInFlight.hold

    def record(bytes_in_flight, count):
        hold(bytes_in_flight, count)
        held.append(count)

    def is_held(count: int) -> bool:
        return sum(held) >= count

    def is_accepted(client: RawClient) -> bool:
        with client:
            answer = client.ask(whole)
            assert answer.tag == "accepted" or answer.attrib == {"reason": "busy"}
            return answer.tag == "accepted"

    def talk(enter):
        clients = [enter().log_in() for _ in range(2)]
        for number, client in enumerate(clients, 1):
            client.sock.sendall(struct.pack(">I", MIB) + b"x" * part)
            wait_until(partial(is_held, number * part))
        assert not is_accepted(enter().log_in())
        with enter().log_in() as client:
            client.submit(py_code("1"))  # a small one is not counted
        clients[0].sock.close()
        wait_until(lambda: is_accepted(enter().log_in()))
        assert is_accepted(enter().log_in())  # what is accepted makes room, too

    monkeypatch.setattr(BytesInFlight, "hold", record)
    serve(tmp_path, talk, max_bytes_in_flight=MIB)


def test_the_time_of_a_message_that_has_begun(tmp_path):
    def talk(enter):
        with enter().log_in() as slow, enter().log_in() as silent:
            slow.sock.sendall(b"\0")
            before = time.monotonic()
            assert "not complete within 0.3 s" in slow.expect_refusal("busy")
            assert time.monotonic() >= before + 0.2  # it is looked at every 0.1 s
            silent.submit(py_code("1"))  # who has not begun is waited for

    serve(tmp_path, talk, heartbeat=0.1, message_timeout=0.3)


# Sessions and jobs


def test_sessions_that_wait(tmp_path):
    gate = Gate(tmp_path / "gate")

    def talk(enter):
        running, waiting = enter().log_in(), enter().log_in()
        running.submit(py_code(gate.code))
        running.expect("started")
        waiting.submit(py_code("1"))
        with enter().log_in() as client:
            client.send(in_jobs(py_code("1")))
            assert "1 sessions wait already" in client.expect_refusal("busy")
        gate.open()
        assert waiting.report().ended == "ok"
        with enter().log_in() as client:
            client.submit(py_code("1"))

    serve(tmp_path, talk, workers=1, max_waiting=1)


def test_sessions_of_one_account_that_wait(tmp_path):
    make_home(tmp_path / "home", Account("R43", current_user(), None))
    gate = Gate(tmp_path / "gate")

    def talk(enter):
        running, waiting, other, late = enter().log_in(), enter().log_in(), enter().log_in("R43"), enter().log_in()
        running.submit(py_code(gate.code))
        running.expect("started")
        waiting.submit(py_code("1"))
        late.send(in_jobs(py_code("1")))
        assert "1 sessions of this account wait already" in late.expect_refusal("busy")
        other.submit(py_code("1"))
        gate.open()
        assert waiting.report().ended == other.report().ended == "ok"

    serve(tmp_path, talk, workers=1, max_waiting_per_account=1)


def test_sessions_that_come_at_once_and_wait(tmp_path):
    gate = Gate(tmp_path / "gate")

    def talk(enter):
        running = enter().log_in()
        running.submit(py_code(gate.code))
        running.expect("started")
        clients = [enter().log_in() for _ in range(6)]
        for client in clients:
            client.send(in_jobs(py_code("1")))
        assert [client.element().tag for client in clients].count("accepted") == 3
        gate.open()

    serve(tmp_path, talk, workers=1, max_waiting=3)


def test_the_time_of_a_job(tmp_path):
    with QuickServer(tmp_path / "home", "--limit", "1") as server:
        report = run(server, py_code("import time; time.sleep(60)"), py_code("1"))
    assert report.finished == [("failed", "ended after 1 s, the limit of this server"), ("skipped", "")]


def test_the_time_for_the_scripts_of_a_session(tmp_path, monkeypatch):
    def talk(enter):
        with enter().log_in() as client:
            client.send(in_jobs(*["<py_file>x.py</py_file>"] * 3))
            assert "takes too long" in client.expect_refusal("busy")

    monkeypatch.setattr(requests, "_CHECK_SECONDS", 0.3)
    monkeypatch.setattr(requests, "check_scripts", lambda *_: time.sleep(2))
    serve(tmp_path, talk)


@pytest.mark.skipif(not peer.knows_owners(), reason="the name service is asked where connections have owners")
def test_the_time_of_the_name_service(tmp_path, monkeypatch):
    def talk(enter):
        with enter() as client:
            client.send(osuser_login())
            assert "name service" in client.expect_refusal("busy")

    monkeypatch.setattr(authentication, "_NAME_SECONDS", 0.3)
    monkeypatch.setattr(peer, "is_user", lambda *_: time.sleep(2))
    serve(tmp_path, talk)
