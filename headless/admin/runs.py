"""The runs of one job, and whether it ended well lately: what a monitor says of it. Where the runs are read from is not
known here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum

from headless.dialects.vocabulary import OK, QUEUED

UNKNOWN = "unknown"  # a state that no journal has
_AHEAD = 300.0  # seconds that two clocks may differ, as for Kerberos (RFC 4120, section 8.2)


class Level(IntEnum):
    """The exit status of a plugin, as Nagios and its kin know it (Monitoring Plugins Development Guidelines)."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3

    @property
    def severity(self) -> int:
        """Which of two is worse, as max_state_alt of the Monitoring Plugins has it: what is known goes before
        UNKNOWN."""
        return (Level.OK, Level.UNKNOWN, Level.WARNING, Level.CRITICAL).index(self)


class Stage(Enum):
    """How far a run has come."""

    GOES_ON = "goes on"  # it waits or runs
    OVER = "over"
    NOT_FOLLOWED = "not followed"  # it was accepted, and nobody has waited for its end


@dataclass(frozen=True)
class Run:
    """One run of the job. `at` is when it ended or, if that is not so, when it was last heard of, in seconds since the
    epoch; `state` and `message` are how it ended or how far it is, in the words of the journal.

    `job` is its name in the question, `owner` whose it is. Of runs with the same `source`, the order in which they
    ended is known without a clock.
    """

    stage: Stage
    at: float
    state: str = ""
    message: str = ""
    seconds: float | None = None  # that it took
    job: str = ""
    owner: str = ""
    source: str = ""


@dataclass(frozen=True)
class Report:
    """What the monitor says: one line, without its beginning, and figures by their names, in seconds."""

    level: Level
    text: str
    age: float | None = None  # since the job last ended well
    runtime: float | None = None  # of the run that the line is about


def judge(job: str, runs: Iterable[Run], within: float, now: float) -> Report:
    """Whether the job has ended well within so many seconds before `now`. Of the runs that are over the last one
    counts; one that goes on says nothing yet, unless it has done so for longer.

    The last one is that of the order in which the runs are given, whatever their dates: a clock may have been wrong. A
    failure of another source that is dated later comes after it. Each owner has a last run, and the worst one counts;
    an owner without a run within the time does so only if there is no other.
    """
    by_owner: dict[str, list[Run]] = {}
    for run in runs:
        by_owner.setdefault(run.owner, []).append(run)
    lately = {owner: own for owner, own in by_owner.items() if any(_is_recent(run, within, now) for run in own)}
    reports = [
        _judge(f"{job} of {owner}" if len(by_owner) > 1 else job, own, within, now)
        for owner, own in (lately or by_owner or {"": []}).items()
    ]
    return max(reports, key=lambda report: report.level.severity)


def _is_recent(run: Run, within: float, now: float) -> bool:
    return run.stage is Stage.GOES_ON or run.at >= now - within


def _judge(name: str, runs: list[Run], within: float, now: float) -> Report:
    over = [run for run in runs if run.stage is Stage.OVER]
    good = [run for run in over if run.state == OK]
    last = _last(over, now)
    pending = _pending(runs, within, now)
    age = max(0.0, now - good[-1].at) if good and not _is_ahead(good[-1], now) else None
    if last is not None and last.state != OK and (pending is None or last.at >= now - within):
        text = f"{name} {_end_of(last, now)}{_and_now(pending, now)}"
        return Report(Level.CRITICAL, text, age, last.seconds)
    if last is not None and last.state == OK and last.at >= now - within:
        level, remark = Level.OK, ""
        if _is_ahead(last, now):
            level, remark = Level.UNKNOWN, "; a clock is wrong, and how long ago that was is not known"
        return Report(level, f"{name} {_end_of(last, now)}{remark}{_and_now(pending, now)}", age, last.seconds)
    if pending is not None:
        level = Level.WARNING if pending.at >= now - within else Level.CRITICAL
        return Report(level, f"{name} {_stage_of(pending, now)}; {_before(good, now)}", age)
    return Report(Level.CRITICAL, f"{name} has not ended within {duration(within)}; {_before(good, now)}", age)


def _last(over: list[Run], now: float) -> Run | None:
    """The last run that is over. Two sources have no order but that of their clocks: it is believed for a failure."""
    if not over:
        return None
    last = over[-1]
    of_sources = {run.source: run for run in over}.values()
    later = [run for run in of_sources if run.state != OK and last.at < run.at <= now]
    return later[-1] if last.state == OK and later else last


def _pending(runs: list[Run], within: float, now: float) -> Run | None:
    """The run that goes on for the longest time; else one that came after all that are over, within the time."""
    for run in runs:
        if run.stage is Stage.GOES_ON:
            return run
    last = runs[-1] if runs else None
    is_one = last is not None and last.stage is Stage.NOT_FOLLOWED and last.at >= now - within
    return last if is_one else None


def _end_of(run: Run, now: float) -> str:
    end = {OK: "ended well", UNKNOWN: "ended, and nobody knows how,"}.get(run.state, run.state)
    took = "" if run.seconds is None else f", after {duration(run.seconds)}"
    reason = f": {run.message}" if run.message and run.state != OK else ""
    return f"{end} {_moment(run, now)}{took}{reason}"


def _and_now(pending: Run | None, now: float) -> str:
    return "" if pending is None else f"; a run {_stage_of(pending, now)}"


def _stage_of(run: Run, now: float) -> str:
    if run.stage is Stage.GOES_ON:
        reason = f": {run.message}" if run.message else ""
        return f"{'waits' if run.state == QUEUED else 'goes on'} since {_moment(run, now)}{reason}"
    return f"was accepted {_moment(run, now)}, and nobody has waited for its end (-t -1)"


def _before(good: list[Run], now: float) -> str:
    return f"it last ended well {_moment(good[-1], now)}" if good else "no run that ended well is known"


def _moment(run: Run, now: float) -> str:
    date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.at))
    return f"{date} ({'in the future' if _is_ahead(run, now) else f'{duration(now - run.at)} ago'})"


def _is_ahead(run: Run, now: float) -> bool:
    return run.at > now + _AHEAD


def duration(seconds: float) -> str:
    """In the largest unit that leaves a number with two digits or so."""
    seconds = max(0.0, seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
