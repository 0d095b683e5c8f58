"""When a scheduler starts something: how often at most, and whether two things are started in the same minute. It is
the same for every format; how a format says it stands with the format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice
from typing import Generic, TypeVar

from croniter import croniter

_DAY = 24 * 60  # minutes
_FIRST_DAY = date(2024, 1, 1)
_DAYS = 4 * 365 + 1  # a February 29 is among them
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


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


class Timetable(Generic[_Key, _Value]):
    """Schedules by the minutes of the day at which they start: one that meets another is found without asking all."""

    def __init__(self) -> None:
        self._values: dict[str, dict[_Key, _Value]] = {}  # by expression
        self._at: dict[int, list[str]] = {}  # the expressions of each minute

    def add(self, schedule: Schedule, key: _Key, value: _Value) -> None:
        """Puts it in. Of each expression two keys are kept: one of them differs from any other."""
        for expression in schedule.expressions:
            if expression not in self._values:
                self._values[expression] = {}
                for minute in _minutes(expression):
                    self._at.setdefault(minute, []).append(expression)
            if len(self._values[expression]) < 2:
                self._values[expression].setdefault(key, value)

    def meeting(self, schedule: Schedule, key: _Key) -> _Value | None:
        """The value of one that is started in the same minute, ever, and has another key; None if there is none. What
        has no fixed time meets nothing."""
        for mine in schedule.expressions:
            asked = set()
            for other in (each for minute in _minutes(mine) for each in self._at.get(minute, ())):
                if other in asked:
                    continue
                asked.add(other)
                found = [value for each, value in self._values[other].items() if each != key]
                if found and not _days(mine).isdisjoint(_days(other)):
                    return found[0]
        return None


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


def _days(expression: str) -> frozenset[int]:
    return _days_of(" ".join(expression.split()[2:]))


@lru_cache(maxsize=1024)
def _days_of(fields: str) -> frozenset[int]:
    expression = f"0 0 {fields}"
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


def is_expression(text: str) -> bool:
    """Whether these are five fields as cron has them."""
    return len(text.split()) == 5 and bool(croniter.is_valid(text))
