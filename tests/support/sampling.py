"""Samples where there are too many cases: how large they are, and the seed that makes the same ones again."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from typing import Any

import pytest

EXHAUSTIVE = os.environ.get("PLANTA_EXHAUSTIVE") == "1"
SEED = int(os.environ.get("PLANTA_SEED") or random.SystemRandom().randrange(10**9))
REPEAT = f"PLANTA_SEED={SEED}"  # for the message of what fails


def draws(*salt: object) -> random.Random:
    """The same draws for the same test of a run, whatever ran before it; others for another salt."""
    return random.Random(f"{SEED} {salt}")


def one_of(count: int, cases: Iterable[Any]) -> list[Any]:
    """The cases of a table, for `parametrize`: in each run one of so many, the others with the large samples."""
    large = pytest.mark.large
    return [pytest.param(case, marks=[large] * (number % count > 0)) for number, case in enumerate(cases)]
