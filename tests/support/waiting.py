"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable

from support.process import PATIENCE


def wait_until(condition: Callable[[], object]) -> None:
    """Returns once `condition()` is true. Fails after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
