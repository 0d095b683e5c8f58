"""A limit of time for code of others, which may never end. Our own waits look at the deadline themselves."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

from headless.client.waiting import DeadlinePassed, Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


# Seconds beyond the deadline. What is quick is not blamed for a deadline that passes just then.
_GRACE = 0.25


@contextmanager
def bounded(waiter: Waiter) -> Iterator[None]:
    """Inside it signals strike at once, wherever the code is, and so does the deadline, a moment after it has passed.

    Raises Interrupted, DeadlinePassed.
    """
    with waiter.interruptible(), _alarm(waiter.remaining() + _GRACE):
        yield


if hasattr(signal, "setitimer"):

    @contextmanager
    def _alarm(seconds: float) -> Iterator[None]:
        """Raises DeadlinePassed inside it after so many seconds, and again soon if that was swallowed."""
        is_inside = True

        def strike(_signum: int, _frame: object) -> None:
            if is_inside:
                raise DeadlinePassed

        before = signal.signal(signal.SIGALRM, strike)
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
            yield
        finally:
            is_inside = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

else:

    @contextmanager
    def _alarm(seconds: float) -> Iterator[None]:
        """Ends the process with 1 after so many seconds: here nothing can interrupt the code of others."""
        import faulthandler

        with open(os.devnull, "w") as nowhere:
            faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()
