"""Computes when a scheduler starts something: how often at most, and which two are started in the same minute.

Every format is parsed into the five fields of cron: crontab(5), and systemd.time(7) for the times of timers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice
from typing import Generic, TypeVar

from croniter import croniter

_MONTHS = dict(zip(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], range(1, 13)))
_WEEKDAYS = dict(zip(["sun", "mon", "tue", "wed", "thu", "fri", "sat"], range(7)))
# Of cron: name, lowest and highest number, and the words for numbers.
FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _WEEKDAYS),
)
# Of systemd.
_DAYS_OF_WEEK = {**_WEEKDAYS, "sun": 7}  # whose week begins on Monday
_NAMES_OF_DAYS = {*_DAYS_OF_WEEK, "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}
_PARTS = r"(\*|\d+(?:/\d+)?(?:,\d+(?:/\d+)?)*)"
_EVENT = re.compile(rf"(?:([A-Za-z,.]+)\s+)?(?:\*-(\*|[\d,]+)-(\*|[\d,]+)\s+)?{_PARTS}:{_PARTS}(?::0?0)?")
_EVENTS = {"hourly": "0 * * * *", "daily": "0 0 * * *", "weekly": "0 0 * * 1", "monthly": "0 0 1 * *"}
_SECONDS_TO_ANSWER = 5.0
_MINUTES_OF_DAY = 24 * 60
_FIRST_DAY = date(2024, 1, 1)
_DAYS = 4 * 365 + 1  # a February 29 is among them
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Schedule:
    """Holds when something is started. `text` is how the file says it. `expressions` are five fields of cron each: what
    one of them matches is a start. Without any, nothing is known: @reboot, an event. An expression that croniter does
    not know makes each method raise ValueError."""

    text: str
    expressions: tuple[str, ...] = ()

    def starts(self, after: datetime, count: int) -> list[datetime]:
        """Returns the first starts after this moment, in its time zone without regard to daylight saving time; fewer
        than `count` if there are no more within four years."""
        return list(islice(self._starts(after), count))

    def starts_between(self, begin: datetime, end: datetime) -> list[datetime]:
        """Returns the starts after `begin` and up to `end`, in the same way."""
        days = min(_DAYS, (end.date() - begin.date()).days + 1)
        return [at for at in self._starts(begin, days) if at <= end]

    def _starts(self, after: datetime, days: int = _DAYS) -> Iterator[datetime]:
        for number in range(days):
            day = after.date() + timedelta(days=number)
            matching = (_minutes(each) for each in self.expressions if _matches_day(each, day))
            for minute in sorted(frozenset().union(*matching)):
                at = datetime.combine(day, time(minute // 60, minute % 60), after.tzinfo)
                if at > after:
                    yield at

    def shortest_interval(self) -> float | None:
        """Returns the seconds between two starts. None: not known, or it is started only once."""
        gap = _gaps(self.expressions)[0]
        return None if gap is None else gap * 60.0

    def longest_interval(self) -> float | None:
        """Does the same for the longest one."""
        gap = _gaps(self.expressions)[1]
        return None if gap is None else gap * 60.0


class Timetable(Generic[_Key, _Value]):
    """Holds schedules by the minutes of the day, so that one is found which meets another without asking all."""

    def __init__(self) -> None:
        self._values: dict[str, dict[_Key, _Value]] = {}  # by expression
        self._at: dict[int, list[str]] = {}  # the expressions of each minute

    def add(self, schedule: Schedule, key: _Key, value: _Value) -> None:
        for expression in schedule.expressions:
            if expression not in self._values:
                self._values[expression] = {}
                for minute in _minutes(expression):
                    self._at.setdefault(minute, []).append(expression)
            self._values[expression].setdefault(key, value)

    def meeting(self, schedule: Schedule, key: _Key) -> list[_Value]:
        """Returns the values of those with another key that are ever started in the same minute."""
        found: dict[_Key, _Value] = {}
        for mine in schedule.expressions:
            for other in dict.fromkeys(each for minute in _minutes(mine) for each in self._at.get(minute, ())):
                if not _days(mine).isdisjoint(_days(other)):
                    found.update(self._values[other])
        found.pop(key, None)
        return list(found.values())


def cron_field(number: int, text: str) -> str:
    """Returns one of the five fields of a crontab as croniter understands it, "" if it matches nothing. Raises
    ValueError for one that cron refuses."""
    _, lowest, highest, names = FIELDS[number]
    parts: list[str] = []
    at = 0
    while True:
        match = re.compile(r"(?:(\*)|(\w+)(?:([-~])(\w+))?)(?:/(\w*))?", re.ASCII).match(text, at)
        if match is None:
            raise ValueError
        star, begin, kind, end, by = match.groups()
        first = lowest if star else _number(begin, names)
        last = highest if star else _number(end, names) if kind else first
        step = 1 if by is None else _number(by, {})
        at = match.end()
        is_cut = not star and not kind and (by is not None or text[at : at + 1] == "-")
        if is_cut or not (step > 0 and lowest <= first <= highest and lowest <= last <= highest):
            raise ValueError
        if star:
            parts.append("*" if step == 1 else f"*/{min(step, highest + 1 - lowest)}")
        elif kind == "~":  # by chance, once for as long as cron runs
            parts.append(str(first))
        else:
            parts += [str(each) for each in range(first, last + 1, step)]
        if text[at : at + 1] != ",":  # cron ignores what else may follow
            return ",".join(parts)
        at += 1


def surprises(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields the rules, and their values, for five fields that cron takes, and reads otherwise than most people."""
    parts = text.split()
    if len(parts) < len(FIELDS):
        return
    for (name, lowest, highest, _), part in zip(FIELDS, parts):
        used = re.match(r"[\w*/,~-]*", part, re.ASCII)
        if used is not None and used[0] != part:
            yield "time-cut", {"field": name, "rest": part[used.end() :], "text": used[0]}
        step = re.fullmatch(r"\*/(\d+)", part)
        if step and (highest + 1) // 2 < int(step[1]) != highest + 1 and name in ("minute", "hour"):
            starts = ", ".join(map(str, range(lowest, highest + 1, int(step[1]))))
            yield "step", {"field": name, "text": part, "starts": starts}
    minute, hour, day, _, weekday = parts
    if minute in ("*", "*/1") and not hour.startswith("*"):
        yield "each-minute", {"hour": hour}
    if not day.startswith("*") and not weekday.startswith("*"):
        yield "either-day", {"day": day, "weekday": weekday}


