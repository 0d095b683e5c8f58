"""The wait survives: whatever happens to connections and servers, a call with -t -1 ends with the true code of its
jobs, each of which has run once, and its output is told without a gap or a repetition.

Most calls have the key of a session that has run already: they are told all of it, as if it were new, and cost no job.
PLANTA_EXHAUSTIVE=1 takes every byte, with a job for each, and thousands of random moments; PLANTA_SEED=N those of an
earlier run.
"""

from __future__ import annotations

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from headless.client import connection
from headless.client import session as session_module
from headless.dialects.base import Attached, LoggedIn
from support.clock import StillClock
from support.job_server import QuickServer
from support.persistent_calls import call
from support.relay import CLIENT, FIN, RST, SERVER
from support.sampling import EXHAUSTIVE, REPEAT, SEED, draws
from support.survival import ACCOUNTS, LOGINS, PRINTED, check, job, relay, runs_of, sizes_of
from support.unreliable_relay import HOLE, NEVER, Ends, UnreliableRelay
from support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(8 * 3600 if EXHAUSTIVE else 120)]


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


class Session:
    """One that has run, as a call with its key is told of it."""

    def __init__(self, server, folder, login: str, status: int) -> None:
        self.path = folder / f"known {login} {status}"
        self.key = os.urandom(16).hex()
        self.status = status
        self.code = job(str(self.path), status)
        told = call(server.address, "-t", "-1", "-c", self.code, hash_=LOGINS[login], key=self.key)
        assert (told.code, told.output) == (status, PRINTED)


@pytest.fixture(scope="module")
def known(server, tmp_path_factory):
    """Two sessions that have run, for each login: one that has ended well, and one that has not."""
    folder = tmp_path_factory.mktemp("known")
    return {login: [Session(server, folder, login, status) for status in (0, 1)] for login in LOGINS}


@pytest.fixture
def soon(monkeypatch):
    """The next connection is tried at once."""
    monkeypatch.setattr(session_module, "_FIRST_PAUSE", 0.005)


@pytest.fixture
def late(monkeypatch):
    """The next connection is tried in a minute."""
    monkeypatch.setattr(session_module, "_FIRST_PAUSE", 60.0)


def wrong_cuts(server, folder, login: str, ends: list[Ends], known: list[Session] | None = None) -> list[object]:
    """Of calls whose first connection ends there, those that have gone wrong."""
    wrong: list[object] = []
    for number, end in enumerate(ends):
        status = number % 2
        path, key = (known[status].path, known[status].key) if known else (folder / f"{number}", "")
        with relay(server, end) as line:
            told = call(line.address, "-t", "-1", "-c", job(str(path), status), hash_=LOGINS[login], key=key)
        problem = check(told, runs_of(path), line.passed[0], status, is_known=bool(known))
        if problem:
            wrong.append((end, problem))
    return wrong


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("side", [CLIENT, SERVER])
def test_wherever_a_connection_ends_another_one_goes_on(  # noqa: PLR0917
    server, known, sizes_by_login, tmp_path, login, side
):
    """Every byte of the first connection with PLANTA_EXHAUSTIVE, else a part of them that differs from run to run: most
    with a known session, and some with a new one, among them such as end a message."""
    chance = draws(login, side)
    sizes = sizes_by_login[login]
    every = [Ends(**{side: offset}, by=by) for offset in range(sizes[side] + 1) for by in (FIN, RST)]
    if EXHAUSTIVE:
        assert wrong_cuts(server, tmp_path, login, every) == []
        return
    step = 41
    some = every[chance.randrange(step) :: step]
    bounds = [sizes[name] + near for name in sizes if name not in (CLIENT, SERVER) for near in (-1, 0, 1)]
    new = [Ends(server=at, by=chance.choice((FIN, RST))) for at in chance.sample(bounds, 3)]
    if side == CLIENT:  # where the server has all, or all but a byte, and the client has heard nothing of it
        new = [Ends(client=sizes[CLIENT] - less, by=by) for less, by in ((0, FIN), (0, RST), (1, RST))]
    wrong = wrong_cuts(server, tmp_path, login, some, known[login])
    wrong += wrong_cuts(server, tmp_path, login, [*new, chance.choice(every)])
    assert wrong == [], REPEAT


@pytest.mark.large
@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("side", [CLIENT, SERVER])
def test_wherever_a_connection_ends_with_a_new_job_another_one_goes_on(server, sizes_by_login, tmp_path, login, side):
    step = 17
    offsets = range(SEED % step, sizes_by_login[login][side] + 1, step)
    ends = [Ends(**{side: offset}, by=by) for offset in offsets for by in (FIN, RST)]
    assert wrong_cuts(server, tmp_path, login, ends) == [], REPEAT


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("login", LOGINS)
def test_a_line_that_drops_every_connection_only_costs_time(server, known, tmp_path, login):
    chance = draws(login)

    def ends_of(_: int) -> Ends:
        return Ends(
            chance.choice((NEVER, chance.randrange(150, 1500))), chance.randrange(300, 2500), chance.choice((FIN, RST))
        )

    wrong = []
    for number in range(10_000 if EXHAUSTIVE else 15):
        session = None if EXHAUSTIVE or number < 3 else known[login][0]
        path, key = (session.path, session.key) if session else (tmp_path / f"{number}", "")
        with UnreliableRelay(lambda: server.address, ends_of) as line:
            told = call(line.address, "-t", "-1", "-c", job(str(path)), hash_=LOGINS[login], key=key)
        problem = check(told, runs_of(path), line.passed[0], is_known=session is not None)
        if problem:
            wrong.append((number, problem))
    assert wrong == [], REPEAT


