"""Decides how each call of a night ended: well, failed, missing, not known, still runs; and what is odd."""

from __future__ import annotations

import os
import re
import shlex
import socket
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING

from headless.admin.known import Known
from headless.admin.receipts import AHEAD
from headless.admin.runs import Outcome, Run
from headless.errors import Submission
from headless.server.history import RefusedLogin

if TYPE_CHECKING:
    from headless.admin.plan import PlannedCall, Start

_DELAY = 3600.0  # seconds that a lock may keep a call from its start
_NOT_YET = 60.0  # seconds after which a start that has left nothing is missing
_TIMES_USUAL, _LEAST_MORE = 2.0, 1.0  # a run is long if it takes so many times the median, and seconds more


@dataclass(frozen=True)
class Item:
    """Holds one run of the night, or a start that is missing; what is odd about it, and what leads on."""

    run: Run
    notes: tuple[str, ...] = ()
    command: str = ""
    overlaps: bool = False  # with the one before


@dataclass(frozen=True)
class Row:
    """Holds what is the same call: its runs in their order, its planned starts, its median in seconds."""

    items: tuple[Item, ...]
    starts: tuple[float, ...]
    usual: float | None


@dataclass(frozen=True)
class Night:
    """Holds all that is known of the time between two moments."""

    since: float
    until: float
    rows: tuple[Row, ...]
    problems: tuple[str, ...] = ()  # what could not be looked at
    without_server: tuple[tuple[float, float], ...] = ()
    refused: tuple[RefusedLogin, ...] = ()

    @property
    def items(self) -> list[Item]:
        return sorted((item for row in self.rows for item in row.items), key=lambda item: item.run.begun)

    def count(self, outcome: Outcome) -> int:
        return sum(item.run.outcome is outcome for item in self.items)

    @property
    def exit_status(self) -> int:
        """Returns 0 all well, 1 something was not, 3 that cannot be said."""
        if self.count(Outcome.FAILED) or self.count(Outcome.MISSING):
            return 1
        return 3 if self.problems or self.count(Outcome.WELL) < len(self.items) else 0


def night_of(known: Known, plan: Sequence[PlannedCall], since: float, until: float, home: str = "") -> Night:
    """Returns the night between two moments, with what is missing of the plan."""
    runs = [replace(run, ended=until) if run.outcome is Outcome.STILL_RUNS else run for run in known.runs()]
    problems = list(known.problems)
    begin = _first_that_counts(runs, since, until, problems) if plan else until
    missing, starts = _compared(plan, runs, begin, until)
    by_identity: dict[object, list[Run]] = {}
    for run in sorted([*runs, *missing], key=lambda run: run.begun):
        if run.begun >= since or _end(run) >= since:
            by_identity.setdefault(run.identity, []).append(run)
    usual = usual_seconds(run for run in runs if run.begun < since)
    rows = tuple(
        Row(tuple(_items(own, usual.get(key), home)), tuple(starts.get(key, ())), usual.get(key))
        for key, own in by_identity.items()
    )
    ahead = sum(run.begun > until + AHEAD for run in runs)
    if ahead:
        problems.append(f"{ahead} {'call is' if ahead == 1 else 'calls are'} dated in the future: a clock was wrong")
    if not (rows or plan):
        problems.append("no call is known, and none was planned: is PLANTA_RECEIPT set where the jobs are?")
    gaps = tuple((max(since, begin), end) for begin, end in known.without_server if end > since)
    refused = tuple(each for each in known.refused if each.last >= since)
    return Night(since, until, rows, tuple(dict.fromkeys(problems)), gaps, refused)


def _compared(
    plan: Sequence[PlannedCall], runs: Sequence[Run], begin: float, until: float
) -> tuple[list[Run], dict[object, list[float]]]:
    """Returns what is missing between two moments, and the planned starts by the identity of their runs."""
    missing: list[Run] = []
    starts: dict[object, list[float]] = {}
    for call, own in runs_of(plan, runs) if begin < until else ():
        planned = call.starts(begin - 1.0, until)
        due = [start for start in planned if start.at <= until - _NOT_YET]
        found = [_missing(own, call, start) for start in without_run(due, [run.begun for run in own])]
        missing += found
        for run in [*own, *found][-1:]:
            starts.setdefault(run.identity, []).extend(start.at for start in planned)
    return missing, starts


def runs_of(calls: Sequence[PlannedCall], runs: Sequence[Run]) -> Iterator[tuple[PlannedCall, list[Run]]]:
    """Yields each call with its runs."""
    by_jobs: dict[object, list[Run]] = {}
    for run in runs:
        by_jobs.setdefault(run.identity[0], []).append(run)
    for call in calls:
        yield call, [run for run in by_jobs.get(call.identity[0], ()) if call.is_of(run)]


