"""Each limit of a server: what is over it is refused as busy, and what is below goes on. And what many clients cost."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import trustme

from headless.dialects.vocabulary import FAILED, QUEUED, RUNNING
from headless.server import authentication, peer, requests
from headless.server.accounts import Account
from headless.server.admission import BytesInFlight
from headless.server.session import Session
from support.homes import make_home
from support.job_server import QuickServer, journal
from support.process import Command, current_user
from support.raw_client import RawClient, connect, in_jobs, osuser_login, py_code, run
from support.sampling import EXHAUSTIVE
from support.server_here import ServerHere
from support.usage import memory_of
from support.waiting import wait_until

pytestmark = pytest.mark.slow


MIB = 1024 * 1024
OTHER = "127.0.0.2"  # another address of this machine


@contextmanager
def serving(tmp_path, **settings) -> Iterator[Callable[..., RawClient]]:
    """Yields a function that opens a connection to a server."""
    with ServerHere(tmp_path / "home", **settings) as server, ExitStack() as stack:
        yield lambda source="": stack.enter_context(RawClient(server.address, source))


def is_let_in(enter, source: str = "") -> bool:
    client = enter(source)
    answer = client.ask(osuser_login(user="R41"))
    assert answer.tag == "welcome" or answer.attrib == {"reason": "busy"}
    client.sock.close()
    return answer.tag == "welcome"


# Connections


@pytest.mark.parametrize(
    ("limit", "log_in", "text"),
    [
        ("max_connections", True, "2 connections and takes no more"),
        ("max_connections_per_address", True, "2 connections from this address"),
        ("max_strangers_per_address", False, "2 connections without a login from this address"),
        ("max_strangers", False, "2 connections without a login and takes no more"),
    ],
)
def test_connections_in_all_of_one_address_and_without_a_login(tmp_path, limit, log_in, text):
    is_of_all = not limit.endswith("_per_address")
    with serving(tmp_path, **{limit: 2}) as enter:
        clients = [enter(), enter(OTHER if is_of_all else "")]
        if log_in:
            for client in clients:
                client.log_in()
        assert text in enter().expect_refusal("busy")
        assert is_of_all or is_let_in(enter, OTHER)
        if log_in:
            clients[0].sock.close()
            wait_until(lambda: is_let_in(enter))
        else:
            clients[0].log_in()  # and is no stranger any more
            assert is_let_in(enter)


def test_connections_of_one_account(tmp_path):
    make_home(tmp_path / "home", Account("R43", current_user(), None))
    with serving(tmp_path, max_connections_per_account=2) as enter:
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


@pytest.mark.parametrize("limit", ["max_strangers", "max_strangers_per_address", "max_connections"])
def test_tls_handshakes_that_are_not_finished(tmp_path, limit):
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with serving(tmp_path, tls=context, **{limit: 2}) as enter:

        def is_encrypted() -> bool:
            client = enter()
            try:
                client.sock = trusting.wrap_socket(client.sock, server_hostname="127.0.0.1")
            except OSError:
                return False
            with client.sock:
                return client.ask(osuser_login()).tag == "welcome"

        silent = [enter() for _ in range(2)]
        wait_until(lambda: not is_encrypted())
        silent[0].sock.close()
        wait_until(is_encrypted)


def test_bytes_of_messages_that_are_not_whole(tmp_path, monkeypatch):
    part, whole, held = 400 * 1024, in_jobs(py_code("#" * (400 * 1024))), []
    hold = BytesInFlight.hold

    def record(bytes_in_flight, count):
        hold(bytes_in_flight, count)
        held.append(count)

    def is_accepted(client: RawClient) -> bool:
        with client:
            answer = client.ask(whole)
            assert answer.tag == "accepted" or answer.attrib == {"reason": "busy"}
            return answer.tag == "accepted"

    monkeypatch.setattr(BytesInFlight, "hold", record)
    with serving(tmp_path, max_bytes_in_flight=MIB) as enter:
        clients = [enter().log_in() for _ in range(2)]
        for client in clients:
            client.sock.sendall(struct.pack(">I", MIB) + b"x" * part)
        wait_until(lambda: sum(held) >= 2 * part)
        assert not is_accepted(enter().log_in())
        with enter().log_in() as client:
            client.submit(py_code("1"))  # a small one is not counted
        clients[0].sock.close()
        wait_until(lambda: is_accepted(enter().log_in()))
        assert is_accepted(enter().log_in())  # what is accepted makes room, too


def test_the_time_of_a_message_that_has_begun(tmp_path):
    with serving(tmp_path, heartbeat=0.1, message_timeout=0.3) as enter:
        slow, silent = enter().log_in(), enter().log_in()
        slow.sock.sendall(b"\0")
        before = time.monotonic()
        assert "not complete within 0.3 s" in slow.expect_refusal("busy")
        assert time.monotonic() >= before + 0.2  # it is looked at every 0.1 s
        silent.submit(py_code("1"))  # who has not begun is waited for


# Sessions and jobs


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        ("max_waiting", "3 sessions wait already"),
        ("max_waiting_per_account", "3 sessions of this account wait already"),
    ],
)
def test_sessions_that_wait_also_if_they_come_at_once(tmp_path, gate, limit, text):
    make_home(tmp_path / "home", Account("R43", current_user(), None))
    with serving(tmp_path, workers=1, **{limit: 3}) as enter:
        running, other = enter().log_in(), enter().log_in("R43")
        running.submit(py_code(gate.code))
        running.expect("started")
        clients = [enter().log_in() for _ in range(6)]
        for client in clients:
            client.send(in_jobs(py_code("1")))
        answers = [client.element() for client in clients]
        assert [answer.tag for answer in answers].count("accepted") == 3
        assert {answer.text for answer in answers if answer.tag == "refused"} == {text}
        other.send(in_jobs(py_code("1")))
        assert other.element().tag == ("refused" if limit == "max_waiting" else "accepted")
        gate.open()
        for client, answer in zip(clients, answers):
            assert answer.tag == "refused" or client.report().ended == "ok"
        enter().log_in().submit(py_code("1"))


def test_the_time_for_the_scripts_of_a_session(tmp_path, monkeypatch):
    monkeypatch.setattr(requests, "_CHECK_SECONDS", 0.3)
    monkeypatch.setattr(requests, "check_scripts", lambda *_: time.sleep(2))
    with serving(tmp_path) as enter:
        client = enter().log_in()
        client.send(in_jobs(*["<py_file>x.py</py_file>"] * 3))
        assert "takes too long" in client.expect_refusal("busy")


@pytest.mark.skipif(not peer.knows_owners(), reason="the name service is asked where connections have owners")
def test_the_time_of_the_name_service(tmp_path, monkeypatch):
    monkeypatch.setattr(authentication, "_NAME_SECONDS", 0.3)
    monkeypatch.setattr(peer, "is_user", lambda *_: time.sleep(2))
    with serving(tmp_path) as enter:
        client = enter()
        client.send(osuser_login())
        assert "name service" in client.expect_refusal("busy")


# Memory and descriptors


UNFINISHED = 60  # messages of 16 MiB
LARGE_SESSIONS, LARGE = (30, 15 * MIB) if EXHAUSTIVE else (15, 2 * MIB)


@pytest.mark.large
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_bytes_in_flight_are_bounded_and_so_is_the_memory(own_server):
    announced = struct.pack(">I", 16 * MIB)
    with ExitStack() as stack:
        assert run(own_server, py_code("1")).ended == "ok"
        before = memory_of(own_server.process)
        refused = 0
        for _ in range(UNFINISHED):
            client = stack.enter_context(connect(own_server).log_in())
            refused += is_refused(client, announced + b"x" * (16 * MIB - 1))
        assert refused >= UNFINISHED - 4
        assert memory_of(own_server.process, "VmHWM") - before < 150 * MIB  # 64 to 90; 961 without a limit
        assert run(own_server, py_code("1")).ended == "ok"
    with connect(own_server).log_in() as client:  # those who held them have left
        wait_until(lambda: memory_of(own_server.process) - before < 64 * MIB)
        client.submit(py_code("#" * (15 * MIB)))


def is_refused(client: RawClient, data: bytes) -> bool:
    """Returns whether the client is refused as busy before or after it has sent all."""
    try:
        client.sock.sendall(data)
        client.sock.settimeout(0.3)
        return b'reason="busy"' in client.sock.recv(1000)
    except socket.timeout:
        return False
    except OSError:  # the server has refused and closed
        return True


def test_a_session_in_memory_is_as_small_with_ten_thousand_jobs_as_with_one():
    async def size(jobs: int) -> int:
        tracemalloc.start()
        sessions = [Session("s", 1, "R41", jobs) for _ in range(100)]
        sessions += [Session("s", 1, "R41", jobs, jobs, state) for state in (RUNNING, FAILED) for _ in range(100)]
        sessions[0].begin(1)
        sessions[0].end(1, FAILED, "")
        assert [session.state_of(jobs) for session in sessions[1::100]] == [QUEUED, RUNNING, FAILED]
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return taken

    assert asyncio.run(size(10_000)) < 1.1 * asyncio.run(size(1))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_sessions_that_wait_cost_little_memory_however_large_they_are(own_server, gate):
    text = py_code(f"print(1)\n#{'x' * LARGE}")

    def submit(count: int) -> None:
        for _ in range(count):
            with connect(own_server).log_in() as client:
                client.submit(text)

    with connect(own_server).log_in() as running:
        running.submit(py_code(gate.code))
        running.expect("started")
        start = memory_of(own_server.process)
        submit(3)  # what it takes to receive one, which the allocator may keep
        before = memory_of(own_server.process)
        submit(LARGE_SESSIONS)
        kept = LARGE_SESSIONS * LARGE  # what it would take at least
        assert memory_of(own_server.process) - before < kept / 2
        own_server.crash()
        own_server.start()
        assert memory_of(own_server.process, "VmHWM") - start < kept / 2
        gate.open()
    wait_until(lambda: sum(entry["state"] == "ok" for entry in journal(own_server)) >= 3)


@pytest.fixture
def few_descriptors(tmp_path, monkeypatch):
    """A server that may open 256 files."""
    monkeypatch.setenv("PYTHONHASHSEED", "1")  # so that the server is not forked
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nulimit -n 256\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o700)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(python))
        server = QuickServer(tmp_path / "home", "--workers", "2")
        server.__enter__()
    yield server
    server.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_where_descriptors_are_few_silent_connections_disturb_no_job_and_no_login_is_in_doubt(
    few_descriptors, gate, tmp_path
):
    server, command = few_descriptors, Command(tmp_path)
    call = ("-s", server.address, "-a", "osuser", "-u", "R41", "-c", "1")
    clients = [connect(server).log_in() for _ in range(2)]
    for client in clients:
        client.submit(py_code(gate.code), py_code("import os; os.system('true')"), py_code("print(1)"))
    with ExitStack() as stack:
        for _ in range(300):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", int(server.address.rpartition(":")[2])))
        gate.open()
        codes = [command(*call).returncode for _ in range(2)]
        assert set(codes) <= {0, 1}
        for client in clients:
            report = client.report()
            assert (report.ended, report.output[3, "stdout"]) == ("ok", "1\n")
    wait_until(lambda: command(*call).returncode == 0)
    server.stop()
    assert "open files, not" not in server.log.split("listening")[1]
    assert "oo many open files" not in server.log
    assert "out of system resource" not in server.log
