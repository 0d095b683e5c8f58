"""Every wait of a call, and the signals that end it.

A wait ends at the one deadline of the call, or at a signal that asks the process to end, whichever comes first.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from contextlib import contextmanager, suppress

from headless.errors import Interrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType
    from typing import Any, NoReturn, TypeVar

    Result = TypeVar("Result")

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE
# SIGHUP does not exist on Windows, SIGBREAK (Ctrl-Break) nowhere else.
ENDING_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
_HOUR = 3600.0  # seconds: what every platform's select takes
_SETTLED_SECONDS = 0.3  # that a wait may last after a signal, when that no longer ends the process
_STATUS_CONTROL_C_EXIT = 0xC000013A - 2**32  # as a signed number
_SECONDS_TO_ARRIVE = 0.1
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class DeadlinePassed(Exception):
    """Means that the deadline lies in the past."""


class Waiter:
    """Holds one call's deadline, a moment of the monotonic clock, so that no series of waits can stretch it, and notes
    the signals that end it. Use it as a context manager, in the main thread; outside, signals have their old meaning.
    One that was ignored when the process began stays ignored (nohup).

    A signal becomes an exception only by `check`, so that none strikes between two steps that belong together; or at
    once, inside `interruptible`. `is_settled`: how the process ends is written down, and no signal changes it. `clock`
    gives the moment in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._end: float | None = None  # by the clock
        self._caught: int | None = None  # the signal that has come
        self._strikes = False
        self._handlers: dict[int, Any] = {}
        self._wakeup: socket.socket | None = None  # becomes readable when a signal comes
        self.is_settled = False

    def __enter__(self) -> Waiter:
        # PEP 475 would resume a select that a signal interrupts: bytes in this socket end it.
        self._wakeup, self._waker = socket.socketpair()
        self._wakeup.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for signum in ENDING_SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                self._handlers[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if not self.is_settled:  # else a signal could still end the process otherwise
            for signum, handler in self._handlers.items():
                with suppress(OSError):  # how the call has ended stays as it is
                    signal.signal(signum, handler)
        signal.set_wakeup_fd(-1)
        wakeup, self._wakeup = self._wakeup, None
        for end in (wakeup, self._waker):
            with suppress(OSError):
                if end:
                    end.close()
        if self._caught is not None and not self.is_settled:  # too late for a check, and not to be lost
            if signal.getsignal(self._caught) is signal.SIG_DFL:
                end_process_by(self._caught)
            signal.raise_signal(self._caught)

    def check(self) -> None:
        """Raises Interrupted or DeadlinePassed if it is time to. For loops that may find work without ever waiting."""
        if self._caught is not None:
            if not self.is_settled:
                self._interrupt()
            self._caught = None
            self.set_deadline(min(self.remaining(), _SETTLED_SECONDS))
        if self._end is not None and self.clock() >= self._end:
            raise DeadlinePassed

    # The deadline

    def set_deadline(self, seconds: float | None) -> None:
        """Sets it to so many seconds from now; None takes it away."""
        self._end = None if seconds is None else self.clock() + seconds

    @contextmanager
    def at_most(self, seconds: float | None) -> Iterator[None]:
        """Sets the deadline, inside of it, to no later than so many seconds from now, unless it is set anew there."""
        before = self._end
        if seconds is not None and (before is None or seconds < self.remaining()):
            self.set_deadline(seconds)
        ours = self._end
        try:
            yield
        finally:
            if self._end == ours:
                self._end = before

    def has_deadline(self) -> bool:
        return self._end is not None

    def remaining(self) -> float:
        """Returns the seconds until the deadline, not less than 0; an hour without one."""
        return _HOUR if self._end is None else max(0.0, self._end - self.clock())

    # Signals

    def settle(self) -> None:
        """Makes this the point of no return: how the process ends is written down next. From now on a signal brings the
        deadline near, and nothing else. Raises Interrupted if one has come before."""
        self.is_settled = True
        if self._caught is not None:
            self.is_settled = False
            self._interrupt()

    @contextmanager
    def interruptible(self, also_before: bool = True) -> Iterator[None]:
        """Lets a signal, inside of it, raise Interrupted at once: for what waits by itself, as getpass does. So does
        one that came before, unless it is not `also_before`. What swallows the exception does not swallow the
        signal; what makes it up, and names 0 say, gets a RuntimeError."""
        self._strikes = True
        try:
            if also_before and self._caught is not None:
                raise Interrupted(self._caught)
            yield
        except Interrupted as error:
            if self._caught is None:
                raise RuntimeError("no signal has come").with_traceback(error.__traceback__) from None
            self._caught = None
            raise
        finally:
            self._strikes = False

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        self._caught = signum
        if self._strikes:
            raise Interrupted(signum)

    def _interrupt(self) -> NoReturn:
        assert self._caught is not None
        signum, self._caught = self._caught, None
        raise Interrupted(signum)

    # Waits

    def wait(self, file: Any, event: int, timeout: float | None = None) -> bool:
        """Returns whether the file (a socket or a descriptor) became ready for READ or WRITE within `timeout` seconds.
        Raises Interrupted and DeadlinePassed."""
        return bool(self.wait_for_any((file,), event, timeout))

    def wait_for_any(self, files: Iterable[Any], event: int, timeout: float | None) -> list[Any]:
        """Returns those of the files that became ready within `timeout` seconds: at least one, or none if that was too
        short. Raises Interrupted and DeadlinePassed."""
        end = None if timeout is None else self.clock() + timeout
        with _Selector() as selector:
            for file in files:
                selector.register(file, event)
            if self._wakeup:
                selector.register(self._wakeup, READ)
            while True:
                self.check()
                pause = self.remaining() if end is None else min(self.remaining(), end - self.clock())
                ready = [key.fileobj for key, _ in selector.select(min(pause, _HOUR))]
                if self._wakeup and self._wakeup in ready:
                    with suppress(BlockingIOError):  # the handlers of other signals fill it, too
                        self._wakeup.recv(64)
                self.check()
                ready = [file for file in ready if file is not self._wakeup]
                if ready or (end is not None and self.clock() >= end):
                    return ready

    def sleep(self, seconds: float) -> None:
        """Raises Interrupted and DeadlinePassed."""
        end = self.clock() + seconds
        while end > self.clock():
            self.wait_for_any((), READ, end - self.clock())

    def run_in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Returns the function's result, or raises its exception. For what cannot be interrupted: the deadline and
        signals end the waiting, and the thread is left to itself."""
        import _thread  # threading, which wraps it, takes one per cent of a call

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
                _thread.start_new_thread(work, ())
            except BaseException:  # the machine has no room for another one
                finish.close()
                raise
            self.wait(done, READ)
        return outcome[0]()


def is_ready(file: Any, event: int) -> bool:
    """Returns whether the file is ready for READ or WRITE now."""
    with _Selector() as selector:
        selector.register(file, event)
        return bool(selector.select(0))


def _raise(error: Exception) -> Any:
    raise error


def end_process_by(signum: int) -> NoReturn:
    """Ends the process by this signal, or as Windows says that: raising one ends it with 3 there, which is a return
    code with another meaning. The first process of a container ends with 128 + the signal's number: the kernel drops a
    signal that has its default action there (pid_namespaces(7))."""
    if os.name != "nt":
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
        time.sleep(_SECONDS_TO_ARRIVE)
    os._exit(exit_status_of(-signum))


def exit_status_of(code: int) -> int:
    """Returns what a shell shows of a process that ends with this code, or by this signal if it is negative."""
    if code >= 0:
        return code
    return _STATUS_CONTROL_C_EXIT if os.name == "nt" else 128 - code
