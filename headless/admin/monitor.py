"""monitor: did jobs end well lately? One line and an exit status, as Nagios expects them of a plugin.

What is known of the jobs comes from the home of a server, or from files of receipts.
"""

from __future__ import annotations

import argparse
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import IO, NoReturn

from headless.admin import receipts
from headless.admin.receipts import UNKNOWN, Execution, Stage
from headless.arguments import Parser
from headless.dialects.vocabulary import OK, QUEUED, RUNNING, title_of
from headless.errors import CommandFailed, ParameterError, explain
from headless.server.commands.arguments import existing_home
from headless.server.home import Home
from headless.server.journal import JobView, Journal, Selection
from headless.server.listing import look
from headless.system import seconds_of
from headless.terminal import escape_control_chars, print_answer, shorten

_LOOK_BACK = 31 * 86400.0  # seconds; what a journal has accepted earlier is not looked at
_PAGE_LENGTH = 500  # jobs of a journal that are read at a time
_MAX_TEXT = 400  # characters, of all jobs;
_MIN_TEXT = 80  # and of each one
_MAX_LABEL = 40  # characters
_AHEAD = 300.0  # seconds that two clocks may differ, as for Kerberos (RFC 4120, section 8.2)


class Level(IntEnum):
    """The exit status of a plugin (Monitoring Plugins Development Guidelines)."""

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


class _Parser(Parser):
    """Makes a mistake in the options an UNKNOWN, in the one line that the monitor shows: no job has made it."""

    def error(self, message: str) -> NoReturn:
        raise ParameterError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str]) -> int:
    """Returns 0 if each job ended well, 1 if one still runs or its end is not known, 2 if one failed or is missing, 3
    if that cannot be found out: the worst of all counts. Raises SystemExit for --help."""
    try:
        arguments = _parser().parse_args(argv)
        jobs = list(dict.fromkeys(arguments.job))
        now = time.time()
        found = list(_in_receipts(arguments) if arguments.receipts else _in_home(arguments, now))
        verdicts = {job: judge(job, (each for each in found if each.job == job), arguments.within, now) for job in jobs}
        level, text = _summary(list(verdicts.values()))
        figures = _figures(verdicts, arguments.within)
    except Exception as error:
        level, text, figures = Level.UNKNOWN, _plain(explain(error)[1], _MAX_TEXT), ""
    print_answer(f"PLANTA {level.name}: {text}{figures}\n")
    return level


