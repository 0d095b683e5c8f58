"""What the benchmarks share: measuring in turns, and the numbers of it."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Callable

for folder in (Path(__file__).parent.parent, Path(__file__).parent.parent.parent):
    sys.path.insert(0, str(folder))


def in_turns(rounds: int, *measures: Callable[[], float]) -> list[float]:
    """The median of each measure, in seconds. They take turns, so that what else the machine does meets all of them."""
    times: list[list[float]] = [[] for _ in measures]
    for _ in range(rounds):
        for taken, measure in zip(times, measures):
            taken.append(measure())
    return [statistics.median(taken) for taken in times]