def _number(text: str, names: dict[str, int]) -> int:
    """Returns -1 for a number that cron does not know."""
    return names.get(text.lower(), int(text) if text.isdigit() and len(text) < 10 else -1)


def is_expression(text: str) -> bool:
    """Returns whether these are five fields as cron has them."""
    return len(text.split()) == 5 and bool(croniter.is_valid(text))


@lru_cache(maxsize=1024)
def _fields(expression: str) -> list[frozenset[int] | None]:
    """Returns the numbers of each field, Sunday is 0; None is all of them."""
    expanded = croniter.expand(expression)[0]
    return [None if "*" in field else frozenset(int(each) for each in field) for field in expanded[:5]]


@lru_cache(maxsize=1024)
def _minutes(expression: str) -> frozenset[int]:
    """Returns the minutes, from midnight, of a day on which it starts at all."""
    minutes, hours = _fields(expression)[:2]
    return frozenset(60 * hour + minute for hour in hours or range(24) for minute in minutes or range(60))


def _matches_day(expression: str, day: date) -> bool:
    """Returns whether it starts on this day. If neither of the two fields of days begins with a star, one that matches
    is enough (crontab(5))."""
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
def _gaps(expressions: tuple[str, ...]) -> tuple[int | None, int | None]:
    """Returns the minutes of the shortest and of the longest gap between two starts, also between the last one of four
    years and the first one of the next four."""
    shortest, longest, first, last = _DAYS * _MINUTES_OF_DAY, 0, None, None
    days = [(_days(each), _minutes(each)) for each in expressions]
    for day in sorted(frozenset().union(*(each for each, _ in days))):
        minutes = tuple(sorted(frozenset().union(*(each for on, each in days if day in on))))
        begin, end = day * _MINUTES_OF_DAY + minutes[0], day * _MINUTES_OF_DAY + minutes[-1]
        gaps = (*_gaps_within(minutes), *(() if last is None else (begin - last,)))
        shortest, longest = min((shortest, *gaps)), max((longest, *gaps))
        first, last = begin if first is None else first, end
    if first is None or last is None or first == last:
        return None, None
    return shortest, max(longest, first + _DAYS * _MINUTES_OF_DAY - last)


@lru_cache(maxsize=1024)
def _gaps_within(minutes: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shortest and the longest one."""
    gaps = [later - earlier for earlier, later in zip(minutes, minutes[1:])]
    return (min(gaps), max(gaps)) if gaps else ()


# -- the times of systemd's timers --


def problem_of(event: str) -> str:
    """Returns the rule that a calendar event breaks, "" for none."""
    rule = _rule(event)
    if rule is not None:
        return "" if Schedule(event, (rule,)).starts(datetime.now(), 1) else "never"
    next_start = _next_start(event)
    if next_start is None:
        return "not-checked/calendar"
    return {"": "calendar", "never": "never"}.get(next_start, "")


@lru_cache(maxsize=1024)
def _next_start(event: str) -> str | None:
    """Returns when a calendar event is next, as systemd-analyze says it, "never" included. Returns "" if systemd does
    not know such an event, None if it cannot be asked here."""
    program = shutil.which("systemd-analyze")
    if program is None:
        return None
    command, environment = [program, "calendar", "--", event], {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace",
            timeout=_SECONDS_TO_ANSWER, check=False, env=environment,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"Next elapse: (.+)", done.stdout)
    refused = done.returncode and "Failed to parse calendar" in done.stderr
    return "" if refused else match[1] if match else None


def schedule_of(events: list[str]) -> Schedule:
    """Returns the schedule of calendar events. Nothing is known of it if one of them is not understood."""
    rules = [_rule(event) for event in events]
    known = tuple(rule for rule in rules if rule is not None)
    return Schedule("; ".join(events), known if len(known) == len(rules) else ())


def _rule(text: str) -> str | None:
    """Returns a calendar event in cron's five fields; None if it is not one of the usual ones."""
    if text in _EVENTS:
        return _EVENTS[text]
    match = _EVENT.fullmatch(text)
    if match is None:
        return None
    days = _weekdays(match[1]) if match[1] else "*"
    hour, minute = (re.sub(r"\b0+(\d)", r"\1", re.sub(r"^0*0/", "*/", match[part])) for part in (4, 5))
    date, month = match[3] or "*", match[2] or "*"
    if days is None or ("*" not in (days, date)):  # cron would take either of them
        return None
    rule = f"{minute} {hour} {date} {month} {days}"
    return rule if is_expression(rule) else None


def _weekdays(text: str) -> str | None:
    """Returns None for what is no name of a day, or a range that goes on after Sunday."""
    parts = []
    for part in text.lower().split(","):
        ends = [_DAYS_OF_WEEK.get(name[:3], 0) for name in part.split("..") if name in _NAMES_OF_DAYS]
        if len(ends) != len(part.split("..")) or len(ends) > 2 or ends != sorted(ends):
            return None
        parts.append("-".join(map(str, ends)))
    return ",".join(parts)