# Time


AGAIN = "; connecting again in "


def test_a_connection_that_is_dead_is_noticed_by_its_missing_heartbeats_and_replaced(server, here, gate, monkeypatch):
    """Here after a hundredth of one, which is of the server's 30 seconds."""
    monkeypatch.setattr(connection, "_MAX_MISSED_HEARTBEATS", 0.01)
    code = f"print('x' * 300, flush=True)\n{gate.code}"

    def open_at_the_second() -> None:
        wait_until(lambda: line.count > 1)
        gate.open()

    with (
        UnreliableRelay(lambda: server.address, lambda n: Ends(server=450, by=HOLE) if n == 0 else Ends()) as line,
        ThreadPoolExecutor(1) as pool,
    ):
        opened = pool.submit(open_at_the_second)
        begun = time.monotonic()
        done = here("-s", line.address, "-t", "-1", "-v", "-c", code)
        seconds = time.monotonic() - begun
        opened.result()
    assert done.returncode == 0
    assert re.search(f"info .* silent for more than .*{AGAIN}", done.stdout)
    assert done.stdout.count("job 1 stdout: " + "x" * 300) == 1
    assert 0.3 < seconds < 10


@pytest.mark.usefixtures("soon")
def test_a_server_that_does_not_answer_to_the_key_in_time_leaves_it_unknown(server, here, sizes, tmp_path, monkeypatch):
    monkeypatch.setattr(session_module, "acceptance_seconds", lambda _options: 0.3)
    path = tmp_path / "runs"
    clock = StillClock(start_at=LoggedIn)
    with UnreliableRelay(lambda: server.address, lambda _: Ends(server=sizes["welcome"] + 5)) as line:
        done = here.by_clock(clock, -1, "-s", line.address, "-v", "-c", job(str(path)))
    last = done.stdout.splitlines()[-1]
    assert (done.returncode, last.endswith("; jobs: unknown")) == (1, True)
    assert "the server has not accepted the jobs in time (" in last
    assert done.stdout.count(AGAIN) > 1
    assert runs_of(path) <= 1
    assert 0.3 <= clock.seconds() < 5


@pytest.mark.parametrize("ends", [Ends(server=20), Ends(client=20), Ends(server=0), Ends(client=0)], ids=str)
def test_what_is_lost_before_the_first_welcome_is_the_end_of_the_call(server, ends):
    with relay(server, ends) as line:
        told = call(line.address, "-t", "-1", "-c", "1")
    assert (told.code, told.jobs, told.connections, line.count) == (1, "not submitted", 1, 1)


def test_a_call_without_t_is_over_when_its_jobs_are_accepted(server, sizes, tmp_path):
    """However often it had to ask."""
    path = tmp_path / "runs"
    with relay(server, Ends(server=sizes["welcome"] + 1), Ends(server=sizes["welcome"] + 2)) as line:
        told = call(line.address, "-c", job(str(path)))
    assert (told.code, told.jobs, told.connections) == (0, "submitted", 3)
    wait_until(lambda: runs_of(path) == 1)


@pytest.fixture
def clock(monkeypatch):
    """It stands still until a connection was lost, and the first pause is asked for."""
    clock, next_pause = StillClock(), session_module.Session._next_pause

    def start_and_pause(session):
        clock.start()
        return next_pause(session)

    monkeypatch.setattr(session_module.Session, "_next_pause", start_and_pause)
    return clock


@pytest.mark.usefixtures("soon")
def test_what_is_lost_when_the_time_is_over_is_a_1(server, here, sizes, gate, clock):
    """And no 3: whether the jobs have ended is not known."""
    is_refusing = False

    def address() -> str:
        return "127.0.0.1:1" if is_refusing else server.address

    def refuse(n: int) -> Ends:
        nonlocal is_refusing
        is_refusing = True
        return Ends(server=sizes["accepted"] + 10) if n == 0 else Ends()

    with UnreliableRelay(address, refuse) as line:
        done = here.by_clock(clock, 0.3, "-s", line.address, "-v", "-c", gate.code)
    assert (done.returncode, done.stdout.endswith("; jobs: submitted\n")) == (1, True)
    assert done.stdout.count(AGAIN) > 1
    assert 0.3 <= clock.seconds() < 5


@pytest.mark.usefixtures("late")
def test_a_time_that_is_over_before_the_next_attempt_is_a_1(server, here, sizes, gate, clock):
    with relay(server, Ends(server=sizes["accepted"] + 10)) as line:
        done = here.by_clock(clock, 0.1, "-s", line.address, "-v", "-c", gate.code)
    assert (done.returncode, done.stdout.endswith("; jobs: submitted\n"), line.count) == (1, True, 1)


def test_a_call_that_has_found_its_session_again_in_time_has_its_3(server, here, gate, monkeypatch):
    monkeypatch.setattr(session_module, "_FIRST_PAUSE", 0.0)  # the clock stands still
    clock = StillClock(start_at=Attached)
    with relay(server, Ends(server=400)) as line:
        code = f"print('x' * 300, flush=True)\n{gate.code}"
        done = here.by_clock(clock, 0.1, "-s", line.address, "-v", "-c", code)
    assert (done.returncode, done.stdout.endswith("; jobs: submitted\n"), line.count) == (3, True, 2)
