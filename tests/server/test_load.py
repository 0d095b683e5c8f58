"""What many clients, and bad ones, cost the server: measured on a server in a process of its own, by its memory and by
how an honest client fares meanwhile. Each measured bound says what was measured when it was chosen."""

from __future__ import annotations

import gc
import socket
import sys
import time
from contextlib import ExitStack

import pytest

pytest.importorskip("resource", reason="Windows has no such limits")
import fcntl
import resource
import termios

from support.frames import frame
from support.job_server import JobServer, QuickServer, states
from support.process import PATIENCE
from support.raw_client import RawClient, challenge_login, connect, osuser_login, py_code, run
from support.sampling import EXHAUSTIVE
from support.scripted_server import Disconnected
from support.server_here import ServerHere
from support.usage import memory_of
from support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc"),
]

SILENT = 500 if EXHAUSTIVE else 60
SESSIONS = 1000 if EXHAUSTIVE else 100
LAZY = 50 if EXHAUSTIVE else 25
ROOM = 200  # descriptors that a process needs besides those of its sessions


@pytest.fixture
def server(tmp_path):
    """A server that may have SESSIONS connections, and so may the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < SESSIONS + ROOM:
        pytest.skip(f"this user may open no more than {hard} files in a process")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with QuickServer(tmp_path / "home", "--workers", "1", "--log-level", "error") as server:
            assert run(server, py_code("print('.' * 1_000_000)")).ended == "ok"  # so that all is loaded
            yield server
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_open(client: RawClient) -> bool:
    client.sock.setblocking(False)
    try:
        return client.sock.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        client.sock.settimeout(PATIENCE)


@pytest.mark.version("asyncio")
def test_silent_connections_are_closed_in_time_and_disturb_no_other(tmp_path):
    login_seconds = 1.0
    beginnings = [b"", b"\x00\x00", frame(osuser_login())[:-1], frame(challenge_login("R42"))]

    with ServerHere(tmp_path / "home", login_timeout=login_seconds) as server, ExitStack() as stack:
        silent = [stack.enter_context(RawClient(server.address)) for _ in range(SILENT)]
        before = time.monotonic()
        for number, client in enumerate(silent):
            client.sock.sendall(beginnings[number % len(beginnings)])
        with RawClient(server.address).log_in() as honest:
            honest.submit(py_code("1"))
            assert honest.report().ended == "ok"
        assert any(map(is_open, silent)) or time.monotonic() - before > login_seconds
        for client in silent:
            with pytest.raises((Disconnected, ConnectionError)):  # not the socket's time-out
                client.expect("challenge")
                client.receive()
        assert time.monotonic() - before > login_seconds / 2


TWENTY_MEGABYTES = "import os\nfor _ in range(20): os.write(1, b'x' * 1_000_000)"


def test_many_clients_that_do_not_read_cost_little(server):
    with connect(server).log_in() as client:
        client.submit(py_code(TWENTY_MEGABYTES))
    wait_until(lambda: states(server, client.session) == ["ok"])
    with ExitStack() as stack:
        fill(stack, server, client.session, 2)  # what it takes to serve any of them
        memory = [memory_of(server.process)]
        for _ in range(2):  # the allocator makes noise
            fill(stack, server, client.session, LAZY)
            memory.append(memory_of(server.process))
        assert run(server, py_code("1")).ended == "ok"
    growth = min(memory[1] - memory[0], memory[2] - memory[1]) / LAZY
    assert growth < 180 * 1024  # 90 to 160 KiB; 270 where more than one message waits


def fill(stack: ExitStack, server: JobServer, session: str, count: int) -> None:
    """Lets so many clients follow the session and not read. Returns when the network holds what it can."""
    lazy = [stack.enter_context(connect(server).log_in()) for _ in range(count)]
    for number, each in enumerate(lazy):  # each at another offset, so that nothing is shared
        each.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        each.attach(session, 1, number * 1000 + count, 0)
    wait_until(lambda: all(unread(each) > 10_000 for each in lazy))
    received = -1
    while received != (received := sum(map(unread, lazy))):
        time.sleep(0.2)


def unread(client: RawClient) -> int:
    """Returns the count of bytes that have come. ioctl_list(2)."""
    return int.from_bytes(fcntl.ioctl(client.sock, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.version("asyncio")
def test_a_server_can_stop_while_it_is_closing_a_connection(tmp_path):
    with ExitStack() as stack, ServerHere(tmp_path / "home", login_timeout=0.1) as server:
        client = stack.enter_context(RawClient(server.address))
        with pytest.raises(Disconnected):  # after which the server waits a second for the client to close, too
            client.receive()
    gc.collect()  # which is when asyncio warns of a connection that was left open


def test_jobs_may_open_as_many_files_as_the_server_was_allowed_when_it_started(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "1")  # so that the server is not forked: it gets the limit of this process
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (600, hard))
    try:
        with QuickServer(tmp_path / "home") as server:
            report = run(server, py_code("import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert report.output == {(1, "stdout"): f"(600, {hard})\n"}
