"""Every wait of the client: for a socket, for room in a pipe, for a thread.

Each one ends at the deadline of the call, or at a signal that asks the process to end, whichever comes first.
"""

from __future__ import annotations

import selectors
import socket
import time
from contextlib import contextmanager

from headless.client.signals import SignalCatcher
from headless.errors import Interrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, TypeVar

    Result = TypeVar("Result")

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE
_HOUR = 3600.0  # seconds: what every platform's select takes
_SETTLED_SECONDS = 0.3  # that a wait may last after a signal, when that no longer ends the process
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class DeadlinePassed(Exception):
    """The deadline lies in the past."""


class Deadline:
    """The one deadline of a call: a moment of the monotonic clock, so that no series of waits can stretch it. There is
    none until `set` is called. `clock` gives seconds, as time.monotonic does."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.end: float | None = None  # by the clock

    def set(self, seconds: float | None) -> None:
        """So many seconds from now; None takes it away."""
        self.end = None if seconds is None else self._clock() + seconds

    def remaining(self) -> float | None:
        """Seconds, not less than 0; None without a deadline."""
        return None if self.end is None else max(0.0, self.end - self._clock())

    def check(self) -> None:
        """Raises DeadlinePassed if it is time to."""
        if self.end is not None and self._clock() >= self.end:
            raise DeadlinePassed


class Waiter:
    """One call's deadline and signals. Use it as a context manager, in the main thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deadline = Deadline(clock)
        self._signals = SignalCatcher()

    def __enter__(self) -> Waiter:
        self._signals.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        self._signals.__exit__(*details)

    def set_deadline(self, seconds: float | None) -> None:
        """So many seconds from now; None takes the deadline away."""
        self._deadline.set(seconds)

    @contextmanager
    def at_most(self, seconds: float | None) -> Iterator[None]:
        """Inside it the deadline is no later than so many seconds from now, unless it is set anew there."""
        before = self._deadline.end
        if seconds is not None and (before is None or seconds < self.remaining()):
            self._deadline.set(seconds)
        ours = self._deadline.end
        try:
            yield
        finally:
            if self._deadline.end == ours:
                self._deadline.end = before

    def has_deadline(self) -> bool:
        return self._deadline.end is not None

    def remaining(self) -> float:
        """Seconds until the deadline; an hour without one."""
        remaining = self._deadline.remaining()
        return _HOUR if remaining is None else remaining

    def check(self) -> None:
        """Raises Interrupted or DeadlinePassed if it is time to. For loops that may find work without ever waiting."""
        try:
            self._signals.check()
        except Interrupted:
            if not self.is_settled:
                raise
            self._deadline.set(min(self.remaining(), _SETTLED_SECONDS))
        self._deadline.check()

    def settle(self) -> None:
        """Makes this the point of no return: how the process ends is written down next. From now on a signal brings the
        deadline near, and nothing else. Raises Interrupted if one has come before."""
        self._signals.settle()

    @property
    def is_settled(self) -> bool:
        return self._signals.is_settled

    def interruptible(self) -> Any:
        """A context manager: inside it a signal raises Interrupted at once."""
        return self._signals.interruptible()

    def wait(self, file: Any, event: int, timeout: float | None = None) -> bool:
        """Whether the file (a socket or a descriptor) became ready for READ or WRITE within `timeout` seconds. Raises
        Interrupted and DeadlinePassed."""
        return bool(self.wait_for_any((file,), event, timeout))

    def wait_for_any(self, files: Iterable[Any], event: int, timeout: float | None) -> list[Any]:
        """Those of the files that became ready within `timeout` seconds: at least one, or none if that was too short.
        Raises Interrupted and DeadlinePassed."""
        end = None if timeout is None else self._clock() + timeout
        with _Selector() as selector:
            for file in files:
                selector.register(file, event)
            if self._signals.wakeup:
                selector.register(self._signals.wakeup, READ)
            while True:
                self.check()
                pause = self.remaining() if end is None else min(self.remaining(), end - self._clock())
                ready = [key.fileobj for key, _ in selector.select(min(pause, _HOUR))]
                if self._signals.wakeup in ready:
                    self._signals.drain()
                self.check()
                ready = [file for file in ready if file is not self._signals.wakeup]
                if ready or (end is not None and self._clock() >= end):
                    return ready

    def sleep(self, seconds: float) -> None:
        """Raises Interrupted and DeadlinePassed."""
        end = self._clock() + seconds
        with _Selector() as selector:
            if self._signals.wakeup:
                selector.register(self._signals.wakeup, READ)
            while (rest := end - self._clock()) > 0:
                if selector.select(max(0.0, min(rest, self.remaining()))):
                    self._signals.drain()
                self.check()

    def run_in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        """The function's result, or the exception that it raises. For what cannot be interrupted: the deadline and
        signals end the waiting, and the thread is left to itself."""
        import threading

        done, finish = socket.socketpair()
        outcome: list[Callable[[], Result]] = []

        def work() -> None:
            try:
                result = function(*arguments)
                outcome.append(lambda: result)
            except Exception as error:
                outcome.append(lambda error=error: _raise(error))  # type: ignore[misc]
            finally:
                finish.close()

        with done:
            try:
                threading.Thread(target=work, daemon=True).start()
            except BaseException:  # the machine has no room for another one
                finish.close()
                raise
            self.wait(done, READ)
        return outcome[0]()


def _raise(error: Exception) -> Any:
    raise error
