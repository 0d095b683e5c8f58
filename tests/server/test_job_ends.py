"""What ends a job before its time: a cancellation, an account that was removed, what a job does to its shim. And which
process reaps what jobs leave behind, where the server is the first one of a container."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from headless.server import queue, shims
from headless.server.commands import cancel
from support.crashes import check_received, printed, received_by, recorded, shim_of, submitted, traced, traces
from support.homes import R41, locked, make_home, prints
from support.job_code import Gate, is_free
from support.job_processes import IGNORE_SIGTERM, Lock, with_child
from support.job_server import QuickServer, states
from support.process import PATIENCE, ROOT, current_user
from support.raw_client import RawClient, connect, py_code, run
from support.sampling import EXHAUSTIVE
from support.server_here import ServerHere
from support.shims_of import end_shims, send, shims_of
from support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="shims are found by /proc"),
]
FOR_A_MINUTE = "print('.')\nimport time; time.sleep(60)"
STOP_THE_SHIM = "import signal\nos.kill(os.getppid(), signal.SIGSTOP)\n"
# The shim that goes on for a moment can ask this one to end, and not more.
AGAIN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: os.kill(os.getppid(), signal.SIGSTOP)\n"
STATE_OF_A_STOPPED_PROCESS = "T"


def end_of_first(client: RawClient) -> tuple[str, str]:
    """What is reported of the first job."""
    report = client.report()
    assert report.ended == "failed"
    assert [status for status, _ in report.finished[1:]] == ["skipped"] * (len(report.finished) - 1)
    return report.finished[0]


# Cancelling


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A server sees a cancellation at once, and the command sees at once what came of it."""
    monkeypatch.setattr(queue, "_REQUESTS_SECONDS", 0.05)
    monkeypatch.setattr(cancel, "_WAIT_SECONDS", 5.0)
    monkeypatch.setattr(cancel, "_POLL_SECONDS", 0.02)


@pytest.fixture
def server(tmp_path):
    with ServerHere(tmp_path / "home", workers=1) as server:
        yield server


def cancels(server: QuickServer, *argv: str) -> str:
    """What `jobs cancel` prints."""
    (line,) = prints("jobs", "cancel", *argv, "--home", str(server.home))
    return line


BY = f"cancelled by {current_user()}"
# How a job is ended: its state then, and why.
ENDS = {
    "cancel": ("cancelled", BY),
    "limit": ("failed", r"ended after \S+ s, the limit of this server"),
    "end-jobs": ("interrupted", "the server was stopped"),
}


@pytest.mark.version("the shim's interpreter")
@pytest.mark.parametrize("job", [(), ("1",)], ids=["all", "one"])
def test_a_job_that_runs_is_cancelled_with_all_that_it_has_started(server, tmp_path, job):
    lock = Lock(tmp_path / "lock")
    does = IGNORE_SIGTERM if not job else ""  # which takes a second more
    with connect(server) as client:
        submitted(client, py_code(with_child(lock, does + lock.code(), FOR_A_MINUTE)), traced())
        client.expect("started")
        wait_until(lambda: lock.is_taken)
        assert cancels(server, client.session, *job).startswith("cancelled: 1")
        assert is_free(tmp_path / "lock")
        assert end_of_first(client) == ("failed", BY)
    assert [(entry.state, entry.message) for entry in recorded(server)[client.session]] == [
        ("cancelled", BY),
        ("skipped", ""),
    ]
    assert not traces(server)
    wait_until(lambda: server.query("SELECT count(*) FROM cancellations") == (0,))


@pytest.mark.parametrize("job", [(), ("1",)], ids=["all", "one"])
def test_a_session_that_waits_is_cancelled_and_never_starts(server, tmp_path, job):
    gate = Gate(tmp_path / "gate")
    with connect(server) as running, connect(server) as waiting, connect(server) as last:
        printed(submitted(running, py_code("print('.')\n" + gate.code)))
        submitted(waiting, traced(), traced())
        submitted(last, traced())
        assert cancels(server, waiting.session, *job).startswith("cancelled: 1")
        assert end_of_first(waiting) == ("skipped", BY)
        gate.open()
        assert running.report().ended == last.report().ended == "ok"
    assert {line.split()[0] for line in traces(server)} == {last.session}


@pytest.mark.parametrize("is_waiting", [False, True], ids=["runs", "waits"])
def test_a_later_job_is_cancelled_when_its_turn_has_come(server, tmp_path, monkeypatch, is_waiting):
    monkeypatch.setattr(cancel, "_WAIT_SECONDS", 0.1)
    gate = Gate(tmp_path / "gate")
    with connect(server) as first, connect(server) as second:
        session = ("print('.')\n" + gate.code, "", "")
        if is_waiting:
            printed(submitted(first, py_code(session[0])))
            submitted(second, *map(traced, session))
        else:
            printed(submitted(second, *map(traced, session)))
        assert cancels(server, second.session, "2").startswith("requested")
        wait_until(lambda: server.server._queue._requests)
        gate.open()
        report = second.report()
    assert report.finished == [("ok", ""), ("failed", BY), ("skipped", "")]
    assert states(server, second.session) == ["ok", "cancelled", "skipped"]
    assert len(traces(server)) == 2
    check_received(recorded(server)[second.session], received_by(report))


def test_what_is_over_is_not_cancelled(server):
    with connect(server) as client:
        submitted(client, traced())
        assert client.report().ended == "ok"
    assert cancels(server, client.session) == "had already ended: ok: 1"
    assert states(server, client.session) == ["ok"]


