"""How a server ends: what its first signal leaves running and for how long, and that the second one ends it within
seconds, whatever hangs. And the signals that do not end it."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager

import pytest

pytest.importorskip("fcntl", reason="Windows has no shims")
import fcntl

from support import fork_server
from support.crashes import (
    FOR_A_MINUTE,
    check,
    check_received,
    is_refused,
    kill_shims,
    planted,
    printed,
    receive_until_the_end,
    recorded,
    shim_of,
    submitted,
    traced,
    wait_until_quiet,
)
from support.job_server import QuickServer, states
from support.process import PATIENCE, ROOT
from support.raw_client import connect, in_jobs, py_code, run
from support.shims_of import send, shims_of
from support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="shims are found by /proc"),
]
# A fifth of the times of jobs that are ended, and a tenth of all others.
IN_A_HURRY = """
from headless.server import connection, queue, server, shims
from headless.server.commands import serve
serve._SECONDS_TO_STOP_AT_ONCE, serve._SECONDS_TO_END_JOBS, serve._LOG_SECONDS = 0.3, 2.0, 0.1
queue._SECONDS_TO_CANCEL, queue._SECONDS_TO_END = 0.1, 1.6
server._STORE_SECONDS, server.LINGER_SECONDS, connection.LINGER_SECONDS = 0.5, 0.1, 0.1
shims._SECONDS_TO_END, shims._SECONDS_TO_DIE = 0.8, 0.6
"""
_F_SETPIPE_SZ = 1031  # fcntl(2)


@pytest.fixture
def in_a_hurry(tmp_path):
    """Servers that are started have short times."""
    with planted(tmp_path / "in_a_hurry.py", IN_A_HURRY):
        yield


@pytest.fixture
def own_server(in_a_hurry, tmp_path):  # noqa: ARG001
    with QuickServer(tmp_path / "home", "--workers", "1") as server:
        yield server


# With --end-jobs


def test_with_end_jobs_sigterm_interrupts_what_outlives_the_grace_and_no_more(own_server):
    with connect(own_server) as client, connect(own_server) as waiting:
        printed(submitted(client, py_code(FOR_A_MINUTE), py_code("2")))
        submitted(waiting, traced(), traced())
        own_server.process.terminate()
        report = client.report()
        waiting.expect_refusal("busy")
    assert own_server.wait() == 0
    assert report.finished == [("failed", "the server was stopped"), ("skipped", "")]
    assert report.ended == "failed"
    assert states(own_server, client.session) == ["interrupted", "skipped"]
    own_server.start()
    wait_until_quiet(own_server)
    assert states(own_server, waiting.session) == ["ok", "ok"]


@pytest.mark.usefixtures("in_a_hurry")
def test_end_jobs_interrupts_a_job_that_was_just_resumed(tmp_path):
    with QuickServer(tmp_path / "home", ends_jobs=False) as server:
        with connect(server) as client:
            printed(submitted(client, traced("print('.')\ntime.sleep(60)"), traced()))
        server.crash()
        server.ends_jobs = True
        server.start()
        assert server.stop() == 0
        assert not shims_of(server.home)
        assert states(server, client.session) == ["interrupted", "skipped"]


@pytest.mark.usefixtures("in_a_hurry")
def test_a_job_that_is_still_being_looked_for_does_not_delay_the_end(tmp_path):
    """A shim that may or may not have started its job."""
    with QuickServer(tmp_path / "home", ends_jobs=False) as server:
        with connect(server) as client:
            printed(submitted(client, traced("print('.')\ntime.sleep(60)")))
        server.crash()
        kill_shims(server)
        with open(server.home / "output" / client.session / "1.shim", "r+") as record:
            fcntl.flock(record, fcntl.LOCK_EX)
            record.truncate(0)
            server.ends_jobs = True
            server.start()
            assert server.stop() == 0
        assert states(server, client.session) == ["running"]


# Without


@pytest.mark.usefixtures("in_a_hurry")
def test_sigterm_leaves_jobs_running_and_refuses_clients_that_wait_for_them(tmp_path, gate):
    with QuickServer(tmp_path / "home", "--workers", "1", ends_jobs=False) as server:
        with connect(server) as running, connect(server) as waiting, connect(server) as idle:
            printed(submitted(running, traced("print('.')\n" + gate.code), traced()))
            submitted(waiting, traced())
            idle.log_in()
            server.process.terminate()
            assert "runs on" in running.expect_refusal("busy")
            waiting.expect_refusal("busy")
            idle.expect_refusal("busy")
        assert server.wait() == 0
        assert states(server, running.session) == ["running", "queued"]
        gate.open()
        server.start()
        wait_until_quiet(server)
        check(server)


@pytest.mark.usefixtures("in_a_hurry")
@pytest.mark.version("asyncio")
def test_during_the_grace_jobs_go_on_and_nothing_new_begins(tmp_path, gate):
    with (
        QuickServer(tmp_path / "home", "--grace", "600", "--workers", "1") as server,
        connect(server) as running,
        connect(server) as waiting,
        connect(server).log_in() as late,
    ):
        submitted(running, py_code(gate.code)).expect("started")
        submitted(waiting, py_code("1"))
        server.process.terminate()
        wait_until(lambda: is_refused(server))
        late.send(in_jobs(py_code("1")))
        late.expect_refusal("busy")
        gate.open()
        assert running.report().ended == "ok"
        waiting.expect_refusal("busy")
        assert server.wait() == 0
    assert [states(server, each.session) for each in (running, late, waiting)] == [["ok"], [], ["queued"]]


@pytest.mark.usefixtures("in_a_hurry")
def test_a_server_that_runs_nothing_ends_at_once_whatever_the_grace(tmp_path):
    with QuickServer(tmp_path / "home", "--grace", "600") as server, connect(server).log_in() as client:
        server.process.terminate()
        client.expect_refusal("busy")
        assert server.wait() == 0


# The second signal


@contextmanager
def locked_journal(server, _session):
    with closing(sqlite3.connect(server.home / "planta.sqlite", timeout=PATIENCE)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def stopped_shim(server, session):
    shim = shim_of(server, session)
    send(shim, signal.SIGSTOP)
    try:
        yield
    finally:
        send(shim, signal.SIGCONT)


@contextmanager
def unread_log(server, _session):
    fcntl.fcntl(server.process.stderr, _F_SETPIPE_SZ, 4096)
    host, _, port = server.address.rpartition(":")
    for _ in range(100):
        socket.create_connection((host, int(port)), PATIENCE).close()
    yield


@pytest.mark.usefixtures("in_a_hurry")
@pytest.mark.parametrize("ends_jobs", [False, True], ids=["", "--end-jobs"])
@pytest.mark.parametrize("hang", [locked_journal, stopped_shim, unread_log])
def test_a_second_signal_ends_the_server_long_before_the_grace_whatever_hangs(tmp_path, gate, hang, ends_jobs):
    with QuickServer(tmp_path / "home", "--workers", "1", "--grace", "600", ends_jobs=ends_jobs) as server:
        with connect(server) as client, connect(server) as waiting:
            printed(submitted(client, traced("print('.')\n" + gate.code), traced()))
            submitted(waiting, traced())
            with hang(server, client.session):
                server.process.terminate()
                wait_until(lambda: is_refused(server))  # two signals that come together are one
                server.process.send_signal(signal.SIGINT)
                server.process.wait(PATIENCE)
                received = receive_until_the_end(client)
        if ends_jobs:
            wait_until(lambda: not shims_of(server.home))
        else:
            assert len(shims_of(server.home)) == 1
        gate.open()
        server.crash()
        server.start()
        wait_until_quiet(server)
        (before, after), other = states(server, client.session), states(server, waiting.session)
        assert (before, after) in ([("interrupted", "skipped")] if ends_jobs else [("ok", "ok")])
        assert other == ["ok"]
        check_received(recorded(server)[client.session], received)
        assert hang is not locked_journal or not received.finished


HANG = """
import time
from headless.server.queue import SessionQueue
async def stop(*_):
    open({!r}, "w").close()
    while True: time.sleep(60)
