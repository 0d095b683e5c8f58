"""The wait survives: whatever happens to connections and servers, a call with -t -1 ends with the true code of its
jobs, each of which has run once, and shows their output without a gap or a repetition.

Most calls have the key of a session that has ended: they get all of its output as if it were new, and cost no job.
PLANTA_EXHAUSTIVE=1 takes every byte, with a job for each, and thousands of random moments. PLANTA_SEED=N takes those of
an earlier run.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from headless.client import connection
from headless.client import session as session_module
from headless.client.output import Console
from headless.client.session import Session
from headless.client.waiting import Waiter
from headless.dialects.base import Event, Output
from headless.dialects.own.dialect import Dialect
from headless.options import parse
from headless.password_file import KnownSecret
from headless.server.accounts import Account
from support.clock import StillClock
from support.conversations import KEYS
from support.credentials import HASH
from support.frames import frames_in
from support.job_server import QuickServer
from support.sampling import EXHAUSTIVE, REPEAT, SEED, draws
from support.sessions import call_for, run
from support.unreliable_relay import CLIENT, FIN, HOLE, NEVER, RST, SERVER, Ends, UnreliableRelay
from support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * 3600 if EXHAUSTIVE else 120)]

ACCOUNTS = (Account("R42", None, KEYS),)
LOGINS = {"osuser": "", "challenge": HASH}
# In several pieces, with characters of several bytes, and without a line feed at the end.
PRINTED = {(1, "stdout"): "\u00e4\u20ac\U0001f600\n" * 3 + "end", (1, "stderr"): "\u00fc\n"}


# Calls, and what is wrong with them


class Outcome(NamedTuple):
    """How a call ended: return code, state of the jobs, reason, output by job and stream, connections."""

    code: int
    jobs: str
    text: str
    output: dict[tuple[int, str], str]
    connections: int


def call(address: str, *argv: str, hash_: str = "", key: str = "") -> Outcome:
    """Runs this command line. With a hash, R42 logs in by challenge."""
    options = parse(["-s", address, *(("-u", "R42", "-p", "secret") if hash_ else ()), *argv])
    secret = KnownSecret("secret", hash_.encode(), "") if hash_ else None
    key = key or os.urandom(16).hex()
    output: dict[tuple[int, str], str] = {}

    def observe(event: Event) -> None:
        if isinstance(event, Output):
            assert event.job is not None
            stream = event.job, event.stream
            output[stream] = output.get(stream, "") + event.text

    with Waiter() as waiter:
        session = Session(options, secret, lambda: Dialect(call_for(options, key)), Console(0, waiter), waiter)
        session.observe = observe
        code, text = run(session)
    return Outcome(code, session.verdict.submission.value, text, output, session.connections)


def job(mark: Path | str, status: int = 0) -> str:
    """The code of a job that prints PRINTED, adds a mark to this file, and ends with this status."""
    lines = [f"sys.{stream}.buffer.write({text.encode()!r})" for (_, stream), text in PRINTED.items()]
    return "\n".join(["import sys", f"open({str(mark)!r}, 'a').write('x')", *lines, f"sys.exit({status})"])


@contextmanager
def relay_to(server: QuickServer, *ends: Ends) -> Iterator[UnreliableRelay]:
    """One whose first connections end there, and the further ones not at all."""
    with UnreliableRelay(lambda: server.address, lambda n: ends[n] if n < len(ends) else Ends()) as relay:
        yield relay


def count_of(path: Path) -> int:
    return len(path.read_text()) if path.exists() else 0


def sizes_of(server: QuickServer, login: str) -> dict[str, int]:
    """How many bytes each side, and the server up to each message, sends in a call of which nothing is lost."""
    with relay_to(server) as line:
        outcome = call(line.address, "-t", "-1", "-c", job(os.devnull), hash_=LOGINS[login])
    assert (outcome.code, outcome.output, outcome.connections) == (0, PRINTED, 1)
    ends = {each.name: each.end for each in frames_in(line.passed[0][SERVER])}
    return {**ends, **{side: len(data) for side, data in line.passed[0].items()}}


def fault_of(outcome: Outcome, count: int, first: dict[str, bytes], status: int = 0, is_known: bool = False) -> str:
    """What is wrong with a call that has lost connections, "" for nothing. `count` is how often its job has run,
    `first` what has passed of the first connection, and `is_known` says that the session had ended before."""
    was_welcome = any(each.name == "welcome" for each in frames_in(first[SERVER]))
    if outcome.code == (1 if status else 0) and outcome.jobs == "submitted":
        return "" if (count, outcome.output) == (1, PRINTED) else f"{outcome}, the job ran {count} times"
    # What came just before a reset may be lost.
    is_unknown = outcome.jobs == "not submitted" and count == is_known and outcome.code == 1
    return (
        "" if is_unknown and (not was_welcome or outcome.connections == 1) else f"{outcome}, the job ran {count} times"
    )


# Connections


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with QuickServer(tmp_path_factory.mktemp("survival") / "home", "--workers", "8", accounts=ACCOUNTS) as server:
        yield server


@pytest.fixture(scope="module")
def sizes_by_login(server):
    return {login: sizes_of(server, login) for login in LOGINS}


@pytest.fixture
def sizes(sizes_by_login):
    return sizes_by_login["osuser"]


class KnownSession:
    """One that has ended, whose output a call with its key receives."""

    def __init__(self, server, folder, login: str, status: int) -> None:
        self.path = folder / f"known {login} {status}"
        self.key = os.urandom(16).hex()
        self.status = status
        self.code = job(self.path, status)
        outcome = call(server.address, "-t", "-1", "-c", self.code, hash_=LOGINS[login], key=self.key)
        assert (outcome.code, outcome.output) == (status, PRINTED)


@pytest.fixture(scope="module")
def known(server, tmp_path_factory):
    """Two sessions that have run, for each login: one that has ended well, and one that has not."""
    folder = tmp_path_factory.mktemp("known")
    return {login: [KnownSession(server, folder, login, status) for status in (0, 1)] for login in LOGINS}


@pytest.fixture
def soon(monkeypatch):
    """The next connection is tried at once."""
    monkeypatch.setattr(session_module, "_FIRST_PAUSE", 0.005)


def wrong_cuts(server, folder, login: str, ends: list[Ends], known: list[KnownSession] | None = None) -> list[object]:
    """Of calls whose first connection ends there, those that have gone wrong."""
    wrong: list[object] = []
    for number, end in enumerate(ends):
        status = number % 2
        path, key = (known[status].path, known[status].key) if known else (folder / f"{number}", "")
        with relay_to(server, end) as line:
            outcome = call(line.address, "-t", "-1", "-c", job(path, status), hash_=LOGINS[login], key=key)
        fault = fault_of(outcome, count_of(path), line.passed[0], status, is_known=bool(known))
        if fault:
            wrong.append((end, fault))
    return wrong


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("side", [CLIENT, SERVER])
@pytest.mark.parametrize("is_large", [False, pytest.param(True, marks=pytest.mark.large)])
def test_wherever_a_connection_ends_another_one_goes_on(  # noqa: PLR0917
    server, known, sizes_by_login, tmp_path, is_large, side, login
):
    """A part of all bytes of the first connection, which differs from run to run: most with a known session, and some
    with a new one. A large sample has new ones only, and PLANTA_EXHAUSTIVE every byte."""
    chance = draws(login, side)
    sizes = sizes_by_login[login]
    every = [Ends(**{side: offset}, by=by) for offset in range(sizes[side] + 1) for by in (FIN, RST)]
    if is_large or EXHAUSTIVE:
        some, new = [], every if EXHAUSTIVE else every[SEED % 17 :: 17]
    else:
        some = every[chance.randrange(41) :: 41]
        bounds = [sizes[name] + near for name in sizes if name not in (CLIENT, SERVER) for near in (-1, 0, 1)]
        new = [
            chance.choice(every),
            *(Ends(server=at, by=chance.choice((FIN, RST))) for at in chance.sample(bounds, 3)),
        ]
        if side == CLIENT:  # where the server has all, or all but a byte, and the client has no answer
            new[1:] = [Ends(client=sizes[CLIENT] - less, by=by) for less, by in ((0, FIN), (0, RST), (1, RST))]
        new.append(chance.choice(every))
    wrong = wrong_cuts(server, tmp_path, login, some, known[login]) + wrong_cuts(server, tmp_path, login, new)
    assert wrong == [], REPEAT


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("login", LOGINS)
def test_a_line_that_drops_every_connection_only_costs_time(server, known, tmp_path, login):
    chance = draws(login)

    def ends_of(_: int) -> Ends:
        return Ends(
            chance.choice((NEVER, chance.randrange(150, 1500))), chance.randrange(300, 2500), chance.choice((FIN, RST))
        )

    wrong = []
    for number in range(2_000 if EXHAUSTIVE else 15):
        session = None if EXHAUSTIVE or number < 3 else known[login][0]
        path, key = (session.path, session.key) if session else (tmp_path / f"{number}", "")
        with UnreliableRelay(lambda: server.address, ends_of) as line:
            outcome = call(line.address, "-t", "-1", "-c", job(path), hash_=LOGINS[login], key=key)
        fault = fault_of(outcome, count_of(path), line.passed[0], is_known=session is not None)
        if fault:
            wrong.append((number, fault))
    assert wrong == [], REPEAT


# Time


AGAIN = "; connecting again in "


def test_a_connection_that_is_dead_is_noticed_by_its_missing_heartbeats_and_replaced(server, here, gate, monkeypatch):
    """Here after a hundredth of one, which is of the server's 30 seconds."""
    monkeypatch.setattr(connection, "_MAX_MISSED_HEARTBEATS", 0.01)
    code = f"print('x' * 300, flush=True)\n{gate.code}"

    def ends_of(n: int) -> Ends:
        if n == 0:
            return Ends(server=450, by=HOLE)
        gate.open()
        return Ends()

    with UnreliableRelay(lambda: server.address, ends_of) as line:
        begun = time.monotonic()
        done = here("-s", line.address, "-t", "-1", "-v", "-c", code)
        seconds = time.monotonic() - begun
    assert done.returncode == 0
    assert re.search(f"info .* silent for more than .*{AGAIN}", done.stdout)
    assert done.stdout.count("job 1 stdout: " + "x" * 300) == 1
    assert seconds > 0.3


