"""A limit of time for code of others, which may never end. Our own waits look at the deadline themselves."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager

from headless.client.waiting import DeadlinePassed, Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


# Seconds beyond the deadline. What is quick is not blamed for a deadline that passes just then.
_GRACE = 0.25
_SECONDS_TO_SWALLOW = 0.1  # after which it strikes again
_SECONDS_TO_OBEY = 1.0


@contextmanager
def bounded(waiter: Waiter) -> Iterator[None]:
    """Inside it signals strike at once, wherever the code is, and so does the deadline, a moment after it has passed.

    Raises Interrupted, DeadlinePassed.
    """
    with waiter.interruptible(), _alarm(waiter.remaining() + _GRACE):
        yield


@contextmanager
def _alarm_by_timer(seconds: float) -> Iterator[None]:
    """Raises DeadlinePassed inside it after so many seconds, and again soon if that was swallowed. What swallows it for
    a second ends the process with 1."""
    is_inside = True
    first: float | None = None  # when it struck, by the monotonic clock

    def strike(_signum: int, _frame: object) -> None:
        nonlocal first
        if not is_inside:
            return
        first = first or time.monotonic()
        if time.monotonic() - first > _SECONDS_TO_OBEY:
            os._exit(1)
        raise DeadlinePassed

    before = signal.signal(signal.SIGALRM, strike)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, _SECONDS_TO_SWALLOW)
        yield
    finally:
        is_inside = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def alarm_by_thread(seconds: float) -> Iterator[None]:
    """The same where there are no timers: on Windows SIGINT is what interrupts most, also a sleep. What even that does
    not interrupt ends the process with 1 a second later."""
    import faulthandler
    import threading

    is_inside, is_due = True, False
    is_over = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def handle(signum: int, frame: FrameType | None) -> None:
        if is_due and is_inside:
            raise DeadlinePassed
        if not is_due and callable(before):  # it is Ctrl-C
            before(signum, frame)

    def strike() -> None:
        nonlocal is_due
        pause = seconds
        while not is_over.wait(pause):
            is_due, pause = True, _SECONDS_TO_SWALLOW
            signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=strike, daemon=True)
    signal.signal(signal.SIGINT, handle)
    with open(os.devnull, "w") as nowhere:
        try:
            faulthandler.dump_traceback_later(seconds + _SECONDS_TO_OBEY, exit=True, file=nowhere)
            thread.start()
            yield
        finally:
            is_inside = False
            faulthandler.cancel_dump_traceback_later()
            is_over.set()
            thread.join()
            signal.signal(signal.SIGINT, before)  # which first handles what has come


_alarm = _alarm_by_timer if hasattr(signal, "setitimer") else alarm_by_thread