SessionQueue.stop = stop
"""


def test_a_second_signal_ends_a_server_whose_event_loop_hangs(tmp_path):
    with planted(tmp_path / "hangs.py", HANG.format(str(tmp_path / "hangs"))):
        server = QuickServer(tmp_path / "home", ends_jobs=False)
        server.start()
    server.process.terminate()
    wait_until((tmp_path / "hangs").exists)
    server.process.terminate()
    try:
        server.process.wait(PATIENCE)
    finally:
        server.crash()


@pytest.mark.usefixtures("in_a_hurry")
def test_two_signals_at_once_end_a_server_that_began_beside_a_locked_journal(tmp_path):
    with QuickServer(tmp_path / "home") as server:
        server.crash()
        with locked_journal(server, ""):
            server.start()
            server.process.terminate()
            server.process.terminate()
            server.process.wait(PATIENCE)


# What does not end it


def test_sighup_sigusr1_and_sigusr2_change_nothing_for_it_and_its_jobs(own_server, gate):
    with connect(own_server) as client:
        printed(submitted(client, py_code("print('.')\n" + gate.code), traced()))
        for signum in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2) * 3:
            own_server.process.send_signal(signum)
        assert not is_refused(own_server)  # it still talks
        gate.open()
        assert client.report().ended == "ok"
    assert own_server.stop() == 0


# What never begins


def test_a_server_that_cannot_say_where_it_listens_starts_nothing(tmp_path):
    """What waits is run after the next start."""
    with QuickServer(tmp_path / "home", "--workers", "1", ends_jobs=False) as server:
        with connect(server) as running, connect(server) as waiting:
            printed(submitted(running, traced("print('.')\ntime.sleep(60)")))
            submitted(waiting, traced(), traced())
            server.crash()
        killed = kill_shims(server)
        listen, log = ("--listen", "127.0.0.1:0"), ("--log", str(tmp_path / "log"))
        with open("/dev/full", "w") as full:
            command = ["-m", "headless", "serve", *listen, *log, "--home", str(server.home)]
            with fork_server.start(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True) as refused:
                complaint = refused.communicate(timeout=PATIENCE)[1]
        assert (refused.returncode, complaint.count("\n")) == (1, 1), complaint
        assert "No space left" in complaint
        assert states(server, running.session) == ["running"]
        assert states(server, waiting.session) == ["queued", "queued"]
        server.start()
        wait_until_quiet(server)
        check(server, killed=killed)
        assert states(server, waiting.session) == ["ok", "ok"]
        assert run(server, traced()).ended == "ok"
