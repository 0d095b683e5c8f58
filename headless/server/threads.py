"""Threads for what may block: a disk, a name service, the start of a process. The event loop itself never waits.

Here is a bounded number of threads with a bounded queue before them. What is done there stands with whoever asks for
it; the one thread that writes the journal is in store.py.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from headless.errors import Busy

_T = TypeVar("_T")


class Threads:
    """At most `count` threads, started when needed, and at most `backlog` calls that wait for one.

    The threads are daemons: one that hangs for ever does not keep the process alive.
    """

    def __init__(self, name: str, count: int, backlog: int) -> None:
        self._name = name
        self._count = count
        self._backlog = backlog
        self._calls: queue.SimpleQueue[_Call | _LastCall] = queue.SimpleQueue()
        self._started = 0
        self._unfinished = 0

    async def call(self, function: Callable[..., _T], *args: Any, timeout: float | None = None) -> _T:
        """The result of `function(*args)`, which runs in one of the threads. `timeout` is in seconds.

        Raises what the function raises, Busy, and asyncio.TimeoutError; the function runs on then, unheard.
        """
        if self._unfinished >= self._count + self._backlog:
            raise Busy(f"{self._unfinished} calls wait for {self._name}")
        if self._started < min(self._count, self._unfinished + 1):
            self._start_thread()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        self._unfinished += 1
        self._calls.put(_Call(loop, future, function, args, self._on_finished))
        # Not wait_for: before Python 3.12 that may take a cancellation for the result that comes at the same moment.
        try:
            is_done = bool((await asyncio.wait({future}, timeout=timeout))[0])
        except asyncio.CancelledError:
            future.add_done_callback(_hear)  # it runs on; should it fail, that is nobody's error
            raise
        if not is_done:
            future.cancel()
            raise asyncio.TimeoutError
        return future.result()

    def end(self, function: Callable[[], object], timeout: float) -> None:
        """Calls the function when all that the one thread has to do is done. Does not wait for that longer than
        `timeout` seconds: a call that hangs is left to the end of the process."""
        if not self._started:
            function()
            return
        last = _LastCall(function)
        self._calls.put(last)
        last.is_done.wait(timeout)

    def _start_thread(self) -> None:
        """Raises Busy if the machine has no thread left, and there is none that could do the work."""
        try:
            threading.Thread(target=self._run, name=f"{self._name}-{self._started + 1}", daemon=True).start()
        except RuntimeError as error:
            if not self._started:
                raise Busy(f"there is no thread for {self._name}: {error}") from None
        else:
            self._started += 1

    def _on_finished(self) -> None:
        self._unfinished -= 1

    def _run(self) -> None:
        while True:
            self._calls.get().run()


def _hear(future: asyncio.Future[Any]) -> None:
    """Takes note of an error, which asyncio would otherwise report as one that nobody has seen."""
    if not future.cancelled():
        future.exception()


class _LastCall:
    """One that is made when no event loop runs any more."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self.is_done = threading.Event()

    def run(self) -> None:
        """Runs in the thread."""
        self._function()
        self.is_done.set()


class _Call:
    """One call, and where its result is waited for."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[Any],
        function: Callable[..., Any],
        args: tuple[Any, ...],
        on_finished: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._future = future
        self._function = function
        self._args = args
        self._on_finished = on_finished

    def run(self) -> None:
        """Runs in the thread."""
        result, error = None, None
        if not self._future.cancelled():
            try:
                result = self._function(*self._args)
            except BaseException as caught:
                error = caught
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._finish, result, error)

    def _finish(self, result: Any, error: BaseException | None) -> None:
        """Runs in the event loop."""
        self._on_finished()
        if self._future.done():
            return
        if error is None:
            self._future.set_result(result)
        else:
            self._future.set_exception(error)
