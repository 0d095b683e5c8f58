"""kill -9 of the server, at any moment and at each stage: what was accepted runs once, or is interrupted.
PLANTA_EXHAUSTIVE=1 tries 300 random moments, PLANTA_SEED=N those of an earlier run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from support.crashes import WORKERS, check, is_refused, kill, submitted, traced, traces, wait_until_quiet
from support.job_code import Gate
from support.job_server import QuickServer, states
from support.process import PATIENCE, ROOT
from support.raw_client import RawClient, connect, run
from support.scripted_server import Disconnected
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork jobs")
CRASHES_A_STORM = 3
STORMS = 100 if os.environ.get("PLANTA_EXHAUSTIVE") else 7
TRANSACTIONS = 9  # in the life, below, of a server that is to die at one of them


def kill_while_starting(server: QuickServer, seconds: float) -> None:
    """Starts the server and kills it after this time, wherever it is then. It does not end before that by itself."""
    command = [sys.executable, "-m", "headless", "serve", "--home", str(server.home), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        [*command, *server.options],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
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
