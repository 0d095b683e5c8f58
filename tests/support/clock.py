"""A clock in the hand of a test."""

from __future__ import annotations


class Clock:
    """Seconds that pass only when a test wants it, or, with a step, a little at each look."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 1000.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now
