"""The wait survives: whatever happens to connections and servers, a call with -t -1 ends with the true code of its
jobs, each of which has run once, and its output is told without a gap or a repetition.

PLANTA_EXHAUSTIVE=1 takes every byte, and thousands of random moments; PLANTA_SEED=N those of an earlier run.
"""

from __future__ import annotations

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from headless.client import reconnection
from headless.client import session as session_module
from headless.server.accounts import Account, keys_from_password
from support.conversations import KEYS
from support.credentials import HASH
from support.frames import frames_in
from support.in_process import serve_here
from support.job_code import Gate
from support.job_server import QuickServer
from support.persistent_calls import Told, call
from support.raw_client import connect, py_code
from support.relay import CLIENT, FIN, RST, SERVER
from support.unreliable_relay import HOLE, NEVER, Ends, UnreliableRelay
from support.waiting import wait_until

EXHAUSTIVE = os.environ.get("PLANTA_EXHAUSTIVE") == "1"
SEED = int(os.environ.get("PLANTA_SEED") or random.randrange(10**9))
pytestmark = pytest.mark.timeout(8 * 3600 if EXHAUSTIVE else 120)
ACCOUNTS = (Account("R42", None, KEYS),)
LOGINS = {"osuser": "", "challenge": HASH}
# Of several pieces, with characters of several bytes, and with an end that is no end of a line.
PRINTED = {(1, "stdout"): "\u00e4\u20ac\U0001f600\n" * 3 + "end", (1, "stderr"): "\u00fc\n"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with QuickServer(tmp_path_factory.mktemp("survival") / "home", "--workers", "8", accounts=ACCOUNTS) as server:
        yield server


def job(runs: str, status: int = 0) -> str:
    """Prints PRINTED, notes that it has run, and ends with this status."""
    lines = [f"sys.{stream}.buffer.write({text.encode()!r})" for (_, stream), text in PRINTED.items()]
    return "\n".join(["import sys", f"open({runs!r}, 'a').write('x')", *lines, f"sys.exit({status})"])


@contextmanager
def relay(server, *ends: Ends):
    """One whose first connections end there, and the further ones not at all."""
    with UnreliableRelay(lambda: server.address, lambda n: ends[n] if n < len(ends) else Ends()) as relay:
        yield relay


def runs_of(path) -> int:
    return len(path.read_text()) if path.exists() else 0


def sizes_of(server, login: str) -> dict[str, int]:
    """How many bytes each side, and the server up to each message, sends in a call of which nothing is lost."""
    with relay(server) as line:
        told = call(line.address, "-t", "-1", "-c", job(os.devnull), hash_=LOGINS[login])
    assert (told.code, told.output, told.connections) == (0, PRINTED, 1)
    ends = {each.name: each.end for each in frames_in(line.passed[0][SERVER])}
    return {**ends, **{side: len(data) for side, data in line.passed[0].items()}}


def check(told: Told, path, first: dict[str, bytes], status: int = 0) -> str:
    """What is wrong with a call that has lost connections; "" if nothing is. `first` is what has passed of the first
    connection."""
    was_welcome = any(each.name == "welcome" for each in frames_in(first[SERVER]))
    count = runs_of(path)
    if told.code == (1 if status else 0) and told.jobs == "submitted":
        return "" if (count, told.output) == (1, PRINTED) else f"told {told}, {count} runs"
    # What came just before a reset may be lost.
    is_unknown = told.jobs == "not submitted" and count == 0 and told.code == 1
    return "" if is_unknown and (not was_welcome or told.connections == 1) else f"told {told}, {count} runs"


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("by", [FIN, RST])
@pytest.mark.parametrize("side", [CLIENT, SERVER])
def test_wherever_a_connection_ends_another_one_goes_on(server, tmp_path, login, by, side):
    """Every byte of the first connection with PLANTA_EXHAUSTIVE, else a part of them that differs from run to run."""
    size = sizes_of(server, login)[side]
    step = 1 if EXHAUSTIVE else 17
    wrong = []
    for offset in range(SEED % step, size + 1, step):
        path = tmp_path / f"{offset}"
        status = offset % 2
        with relay(server, Ends(**{side: offset}, by=by)) as line:
            told = call(line.address, "-t", "-1", "-c", job(str(path), status), hash_=LOGINS[login])
        problem = check(told, path, line.passed[0], status)
        if problem:
            wrong.append((offset, problem))
    assert wrong == [], f"PLANTA_SEED={SEED}"


@pytest.mark.parametrize("login", LOGINS)
def test_a_line_that_drops_every_connection_only_costs_time(server, tmp_path, login):
    chance = random.Random(SEED)

    def ends_of(_: int) -> Ends:
        return Ends(
            chance.choice((NEVER, chance.randrange(150, 1500))), chance.randrange(300, 2500), chance.choice((FIN, RST))
        )

    wrong = []
    for number in range(10_000 if EXHAUSTIVE else 20):
        path = tmp_path / f"{number}"
        with UnreliableRelay(lambda: server.address, ends_of) as line:
            told = call(line.address, "-t", "-1", "-c", job(str(path)), hash_=LOGINS[login])
        problem = check(told, path, line.passed[0])
        if problem:
            wrong.append((number, problem))
    assert wrong == [], f"PLANTA_SEED={SEED}"


# Servers that die, and others


class Restarts:
    """Ends the server, and starts it again, at random moments while the block runs, but not for ever: on a slow machine
    a server may live too short to be found."""

    def __init__(self, server: QuickServer, chance: random.Random) -> None:
        self._server = server
        self._chance = chance
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Restarts:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        for _ in range(6):
            if self._is_over.wait(self._chance.uniform(0, 0.4)):
                return
            if self._chance.random() < 0.7:
                self._server.crash()
            else:
                self._server.stop()
            self._server.start()


@pytest.mark.parametrize("login", LOGINS)
def test_a_server_that_is_killed_again_and_again_only_costs_time(tmp_path, login):
    """It is killed, or stopped, at any moment, and the next one has another port."""
    chance = random.Random(SEED)
    wrong = []
    with QuickServer(tmp_path / "home", "--workers", "4", accounts=ACCOUNTS, ends_jobs=False) as server:
        for number in range(300 if EXHAUSTIVE else 2):
            path = tmp_path / f"{number}"
            code = job(str(path)).replace("sys.exit", f"import time; time.sleep({chance.uniform(0, 1):.2f}); sys.exit")
            with UnreliableRelay(lambda: server.address, lambda _: Ends()) as line:
                with Restarts(server, chance):
                    told = call(line.address, "-t", "-1", "-c", code, "-c", "1", hash_=LOGINS[login])
                problem = check(told, path, line.passed[0] if line.passed else {SERVER: b""})
            if problem:
                wrong.append((number, problem))
    assert wrong == [], f"PLANTA_SEED={SEED}"


class Replaced:
    """A server that is replaced by another one as soon as its client knows that it has accepted a job."""

    def __init__(self, first: QuickServer, second: QuickServer) -> None:
        self.now = first
        self._first, self._second = first, second

    def replace(self, line: UnreliableRelay) -> None:
        wait_until(lambda: line.passed and b"<started" in line.passed[0][SERVER])
        self.now = self._second
        self._first.crash()


def told_by_another(tmp_path, accounts: tuple[Account, ...], hash_: str) -> Told:
    """What becomes of a call whose server is replaced by one with these accounts while its job runs."""
    gate = Gate(tmp_path / "gate")
    with (
        QuickServer(tmp_path / "first", accounts=ACCOUNTS, ends_jobs=False) as first,
        QuickServer(tmp_path / "second", accounts=accounts) as second,
    ):
        replaced = Replaced(first, second)
        with UnreliableRelay(lambda: replaced.now.address, lambda _: Ends()) as line, ThreadPoolExecutor(1) as pool:
            done = pool.submit(replaced.replace, line)
            told = call(line.address, "-t", "-1", "-c", gate.code, hash_=hash_)
            done.result()
        gate.open()
    return told


@pytest.mark.parametrize("login", LOGINS)
def test_a_server_that_has_lost_its_journal_makes_a_1(tmp_path, login):
    told = told_by_another(tmp_path, ACCOUNTS, LOGINS[login])
    assert told[:2] == (1, "submitted")
    assert told.text == "another server answers, or one that has lost its journal"


@pytest.mark.parametrize("login", LOGINS)
def test_a_server_that_has_lost_its_journal_before_accepted_was_heard_is_not_given_the_jobs(server, tmp_path, login):
    """It would run them a second time: it does not know the key."""
    path = tmp_path / "runs"
    with QuickServer(tmp_path / "home", accounts=ACCOUNTS) as second:
        ends = Ends(server=sizes_of(server, login)["welcome"] + 1)

        def ends_of(n: int) -> Ends:
            return ends if n == 0 else Ends()

        with UnreliableRelay(lambda: second.address if line.count else server.address, ends_of) as line:
            told = call(line.address, "-t", "-1", "-c", job(str(path)), hash_=LOGINS[login])
        assert second.query("SELECT count(*) FROM batches") == (0,)
    assert told[:2] == (1, "unknown")
    assert told.text == "another server answers, or one that has lost its journal"
    wait_until(lambda: runs_of(path) == 1)


def test_another_server_at_the_address_makes_a_1_because_it_cannot_prove_itself(tmp_path):
    """It has other keys for the salt of the password file."""
    others = Account("R42", None, KEYS.replace(stored_key=os.urandom(32), server_key=os.urandom(32)))
    told = told_by_another(tmp_path, (others,), HASH)
    assert told[:2] == (1, "submitted")


def test_a_password_that_was_changed_meanwhile_makes_a_1_and_no_2(tmp_path):
    """The call was right when it began."""
    others = Account("R42", None, keys_from_password("another"))
    told = told_by_another(tmp_path, (others,), HASH)
    assert told[:2] == (1, "submitted")
    assert "another salt" in told.text


def test_two_clients_with_the_same_key_are_told_the_same_of_one_run(server, tmp_path):
    key, path = os.urandom(16).hex(), tmp_path / "runs"
    code = job(str(path))
    with connect(server).log_in() as other:
        session = other.submit(py_code(code), key=key)
        told = call(server.address, "-t", "-1", "-u", "R41", "-c", code, key=key)
        assert other.report().output == told.output == PRINTED
    assert (told.code, told.session, runs_of(path)) == (0, session, 1)


# Time


def test_a_connection_that_is_dead_is_noticed_by_its_missing_heartbeats_and_replaced(command, tmp_path):
    gate = Gate(tmp_path / "gate")
    told = []

    def talk(address: str) -> None:
        with UnreliableRelay(lambda: address, lambda n: Ends(server=450, by=HOLE) if n == 0 else Ends()) as line:
            threading.Timer(1, gate.open).start()
            begun = time.monotonic()
            told.append(
                command("-s", line.address, "-t", "-1", "-v", "-c", f"print('x' * 300, flush=True)\n{gate.code}")
            )
            told.append(time.monotonic() - begun)

    serve_here(tmp_path / "home", talk, heartbeat=1)
    done, seconds = told
    assert done.returncode == 0
    assert "info the server has been silent for more than 3 s; connecting again in 0.1 s\n" in done.stdout
    assert done.stdout.count("job 1 stdout: " + "x" * 300) == 1
    assert 3 < seconds < 10


def test_a_server_that_does_not_answer_to_the_key_in_time_leaves_it_unknown(server, tmp_path, monkeypatch):
    monkeypatch.setattr(session_module, "acceptance_seconds", lambda _options: 1.0)
    sizes = sizes_of(server, "osuser")
    path = tmp_path / "runs"
    with UnreliableRelay(lambda: server.address, lambda _: Ends(server=sizes["welcome"] + 5)) as line:
        begun = time.monotonic()
        told = call(line.address, "-t", "-1", "-c", job(str(path)))
        seconds = time.monotonic() - begun
    assert told[:2] == (1, "unknown")
    assert told.text.startswith("the server has not accepted the jobs in time (")
    assert told.connections > 2
    assert runs_of(path) <= 1
    assert 0.9 < seconds < 5


@pytest.mark.parametrize("ends", [Ends(server=20), Ends(client=20), Ends(server=0), Ends(client=0)], ids=str)
def test_what_is_lost_before_the_first_welcome_is_the_end_of_the_call(server, ends):
    with relay(server, ends) as line:
        told = call(line.address, "-t", "-1", "-c", "1")
    assert (told.code, told.jobs, told.connections, line.count) == (1, "not submitted", 1, 1)


def test_a_call_without_t_is_over_when_its_jobs_are_accepted(server, tmp_path):
    """However often it had to ask."""
    path = tmp_path / "runs"
    sizes = sizes_of(server, "osuser")
    with relay(server, Ends(server=sizes["welcome"] + 1), Ends(server=sizes["welcome"] + 2)) as line:
        told = call(line.address, "-c", job(str(path)))
    assert (told.code, told.jobs, told.connections) == (0, "submitted", 3)
    wait_until(lambda: runs_of(path) == 1)


def test_what_is_lost_when_the_time_is_over_is_a_1(server, tmp_path):
    """And no 3: whether the jobs have ended is not known."""
    gate = Gate(tmp_path / "gate")
    is_refusing = False

    def address() -> str:
        return "127.0.0.1:1" if is_refusing else server.address

    def refuse(n: int) -> Ends:
        nonlocal is_refusing
        is_refusing = True
        return Ends(server=sizes["accepted"] + 10) if n == 0 else Ends()

    sizes = sizes_of(server, "osuser")
    with UnreliableRelay(address, refuse) as line:
        begun = time.monotonic()
        told = call(line.address, "-t", "1", "-c", gate.code)
        seconds = time.monotonic() - begun
    gate.open()
    assert told[:2] == (1, "submitted")
    assert told.connections > 2
    assert 0.9 < seconds < 5


def test_a_time_that_is_over_before_the_next_attempt_is_a_1(server, tmp_path, monkeypatch):
    monkeypatch.setattr(reconnection, "_FIRST_PAUSE", 60.0)
    gate = Gate(tmp_path / "gate")
    with relay(server, Ends(server=sizes_of(server, "osuser")["accepted"] + 10)) as line:
        told = call(line.address, "-t", "1", "-c", gate.code)
    gate.open()
    assert (told.code, told.jobs, told.connections) == (1, "submitted", 1)


def test_a_call_that_has_found_its_session_again_in_time_has_its_3(server, tmp_path):
    gate = Gate(tmp_path / "gate")
    with relay(server, Ends(server=400)) as line:
        told = call(line.address, "-t", "1", "-c", f"print('x' * 300, flush=True)\n{gate.code}")
    gate.open()
    assert (told.code, told.jobs, told.connections) == (3, "submitted", 2)
