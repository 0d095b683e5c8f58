"""The runs of one job, and whether it ended well lately: what a monitor says of it. Where the runs are read from is not
known here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, IntEnum

from headless.protocol.vocabulary import OK, QUEUED

UNKNOWN = "unknown"  # a state that no journal has
_AHEAD = 86400.0  # seconds that the clock of another machine may be ahead of this one


class Level(IntEnum):
    """The exit status of a plugin, as Nagios and its kin know it (Monitoring Plugins Development Guidelines)."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class Stage(Enum):
    """How far a run has come."""

    GOES_ON = "goes on"  # it waits or runs
    OVER = "over"
    NOT_FOLLOWED = "not followed"  # it was accepted, and nobody has waited for its end


@dataclass(frozen=True)
class Run:
    """One run of the job. `at` is when it ended or, if that is not so, when it was last heard of, in seconds since the
    epoch; `state` and `message` are how it ended or how far it is, in the words of the journal."""

    stage: Stage
    at: float
    state: str = ""
    message: str = ""
    seconds: float | None = None  # that it took


@dataclass(frozen=True)
class Report:
    """What the monitor says: one line, without its beginning, and figures by their names, in seconds."""

    level: Level
    text: str
    age: float | None = None  # since the job last ended well
    runtime: float | None = None  # of the run that the line is about


def judge(job: str, runs: Iterable[Run], within: float, now: float) -> Report:
    """Whether the job has ended well within so many seconds before `now`. Of the runs that are over the last one
    counts; one that goes on says nothing yet, unless it has done so for longer. What a clock that was wrong has dated
    far into the future does not count: it would be the last one for years."""
    known = sorted(runs, key=lambda run: run.at)
    ahead = [run for run in known if run.at > now + _AHEAD]
    report = _judge(job, known[: len(known) - len(ahead)], within, now)
    if not ahead:
        return report
    return replace(report, text=f"{report.text}; not counted: a run of {_date(ahead[0].at)}, in the future")


def _judge(job: str, known: list[Run], within: float, now: float) -> Report:
    over = [run for run in known if run.stage is Stage.OVER]
    good = [run for run in over if run.state == OK]
    age = max(0.0, now - good[-1].at) if good else None
    last = over[-1] if over else None
    if last is not None and last.at >= now - within:
        level = Level.OK if last.state == OK else Level.CRITICAL
        return Report(level, f"{job} {_end_of(last, now)}{_and_now(known, now)}", age, last.seconds)
    other = [run for run in known if run.stage is not Stage.OVER and (last is None or run.at >= last.at)]
    if other and (other[-1].stage is Stage.GOES_ON or other[-1].at >= now - within):
        level = Level.WARNING if other[-1].at >= now - within else Level.CRITICAL
        return Report(level, f"{job} {_stage_of(other[-1], now)}; {_before(good, now)}", age)
    text = f"{job} has not ended within {duration(within)}; {_before(good, now)}"
    if last is not None and last.state != OK:
        text += f"; its last run {_end_of(last, now)}"
    return Report(Level.CRITICAL, text, age)


def _end_of(run: Run, now: float) -> str:
    end = {OK: "ended well", UNKNOWN: "ended, and nobody knows how,"}.get(run.state, run.state)
    took = "" if run.seconds is None else f", after {duration(run.seconds)}"
    reason = f": {run.message}" if run.message and run.state != OK else ""
    return f"{end} {_moment(run.at, now)}{took}{reason}"


def _and_now(known: list[Run], now: float) -> str:
    going_on = [run for run in known if run.stage is Stage.GOES_ON]
    return f"; a run goes on since {_moment(going_on[-1].at, now)}" if going_on else ""


def _stage_of(run: Run, now: float) -> str:
    if run.stage is Stage.GOES_ON:
        return f"{'waits' if run.state == QUEUED else 'goes on'} since {_moment(run.at, now)}"
    return f"was accepted {_moment(run.at, now)}, and nobody has waited for its end (-t -1)"


def _before(good: list[Run], now: float) -> str:
    return f"it last ended well {_moment(good[-1].at, now)}" if good else "no run that ended well is known"


def _moment(at: float, now: float) -> str:
    return f"{_date(at)} ({duration(now - at)} ago)"


def _date(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def duration(seconds: float) -> str:
    """In the largest unit that leaves a number with two digits or so."""
    seconds = max(0.0, seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
