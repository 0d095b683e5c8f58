"""Decides what a monitor says of one job: from what is known of its executions to a level and a line."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum

from headless.admin.receipts import AHEAD
from headless.dialects.vocabulary import OK, QUEUED
from headless.server.listing import UNKNOWN


class Stage(Enum):
    """Says how far the execution of a job is."""

    STILL_RUNS = "still runs"  # or waits
    OVER = "over"
    NOT_FOLLOWED = "not followed"  # it was accepted, and the call has not waited for its end


@dataclass(frozen=True)
class Execution:
    """Holds one execution of a job."""

    stage: Stage
    at: float  # when it ended, else the last that is known of it; seconds since the epoch
    state: str = ""  # how it ended or how far it is, in the words of the journal
    message: str = ""
    seconds: float | None = None  # that it took
    job: str = ""  # its name, as it was asked for
    owner: str = ""
    source: str = ""  # of one source, the order in which they ended is known without a clock
    key: str = ""  # of its call, if that has left no second line in this source


class Level(IntEnum):
    """Is the exit status of a plugin (Monitoring Plugins Development Guidelines)."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3

    @property
    def severity(self) -> int:
        """Orders them as max_state_alt of the Monitoring Plugins does: what is known is worse than UNKNOWN."""
        return (Level.OK, Level.UNKNOWN, Level.WARNING, Level.CRITICAL).index(self)


@dataclass(frozen=True)
class Verdict:
    """Holds the line about one job, without its beginning, and figures in seconds."""

    level: Level
    text: str
    age: float | None = None  # since the job last ended well
    runtime: float | None = None  # of the execution that the line is about


def judge(job: str, executions: Iterable[Execution], within: float, now: float) -> Verdict:
    """Decides whether the job has ended well within so many seconds before `now`. Of the executions that are over, the
    last one counts; one that still runs decides nothing yet, unless it has run for longer.

    The last one is that of the order in which they are given, whatever their dates: a clock may have been wrong. A
    failure of another source that is dated later comes after it. Each owner has a last one, and the worst counts; an
    owner without one within the time counts only if there is no other.
    """
    by_owner: dict[str, list[Execution]] = {}
    for each in executions:
        by_owner.setdefault(each.owner, []).append(each)
    lately = {
        owner: own
        for owner, own in by_owner.items()
        if any(each.stage is Stage.STILL_RUNS or each.at >= now - within for each in own)
    }
    verdicts = [
        _judge(f"{job} of {owner}" if len(by_owner) > 1 else job, own, within, now)
        for owner, own in (lately or by_owner or {"": []}).items()
    ]
    return max(verdicts, key=lambda verdict: verdict.level.severity)


def _judge(name: str, executions: list[Execution], within: float, now: float) -> Verdict:
    over = [each for each in executions if each.stage is Stage.OVER]
    good = [each for each in over if each.state == OK]
    last, pending = _last(over, now), _pending(executions, within, now)
    age = max(0.0, now - good[-1].at) if good and not _is_ahead(good[-1], now) else None
    also = "" if pending is None else f"; another one {_progress(pending, now)}"
    if last is not None and last.state != OK and (pending is None or last.at >= now - within):
        return Verdict(Level.CRITICAL, f"{name} {_end(last, now)}{also}", age, last.seconds)
    if last is not None and last.state == OK and last.at >= now - within:
        level, remark = Level.OK, ""
        if _is_ahead(last, now):
            level, remark = Level.UNKNOWN, "; a clock is wrong, and how long ago that was is not known"
        return Verdict(level, f"{name} {_end(last, now)}{remark}{also}", age, last.seconds)
    before = f"it last ended well {_moment(good[-1], now)}" if good else "it is not known to have ended well"
    if pending is not None:
        level = Level.WARNING if pending.at >= now - within else Level.CRITICAL
        return Verdict(level, f"{name} {_progress(pending, now)}; {before}", age)
    return Verdict(Level.CRITICAL, f"{name} has not ended within {duration(within)}; {before}", age)


def _last(over: list[Execution], now: float) -> Execution | None:
    """Returns the last one that is over. Only their clocks order two sources: a clock is believed for a failure."""
    if not over:
        return None
    last = over[-1]
    of_sources = {each.source: each for each in over}.values()
    later = [each for each in of_sources if each.state != OK and last.at < each.at <= now]
    return later[-1] if last.state == OK and later else last


def _pending(executions: list[Execution], within: float, now: float) -> Execution | None:
    """Returns the one that runs for the longest time; else one that came after all that are over, within the time."""
    for each in executions:
        if each.stage is Stage.STILL_RUNS:
            return each
    last = executions[-1] if executions else None
    return last if last is not None and last.stage is Stage.NOT_FOLLOWED and last.at >= now - within else None


def _end(each: Execution, now: float) -> str:
    end = {OK: "ended well", UNKNOWN: "ended, result not known,"}.get(each.state, each.state)
    took = "" if each.seconds is None else f", after {duration(each.seconds)}"
    reason = f": {each.message}" if each.message and each.state != OK else ""
    return f"{end} {_moment(each, now)}{took}{reason}"


def _progress(each: Execution, now: float) -> str:
    if each.stage is Stage.STILL_RUNS:
        reason = f": {each.message}" if each.message else ""
        return f"{'waits' if each.state == QUEUED else 'still runs'}, since {_moment(each, now)}{reason}"
    return f"was accepted {_moment(each, now)}, and the call did not wait for its end (-t -1)"


def _moment(each: Execution, now: float) -> str:
    date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.at))
    return f"{date} ({'in the future' if _is_ahead(each, now) else f'{duration(now - each.at)} ago'})"


def _is_ahead(each: Execution, now: float) -> bool:
    return each.at > now + AHEAD


def duration(seconds: float) -> str:
    """Returns a text in the largest unit that leaves a number with two digits or so."""
    seconds = max(0.0, seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
