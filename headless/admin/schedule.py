"""When a scheduler starts something: how often at most, and whether two things are started in the same minute. It is
the same for every format; how a format says it stands with the format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice

from croniter import croniter

_DAY = 24 * 60  # minutes
_FIRST_DAY = date(2024, 1, 1)
_DAYS = 4 * 365 + 1  # a February 29 is among them


@dataclass(frozen=True)
class Schedule:
    """`text` is how the file says it. `expressions` are the minutes, as five fields of cron each: what one of them
    matches is a start. `every` is for what has an interval in seconds and no fixed time. With neither of them nothing
    is known: @reboot, an event, a script that others start. An expression that croniter does not know makes
    ValueError, in each of the methods."""

    text: str
    expressions: tuple[str, ...] = ()
    every: float | None = None

    def starts(self, after: datetime, count: int) -> list[datetime]:
        """The first starts after this moment, in its time zone without regard to daylight saving time; fewer than
        `count` if there are no more within four years."""
        return list(islice(self._starts(after), count))

    def _starts(self, after: datetime) -> Iterator[datetime]:
        for number in range(_DAYS):
            day = after.date() + timedelta(days=number)
            for minute in sorted(self._minutes_of(day)):
                at = datetime.combine(day, time(minute // 60, minute % 60), after.tzinfo)
                if at > after:
                    yield at

    def _minutes_of(self, day: date) -> frozenset[int]:
        return frozenset().union(*(_minutes(each) for each in self.expressions if _matches_day(each, day)))

    def shortest_interval_seconds(self) -> float | None:
        """Between two starts. None: not known, or it is started only once."""
        intervals = [] if self.every is None else [self.every]
        gap = _shortest_gap(self.expressions)
        return min(intervals if gap is None else [*intervals, gap * 60.0], default=None)

    def meets(self, other: Schedule) -> bool:
        """Whether both are started in the same minute, ever. What has no fixed time meets nothing."""
        return any(_meet(mine, others) for mine in self.expressions for others in other.expressions)


@lru_cache(maxsize=1024)
def _fields(expression: str) -> list[frozenset[int] | None]:
    """The numbers of each field, Sunday is 0; None is all of them."""
    expanded = croniter.expand(expression)[0]
    return [None if "*" in field else frozenset(int(each) for each in field) for field in expanded[:5]]


@lru_cache(maxsize=1024)
def _minutes(expression: str) -> frozenset[int]:
    """Of a day on which it starts at all, counted from midnight."""
    minutes, hours = _fields(expression)[:2]
    return frozenset(60 * hour + minute for hour in hours or range(24) for minute in minutes or range(60))


def _matches_day(expression: str, day: date) -> bool:
    """As cron does it: if neither of the two fields of days begins with a star, one that matches is enough."""
    days, months, weekdays = _fields(expression)[2:]
    if months is not None and day.month not in months:
        return False
    matches = (days is None or day.day in days, weekdays is None or day.isoweekday() % 7 in weekdays)
    has_star = any(field.startswith("*") for field in (expression.split()[2], expression.split()[4]))
    return all(matches) if has_star else any(matches)


@lru_cache(maxsize=1024)
def _days(expression: str) -> frozenset[int]:
    return frozenset(each for each in range(_DAYS) if _matches_day(expression, _FIRST_DAY + timedelta(days=each)))


@lru_cache(maxsize=1024)
def _shortest_gap(expressions: tuple[str, ...]) -> int | None:
    """In minutes."""
    best, last = None, None
    days = [(_days(each), _minutes(each)) for each in expressions]
    for day in sorted(frozenset().union(*(each for each, _ in days))):
        minutes = sorted(frozenset().union(*(each for on, each in days if day in on)))
        gaps = _gaps_within(tuple(minutes))
        if last is not None:
            gaps = min(gaps, day * _DAY + minutes[0] - last)
        best = gaps if best is None else min(best, gaps)
        last = day * _DAY + minutes[-1]
    return None if best is None or best >= _DAYS * _DAY else best


@lru_cache(maxsize=1024)
def _gaps_within(minutes: tuple[int, ...]) -> int:
    return min((later - earlier for earlier, later in zip(minutes, minutes[1:])), default=_DAYS * _DAY)


def _meet(first: str, second: str) -> bool:
    return bool(_minutes(first) & _minutes(second)) and bool(_days(first) & _days(second))


def is_expression(text: str) -> bool:
    """Whether these are five fields as cron has them."""
    return len(text.split()) == 5 and bool(croniter.is_valid(text))
