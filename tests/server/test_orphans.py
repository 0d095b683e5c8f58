"""kill -9 of the server, and of the process that jobs are forked from: no process of a job outlives them for long. Then
signals to that process."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.crashes import WORKERS, is_refused, kill, submitted, traced, traces
from support.job_code import Gate, is_free
from support.job_server import QuickServer, states
from support.raw_client import RawClient, connect, py_code
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork jobs")


@pytest.fixture
def server(tmp_path):
    """A server with one worker, which SIGTERM leaves ten minutes. It is killed in the end if it still lives."""
    with QuickServer(tmp_path / "home", "--workers", "1", "--grace", "600") as server:
        yield server
        server.process.kill()


# The processes of jobs

PARENT = "import os; print(os.getppid())\n"  # the process that jobs are forked from


def stubborn(lock: Path) -> str:
    """A job that holds this lock together with a child, for a minute. Both ignore SIGTERM."""
    return py_code(
        "import fcntl, os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"lock = open({str(lock)!r}, 'w')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        f"if os.fork(): {PARENT}"
        "time.sleep(60)\n"
    )


def printed_by_job(client: RawClient) -> int:
    """The number that the first job of a batch prints."""
    client.expect("started")
    return int(client.expect("output").text or "")


def test_no_process_of_a_job_is_left_when_the_next_server_listens(server, tmp_path):
    """Which waits for them: these have to be killed, a second after SIGTERM."""
    with connect(server) as client:
        printed_by_job(submitted(client, stubborn(tmp_path / "lock")))
        assert not is_free(tmp_path / "lock")
        kill(server)
    server.start()
    assert is_free(tmp_path / "lock")
    assert states(server, client.session) == ["interrupted"]


def test_nor_if_the_killed_server_had_yet_to_learn_how_another_job_ended(tmp_path):
    gate = Gate(tmp_path / "gate")
    with (
        QuickServer(tmp_path / "home", "--workers", "2") as server,
        connect(server) as client,
        connect(server) as other,
    ):
        printed_by_job(submitted(client, stubborn(tmp_path / "lock")))
        job = printed_by_job(submitted(other, py_code("import os; print(os.getpid())\n" + gate.code)))
        server.process.send_signal(signal.SIGSTOP)
        gate.open()
        wait_until(lambda: not is_alive(job))
        kill(server)
        server.start()
        assert is_free(tmp_path / "lock")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_without_a_next_server_no_process_of_a_job_is_left_either(server, tmp_path):
    with connect(server) as client:
        printed_by_job(submitted(client, stubborn(tmp_path / "lock")))
        kill(server)
    wait_until(lambda: is_free(tmp_path / "lock"))


def test_a_job_of_a_killed_server_gets_the_time_to_clean_up(server, tmp_path):
    code = (
        "import signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: sys.exit(open({str(tmp_path / 'clean')!r}, 'w').close()))\n"
        "print('.')\n"
        "time.sleep(60)\n"
    )
    with connect(server) as client:
        submitted(client, py_code(code))
        client.expect("started")
        client.expect("output")
        kill(server)
    server.start()
    assert (tmp_path / "clean").exists()


def test_a_second_server_does_not_begin_where_one_lives(server, tmp_path):
    gate = Gate(tmp_path / "gate")
    with connect(server) as client:
        printed_by_job(submitted(client, py_code(PARENT + gate.code)))
        second = server.manage("serve", "--listen", "127.0.0.1:0", check=False)
        gate.open()
        assert client.report().ended == "ok"
    assert (second.returncode, second.stdout, second.stderr.count("\n")) == (1, "", 1)
    assert "another server" in second.stderr


# The process that jobs are forked from


def test_a_job_is_failed_and_gone_when_the_process_it_was_forked_from_is_killed(server, tmp_path):
    with connect(server) as client, connect(server) as waiting:
        parent = printed_by_job(submitted(client, stubborn(tmp_path / "lock"), traced()))
        submitted(waiting, py_code(PARENT))
        os.kill(parent, signal.SIGKILL)
        report = client.report()
        assert printed_by_job(waiting) != parent
        assert waiting.report().ended == "ok"
    assert [status for status, _ in report.finished] == ["failed", "skipped"]
    assert "process" in report.finished[0][1]
    assert report.ended == "failed"
    wait_until(lambda: is_free(tmp_path / "lock"))
    assert states(server, client.session) == ["failed", "skipped"]
    assert not traces(server)


def test_when_it_is_killed_with_several_jobs_all_that_wait_run(tmp_path):
    gate = Gate(tmp_path / "never")
    with QuickServer(tmp_path / "home", "--workers", str(WORKERS)) as server:
        clients = [connect(server).log_in() for _ in range(2 * WORKERS)]
        try:
            running, waiting = clients[:WORKERS], clients[WORKERS:]
            for client in running:
                client.submit(py_code(PARENT + gate.code))
            parents = {printed_by_job(client) for client in running}
            for client in waiting:
                client.submit(traced())
            os.kill(parents.pop(), signal.SIGKILL)
            assert [client.report().ended for client in running] == ["failed"] * WORKERS
            assert [client.report().ended for client in waiting] == ["ok"] * WORKERS
            assert not parents
        finally:
            server.process.kill()  # which SIGTERM may not reach if this fails
            for client in clients:
                client.sock.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lets a process die with its parent")
def test_a_jobs_own_process_is_gone_when_server_and_fork_server_are_killed_at_once(server, tmp_path):
    code = f"import fcntl\nlock = open({str(tmp_path / 'lock')!r}, 'w')\nfcntl.flock(lock, fcntl.LOCK_EX)\n"
    with connect(server) as client:
        parent = printed_by_job(submitted(client, py_code(code + PARENT + Gate(tmp_path / "never").code)))
        assert not is_free(tmp_path / "lock")
        os.kill(parent, signal.SIGSTOP)  # so that it cannot see to it itself
        kill(server)
        os.kill(parent, signal.SIGKILL)
    wait_until(lambda: is_free(tmp_path / "lock"))
    server.start()
    assert states(server, client.session) == ["interrupted"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_it_changes_nothing(server, tmp_path, signum):
    gate = Gate(tmp_path / "gate")
    with connect(server) as client:
        parent = printed_by_job(submitted(client, py_code(PARENT + gate.code), py_code(PARENT)))
        os.kill(parent, signum)
        gate.open()
        report = client.report()
    assert (report.output, report.ended) == ({(2, "stdout"): f"{parent}\n"}, "ok")


def test_sigterm_to_the_whole_group_and_to_it_changes_nothing_for_jobs_in_the_grace(tmp_path, monkeypatch):
    """Which is what service managers do."""
    gate = Gate(tmp_path / "gate")
    monkeypatch.setattr(subprocess, "Popen", functools.partial(subprocess.Popen, start_new_session=True))
    with QuickServer(tmp_path / "home", "--grace", "600") as server, connect(server) as client:
        parent = printed_by_job(submitted(client, py_code(PARENT + gate.code), traced()))
        os.killpg(server.process.pid, signal.SIGTERM)
        os.kill(parent, signal.SIGTERM)
        wait_until(lambda: is_refused(server))
        gate.open()
        assert client.report().finished == [("ok", "")] * 2
        assert server.wait() == 0
