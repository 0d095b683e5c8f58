"""Measuring in turns, for the benchmarks."""

from __future__ import annotations

import statistics
from typing import Callable


def in_turns(rounds: int, *measures: Callable[[], float]) -> list[float]:
    """The median of each measure, in seconds. They take turns, so that what else the machine does meets all of them."""
    times: list[list[float]] = [[] for _ in measures]
    for _ in range(rounds):
        for taken, measure in zip(times, measures):
            taken.append(measure())
    return [statistics.median(taken) for taken in times]
