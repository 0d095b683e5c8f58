"""Threads for what may block, a disk or a name service, so that the event loop never waits for it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from headless.errors import Busy

_T = TypeVar("_T")


class Threads:
    """Has at most `count` threads, started when needed, and at most `backlog` calls that wait for one.

    The threads are daemons: one that hangs for ever does not keep the process alive.
    """

    def __init__(self, name: str, count: int, backlog: int) -> None:
        self._name = name
        self._count = count
        self._backlog = backlog
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._started = 0
        self._unfinished = 0

    async def call(self, function: Callable[..., _T], *args: Any, timeout: float | None = None) -> _T:
        """Returns the result of `function(*args)`, which runs in one of the threads. `timeout` is in seconds.

        Raises what the function raises, Busy, and asyncio.TimeoutError, after which the function runs on.
        """
        if self._unfinished >= self._count + self._backlog:
            raise Busy(f"{self._unfinished} calls wait for {self._name}")
        if self._started < min(self._count, self._unfinished + 1):
            self._start_thread()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        self._unfinished += 1
        self._calls.put(partial(self._run_call, loop, future, partial(function, *args)))
        # Not wait_for: before Python 3.12 that may take a cancellation for the result that comes at the same moment.
        try:
            is_done = bool((await asyncio.wait({future}, timeout=timeout))[0])
        except asyncio.CancelledError:
            future.add_done_callback(_ignore_error)  # the function runs on
            raise
        if not is_done:
            future.cancel()
            raise asyncio.TimeoutError
        return future.result()

    def end(self, function: Callable[[], object], timeout: float) -> None:
        """Calls the function when all that the one thread has to do is done, and waits for that at most `timeout`
        seconds."""
        if not self._started:
            function()
            return
        is_done = threading.Event()

        def run() -> None:
            function()
            is_done.set()

        self._calls.put(run)
        is_done.wait(timeout)

    def _start_thread(self) -> None:
        """Raises Busy if the machine has no thread left, and none is there to do the work."""
        try:
            threading.Thread(target=self._run, name=f"{self._name}-{self._started + 1}", daemon=True).start()
        except RuntimeError as error:
            if not self._started:
                raise Busy(f"there is no thread for {self._name}: {error}") from None
        else:
            self._started += 1

    def _run(self) -> None:
        while True:
            self._calls.get()()

    def _run_call(
        self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], function: Callable[[], Any]
    ) -> None:
        """Runs in a thread."""
        result, error = None, None
        if not future.cancelled():
            try:
                result = function()
            except BaseException as caught:
                error = caught
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._finish, future, result, error)

    def _finish(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        """Runs in the event loop."""
        self._unfinished -= 1
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def _ignore_error(future: asyncio.Future[Any]) -> None:
    """Retrieves an error, which asyncio would otherwise log."""
    if not future.cancelled():
        future.exception()
