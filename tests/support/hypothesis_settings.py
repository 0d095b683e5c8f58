"""The settings of the tests with hypothesis: a few examples for each, and many with PLANTA_EXHAUSTIVE=1."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from support.sampling import EXHAUSTIVE

# No deadline and no health check: how fast the machine is proves nothing. No database: nothing is left behind.
examples = settings(
    max_examples=1000 if EXHAUSTIVE else 30,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
