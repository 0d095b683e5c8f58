"""The one place where the client waits: for a socket, for a thread, for room in a pipe.

Every wait ends at the one deadline of the run, or at a signal that asks the process to end, whichever comes first.
Signals are noted by a handler that does nothing else, and turned into an exception only by a wait or a check, so that
none strikes between two steps that belong together.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Callable, Optional, TypeVar

from headless.outcome import Interrupted

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

# SIGHUP does not exist on Windows, SIGBREAK (Ctrl-Break) nowhere else.
ENDING_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
_HOUR = 3600.0  # seconds: what every platform's select takes
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)
_Result = TypeVar("_Result")


class DeadlinePassed(Exception):
    """The deadline of the run lies in the past."""


class Waiter:
    """Use it as a context manager, in the main thread: inside it the ending signals are noted, outside they have their
    old meaning. A signal that was ignored when the process began stays ignored (nohup).

    `deadline` is a time of `clock` in seconds, None for no deadline.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.deadline: Optional[float] = None
        self._clock = clock
        self._caught: Optional[int] = None
        self._is_interruptible = False
        self._handlers: dict[int, Any] = {}
        self._wakeup: Optional[socket.socket] = None

    def __enter__(self) -> Waiter:
        # The socket pair ends a select that a signal interrupts: PEP 475 would resume it.
        wakeup, self._waker = socket.socketpair()
        self._wakeup = wakeup
        wakeup.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for signum in ENDING_SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                self._handlers[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._handlers.items():
            with suppress(OSError):  # how the run has ended stays as it is
                signal.signal(signum, handler)
        signal.set_wakeup_fd(-1)
        wakeup, self._wakeup = self._wakeup, None
        for end in (wakeup, self._waker):
            with suppress(OSError):
                if end:
                    end.close()
        if self._caught is not None:  # too late for a check, and not to be lost
            signal.raise_signal(self._caught)

    def _note(self, signum: int, _frame: Optional[FrameType]) -> None:
        self._caught = signum
        if self._is_interruptible:
            self.check()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Inside it a signal raises Interrupted at once: for what waits by itself, as getpass does."""
        self._is_interruptible = True
        try:
            self.check()
            yield
        finally:
            self._is_interruptible = False

    def allow(self, seconds: Optional[float]) -> None:
        """Sets the deadline, counted from now; None takes it away."""
        self.deadline = None if seconds is None else self._clock() + seconds

    def share(self, parts: int) -> float:
        """Seconds: one of so many equal parts of what is left until the deadline."""
        return _HOUR if self.deadline is None else max(0.0, self.deadline - self._clock()) / parts

    def check(self) -> None:
        """Raises Interrupted or DeadlinePassed if it is time to. For loops that may find work without ever waiting."""
        if self._caught is not None:
            signum, self._caught = self._caught, None
            with suppress(BlockingIOError):
                if self._wakeup:
                    self._wakeup.recv(64)
            raise Interrupted(signum)
        if self.deadline is not None and self._clock() >= self.deadline:
            raise DeadlinePassed

    def wait(self, file: Any, event: int, at_most: Optional[float] = None) -> bool:
        """Whether the file (a socket or a descriptor) became ready for READ or WRITE within `at_most` seconds.
        Raises Interrupted and DeadlinePassed."""
        until = None if at_most is None else self._clock() + at_most
        with _Selector() as selector:
            selector.register(file, event)
            if self._wakeup:
                selector.register(self._wakeup, READ)
            while True:
                self.check()
                now = self._clock()
                ends = [end - now for end in (self.deadline, until) if end is not None]
                ready = {key.fileobj for key, _ in selector.select(min([*ends, _HOUR]))}
                self.check()
                if file in ready:
                    return True
                if until is not None and self._clock() >= until:
                    return False

    def wait_to_write(self, descriptor: int) -> bool:
        """Whether a short write to a pipe or a terminal would not block; False if the deadline passes before that.
        Raises Interrupted. Windows cannot tell and says yes."""
        if os.name == "nt":
            return True
        try:
            return self.wait(descriptor, WRITE)
        except DeadlinePassed:
            return False

    def in_thread(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        """The function's result, or the exception that it raises. For what cannot be interrupted: the deadline and
        signals end the waiting, and the thread is left to itself."""
        done, finish = socket.socketpair()
        outcome: list[Callable[[], _Result]] = []

        def work() -> None:
            try:
                result = function(*arguments)
                outcome.append(lambda: result)
            except Exception as error:
                outcome.append(lambda error=error: _raise(error))  # type: ignore[misc]
            finally:
                finish.close()

        with done:
            threading.Thread(target=work, daemon=True).start()
            self.wait(done, READ)
        return outcome[0]()


def _raise(error: Exception) -> Any:
    raise error