@pytest.mark.parametrize("ends", [Ends(server=20), Ends(client=20), Ends(server=0), Ends(client=0)], ids=str)
def test_what_is_lost_before_the_first_welcome_is_the_end_of_the_call(server, ends):
    with relay_to(server, ends) as line:
        outcome = call(line.address, "-t", "-1", "-c", "1")
    assert (outcome.code, outcome.jobs, outcome.connections, line.count) == (1, "not submitted", 1, 1)


def test_a_call_without_t_is_over_when_its_jobs_are_accepted(server, sizes, tmp_path):
    """However often it had to ask."""
    path = tmp_path / "mark"
    with relay_to(server, Ends(server=sizes["welcome"] + 1), Ends(server=sizes["welcome"] + 2)) as line:
        outcome = call(line.address, "-c", job(path))
    assert (outcome.code, outcome.jobs, outcome.connections) == (0, "submitted", 3)
    wait_until(lambda: count_of(path) == 1)


def test_a_time_that_is_over_before_the_next_attempt_is_a_1(server, here, sizes, gate, monkeypatch):
    """And no 3: whether the jobs have ended is not known."""
    clock = StillClock()

    def pause(_session: Session) -> float:
        clock.start()
        return 60.0

    monkeypatch.setattr(Session, "_next_pause", pause)
    with relay_to(server, Ends(server=sizes["accepted"] + 10)) as line:
        done = here.by_clock(clock, 0.1, "-s", line.address, "-v", "-c", gate.code)
    assert (done.returncode, done.stdout.endswith("; jobs: submitted\n"), line.count) == (1, True, 1)


