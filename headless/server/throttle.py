"""Guesses at a password become ever slower, for one user from one origin. Nobody else waits for that.

Here is how long a guess has to wait, and how many may wait. Who waits, and for what, is in authentication.py.

A guess counts as a failure from the moment it begins. So whoever hangs up before the answer, or opens a thousand
connections, gets no more guesses than somebody who waits.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

from headless.errors import Busy

_FREE_FAILURES = 2  # failures without any delay: people mistype
_FIRST_DELAY = 0.25  # seconds, doubled with each further failure
_DELAY_MAX = 8.0  # seconds
_FAILURES_MAX = 7  # with which a guess waits the longest; more are not counted
_WAITING_MAX = 8  # guesses of one user from one origin at a time: one a second, if each waits the longest
_EXPIRY_SECONDS = 300.0  # without a guess, after which failures do not count
_ENTRIES_MAX = 10_000

_Pair = tuple[str, str]  # origin, user


class Guess:
    """One guess. `delay` is how many seconds the server has to wait before it verifies the guess; 0 is not at all."""

    def __init__(self, throttle: Throttle, pair: _Pair, delay: float) -> None:
        self._throttle = throttle
        self._pair = pair
        self.delay = delay

    def succeeded(self) -> None:
        """The guess was right: the failures of this user from this origin are forgotten."""
        self._throttle.forget(self._pair)


class Throttle:
    """The failures of logins so far. `clock` tells seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures = _Failures(clock)
        self._waiting: dict[_Pair, int] = {}

    @contextmanager
    def guess(self, place: str, user: str) -> Iterator[Guess]:
        """A guess from its beginning to its end. It counts as failed, unless it is said to have succeeded. `place` is
        an address, or the name of another origin.

        Raises Busy.
        """
        pair = (origin_of(place), user)
        waiting = self._waiting.get(pair, 0)
        if waiting >= _WAITING_MAX:
            raise Busy(f"{waiting} logins of this user wait already, after too many wrong ones")
        self._waiting[pair] = waiting + 1
        try:
            yield Guess(self, pair, _delay_after(self._failures.add(pair)))
        finally:
            self._waiting[pair] -= 1
            if not self._waiting[pair]:
                del self._waiting[pair]

    def forget(self, pair: _Pair) -> None:
        """Drops the failures of this user from this origin."""
        self._failures.remove(pair)


@lru_cache(maxsize=1024)
def origin_of(address: str) -> str:
    """What counts as one place to guess from: whoever has one address of it can have all of them.

    It is this machine, the 64 bits of an IPv6 network, or one IPv4 address.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return "loopback" if parsed.is_loopback else f"{int(parsed) >> 64:x}::/64"
        parsed = parsed.ipv4_mapped
    return "loopback" if parsed.is_loopback else str(parsed)


def _delay_after(failures: int) -> float:
    """What a guess has to wait that follows so many failures."""
    return 0.0 if failures < _FREE_FAILURES else min(_FIRST_DELAY * 2.0 ** (failures - _FREE_FAILURES), _DELAY_MAX)


class _Failures:
    """How many failures each pair has, for at most _ENTRIES_MAX pairs.

    Where there is no room for one more pair, it takes the place, and the number, of the one with the fewest failures
    ("Space-Saving", Metwally and others 2005). So no number is ever too small: who fills the table with other names
    loses no failure of his own.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # By number of failures: the time of the last failure of each pair, the oldest first.
        self._levels: list[OrderedDict[_Pair, float]] = [OrderedDict() for _ in range(_FAILURES_MAX + 1)]
        self._level_of: dict[_Pair, int] = {}

    def add(self, pair: _Pair) -> int:
        """Counts one more failure, and returns how many there were before."""
        self._expire()
        before = self._level_of.get(pair)
        if before is not None:
            self.remove(pair)
        else:
            before = self._make_room()
        level = min(before + 1, _FAILURES_MAX)
        self._level_of[pair] = level
        self._levels[level][pair] = self._clock()
        return before

    def remove(self, pair: _Pair) -> None:
        level = self._level_of.pop(pair, None)
        if level is not None:
            del self._levels[level][pair]

    def __len__(self) -> int:
        return len(self._level_of)

    def _make_room(self) -> int:
        """The number of failures that a new pair begins with: 0 as long as there is room."""
        if len(self._level_of) < _ENTRIES_MAX:
            return 0
        fewest = next(number for number, level in enumerate(self._levels) if level)
        self.remove(next(iter(self._levels[fewest])))
        return fewest

    def _expire(self) -> None:
        oldest_that_counts = self._clock() - _EXPIRY_SECONDS
        for level in self._levels:
            while level:
                pair, last = next(iter(level.items()))
                if last >= oldest_that_counts:
                    break
                self.remove(pair)
