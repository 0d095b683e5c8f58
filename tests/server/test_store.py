"""The store while its database fails: what is reported is on disk, what is not on disk is not reported, and nothing
hangs. What starts while another server is there, or while the account may not run it any more."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
import time
from contextlib import closing, suppress
from typing import Any

import pytest

from headless.dialects.vocabulary import FAILED, OK
from headless.errors import Busy
from headless.server import store as store_module
from headless.server.accounts import UNLIMITED, Accounts, Limits
from headless.server.journal import JobEnd, JobTaken, Journal, Selection
from headless.server.store import PathNeeded, Store, StoreUncertain
from support.faulty_database import BROKEN, ERRORS, FULL, LOCKED, FaultyDatabase
from support.homes import R41, make_home
from support.journals import end, new_session
from support.process import PATIENCE
from support.waiting import in_loop, until

pytestmark = pytest.mark.slow

ACCEPT_SECONDS = store_module._ACCEPT_SECONDS
CLIENT_SECONDS = 30  # after which a client gives up
PACE = 10  # how many times as fast the clock of the store goes


class QuickClock:
    """The time as the store sees it."""

    @staticmethod
    def monotonic() -> float:
        return PACE * time.monotonic()

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(seconds / PACE)


class Bench:
    """A store, its connections, of which the first one writes, and how often it has asked for room."""

    def __init__(self, folder) -> None:
        self.home = make_home(folder, R41)
        self.rooms = 0
        self.opened: list[FaultyDatabase] = []
        self.store = Store(self._open, self._make_room)
        self.database = self.opened[0]

    def _open(self) -> Any:
        self.opened.append(FaultyDatabase(self.home.database()))
        return self.opened[-1]

    def are_closed(self) -> bool:
        """Whether no connection is open, which the collector of garbage would find later, with a warning."""
        for each in self.opened:
            with suppress(sqlite3.ProgrammingError):
                _ = each.real.total_changes
                return False
        return True

    def _make_room(self) -> None:
        self.rooms += 1

    def states(self) -> dict[str, list[str]]:
        """Returns the states of the jobs of each session, as another process sees them on disk."""
        with closing(self.home.database()) as database:
            found: dict[str, list[str]] = {}
            for entry in Journal(database).page(Selection()):
                found.setdefault(entry.session_id, []).append(entry.state)
            return found

    async def wait_for_failures(self, count: int) -> None:
        """Waits for so many more."""
        enough = self.database.failures + count
        await until(lambda: self.database.failures >= enough)

    def limit(self, limits: Limits) -> None:
        """Changes what the account may run."""
        with closing(self.home.database()) as database, database:
            assert Accounts(database).set_limits("R41", limits)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A store with a quick clock, and with pauses as short. It gives up nothing in the time of a test."""
    monkeypatch.setattr(store_module, "time", QuickClock)
    for name, factor in (("_FIRST_PAUSE", 1 / PACE), ("_PAUSE_MAX", 1 / PACE), ("_ACCEPT_SECONDS", 100)):
        monkeypatch.setattr(store_module, name, factor * getattr(store_module, name))
    bench = Bench(tmp_path / "home")
    yield bench
    bench.database.heal()
    bench.store.close(5)


@pytest.fixture
def impatient(bench, monkeypatch):  # noqa: ARG001
    """Lets the bench give up new sessions after a moment."""
    monkeypatch.setattr(store_module, "_ACCEPT_SECONDS", 0.5)


# What is reported


@pytest.mark.version("sqlite3 transactions")
@in_loop
async def test_the_end_of_a_job_is_reported_when_it_is_on_disk_and_not_before(bench):
    for statement, error in itertools.product(["BEGIN", "UPDATE", "COMMIT"], ERRORS):
        session = f"{statement} {error}"
        await bench.store.accept(R41, new_session(session))
        await bench.store.begin(session, 1)
        bench.database.break_down(statement, error)
        finishing = asyncio.ensure_future(bench.store.finish(session, 1, end(OK)))
        await bench.wait_for_failures(3)
        assert not finishing.done(), session
        assert bench.states()[session] == ["running"], session
        bench.database.heal()
        await finishing
        assert bench.states()[session] == ["ok"], session