# Servers that are killed, or replaced by another


@contextmanager
def restarts(server: QuickServer, chance: random.Random) -> Iterator[None]:
    """Ends the server, and starts it again, at random moments of the block, six times at most: on a slow machine a
    server may live too short to be found."""
    is_over = threading.Event()

    def run() -> None:
        for _ in range(6):
            if is_over.wait(chance.uniform(0, 0.4)):
                return
            (server.crash if chance.random() < 0.7 else server.stop)()
            server.start()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(run)
        try:
            yield
        finally:
            is_over.set()
            done.result()


@pytest.mark.parametrize("login", LOGINS)
def test_a_server_that_is_killed_again_and_again_only_costs_time(tmp_path, login):
    """It is killed, or stopped, at any moment, and the next one has another port."""
    chance = draws()
    wrong = []
    with QuickServer(tmp_path / "home", "--workers", "4", accounts=ACCOUNTS, ends_jobs=False) as server:
        for number in range(300 if EXHAUSTIVE else 1):
            path = tmp_path / f"{number}"
            code = job(path).replace("sys.exit", f"import time; time.sleep({chance.uniform(0, 1):.2f}); sys.exit")
            with UnreliableRelay(lambda: server.address, lambda _: Ends()) as line:
                with restarts(server, chance):
                    outcome = call(line.address, "-t", "-1", "-c", code, "-c", "1", hash_=LOGINS[login])
                fault = fault_of(outcome, count_of(path), line.passed[0] if line.passed else {SERVER: b""})
            if fault:
                wrong.append((number, fault))
    assert wrong == [], REPEAT


OTHERS = {
    "a server that has lost its journal": (KEYS, "another server answers, or one that has lost its journal"),
    "a server that cannot prove itself": (KEYS.replace(server_key=os.urandom(32)), "cannot prove that it knows"),
    "a password that was changed": (KEYS.replace(salt=f"{KEYS.salt[:-1]}."), "the password of the user was changed"),
}


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(("passed", "jobs"), [("welcome", "unknown"), ("accepted", "submitted")])
def test_another_server_at_the_address_makes_a_1_and_no_2_and_does_not_get_the_jobs(  # noqa: PLR0917
    server, sizes_by_login, tmp_path, name, passed, jobs
):
    """The call was right when it began. The other server would run the jobs a second time: it does not know the key."""
    keys, reason = OTHERS[name]
    end = Ends(server=sizes_by_login["challenge"][passed] + 1, by=FIN)
    path = tmp_path / "mark"
    with (
        QuickServer(tmp_path / "home", accounts=(Account("R42", None, keys),)) as second,
        UnreliableRelay(
            lambda: second.address if line.count else server.address, lambda n: Ends() if n else end
        ) as line,
    ):
        outcome = call(line.address, "-t", "-1", "-c", job(path), hash_=HASH)
        assert second.query("SELECT count(*) FROM sessions") == (0,)
    assert outcome[:2] == (1, jobs)
    assert reason in outcome.text
    wait_until(lambda: count_of(path) == 1)
