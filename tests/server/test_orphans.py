"""Jobs outlive the server: after kill -9 and after an upgrade they go on unchanged, and the next server resumes them.
What is left of a job whose shim was killed is ended."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from support import fork_server
from support.crashes import (
    FOR_A_MINUTE,
    check,
    kill_shims,
    printed,
    recorded,
    shim_of,
    submitted,
    traced,
    traces,
    wait_until_quiet,
)
from support.job_processes import IGNORE_SIGTERM, Lock, with_child
from support.job_server import QuickServer, journal, states
from support.process import PATIENCE, ROOT
from support.raw_client import connect, py_code
from support.shims_of import WatchedJob, send, shims_of
from support.waiting import wait_until

pytest.importorskip("fcntl", reason="Windows has no shims")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="shims are found by /proc"),
]

WATCHED = """
import os, signal, sys
def note(signum, _): print("signal", signum)
for signum in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}: signal.signal(signum, note)
before = os.getppid(), os.getsid(0), os.getpgrp(), os.getcwd()
print("begins")
"""
UNHARMED = "print(before == (os.getppid(), os.getsid(0), os.getpgrp(), os.getcwd()))\n"


@pytest.fixture
def server(tmp_path):
    """A server with one worker, which leaves its jobs running."""
    with QuickServer(tmp_path / "home", "--workers", "1", ends_jobs=False) as server:
        yield server


def counting(gate: Path) -> str:
    """Prints numbers until the gate is there."""
    loop = f"for n in range(9000):\n    if os.path.exists({str(gate)!r}): break\n    print(n); time.sleep(0.002)\n"
    return f"import os, time\n{loop}"


either_way = pytest.mark.parametrize("end", [QuickServer.crash, QuickServer.stop], ids=["kill -9", "SIGTERM"])


# What goes on


@either_way
def test_a_job_goes_on_without_a_server_and_under_the_next_and_its_whole_output_is_there_once(server, tmp_path, end):
    gate = tmp_path / "gate"
    with connect(server) as client:
        submitted(client, py_code(counting(gate)), traced())
        client.expect("started")
        client.expect("output")
    output = server.home / "output" / client.session / "1.stdout"
    command = ["-m", "headless", "jobs", client.session, "--follow", "--home", str(server.home)]
    with fork_server.start(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as follower:
        try:
            for _ in range(2 if end is QuickServer.crash else 1):
                end(server)
                wait_until_it_grows(output)
                server.start()
                wait_until_it_grows(output)
            gate.touch()
            shown = follower.communicate(timeout=PATIENCE)[0]
        finally:
            follower.kill()
    lines = output.read_text().splitlines()
    assert lines == [str(number) for number in range(len(lines))]
    assert [line.split(": ")[1] for line in shown.splitlines() if "1 stdout: " in line] == lines
    assert follower.returncode == 0
    assert states(server, client.session) == ["ok", "ok"]
    assert dict(traces(server)) == {f"{client.session} 2 {mark}": 1 for mark in ("starts", "ends")}


def wait_until_it_grows(output: Path) -> None:
    size = output.stat().st_size
    wait_until(lambda: output.stat().st_size > size + 50)


def test_no_job_notices_that_the_server_has_ended(server, gate):
    with connect(server) as client:
        assert printed(submitted(client, py_code(WATCHED + gate.code + UNHARMED))) == "begins\n"
    shim = shim_of(server, client.session)
    # A signal to the whole group or the terminal of the server does not reach it.
    assert os.getpgid(shim) != os.getpgid(server.process.pid)
    assert os.getsid(shim) != os.getsid(server.process.pid)
    for end in (server.crash, server.stop):
        end()
        server.start()
    assert shim_of(server, client.session) == shim
    gate.open()
    wait_until_quiet(server)
    assert (server.home / "output" / client.session / "1.stdout").read_text() == "begins\nTrue\n"
    assert states(server, client.session) == ["ok"]


@either_way
def test_how_jobs_ended_without_a_server_is_journaled_by_the_next_and_the_rest_of_a_session_runs(tmp_path, gate, end):
    with QuickServer(tmp_path / "home", "--workers", "2", ends_jobs=False) as server:
        with connect(server) as good, connect(server) as bad:
            printed(submitted(good, traced("print('.')\n" + gate.code), traced()))
            fails = "raise SystemExit('no such table')"
            printed(submitted(bad, py_code("print('.')\n" + gate.code + fails), py_code("1")))
        end(server)
        gate.open()
        wait_until(lambda: not shims_of(server.home))
        over = time.time()
        time.sleep(0.1)
        server.start()
        wait_until_quiet(server)
        jobs = [(job.state, job.message) for job in recorded(server)[bad.session]]
        assert jobs == [("failed", "no such table"), ("skipped", "")]
        assert states(server, good.session) == ["ok", "ok"]
        assert dict(traces(server)) == {f"{good.session} {n} {mark}": 1 for n in (1, 2) for mark in ("starts", "ends")}
        ended = recorded(server)[good.session][0].ended
        assert ended is not None
        assert ended <= over
        server.crash()
        server.start()
        assert recorded(server)[good.session][0].ended == ended


@either_way
def test_as_many_sessions_as_there_are_workers_run_also_when_some_were_resumed(tmp_path, gate, end):
    with QuickServer(tmp_path / "home", "--workers", "2", ends_jobs=False) as server:
        with connect(server) as first, connect(server) as second, connect(server) as third:
            printed(submitted(first, traced("print('.')\n" + gate.code)))
            printed(submitted(second, traced("print('.')\n" + gate.code)))
            submitted(third, traced())
        end(server)
        server.start()
        with connect(server) as fourth:
            submitted(fourth, traced())
            time.sleep(0.1)
            assert [states(server, each.session) for each in (third, fourth)] == [["queued"]] * 2
            gate.open()
            assert fourth.report().ended == "ok"
        wait_until_quiet(server)
        check(server)


# A record that cannot be read


FOLDER, CIRCLE = "a folder", "a link to itself"


def lose_record(server: QuickServer, session: str, content: str) -> Path:
    """Kills a server with all its shims, and gives its job this record. Returns the path of the true one."""
    server.crash()
    kill_shims(server)
    record = server.home / "output" / session / "1.shim"
    true = record.rename(server.home / "record")
    if content == FOLDER:
        record.mkdir()
    elif content == CIRCLE:
        record.symlink_to(record)
    else:
        record.write_text(content)
    return true


@pytest.mark.parametrize(
    ("content", "is_same_boot"),
    [(FOLDER, True), (CIRCLE, False), ("garbage", True), ("started x 1 2 3 machine home .", False), ("", False)],
)
def test_one_record_that_cannot_be_read_holds_up_no_other_session(server, content, is_same_boot):
    with connect(server) as client, connect(server) as waiting:
        printed(submitted(client, py_code(FOR_A_MINUTE), traced()))
        submitted(waiting, traced())
        record = lose_record(server, client.session, content)
    if not is_same_boot:
        with closing(sqlite3.connect(server.home / "planta.sqlite", timeout=PATIENCE)) as database, database:
            assert database.execute("DELETE FROM facts WHERE name = 'boot'").rowcount == 1
    server.start()
    wait_until(lambda: states(server, waiting.session) == ["ok"])
    if content in (FOLDER, CIRCLE):  # which may pass
        assert states(server, client.session) == ["running", "queued"]
    if content == FOLDER:
        return
    record.replace(server.home / "output" / client.session / "1.shim")
    wait_until_quiet(server)
    assert states(server, client.session) == ["interrupted", "skipped"]
    check(server, killed={WatchedJob(client.session, 1)})


def test_a_list_of_jobs_is_whole_whatever_a_record_is(server):
    with connect(server) as client:
        printed(submitted(client, py_code(FOR_A_MINUTE), traced()))
        lose_record(server, client.session, FOLDER)
    first, second = journal(server, client.session)
    assert (first["state"], second["state"]) == ("unknown", "queued")
    status = server.manage("status", check=False)
    assert (status.returncode, status.stderr) == (1, "")


# What ends


def test_nothing_is_left_of_a_job_whose_shim_was_killed(server, tmp_path):
    lock = Lock(tmp_path / "lock")
    code = with_child(lock, IGNORE_SIGTERM + lock.code(), "print('.')\ntime.sleep(60)", start_new_session=True)
    with connect(server) as client, connect(server) as waiting:
        printed(submitted(client, py_code(code), traced()))
        submitted(waiting, traced())
        send(shim_of(server, client.session), signal.SIGKILL)
        report = client.report()
    assert [status for status, _ in report.finished] == ["failed", "skipped"]
    assert "killed" in report.finished[0][1]
    wait_until_quiet(server)
    assert lock.is_free()
    assert states(server, client.session) == ["interrupted", "skipped"]
    check(server, killed={WatchedJob(client.session, 1)})
    assert journal(server, client.session)[0]["ended"] is None


def test_sigterm_to_a_shim_ends_its_job_which_is_interrupted(server):
    with connect(server) as client:
        printed(submitted(client, py_code(FOR_A_MINUTE), traced()))
        send(shim_of(server, client.session), signal.SIGTERM)
        report = client.report()
    assert [status for status, _ in report.finished] == ["failed", "skipped"]
    assert states(server, client.session) == ["interrupted", "skipped"]
