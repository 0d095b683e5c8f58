"""The wait survives servers that die, and is told of others: one without the journal, one with other keys, one with a
changed password.

PLANTA_EXHAUSTIVE=1 takes hundreds of random moments; PLANTA_SEED=N those of an earlier run.
"""

from __future__ import annotations

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from headless.server.accounts import Account
from support.conversations import KEYS
from support.credentials import HASH
from support.job_code import Gate
from support.job_server import QuickServer
from support.persistent_calls import Told, call
from support.raw_client import connect, py_code
from support.relay import SERVER
from support.sampling import EXHAUSTIVE, REPEAT, draws
from support.survival import ACCOUNTS, LOGINS, PRINTED, check, job, runs_of, sizes_of
from support.unreliable_relay import Ends, UnreliableRelay
from support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(8 * 3600 if EXHAUSTIVE else 120)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with QuickServer(tmp_path_factory.mktemp("survival") / "home", "--workers", "8", accounts=ACCOUNTS) as server:
        yield server


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
    chance = draws()
    wrong = []
    with QuickServer(tmp_path / "home", "--workers", "4", accounts=ACCOUNTS, ends_jobs=False) as server:
        for number in range(300 if EXHAUSTIVE else 1):
            path = tmp_path / f"{number}"
            code = job(str(path)).replace("sys.exit", f"import time; time.sleep({chance.uniform(0, 1):.2f}); sys.exit")
            with UnreliableRelay(lambda: server.address, lambda _: Ends()) as line:
                with Restarts(server, chance):
                    told = call(line.address, "-t", "-1", "-c", code, "-c", "1", hash_=LOGINS[login])
                problem = check(told, runs_of(path), line.passed[0] if line.passed else {SERVER: b""})
            if problem:
                wrong.append((number, problem))
    assert wrong == [], REPEAT


class Replaced:
    """A server that is replaced by another one as soon as its client knows that it has accepted a job."""

    def __init__(self, first: QuickServer, second: QuickServer) -> None:
        self.now = first
        self._first, self._second = first, second

    def replace(self, line: UnreliableRelay) -> None:
        wait_until(lambda: line.passed and b"<started" in line.passed[0][SERVER])
        self.now = self._second
        self._first.crash()


def told_by_another(tmp_path, second: QuickServer, hash_: str) -> Told:
    """What becomes of a call whose server is replaced by this one while its job runs."""
    gate = Gate(tmp_path / "gate")
    with QuickServer(tmp_path / "first", accounts=ACCOUNTS, ends_jobs=False) as first:
        replaced = Replaced(first, second)
        with UnreliableRelay(lambda: replaced.now.address, lambda _: Ends()) as line, ThreadPoolExecutor(1) as pool:
            done = pool.submit(replaced.replace, line)
            told = call(line.address, "-t", "-1", "-c", gate.code, hash_=hash_)
            done.result()
        gate.open()
    return told


@pytest.mark.parametrize("login", LOGINS)
def test_a_server_that_has_lost_its_journal_makes_a_1(server, tmp_path, login):
    told = told_by_another(tmp_path, server, LOGINS[login])
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
        assert second.query("SELECT count(*) FROM sessions") == (0,)
    assert told[:2] == (1, "unknown")
    assert told.text == "another server answers, or one that has lost its journal"
    wait_until(lambda: runs_of(path) == 1)


def test_another_server_at_the_address_makes_a_1_because_it_cannot_prove_itself(tmp_path):
    """It has other keys for the salt of the password file."""
    others = Account("R42", None, KEYS.replace(stored_key=os.urandom(32), server_key=os.urandom(32)))
    with QuickServer(tmp_path / "second", accounts=(others,)) as second:
        told = told_by_another(tmp_path, second, HASH)
    assert told[:2] == (1, "submitted")


def test_a_password_that_was_changed_meanwhile_makes_a_1_and_no_2(tmp_path):
    """The call was right when it began."""
    others = Account("R42", None, KEYS.replace(salt=f"{KEYS.salt[:-1]}."))
    with QuickServer(tmp_path / "second", accounts=(others,)) as second:
        told = told_by_another(tmp_path, second, HASH)
    assert told[:2] == (1, "submitted")
    assert "the password of the user was changed" in told.text


def test_two_clients_with_the_same_key_are_told_the_same_of_one_run(server, tmp_path):
    key, path = os.urandom(16).hex(), tmp_path / "runs"
    code = job(str(path))
    with connect(server).log_in() as other:
        session = other.submit(py_code(code), key=key)
        told = call(server.address, "-t", "-1", "-u", "R41", "-c", code, key=key)
        assert other.report().output == told.output == PRINTED
    assert (told.code, told.session, runs_of(path)) == (0, session, 1)
