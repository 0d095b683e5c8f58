"""What a server takes of memory and descriptors, however many come, and however much waits."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
import tracemalloc
from contextlib import ExitStack

import pytest

from headless.dialects.vocabulary import FAILED, QUEUED, RUNNING
from headless.server.session import Session
from support.job_code import Gate
from support.job_server import QuickServer, journal
from support.process import PATIENCE, Command
from support.raw_client import RawClient, connect, py_code, run
from support.sampling import EXHAUSTIVE
from support.usage import memory_of
from support.waiting import wait_until

MIB = 1024 * 1024
UNFINISHED = 60  # messages of 16 MiB
LARGE_SESSIONES, LARGE = (30, 15 * MIB) if EXHAUSTIVE else (15, 2 * MIB)

pytestmark = pytest.mark.slow


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
            client.sock.setblocking(False)
            refused += sends_all_or_is_refused(client, announced + b"x" * (16 * MIB - 1))
        assert refused >= UNFINISHED - 4
        assert memory_of(own_server.process, "VmHWM") - before < 150 * MIB  # 64 to 90; 961 without a limit
        assert run(own_server, py_code("1")).ended == "ok"
    with connect(own_server).log_in() as client:  # those who held them have left
        wait_until(lambda: memory_of(own_server.process) - before < 64 * MIB)
        client.submit(py_code("#" * (15 * MIB)))


def sends_all_or_is_refused(client: RawClient, data: bytes) -> bool:
    """Whether the client is refused as busy before it has sent all."""
    view, end = memoryview(data), time.monotonic() + PATIENCE
    while view and time.monotonic() < end:
        try:
            view = view[client.sock.send(view) :]
        except BlockingIOError:
            time.sleep(0.001)
        except OSError:
            return True
        try:
            answer = client.sock.recv(1000)
        except OSError:
            continue
        assert b'reason="busy"' in answer
        return True
    client.sock.settimeout(0.3)
    try:
        return b'reason="busy"' in client.sock.recv(1000)
    except OSError:
        return False


def test_a_session_in_memory_is_as_small_with_ten_thousand_jobs_as_with_one():
    """Whether it waits, runs, has failed or was over before, as the journal has it."""

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
def test_sessions_that_wait_cost_little_memory_however_large_they_are(own_server, tmp_path):
    gate = Gate(tmp_path / "gate")
    text = py_code(f"print(1)\n#{'x' * LARGE}")
    with connect(own_server).log_in() as running:
        running.submit(py_code(gate.code))
        running.expect("started")
        start = memory_of(own_server.process)
        for _ in range(3):  # what it takes to receive one, which the allocator may keep
            with connect(own_server).log_in() as client:
                client.submit(text)
        before = memory_of(own_server.process)
        for _ in range(LARGE_SESSIONES):
            with connect(own_server).log_in() as client:
                client.submit(text)
        kept = LARGE_SESSIONES * LARGE  # what it would take at least
        assert memory_of(own_server.process) - before < kept / 2
        own_server.crash()
        own_server.start()
        assert memory_of(own_server.process, "VmHWM") - start < kept / 2
        gate.open()
    wait_until(lambda: sum(entry["state"] == "ok" for entry in journal(own_server)) >= 3)


@pytest.fixture
def few_descriptors(tmp_path, monkeypatch):
    """Whatever Python is started meanwhile may open 256 files."""
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
    few_descriptors, tmp_path
):
    server = few_descriptors
    gate, command = Gate(tmp_path / "gate"), Command(tmp_path)
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