@pytest.mark.parametrize("is_running", [True, False], ids=["runs", "waits"])
def test_what_is_cancelled_without_a_server_is_cancelled_by_the_next(tmp_path, is_running):
    with ServerHere(tmp_path / "home", workers=1, ends_jobs=False) as server:
        with connect(server) as running, connect(server) as waiting:
            printed(submitted(running, traced(FOR_A_MINUTE), traced()))
            submitted(waiting, traced())
        server.stop()
        meant = running if is_running else waiting
        assert cancels(server, meant.session).startswith("requested: no server runs")
        server.start()
        wait_until(lambda: states(server, meant.session)[0] == "cancelled")
        assert [line for line in traces(server) if line.startswith(waiting.session)] == []


# A job that stops its shim


def stopped_shim(server: QuickServer, client: RawClient, gate: Gate, before: str = "", again: str = "") -> None:
    """The client's job has stopped its shim. What it does `again` comes after that."""
    code = f"{before}print('.')\n{gate.code}{STOP_THE_SHIM}{again}{FOR_A_MINUTE}"
    printed(submitted(client, py_code(code), traced()))
    shim = shim_of(server, client.session)
    gate.open()
    wait_until(lambda: f"State:\t{STATE_OF_A_STOPPED_PROCESS}" in Path(f"/proc/{shim}/status").read_text())


def test_a_job_that_stops_its_shim_holds_up_nobody_else_nor_the_next_server(tmp_path, gate):
    with ServerHere(tmp_path / "home", workers=2, ends_jobs=False) as server:
        with connect(server) as client:
            stopped_shim(server, client, gate)
            assert run(server, traced()).ended == "ok"
        server.stop()
        server.start()
        assert run(server, traced()).ended == "ok"
        assert states(server, client.session) == ["running", "queued"]


CASES = [(how, found_again, again) for how in ENDS for found_again in (False, True) for again in ("", AGAIN)]
# Each pair of two of these.
PAIRS = [case for number, case in enumerate(CASES) if number % 4 in ((0, 3) if case[0] == "limit" else (1, 2))]


@pytest.mark.parametrize(
    "case",
    CASES if EXHAUSTIVE else PAIRS,
    ids=lambda case: f"{case[0]}, {'found again, ' if case[1] else ''}{'always' if case[2] else 'once'}",
)
def test_and_it_can_be_ended(tmp_path, gate, monkeypatch, case):
    how, is_found_again, again = case
    monkeypatch.setattr(shims, "_SECONDS_TO_END", 0.3 if again else 4.0)
    limit = 1.0 if how == "limit" else None
    if is_found_again:
        server = ServerHere(tmp_path / "home", workers=1, ends_jobs=False)
    else:
        server = ServerHere(tmp_path / "home", workers=1, ends_jobs=how == "end-jobs", time_limit=limit)
    with server:
        with connect(server) as client:
            stopped_shim(server, client, gate, again=again)
        if is_found_again:
            server.stop()
            server.ends_jobs, server.settings["time_limit"] = how == "end-jobs", limit
            server.start()
        if how == "end-jobs":
            assert server.stop() == 0
        elif how == "cancel":
            assert cancels(server, client.session).startswith("cancelled: 1")
        wait_until(lambda: not shims_of(server.home))
        state, message = ENDS[how]
        wait_until(lambda: states(server, client.session) == [state, "skipped"])
        assert re.fullmatch(message, recorded(server)[client.session][0].message)


def test_and_it_gets_the_time_to_clean_up(server, gate, tmp_path):
    clean_up = f"sys.exit(open({str(tmp_path / 'clean')!r}, 'w').close())"
    handler = f"import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: {clean_up})\n"
    with connect(server) as client:
        stopped_shim(server, client, gate, before=handler)
        assert cancels(server, client.session).startswith("cancelled: 1")
    assert (tmp_path / "clean").exists()


# What waits for something


def test_the_end_of_a_job_is_reported_when_it_is_journaled_and_not_before(server, tmp_path):
    gate = Gate(tmp_path / "gate")
    with connect(server) as client:
        printed(submitted(client, traced("print('.')\n" + gate.code), traced()))
        with locked(server.home, "EXCLUSIVE"):
            gate.open()
            wait_until(lambda: not shims_of(server.home))
            client.sock.settimeout(0.3)
            with pytest.raises(TimeoutError if sys.version_info >= (3, 10) else OSError):
                client.element()
        client.sock.settimeout(PATIENCE)
        report = client.report()
        assert (report.finished, report.ended) == ([("ok", "")] * 2, "ok")
    check_received(recorded(server)[client.session], received_by(report))


def test_a_session_of_an_account_that_was_removed_does_not_start(server, tmp_path):
    gate = Gate(tmp_path / "gate")
    with connect(server) as running, connect(server) as waiting:
        printed(submitted(running, traced("print('.')\n" + gate.code)))
        submitted(waiting, traced(), traced())
        prints("user", "remove", "R41", "--home", str(server.home))
        gate.open()
        assert running.report().ended == "ok"  # what has started goes on
        state, message = end_of_first(waiting)
    assert state == "skipped"
    assert "removed" in message
    assert states(server, waiting.session) == ["failed", "skipped"]
    assert {line.split()[0] for line in traces(server)} == {running.session}


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
    make_home(server.home, R41)
    with ExitStack() as stack:
        stack.callback(end_shims, server.home)
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