@in_loop
async def test_a_session_is_accepted_once_if_the_failure_passes(bench):
    cases = itertools.product(["BEGIN", "INSERT", "COMMIT"], ERRORS)
    for number, (statement, error) in enumerate(cases, 1):
        bench.database.break_down(statement, error, times=3)
        await bench.store.accept(R41, new_session(f"s{number}"))
        assert bench.database.failures == 3 * number, (statement, error)
        assert bench.states() == {f"s{each}": ["queued"] for each in range(1, number + 1)}, (statement, error)
    bench.database.break_down("COMMIT", BROKEN, times=1, late=True)  # which was written
    await bench.store.accept(R41, new_session("late", jobs=2))
    assert bench.states()["late"] == ["queued", "queued"]


@in_loop
async def test_what_cannot_be_written_is_tried_again_for_ever_after_pauses_that_do_not_grow(bench, monkeypatch):
    monkeypatch.setattr(store_module, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(store_module, "_PAUSE_MAX", 0.01)
    bench.database.break_down("BEGIN", FULL)
    before = time.monotonic()
    writing = asyncio.ensure_future(bench.store.write(Journal.set_fact, "name", "value"))
    await until(lambda: bench.database.failures >= 20)  # if they grew, after more than a quarter of an hour
    assert time.monotonic() - before > 0.1
    bench.database.heal()
    await writing


@pytest.mark.usefixtures("impatient")
@in_loop
async def test_a_session_that_cannot_be_written_in_time_is_refused_and_is_never_on_disk(bench):
    assert ACCEPT_SECONDS < CLIENT_SECONDS / 2
    for statement, error in itertools.product(["BEGIN", "INSERT"], ERRORS):
        bench.database.break_down(statement, error)
        with pytest.raises(Busy, match="locked the journal" if error == LOCKED else error[-5:]):
            await bench.store.accept(R41, new_session("s1"))
        bench.database.heal()
        await bench.store.write(Journal.set_fact, "name", "value")
        assert bench.states() == {}, (statement, error)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("late", [False, True], ids=["not written", "written"])
@in_loop
async def test_a_session_whose_commit_failed_is_uncertain_and_is_withdrawn(bench, late):
    bench.database.break_down("COMMIT", BROKEN, times=1, late=late, then="BEGIN")
    with pytest.raises(StoreUncertain):
        await bench.store.accept(R41, new_session("s1"))
    assert bench.states() == ({"s1": ["queued"]} if late else {})
    bench.database.heal()
    await bench.store.write(Journal.set_fact, "name", "value")  # what is journaled later is journaled after that
    assert bench.states() == {}


@pytest.mark.version("sqlite3 transactions")
@in_loop
async def test_a_transaction_that_cannot_be_rolled_back_is_rolled_back_later(bench):
    bench.database.break_down("INSERT", BROKEN, times=1)
    execute = bench.database.execute
    refused: list[str] = []

    def execute_but_one(statement, *values):
        if statement == "ROLLBACK" and not refused:
            refused.append(statement)
            raise sqlite3.OperationalError(BROKEN)
        return execute(statement, *values)

    bench.database.execute = execute_but_one
    await bench.store.accept(R41, new_session("s1"))
    assert refused
    assert bench.states() == {"s1": ["queued"]}


# Together


@in_loop
async def test_many_who_write_at_once_share_transactions_and_keep_their_order(bench):
    await asyncio.gather(*(bench.store.accept(R41, new_session(f"s{number}")) for number in range(200)))
    assert bench.database.begun.count("COMMIT") < 50  # 2 to 5
    unfinished = await bench.store.read(Journal.unfinished)
    assert [each.id for each in unfinished] == [f"s{number}" for number in range(200)]


@in_loop
async def test_the_error_of_one_is_no_error_of_the_others(bench):
    sessions = ["s1", "s2", "s1", "s3"]
    errors = await asyncio.gather(
        *(bench.store.accept(R41, new_session(each)) for each in sessions), return_exceptions=True
    )
    assert [each if isinstance(each, str) else type(each) for each in errors] == [
        "s1", "s2", sqlite3.IntegrityError, "s3",
    ]  # fmt: skip
    assert sorted(bench.states()) == ["s1", "s2", "s3"]


@pytest.mark.usefixtures("impatient")
@in_loop
async def test_one_that_is_given_up_leaves_the_others_waiting(bench):
    await bench.store.accept(R41, new_session("s1"))
    await bench.store.begin("s1", 1)
    bench.database.break_down("BEGIN", FULL)
    finishing = asyncio.ensure_future(bench.store.finish("s1", 1, end(OK)))
    with pytest.raises(Busy):
        await bench.store.accept(R41, new_session("s2"))
    assert not finishing.done()
    bench.database.heal()
    await finishing
    assert bench.states() == {"s1": ["ok"]}


@in_loop
async def test_only_a_full_disk_makes_it_ask_for_room(bench):
    for error, asks in ((BROKEN, False), (LOCKED, False), (FULL, True)):
        bench.database.break_down("BEGIN", error, times=1)
        await bench.store.write(Journal.set_fact, "name", error)
        assert (bench.rooms > 0) == asks


@in_loop
async def test_what_is_read_is_read_while_nothing_can_be_written(bench):
    await bench.store.accept(R41, new_session("s1"))
    bench.database.break_down("BEGIN", LOCKED)
    beginning = asyncio.ensure_future(bench.store.begin("s1", 1))
    await until(lambda: bench.database.failures)
    assert (await bench.store.read_accounts(Accounts.of_user, "R41")) == R41
    assert (await bench.store.read(Journal.job, "s1", 1)).text == "1"
    bench.database.heal()
    assert await beginning is None


# The end


@in_loop
async def test_what_waits_is_written_before_the_store_is_closed_and_what_comes_later_is_refused(bench):
    await bench.store.accept(R41, new_session("s1"))
    await bench.store.begin("s1", 1)
    bench.database.break_down("BEGIN", LOCKED, times=4)
    finishing = asyncio.ensure_future(bench.store.finish("s1", 1, end(OK)))
    await until(lambda: bench.database.failures)
    bench.store.close(100)
    await finishing
    assert bench.states() == {"s1": ["ok"]}
    with pytest.raises(Busy):
        await bench.store.accept(R41, new_session("s2"))
    assert bench.states() == {"s1": ["ok"]}


@in_loop
async def test_a_store_that_cannot_write_is_closed_in_time_all_the_same(bench):
    await bench.store.accept(R41, new_session("s1"))
    bench.database.break_down("BEGIN", LOCKED)
    with pytest.raises(Busy):
        await asyncio.gather(bench.store.begin("s1", 1), asyncio.to_thread(bench.store.close, 0.3))
    assert bench.states() == {"s1": ["queued"]}
    await until(bench.are_closed)


@in_loop
async def test_a_store_that_is_closed_while_it_reads_leaves_no_connection_open_and_waits_for_no_hanging_read(
    bench, monkeypatch
):
    monkeypatch.setattr(store_module, "_CLOSE_SECONDS", 0.05)
    is_read, hangs, is_over = threading.Event(), threading.Event(), threading.Event()

    def read(_journal) -> None:
        is_read.set()
        hangs.wait(PATIENCE)
        is_over.set()

    waiting = asyncio.ensure_future(bench.store.read(read))
    await until(is_read.is_set)
    waiting.cancel()  # which ends the waiting, not the thread
    bench.store.close(5)
    assert not is_over.is_set()
    hangs.set()
    await until(bench.are_closed)


# What starts


@pytest.fixture
def other(bench):
    """The store of a second server of the same home."""
    store = Store(bench.home.database, lambda: None)
    yield store
    store.close(5)


@in_loop
async def test_of_two_servers_of_one_home_one_begins_a_job(bench, other):
    await bench.store.accept(R41, new_session("s1", jobs=2))
    both = await asyncio.gather(*(each.begin("s1", 1) for each in (bench.store, other)), return_exceptions=True)
    assert sorted(map(str, both)) == ["", "None"]  # JobTaken
    first, second = (bench.store, other) if both[0] is None else (other, bench.store)
    assert await first.finish("s1", 1, end(OK)) is None
    for write in (second.finish("s1", 1, end(OK)), second.finish("s1", 1, end(FAILED)), second.begin("s1", 2)):
        with pytest.raises(JobTaken):
            await write
    assert bench.states() == {"s1": ["ok", "running"]}


@in_loop
async def test_of_two_servers_one_begins_a_job_again_that_had_not_started(bench, other):
    await bench.store.accept(R41, new_session("s1"))
    await bench.store.begin("s1", 1)
    (session,) = await bench.store.read(Journal.unfinished)
    await other.write(Journal.requeue, "s1", 1, session.started)
    assert bench.states() == {"s1": ["queued"]}
    assert await other.begin("s1", 1) is None
    await bench.store.write(Journal.requeue, "s1", 1, session.started)
    with pytest.raises(JobTaken):
        await bench.store.begin("s1", 1)
    assert bench.states() == {"s1": ["running"]}


@pytest.mark.parametrize("late", [False, True], ids=["not written", "written"])
@pytest.mark.parametrize("limits", [UNLIMITED, Limits(code=False)])
@in_loop
async def test_a_start_whose_commit_failed_is_made_once(bench, late, limits):
    refusal = None if limits == UNLIMITED else JobEnd(FAILED, "not started: the account R41 may not run code")
    for session in ("s1", "s2"):
        await bench.store.accept(R41, new_session(session, jobs=3))
    assert await bench.store.begin("s2", 1) is None
    bench.limit(limits)
    bench.database.break_down("COMMIT", BROKEN, times=1, late=late)
    assert await bench.store.begin("s1", 1) == refusal
    bench.database.break_down("COMMIT", BROKEN, times=1, late=late)
    assert await bench.store.finish("s2", 1, end(OK)) == refusal
    first, second = ("running", "queued") if limits == UNLIMITED else ("failed", "skipped")
    assert bench.states() == {"s1": [first, second, second], "s2": ["ok", first, second]}


@in_loop
async def test_a_limit_that_comes_while_a_start_cannot_be_written_counts(bench):
    await bench.store.accept(R41, new_session("s1"))
    bench.database.break_down("COMMIT", BROKEN)
    beginning = asyncio.ensure_future(bench.store.begin("s1", 1))
    await until(lambda: bench.database.failures)
    bench.limit(Limits(code=False))
    bench.database.heal()
    assert (await beginning).state == FAILED


@in_loop
async def test_whether_a_file_may_start_is_not_decided_without_its_path(bench):
    await bench.store.accept(R41, new_session("s1", kind="py_file", text="link.py"))
    bench.limit(Limits(folders=("nightly",)))
    with pytest.raises(PathNeeded):
        await bench.store.begin("s1", 1)
    assert bench.states() == {"s1": ["queued"]}
    assert await bench.store.begin("s1", 1, "nightly/a.py") is None


@in_loop
async def test_a_session_is_not_accepted_if_its_account_has_changed_since_the_login(bench):
    bench.limit(Limits(code=False))
    with pytest.raises(Busy, match="has been changed or removed"):
        await bench.store.accept(R41, new_session("s1"))
    assert bench.states() == {}
