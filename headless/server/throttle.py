"""Repeated failures of one user from one address are answered ever more slowly. Nobody else waits for that.

Here is how long an answer has to wait. Who waits, and which answer, is in authentication.py and session.py.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_FREE_FAILURES = 2  # failures without any delay: people mistype
_FIRST_DELAY = 0.25  # seconds, doubled with each further failure
_DELAY_MAX = 8.0  # seconds
_EXPIRY_SECONDS = 300.0  # without a failure, after which they do not count
_ENTRIES_MAX = 10_000


class Throttle:
    """The failures of logins so far. `clock` tells seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def failed(self, address: str, user: str) -> float:
        """Takes note of a failure, and says how many seconds its answer has to wait."""
        count, last = self._failures.pop((address, user), (0, 0.0))
        if self._clock() - last > _EXPIRY_SECONDS:
            count = 0
        self._failures[address, user] = (count + 1, self._clock())
        if len(self._failures) > _ENTRIES_MAX:
            self._failures.popitem(last=False)
        return 0.0 if count < _FREE_FAILURES else min(_FIRST_DELAY * 2.0 ** min(count - _FREE_FAILURES, 16), _DELAY_MAX)

    def succeeded(self, address: str, user: str) -> None:
        """Drops the failures of this user from this address."""
        self._failures.pop((address, user), None)
