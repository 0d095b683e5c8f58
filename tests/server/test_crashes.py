"""kill -9 of the server, of shims and of both, at any moment and at each stage: what was accepted runs once, and only a
job whose shim was killed is interrupted. PLANTA_EXHAUSTIVE=1 tries thousands of random moments, PLANTA_SEED=N those of
an earlier run."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from support import fork_server
from support.crashes import (
    Received,
    check,
    is_refused,
    kill_shims,
    planted,
    printed,
    receive_until_the_end,
    received_by,
    shim_of,
    submitted,
    traced,
    traces,
    wait_until_quiet,
)
from support.job_code import Gate
from support.job_server import QuickServer, states
from support.process import PATIENCE, ROOT
from support.raw_client import RawClient, connect
from support.sampling import EXHAUSTIVE, REPEAT, draws
from support.scripted_server import Disconnected
from support.shims_of import WatchedJob, send
from support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="shims are found by /proc"),
]
WORKERS = 2
WAYS = ("server", "shims", "shims and server", "server and shims", "upgrade")
STORMS = 560 if EXHAUSTIVE else 10  # of a crash in each of these ways
SAMPLE = 2  # storms that are in every run
LARGE = () if EXHAUSTIVE else (pytest.mark.large,)
TRANSACTIONS = 10  # in the life, below, of a server that is to die at one of them; group commit makes it a few less
CERTAIN_TRANSACTIONS = 6


def kill_while_starting(server: QuickServer, seconds: float) -> None:
    """Starts the server and kills it after this time, which it outlives."""
    command = ["-m", "headless", "serve", "--home", str(server.home), "--listen", "127.0.0.1:0", *server.options]
    nothing = subprocess.DEVNULL
    with fork_server.start(command, cwd=ROOT, stdin=nothing, stdout=nothing, stderr=nothing) as process:
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(seconds)
        finally:
            process.kill()


def submit_and_follow(address: str, received: dict[str, Received], chance: random.Random) -> None:
    """Submits a few sessions, and follows some of them. Ends with the server."""
    with suppress(Disconnected, ConnectionError, AssertionError, KeyError):  # the last two: it stops, and refuses
        for _ in range(3):
            with RawClient(address) as client:
                work = [f"time.sleep({chance.uniform(0, 0.1)})" for _ in range(chance.choice((1, 1, 2)))]
                client.log_in().submit(*map(traced, work))
                reported = received[client.session] = Received([], [])
                if chance.random() < 0.7:
                    receive_until_the_end(client, reported)


def crash(server: QuickServer, way: str, chance: random.Random) -> set[WatchedJob]:
    """One of the ways in which servers and shims end at a bad moment. Whose shims were killed."""
    killed = kill_shims(server) if way.startswith("shims") else set()
    if way == "upgrade":
        server.process.terminate()
        assert server.process.wait(PATIENCE) == 0
    if way != "shims":
        server.crash()
        time.sleep(chance.choice((0, 0, 0.1)))
    if way == "server and shims":
        killed = kill_shims(server)
    if way != "shims":
        if chance.random() < 0.4:
            kill_while_starting(server, chance.uniform(0, 0.1))
        server.start()
    return killed


@pytest.mark.parametrize(
    "storm", [pytest.param(number, marks=LARGE if number >= SAMPLE else ()) for number in range(STORMS)]
)
def test_whenever_server_and_shims_are_killed_what_was_accepted_runs_once_or_is_interrupted(tmp_path, storm):
    print(REPEAT)  # which pytest shows if the test fails
    chance = draws(storm)
    received: dict[str, Received] = {}
    killed: set[WatchedJob] = set()
    with QuickServer(tmp_path / "home", "--workers", str(WORKERS), ends_jobs=False) as server:
        for way in chance.sample(WAYS, len(WAYS)):
            arguments = [(server.address, received, random.Random(chance.random())) for _ in range(2)]
            clients = [threading.Thread(target=submit_and_follow, args=each) for each in arguments]
            for client in clients:
                client.start()
            time.sleep(chance.uniform(0, 0.4))
            killed |= crash(server, way, chance)
            for client in clients:
                client.join(PATIENCE)
        wait_until_quiet(server)
        check(server, received, killed)
        assert received


# Each stage


@pytest.fixture
def server(tmp_path):
    """A server with one worker, which leaves its jobs running. SIGTERM leaves them ten minutes."""
    with QuickServer(tmp_path / "home", "--workers", "1", "--grace", "600", ends_jobs=False) as server:
        yield server
        server.process.kill()


@pytest.mark.parametrize("is_terminated", [False, True], ids=["running", "in the grace of SIGTERM"])
@pytest.mark.parametrize("whose", ["server", "server, shim", "shim, server", "server, next server, shim"])
def test_killed_while_one_session_runs_and_others_wait(server, gate, whose, is_terminated):
    with connect(server) as running, connect(server) as waiting, connect(server) as last:
        submitted(running, traced(), traced("print('.')\n" + gate.code), traced())
        for tag in ("started", "finished", "started", "output"):
            running.expect(tag)
        submitted(waiting, traced())
        submitted(last, traced())
        if is_terminated:
            server.process.terminate()
            wait_until(lambda: is_refused(server))
        shim = shim_of(server, running.session, 2)
        if whose == "shim, server":
            server.process.send_signal(signal.SIGSTOP)  # so that it does not see the first of the two
            send(shim, signal.SIGKILL)
        server.crash()
    if whose == "server, shim":
        send(shim, signal.SIGKILL)
    server.start()
    if whose == "server, next server, shim":
        send(shim, signal.SIGKILL)
    gate.open()
    wait_until_quiet(server)
    is_lost = "shim" in whose
    received = {each.session: Received([], []) for each in (waiting, last)}
    received[running.session] = Received([("ok", "")], [])
    check(server, received, {WatchedJob(running.session, 2)} if is_lost else ())
    assert states(server, running.session) == (["ok", "interrupted", "skipped"] if is_lost else ["ok"] * 3)
    assert states(server, waiting.session) == ["ok"]
    starts = [line.split()[0] for line in traces(server) if line.endswith("starts")]
    assert starts == [running.session] * (2 if is_lost else 3) + [waiting.session, last.session]


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


@pytest.mark.parametrize(
    "is_odd", [False, pytest.param(True, marks=LARGE)], ids=["inside of even ones", "inside of odd ones"]
)
@pytest.mark.version("sqlite3 transactions")
@pytest.mark.parametrize("first", [1, 1 + TRANSACTIONS // 2], ids="from the {} on".format)
def test_killed_at_any_transaction_of_its_recovery_and_of_its_work(tmp_path, first, is_odd):
    """Before one is after the one before it: between two jobs, for example, or when an end is not recorded yet.
    It finds a job whose shim was killed, one that goes on, and a session that waits."""
    received: dict[str, Received] = {}
    killed = set()
    with QuickServer(tmp_path / "home", "--workers", "2", ends_jobs=False) as server:
        for transaction in range(first, first + TRANSACTIONS // 2):
            gate = Gate(tmp_path / f"gate {transaction}")
            with connect(server) as lost, connect(server) as found, connect(server) as waiting:
                for client in (lost, found):
                    printed(submitted(client, traced("print('.')\n" + gate.code), traced()))
                submitted(waiting, traced(), traced())
                server.crash()
            send(shim_of(server, lost.session), signal.SIGKILL)
            killed.add(WatchedJob(lost.session, 1))
            gate.open()
            death = DIE_AT_A_TRANSACTION.format(transaction=transaction, inside=transaction % 2 == is_odd)
            with planted(tmp_path / "dies.py", death):
                has_died = live_and_die(server, received)
            assert has_died or transaction > CERTAIN_TRANSACTIONS, transaction
            server.crash()
            server.start()
            wait_until_quiet(server)
            check(server, received, killed)
            assert states(server, lost.session) == ["interrupted", "skipped"], transaction


def live_and_die(server: QuickServer, received: dict[str, Received]) -> bool:
    """Whether the server was killed before all was done."""
    with suppress(AssertionError, Disconnected, ConnectionError):  # AssertionError: it was killed before it listened
        server.start()
        with connect(server) as client:
            submitted(client, traced())
            received[client.session] = Received([], [])
            received[client.session] = received_by(client.report())
    with suppress(subprocess.TimeoutExpired):
        server.process.wait(0.3)
    return server.process.poll() is not None
