"""What ends a job before its time: a limit, somebody who cancels it, an account that has gone. What a job does to its
shim; and who reaps what jobs leave behind, where the server is the first process of a container."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from headless.server.commands import cancel
from support.crashes import check_told, kill, printed, recorded, shim_of, submitted, told_by, traced, traces
from support.job_code import Gate, is_free
from support.job_processes import IGNORE_SIGTERM, Lock, with_child
from support.job_server import QuickServer, journal, states
from support.management import prints
from support.process import PATIENCE, ROOT, current_user
from support.raw_client import RawClient, connect, py_code, run
from support.shims_of import send, shims_of
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="shims are found by /proc")
FOR_A_MINUTE = "print('.')\nimport time; time.sleep(60)"
STOPS_ITS_SHIM = "print('.')\nimport os, signal, time\ntime.sleep(0.3)\nos.kill(os.getppid(), signal.SIGSTOP)\n"
STATE_OF_A_STOPPED_PROCESS = "T"


def end_of_first(client: RawClient) -> tuple[str, str]:
    """What the client is told of its first job."""
    report = client.report()
    assert report.ended == "failed"
    assert [status for status, _ in report.finished[1:]] == ["skipped"] * (len(report.finished) - 1)
    return report.finished[0]


# A limit


def test_a_job_that_runs_longer_than_the_limit_is_ended_and_failed(tmp_path):
    lock = Lock(tmp_path / "lock")
    with QuickServer(tmp_path / "home", "--limit", "1") as server, connect(server) as client:
        submitted(client, py_code(with_child(lock, IGNORE_SIGTERM + lock.code(), FOR_A_MINUTE)), traced())
        assert end_of_first(client) == ("failed", "ended after 1 s, the limit of this server")
        assert is_free(tmp_path / "lock")
        assert states(server, client.session) == ["failed", "skipped"]
        assert journal(server, client.session)[0]["seconds"] >= 1
        assert not traces(server)


def test_the_limit_is_one_of_each_job(tmp_path):
    with QuickServer(tmp_path / "home", "--limit", "2") as server:
        assert run(server, *[py_code("import time; time.sleep(0.8)")] * 4).ended == "ok"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="where the kernel does not tell, it counts from now")
def test_the_limit_believes_no_clock_that_was_set(tmp_path):
    with QuickServer(tmp_path / "home", "--limit", "3600", ends_jobs=False) as server:
        with connect(server).log_in() as client:
            client.submit(py_code(Gate(tmp_path / "gate").code))
            client.expect("started")
        server.stop()
        with closing(sqlite3.connect(server.home / "planta.sqlite")) as database, database:
            database.execute("UPDATE jobs SET started = started - 7200")
        server.start()
        with connect(server).log_in() as again:
            again.attach(client.session)
            again.expect("started")  # what is too old is ended now
            Gate(tmp_path / "gate").open()
            assert again.report().ended == "ok"
        assert states(server, client.session) == ["ok"]


def test_the_limit_counts_what_a_job_ran_under_an_earlier_server(tmp_path):
    with QuickServer(tmp_path / "home", "--limit", "10", ends_jobs=False) as server:
        with connect(server) as client:
            printed(submitted(client, py_code(FOR_A_MINUTE), traced()))
        for _ in range(2):  # long before the limit
            time.sleep(2)
            kill(server)
            server.start()
        wait_until(lambda: states(server, client.session) == ["failed", "skipped"])
        assert journal(server, client.session)[0]["seconds"] < 10 + 2 * 2


# Cancelling


@pytest.fixture
def quick_cancel(monkeypatch):
    """A command that does not wait long for a server that has to wait itself."""
    monkeypatch.setattr(cancel, "_WAIT_SECONDS", 2.0)


def cancels(server: QuickServer, *argv: str) -> str:
    """What `jobs cancel` prints."""
    (line,) = prints("jobs", "cancel", *argv, "--home", str(server.home))
    return line


BY = f"cancelled by {current_user()}"


@pytest.mark.parametrize("job", [(), ("1",)], ids=["all", "one"])
def test_a_job_that_runs_is_cancelled_with_all_that_it_has_started(own_server, tmp_path, job):
    lock = Lock(tmp_path / "lock")
    with connect(own_server) as client:
        submitted(client, py_code(with_child(lock, IGNORE_SIGTERM + lock.code(), FOR_A_MINUTE)), traced())
        client.expect("started")
        wait_until(lambda: lock.is_taken)
        assert cancels(own_server, client.session, *job).startswith("cancelled: 1")
        assert is_free(tmp_path / "lock")
        assert end_of_first(client) == ("failed", BY)
    assert [(entry.state, entry.message) for entry in recorded(own_server)[client.session]] == [
        ("cancelled", BY),
        ("skipped", ""),
    ]
    assert not traces(own_server)


@pytest.mark.parametrize("job", [(), ("1",)], ids=["all", "one"])
def test_a_batch_that_waits_is_cancelled_and_never_starts(own_server, tmp_path, job):
    gate = Gate(tmp_path / "gate")
    with connect(own_server) as running, connect(own_server) as waiting, connect(own_server) as last:
        printed(submitted(running, py_code("print('.')\n" + gate.code)))
        submitted(waiting, traced(), traced())
        submitted(last, traced())
        assert cancels(own_server, waiting.session, *job).startswith("cancelled: 1")
        assert end_of_first(waiting) == ("skipped", BY)
        gate.open()
        assert running.report().ended == last.report().ended == "ok"
    assert {line.split()[0] for line in traces(own_server)} == {last.session}


@pytest.mark.usefixtures("quick_cancel")
@pytest.mark.parametrize("is_waiting", [False, True], ids=["runs", "waits"])
def test_a_later_job_is_cancelled_when_its_turn_has_come(own_server, tmp_path, is_waiting):
    gate = Gate(tmp_path / "gate")
    with connect(own_server) as first, connect(own_server) as second:
        batch = ("print('.')\n" + gate.code, "", "")
        if is_waiting:
            printed(submitted(first, py_code(batch[0])))
            submitted(second, *map(traced, batch))
        else:
            printed(submitted(second, *map(traced, batch)))
        assert cancels(own_server, second.session, "2").startswith("requested")
        gate.open()
        report = second.report()
    assert report.finished == [("ok", ""), ("failed", BY), ("skipped", "")]
    assert states(own_server, second.session) == ["ok", "cancelled", "skipped"]
    assert len(traces(own_server)) == 2
    check_told(recorded(own_server)[second.session], told_by(report))


def test_what_is_over_is_not_cancelled(own_server):
    with connect(own_server) as client:
        submitted(client, traced())
        assert client.report().ended == "ok"
    assert cancels(own_server, client.session) == "had already ended: ok: 1"
    assert states(own_server, client.session) == ["ok"]


@pytest.mark.parametrize("is_running", [True, False], ids=["runs", "waits"])
def test_what_is_cancelled_without_a_server_is_cancelled_by_the_next(tmp_path, is_running):
    with QuickServer(tmp_path / "home", "--workers", "1", ends_jobs=False) as server:
        with connect(server) as running, connect(server) as waiting:
            printed(submitted(running, traced(FOR_A_MINUTE), traced()))
            submitted(waiting, traced())
        meant = running if is_running else waiting
        kill(server)
        assert cancels(server, meant.session).startswith("requested: no server runs")
        server.start()
        wait_until(lambda: states(server, meant.session)[0] == "cancelled")
        assert [line for line in traces(server) if line.startswith(waiting.session)] == []
        kill(server)


# A job that stops its shim


@contextmanager
def stopping(server: QuickServer):
    """A client whose job has stopped its shim."""
    with connect(server) as client:
        printed(submitted(client, py_code(STOPS_ITS_SHIM + FOR_A_MINUTE), traced()))
        shim = shim_of(server, client.session)
        wait_until(lambda: f"State:\t{STATE_OF_A_STOPPED_PROCESS}" in Path(f"/proc/{shim}/status").read_text())
        yield client


def test_a_job_that_stops_its_shim_holds_up_nobody_else_nor_the_next_server(tmp_path):
    with QuickServer(tmp_path / "home", "--workers", "2", ends_jobs=False) as server:
        with stopping(server) as client:
            assert run(server, traced()).ended == "ok"
        for end in (lambda: kill(server), server.stop):
            end()
            server.start()
            assert run(server, traced()).ended == "ok"
        assert states(server, client.session) == ["running", "queued"]


@pytest.mark.parametrize("again", ["", "while True: os.kill(os.getppid(), signal.SIGSTOP)\n"], ids=["once", "always"])
@pytest.mark.parametrize("is_found_again", [False, True], ids=["", "found again"])
@pytest.mark.parametrize("how", ["jobs cancel", "--limit", "--end-jobs"])
def test_and_it_can_be_ended(tmp_path, how, is_found_again, again):
    limit = ("--limit", "2") if how == "--limit" else ()
    ends_jobs = how == "--end-jobs" and not is_found_again
    with QuickServer(tmp_path / "home", "--workers", "2", *limit, ends_jobs=ends_jobs) as server:
        with connect(server) as client:
            printed(submitted(client, py_code(STOPS_ITS_SHIM + again + FOR_A_MINUTE), traced()))
        time.sleep(0.5)
        if is_found_again:
            kill(server)
            server.ends_jobs = how == "--end-jobs"
            server.start()
        if how == "--end-jobs":
            assert server.stop() == 0
        elif how == "jobs cancel":
            assert cancels(server, client.session).startswith("cancelled: 1")
        wait_until(lambda: not shims_of(server.home))
        state, message = {
            "jobs cancel": ("cancelled", BY),
            "--limit": ("failed", "ended after 2 s, the limit of this server"),
            "--end-jobs": ("interrupted", "the server was stopped"),
        }[how]
        wait_until(lambda: states(server, client.session) == [state, "skipped"])
        assert recorded(server)[client.session][0].message == message


def test_and_it_gets_the_time_to_clean_up(own_server, tmp_path):
    clean_up = f"sys.exit(open({str(tmp_path / 'clean')!r}, 'w').close())"
    handler = f"import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: {clean_up})\n"
    with connect(own_server) as client:
        printed(submitted(client, py_code(handler + STOPS_ITS_SHIM + FOR_A_MINUTE)))
        time.sleep(0.5)
        assert cancels(own_server, client.session).startswith("cancelled: 1")
    assert (tmp_path / "clean").exists()


# What waits for something


def test_the_end_of_a_job_is_told_when_it_is_journaled_and_not_before(own_server, tmp_path):
    gate = Gate(tmp_path / "gate")
    with connect(own_server) as client:
        printed(submitted(client, traced("print('.')\n" + gate.code), traced()))
        with closing(sqlite3.connect(own_server.home / "planta.sqlite", timeout=PATIENCE)) as other:
            other.execute("BEGIN EXCLUSIVE")
            gate.open()
            wait_until(lambda: not shims_of(own_server.home))
            client.sock.settimeout(1)
            with pytest.raises(TimeoutError if sys.version_info >= (3, 10) else OSError):
                client.element()
            other.rollback()
        client.sock.settimeout(PATIENCE)
        report = client.report()
        assert (report.finished, report.ended) == ([("ok", "")] * 2, "ok")
    check_told(recorded(own_server)[client.session], told_by(report))


def test_a_batch_of_an_account_that_was_removed_does_not_start(own_server, tmp_path):
    gate = Gate(tmp_path / "gate")
    with connect(own_server) as running, connect(own_server) as waiting:
        printed(submitted(running, traced("print('.')\n" + gate.code)))
        submitted(waiting, traced(), traced())
        own_server.manage("user", "remove", "R41")
        gate.open()
        assert running.report().ended == "ok"  # what has started goes on
        state, message = end_of_first(waiting)
    assert state == "skipped"
    assert "removed" in message
    assert states(own_server, waiting.session) == ["failed", "skipped"]
    assert {line.split()[0] for line in traces(own_server)} == {running.session}


# The first process of a container

ZOMBIES = """
import os
for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        state, parent = open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[:2]
    except OSError:
        continue
    if state == 'Z': print(pid, parent)
