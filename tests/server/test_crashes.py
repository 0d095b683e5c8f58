"""kill -9 of the server, at any moment and at each stage: what was accepted runs once, or is interrupted.
No process of a job outlives the server for long. Then kill -9 of the process that jobs are forked from, and signals.
PLANTA_EXHAUSTIVE=1 tries 300 random moments, PLANTA_SEED=N those of an earlier run."""

from __future__ import annotations

import functools
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import pytest

from support.job_code import Gate, is_free
from support.job_server import QuickServer, states
from support.process import PATIENCE, ROOT
from support.raw_client import RawClient, connect, osuser_login, py_code, run
from support.scripted_server import Disconnected
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork jobs")

WORKERS = 2
CRASHES_A_STORM = 3
STORMS = 100 if os.environ.get("PLANTA_EXHAUSTIVE") else 7
TRANSACTIONS = 9  # in the life, below, of a server that is to die at one of them


# Jobs that leave a trace, and what must be true of it


def traced(work: str = "") -> str:
    """A job that adds a line to a file when it starts and one when it ends. Each is one write."""
    leave = 'os.write(trace, f\'{os.environ["PLANTA_SESSION"]} {os.environ["PLANTA_JOB"]} %s\\n\'.encode())\n'
    opened = "import os, time\ntrace = os.open('trace', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)\n"
    return py_code(f"{opened}{leave % 'starts'}{work}\n{leave % 'ends'}")


TRACES = {
    "ok": [{"starts", "ends"}],
    "interrupted": [set(), {"starts"}, {"starts", "ends"}],
    "skipped": [set()],
}


