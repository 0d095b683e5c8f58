"""The threads for what may block: that a call comes to an end also where the machine has no thread left."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from headless.errors import Busy
from headless.server.threads import Threads
from support.waiting import in_time, until

pytestmark = pytest.mark.version("asyncio and threads")


@pytest.fixture
def exhausted(monkeypatch):
    """Makes the start of a thread fail, as long as the list is not empty."""
    start = threading.Thread.start
    failing = [True]

    def start_or_fail(thread):
        if failing and thread.name.startswith("tests-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_fail)
    return failing


def test_without_a_thread_a_call_is_refused_and_a_later_one_is_not(exhausted):
    async def call() -> None:
        threads = Threads("tests", 2, 10)
        for _ in range(30):
            with pytest.raises(Busy):
                await in_time(threads.call(int))
        exhausted.clear()
        assert await in_time(threads.call(int, "3")) == 3

    asyncio.run(call())


def test_with_one_thread_of_many_all_calls_are_made_by_that(exhausted):
    async def call() -> None:
        threads = Threads("tests", 8, 10)
        exhausted.clear()
        await threads.call(int)
        exhausted.append(True)
        assert await in_time(asyncio.gather(*(threads.call(int, str(number)) for number in range(10)))) == [*range(10)]

    asyncio.run(call())


def test_what_fails_after_its_caller_was_cancelled_is_no_internal_error():
    reported: list[object] = []
    is_called, goes_on = threading.Event(), threading.Event()

    def fail() -> None:
        is_called.set()
        goes_on.wait(10)
        raise OSError("late")

    async def call() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        threads = Threads("tests", 1, 10)
        calling = asyncio.ensure_future(threads.call(fail))
        await until(is_called.is_set)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        goes_on.set()
        await threads.call(int)  # which is answered after the other one
        gc.collect()

    asyncio.run(call())
    assert reported == []
