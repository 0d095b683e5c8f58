"""The one deadline of a call. It is a moment of the monotonic clock, so that no series of waits can stretch it."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class DeadlinePassed(Exception):
    """The deadline lies in the past."""


class Deadline:
    """There is none until `set` is called. `clock` gives seconds, as time.monotonic does."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
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