def _parser() -> _Parser:
    parser = _Parser(
        prog="headless monitor",
        description="Did jobs end well lately? One line, and an exit status as Nagios has them: 0 yes; 1 one still"
        " runs, or its end is not known; 2 no, or one never started; 3 that cannot be found out.",
    )
    parser.add_argument(
        "--job",
        required=True,
        action="append",
        metavar="JOB",
        type=_name,
        help="the value of -m, -f or -c of the job; or of code the sha256 in its receipts, the title in its journal; "
        "again for another job: the worst counts",
    )
    parser.add_argument(
        "--within", required=True, type=_duration, metavar="TIME", help="how long ago that may be: 90m, 26h or 8d"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--home", metavar="DIR", help="the folder of a job server")
    source.add_argument(
        "--receipts",
        action="append",
        type=_name,
        metavar="FILE|DIR",
        help="file or folder of PLANTA_RECEIPT; again for a rotated file, which may be compressed (gzip) or missing",
    )
    parser.add_argument("--user", metavar="USER", help="only the jobs of this user")
    return parser


def _name(text: str) -> str:
    if not text:  # of a variable that is not set: it would be a job that never ran
        raise argparse.ArgumentTypeError("it is empty")
    return text


def _duration(text: str) -> float:
    """Returns seconds."""
    try:
        return seconds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


# -- what is known of the jobs --


def _in_receipts(arguments: argparse.Namespace) -> Iterator[Execution]:
    """Yields that of the file last which was written to last; of two at the same time, of the one that was given first.
    All are open before one is read: logrotate may rename one meanwhile. Raises CommandFailed."""
    with ExitStack() as stack:
        files = [each for path in reversed(arguments.receipts) for each in _opened(path, stack)]
        if not files:
            raise CommandFailed(
                f"there are no receipts {arguments.receipts[0]!r}: is PLANTA_RECEIPT set where the job is?"
            )
        found: list[Execution] = []
        ended: set[str] = set()
        for os_user, file in sorted(files, key=lambda each: os.fstat(each[1].fileno()).st_mtime_ns):
            written = os.fstat(file.fileno()).st_mtime
            with _failing(file.name):
                executions, keys = receipts.read(file, arguments.job, arguments.user or "", os_user)
            ended |= keys
            # Whatever clock has dated a failure, it was there when the file was last written to.
            found += (each if each.state == OK else replace(each, at=min(each.at, written)) for each in executions)
        yield from (each for each in found if each.key not in ended)  # the two lines of a call may be in two files


def _opened(path: str, stack: ExitStack) -> list[tuple[str, IO[bytes]]]:
    """Returns the file, or those of a folder and of which users of the operating system these are. None are not there.
    Raises CommandFailed."""
    if os.path.isdir(path):
        with _failing(path):
            files = receipts.opened_in(path)
        for _, file in files:
            stack.enter_context(file)
        return files
    for name in (path, f"{path}.gz"):
        with _failing(path), suppress(FileNotFoundError):
            return [("", stack.enter_context(receipts.opened(name)))]
    return []


@contextmanager
def _failing(path: str) -> Iterator[None]:
    """Raises CommandFailed instead of what a file can raise."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CommandFailed(f"the receipts {path!r} cannot be read: {reason}") from None


def _in_home(arguments: argparse.Namespace, now: float) -> Iterator[Execution]:
    """Yields what was accepted after the first session that counts, whatever its date says. Raises CommandFailed."""
    try:
        home = existing_home(arguments)
        with closing(home.database()) as database:
            journal = Journal(database)
            position = journal.start(Selection(since=now - arguments.within - _LOOK_BACK))
            while page := journal.page(Selection(user=arguments.user or ""), position, _PAGE_LENGTH):
                position = page[-1].position
                for entry in page:
                    yield from (_execution(job, entry, home, now) for job in arguments.job if _is(job, entry, journal))
    except (OSError, sqlite3.Error) as error:
        raise CommandFailed(
            f"the home {arguments.home!r} cannot be read: {getattr(error, 'strerror', None) or error}; run this as the "
            "user of the server"
        ) from None


def _execution(job: str, entry: JobView, home: Home, now: float) -> Execution:
    """Raises OSError."""
    seen = look(home, entry)
    at, stage = entry.started or entry.accepted, Stage.STILL_RUNS
    if seen.state not in (QUEUED, RUNNING):  # an end that was not seen was before it was recorded, or before now
        noticed = entry.over or (now if seen.state == UNKNOWN else None)
        at, stage = entry.ended or (noticed if seen.state != OK else None) or at, Stage.OVER
    return Execution(stage, at, seen.state, seen.message, seen.seconds, job, entry.user, entry.session_id)


def _is(job: str, entry: JobView, journal: Journal) -> bool:
    """Returns whether this is the job that is meant: by its title or, since two codes can have the same, by all of its
    code."""
    if entry.title == job:
        return True
    return entry.title == title_of(entry.kind, job) and journal.job(entry.session_id, entry.job).text == job


# -- the verdict --


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
    return each.at > now + _AHEAD


def duration(seconds: float) -> str:
    """Returns a text in the largest unit that leaves a number with two digits or so."""
    seconds = max(0.0, seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


# -- the line --


def _summary(verdicts: list[Verdict]) -> tuple[Level, str]:
    """Returns the worst level, and the texts of all jobs, the worst one first."""
    worst_first = sorted(verdicts, key=lambda verdict: -verdict.level.severity)
    room = max(_MIN_TEXT, _MAX_TEXT // len(verdicts))
    return worst_first[0].level, "; ".join(_plain(verdict.text, room) for verdict in worst_first)


def _plain(text: str, room: int) -> str:
    """Returns one line; what follows a | would be taken for figures."""
    return shorten(escape_control_chars(text.replace("|", "/")), room)


def _figures(verdicts: dict[str, Verdict], within: float) -> str:
    """Returns performance data: label=value, unit; warning;critical;minimum. Of several jobs the label has the name."""
    figures = {}
    for number, (job, verdict) in enumerate(verdicts.items(), 1):
        prefix = ""
        if len(verdicts) > 1:
            prefix = re.sub(r"[^\w.:/-]+", "_", job, flags=re.ASCII)[:_MAX_LABEL] + "_"
            prefix = f"{prefix}{number}_" if f"{prefix}age" in figures else prefix
        figures[f"{prefix}age"] = "U" if verdict.age is None else f"{verdict.age:.0f}s;;{within:.0f};0"
        figures[f"{prefix}runtime"] = "U" if verdict.runtime is None else f"{verdict.runtime:.3f}s;;;0"
    known = [f"{label}={value}" for label, value in figures.items() if value != "U"]
    return f" | {' '.join(known)}" if known else ""
