"""Samples where there are too many cases: how large they are, and the seed that makes the same ones again."""

from __future__ import annotations

import os
import random

EXHAUSTIVE = os.environ.get("PLANTA_EXHAUSTIVE") == "1"
SEED = int(os.environ.get("PLANTA_SEED") or random.SystemRandom().randrange(10**9))
REPEAT = f"PLANTA_SEED={SEED}"  # for the message of what fails


def draws(*salt: object) -> random.Random:
    """The same draws for the same test of a run, whatever ran before it; others for another salt."""
    return random.Random(f"{SEED} {salt}")
