"""Clocks in the hand of a test."""

from __future__ import annotations

import time

from headless.client.waiting import Waiter
from headless.dialects.base import Event
from headless.options import Options


class Clock:
    """Seconds that pass only when a test wants it, or, with a step, a little at each look."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 1000.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class StillClock(Clock):
    """One that does not move before the time of a call is to count, on however slow a machine: until
    `start` is called, or the call has taken an event of this kind. Then it goes on as time does."""

    def __init__(self, start_at: type[Event] | None = None) -> None:
        super().__init__()
        self._start_at = start_at
        self._started: float | None = None

    def __call__(self) -> float:
        return super().__call__() + self.seconds()

    def seconds(self) -> float:
        """Since it has been started."""
        return 0.0 if self._started is None else time.monotonic() - self._started

    def start(self) -> None:
        self._started = self._started or time.monotonic()

    # As a receipt, which observes what happens.

    def begin(self, options: Options, key: str) -> None:
        pass

    def write_start(self, waiter: Waiter) -> None:
        pass

    def observe(self, event: Event) -> None:
        if self._start_at is not None and isinstance(event, self._start_at):
            self.start()

    def end(self, code: int, message: str, waiter: Waiter, session: object = None) -> int:  # noqa: ARG002
        return code
