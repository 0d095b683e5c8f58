"""What starts, while the database fails, another server is there, or the account may not run it any more."""

from __future__ import annotations

import asyncio

import pytest

from headless.dialects.vocabulary import FAILED, OK
from headless.errors import Busy
from headless.server.account_limits import Limits
from headless.server.journal import JobEnd, JobTaken
from headless.server.store import PathNeeded, Store
from support.faulty_database import BROKEN
from support.homes import R41
from support.journals import end, new_session
from support.store_bench import store_bench
from support.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(tmp_path, monkeypatch):
    with store_bench(tmp_path / "home", monkeypatch) as bench:
        yield bench


@pytest.fixture
def other(bench):
    """The store of a second server that should not be there."""
    store = Store(bench.home.database, lambda: None)
    yield store
    store.close(5)


def test_of_two_servers_of_one_home_one_begins_a_job(bench, other):
    async def test():
        await bench.store.accept(R41, new_session("s1", jobs=2))
        both = await asyncio.gather(*(each.begin("s1", 1) for each in (bench.store, other)), return_exceptions=True)
        assert sorted(map(str, both)) == ["", "None"]  # JobTaken
        first, second = (bench.store, other) if both[0] is None else (other, bench.store)
        assert await first.finish("s1", 1, end(OK)) is None
        for write in (second.finish("s1", 1, end(OK)), second.finish("s1", 1, end(FAILED)), second.begin("s1", 2)):
            with pytest.raises(JobTaken):
                await write
        assert bench.states() == {"s1": ["running", "ok"]}

    bench.run(test)


def test_of_two_servers_one_begins_a_job_again_that_had_not_started(bench, other):
    async def test():
        await bench.store.accept(R41, new_session("s1"))
        await bench.store.begin("s1", 1)
        (session,) = await bench.store.unfinished()
        await other.requeue(session)
        assert bench.states() == {"s1": ["queued"]}
        assert await other.begin("s1", 1) is None
        await bench.store.requeue(session)
        with pytest.raises(JobTaken):
            await bench.store.begin("s1", 1)
        assert bench.states() == {"s1": ["running"]}

    bench.run(test)


@pytest.mark.parametrize("late", [False, True], ids=["not written", "written"])
@pytest.mark.parametrize("limits", [None, Limits(code=False)])
def test_a_start_whose_commit_failed_is_made_once(bench, late, limits):
    refusal = None if limits is None else JobEnd(FAILED, "not started: the account R41 may not run code")

    async def test():
        for session in ("s1", "s2"):
            await bench.store.accept(R41, new_session(session, jobs=3))
        assert await bench.store.begin("s2", 1) is None
        bench.limit(limits)
        bench.database.break_down("COMMIT", BROKEN, times=1, late=late)
        assert await bench.store.begin("s1", 1) == refusal
        bench.database.break_down("COMMIT", BROKEN, times=1, late=late)
        assert await bench.store.finish("s2", 1, end(OK)) == refusal
        first, second = ("running", "queued") if limits is None else ("failed", "skipped")
        assert bench.states() == {"s1": [second, second, first], "s2": [second, first, "ok"]}

    bench.run(test)


def test_a_limit_that_comes_while_a_start_cannot_be_written_counts(bench):
    async def test():
        await bench.store.accept(R41, new_session("s1"))
        bench.database.break_down("COMMIT", BROKEN)
        beginning = asyncio.ensure_future(bench.store.begin("s1", 1))
        await until(lambda: bench.database.failures)
        bench.limit(Limits(code=False))
        bench.database.heal()
        assert (await beginning).state == FAILED

    bench.run(test)


def test_whether_a_file_may_start_is_not_decided_without_its_path(bench):
    async def test():
        await bench.store.accept(R41, new_session("s1", kind="py_file", text="link.py"))
        bench.limit(Limits(folders=("nightly",)))
        with pytest.raises(PathNeeded):
            await bench.store.begin("s1", 1)
        assert bench.states() == {"s1": ["queued"]}
        assert await bench.store.begin("s1", 1, "nightly/a.py") is None

    bench.run(test)


def test_a_session_is_not_accepted_if_its_account_has_changed_since_the_login(bench):
    async def test():
        bench.limit(Limits(code=False))
        with pytest.raises(Busy, match="has been changed or removed"):
            await bench.store.accept(R41, new_session("s1"))
        assert bench.states() == {}

    bench.run(test)