print('first', open('/proc/1/cmdline').read().split('\\0')[1:4])
"""


def test_a_server_that_is_the_first_process_of_a_container_reaps_what_jobs_leave_behind(tmp_path):
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True, timeout=PATIENCE)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no container can be made here: {error}")
    server = QuickServer(tmp_path / "home")
    with server:
        server.stop()
        serve = [sys.executable, "-m", "headless", "serve", "--home", str(server.home), "--listen", "127.0.0.1:0"]
        with subprocess.Popen(
            [*unshare, *serve, "--grace", "0", "--end-jobs", "--trust-osuser", "--log", str(tmp_path / "log")],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        ) as container:
            try:
                assert container.stdout is not None
                server.address = container.stdout.readline().removeprefix("listening on ").strip()
                orphans = (
                    "import os, subprocess, time\n" + "subprocess.Popen(['sleep', '60'], start_new_session=True)\n" * 5
                )
                lost = run(server, py_code(f"{orphans}os.kill(os.getppid(), 9)\ntime.sleep(60)"))
                assert [status for status, _ in lost.finished] == ["failed"]
                report = run(server, py_code(ZOMBIES))
                assert report.output == {(1, "stdout"): "first ['-m', 'headless', 'serve']\n"}
                (first,) = Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split()
                send(int(first), signal.SIGTERM)
                assert container.wait(PATIENCE) == 0
            finally:
                container.kill()
    assert os.path.exists(tmp_path / "log")