def usual_seconds(runs: Iterable[Run]) -> dict[object, float]:
    """Returns by identity the median of how long the calls ran that ended well."""
    seconds: dict[object, list[float]] = {}
    for run in runs:
        if run.outcome is Outcome.WELL and run.seconds is not None:
            seconds.setdefault(run.identity, []).append(run.seconds)
    return {identity: median(each) for identity, each in seconds.items()}


def first_known(runs: Sequence[Run]) -> float | None:
    """Returns from when on something is known of this machine: a start before it is not missing for want of a run."""
    here = [run.begun for run in runs if run.host in ("", socket.gethostname())]
    return min(here) - _NOT_YET if here else None


def _first_that_counts(runs: Sequence[Run], since: float, until: float, problems: list[str]) -> float:
    first = first_known(runs)
    if first is None:
        problems.append("nothing is known of a call on this machine: is PLANTA_RECEIPT set where the jobs are?")
        return until
    if first > since:
        begin = datetime.fromtimestamp(first + _NOT_YET)
        problems.append(f"what was planned before {begin:%Y-%m-%d %H:%M} is not looked for: the receipts begin then")
    return max(since, first)


def without_run(starts: Sequence[Start], begun: Iterable[float]) -> list[Start]:
    """Returns the starts that no run belongs to. A run belongs to the last start before it that has none yet: the one
    that it follows at once, or one that a lock has kept waiting, but no longer than an hour."""
    earliest = [start.earliest for start in starts]
    is_free = [True] * len(starts)
    for moment_of_run in sorted(begun):
        last = bisect_right(earliest, moment_of_run) - 1
        at = last
        while at >= 0 and not is_free[at]:
            at -= 1
        if at >= 0 and (at == last or moment_of_run <= starts[at].at + _DELAY):
            is_free[at] = False
    return [start for start, free in zip(starts, is_free) if free]


def _missing(own: Sequence[Run], call: PlannedCall, start: Start) -> Run:
    """Returns a start of the call in the place of a run: with the identity of the runs that there are."""
    reason = (
        f"planned ({call.position}), and no receipt: never started, skipped by a lock, or killed before its first line"
        " (or its receipt could not be written)"
    )
    names = own[-1] if own else Run(call.jobs, 0.0, Outcome.MISSING, host=call.host, user=call.user, server=call.server)
    return Run(
        names.jobs, start.at, Outcome.MISSING, reason, host=names.host, os_user=call.os_user, user=names.user,
        server=names.server,
    )  # fmt: skip


def _items(runs: Sequence[Run], usual: float | None, home: str) -> Iterator[Item]:
    """Yields the runs of one row, with what is odd about them."""
    before: Run | None = None  # the one that has gone on for longest
    for run in runs:
        notes = [run.reason] if run.outcome is Outcome.WELL and run.reason else []
        seconds = run.seconds or 0.0
        if usual is not None and seconds > max(_TIMES_USUAL * usual, usual + _LEAST_MORE):
            verb = "runs for" if run.outcome is Outcome.STILL_RUNS else "took"
            notes.append(f"{verb} {duration(seconds)}, the median is {duration(usual)}")
        overlaps = before is not None and run.outcome is not Outcome.MISSING and run.begun < _end(before)
        if before is not None and overlaps:
            notes.append(f"began while the run of {datetime.fromtimestamp(before.begun):%H:%M:%S} went on")
        if run.outcome is not Outcome.MISSING and (before is None or _end(run) > _end(before)):
            before = run
        yield Item(run, tuple(notes), _leads_on(run, home), overlaps)


def _end(run: Run) -> float:
    return run.begun if run.ended is None else run.ended


def duration(seconds: float) -> str:
    """Returns a text for people: 7.2 s, 12:30 min, 1:02:30 h."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02} h"


def _leads_on(run: Run, home: str) -> str:
    """Returns the command that shows more, as it can be typed: of what strangers have written, words alone."""
    if run.outcome is Outcome.MISSING:
        begin, end = (datetime.fromtimestamp(run.begun + each) for each in (-60, 120))
        return f"journalctl -t CRON -t CROND --since '{begin:%Y-%m-%d %H:%M}' --until '{end:%Y-%m-%d %H:%M}'"
    is_session = re.fullmatch(r"[0-9A-Za-z]\w{0,63}", run.session, re.ASCII)
    if is_session and run.in_journal:
        return shlex.join(["headless", "jobs", run.session, "--home", os.path.abspath(home)])
    may_have_one = run.outcome is not Outcome.FAILED or run.submission == Submission.UNKNOWN.value
    command = f"wait -v {run.session}" if is_session else "sessions" if may_have_one and not run.session else ""
    if not command or not re.fullmatch(r"(tls://)?\w[\w.-]*:[0-9]+", run.server, re.ASCII):
        return ""
    is_word = run.user != run.os_user and re.fullmatch(r"\w[\w.-]*", run.user, re.ASCII)
    return f"headless {command} -s {run.server}" + (f" -u {run.user} [-p FILE]" if is_word else "")