def recorded(server: QuickServer) -> dict[str, list[str]]:
    """The states of every session's jobs."""
    sessions: dict[str, list[str]] = {}
    with closing(sqlite3.connect(server.home / "planta.sqlite", timeout=PATIENCE)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for session, state in database.execute("SELECT session, state FROM jobs ORDER BY session, job"):
            sessions.setdefault(session, []).append(state)
    return sessions


def traces(server: QuickServer) -> Counter[str]:
    path = server.home / "py" / "trace"
    return Counter(path.read_text().splitlines() if path.exists() else [])


def wait_until_quiet(server: QuickServer) -> None:
    wait_until(lambda: not {"queued", "running"} & {state for job in recorded(server).values() for state in job})


def check(server: QuickServer, reported: dict[str, list[str]], crashes: int = 1) -> None:
    """Once all is quiet: nothing has run twice, nothing accepted is missing, and the journal agrees with what jobs did
    and with what clients were told: by session, what became of the jobs of which they received something."""
    sessions, lines = recorded(server), traces(server)
    assert [line for line, count in lines.items() if count > 1] == []
    assert {line.split()[0] for line in lines} <= set(sessions)
    for session, jobs in sessions.items():
        assert re.fullmatch("(ok )*(interrupted (skipped )*)?", " ".join([*jobs, ""])), (session, jobs)
        for number, state in enumerate(jobs, 1):
            trace = {mark for mark in ("starts", "ends") if f"{session} {number} {mark}" in lines}
            assert trace in TRACES[state], (session, number, state, trace)
    for session, received in reported.items():
        assert sessions[session][: len(received)] == received, session
    assert sum(jobs.count("interrupted") for jobs in sessions.values()) <= WORKERS * crashes


# Crashes


def kill(server: QuickServer) -> None:
    """kill -9. Does not wait, as `crash` does, for the process that jobs are forked from."""
    server.process.kill()
    server.process.wait(PATIENCE)
    server.process.stdout.close()
    server.process.stderr.close()


def kill_while_starting(server: QuickServer, seconds: float) -> None:
    """Starts the server and kills it after this time, wherever it is then. It does not end before that by itself."""
    command = [sys.executable, "-m", "headless", "serve", "--home", str(server.home), "--listen", "127.0.0.1:0"]
    nothing = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    with subprocess.Popen([*command, *server.options], cwd=ROOT, **nothing) as process:
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(seconds)
        finally:
            process.kill()


def submit_and_follow(address: str, reported: dict[str, list[str]], chance: random.Random) -> None:
    """Submits a few batches, and follows some of them. Ends with the server."""
    with suppress(Disconnected, ConnectionError):
        for _ in range(6):
            with RawClient(address) as client:
                work = [f"time.sleep({chance.uniform(0, 0.05)})" for _ in range(chance.randint(1, 3))]
                client.log_in().submit(*map(traced, work))
                received = reported[client.session] = []
                is_over = chance.random() < 0.5
                while not is_over:
                    element = client.element()
                    if element.tag == "finished":
                        received.append(element.attrib["status"])
                    is_over = element.tag == "ended"


@pytest.mark.parametrize("storm", range(STORMS))
def test_whenever_the_server_is_killed_what_was_accepted_runs_once_or_is_interrupted(tmp_path, storm):
    seed = int(os.environ.get("PLANTA_SEED", "0")) or random.SystemRandom().getrandbits(32)
    print(f"PLANTA_SEED={seed}, storm {storm}")  # which pytest shows if the test fails
    chance = random.Random(seed)
    reported: dict[str, list[str]] = {}
    with QuickServer(tmp_path / "home", "--workers", str(WORKERS)) as server:
        for _ in range(CRASHES_A_STORM):
            arguments = [(server.address, reported, random.Random(chance.random())) for _ in range(2)]
            clients = [threading.Thread(target=submit_and_follow, args=each) for each in arguments]
            for client in clients:
                client.start()
            time.sleep(chance.uniform(0, 0.5))
            kill(server)
            for client in clients:
                client.join(PATIENCE)
            if chance.random() < 0.5:
                kill_while_starting(server, chance.uniform(0, 0.5))
            server.start()
        wait_until_quiet(server)
        check(server, reported, 2 * CRASHES_A_STORM)


# Each stage


@pytest.fixture
def server(tmp_path):
    """A server with one worker, which SIGTERM leaves ten minutes. It is killed in the end if it still lives."""
    with QuickServer(tmp_path / "home", "--workers", "1", "--grace", "600") as server:
        yield server
        server.process.kill()


def submitted(client: RawClient, *jobs: str) -> RawClient:
    client.log_in().submit(*jobs)
    return client


def test_killed_right_after_accepted_was_sent(server):
    with connect(server) as client:
        submitted(client, traced(), traced())
        kill(server)
    server.start()
    wait_until_quiet(server)
    check(server, {client.session: []})


@pytest.mark.parametrize("is_terminated", [False, True], ids=["running", "in the grace of SIGTERM"])
def test_killed_while_one_batch_runs_and_others_wait(server, tmp_path, is_terminated):
    with connect(server) as running, connect(server) as waiting, connect(server) as last:
        submitted(running, traced(), traced("print('.')\n" + Gate(tmp_path / "never").code), traced())
        for tag in ("started", "finished", "started", "output"):
            running.expect(tag)
        submitted(waiting, traced(), traced())
        submitted(last, traced())
        if is_terminated:
            server.process.terminate()
            wait_until(lambda: is_refused(server))
        kill(server)
    server.start()
    wait_until_quiet(server)
    check(server, {running.session: ["ok"], waiting.session: [], last.session: []})
    assert states(server, running.session) == ["ok", "interrupted", "skipped"]
    assert states(server, waiting.session) == ["ok", "ok"]
    starts = [line.split()[0] for line in traces(server) if line.endswith("starts")]
    assert starts == [running.session] * 2 + [waiting.session] * 2 + [last.session]


def is_refused(server: QuickServer) -> bool:
    with connect(server) as client:
        return client.ask(osuser_login(user="R41")).tag == "refused"


def test_killed_when_all_is_over(server):
    with connect(server) as client:
        submitted(client, traced(), traced())
        assert client.report().ended == "ok"
    for _ in range(2):
        kill(server)
        server.start()
    assert run(server, traced()).ended == "ok"
    check(server, {client.session: ["ok", "ok"]}, crashes=0)


@pytest.fixture(scope="module")
def crashed_home(tmp_path_factory):
    """The home of a server that was killed while a batch ran and another one waited."""
    home = tmp_path_factory.mktemp("crashed") / "home"
    with QuickServer(home, "--workers", "1") as server, connect(server) as running, connect(server) as waiting:
        submitted(running, traced("print('.')\ntime.sleep(60)"), traced())
        running.expect("started")
        running.expect("output")
        submitted(waiting, traced(), traced())
        server.crash()
    return home


DIE_AT_A_TRANSACTION = """
import os, signal, sqlite3
connect, left = sqlite3.connect, {transaction}
def connect_and_watch(*args, **options):
    def watch(statement):
        global left
        left -= statement.startswith("COMMIT" if {inside} else "BEGIN")
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    database = connect(*args, **options)
    database.set_trace_callback(watch)
    return database
sqlite3.connect = connect_and_watch
"""


@pytest.mark.parametrize("inside", [False, True], ids=["before", "inside"])
@pytest.mark.parametrize("transaction", range(1, TRANSACTIONS + 1))
def test_killed_at_any_transaction_of_its_recovery_and_of_its_work(
    tmp_path, monkeypatch, crashed_home, transaction, inside
):
    """Before one is after the one before it: between two jobs, for example, or when one has ended and nobody knows."""
    shutil.copytree(crashed_home, tmp_path / "home")
    (tmp_path / "sitecustomize.py").write_text(DIE_AT_A_TRANSACTION.format(transaction=transaction, inside=inside))
    reported: dict[str, list[str]] = {}
    server = QuickServer(tmp_path / "home", "--workers", "1")
    try:
        with monkeypatch.context() as patch:
            patch.setenv("PYTHONPATH", str(tmp_path))
            live_and_die(server, reported)
        server.start()
        wait_until_quiet(server)
        check(server, reported, crashes=2)
    finally:
        server.stop()


def live_and_die(server: QuickServer, reported: dict[str, list[str]]) -> None:
    with suppress(AssertionError, Disconnected, ConnectionError):  # AssertionError: it was killed before it listened
        server.start()
        with connect(server) as client:
            client.log_in().submit(traced(), traced())
            reported[client.session] = []
            reported[client.session] += [status for status, _ in client.report().finished]
    assert server.process.wait(PATIENCE) == -signal.SIGKILL
    kill(server)  # which closes what is left of it


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
    return int(client.expect("output").text)


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
