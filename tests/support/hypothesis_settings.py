"""The settings of the tests with hypothesis."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No deadline and no health check: how fast the machine is proves nothing. No database: nothing is left behind.
examples = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
