"""monitor: did jobs end well lately? One line and an exit status, as Nagios and its kin want them of a plugin.

Here the home of a server or files of receipts meet the judgement, which is in admin/runs.py.
"""

from __future__ import annotations

import argparse
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import IO, NoReturn

from headless.admin import receipts
from headless.admin.runs import UNKNOWN, Level, Report, Run, Stage, judge
from headless.arguments import Parser
from headless.dialects.vocabulary import OK, QUEUED, RUNNING, title_of
from headless.errors import CommandFailed, ParameterError, explain
from headless.server.commands.arguments import existing_home
from headless.server.home import Home
from headless.server.journal import JobView, Journal, Selection
from headless.server.listing import look
from headless.terminal import escape_control_chars, print_answer, shorten

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}  # in seconds
_LOOK_BACK = 31 * 86400.0  # seconds; what a journal has accepted earlier is not looked at
_PAGE_LENGTH = 500  # jobs of a journal that are read at a time
_MAX_TEXT = 400  # characters, of all jobs;
_MIN_TEXT = 80  # and of each one
_MAX_LABEL = 40  # characters


class _Parser(Parser):
    """A mistake in the options is nothing that the job has done: UNKNOWN, in the one line that the monitor shows."""

    def error(self, message: str) -> NoReturn:
        raise ParameterError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str]) -> int:
    """0 each job ended well, 1 one goes on or nobody knows its end, 2 one did not, 3 that cannot be said: the worst of
    all counts. Raises SystemExit for --help."""
    try:
        arguments = _parser().parse_args(argv)
        jobs = list(dict.fromkeys(arguments.job))
        now = time.time()
        runs = list(_runs(arguments, now))
        reports = {job: judge(job, (run for run in runs if run.job == job), arguments.within, now) for job in jobs}
        level, text = _summary(list(reports.values()))
        figures = _figures(reports, arguments.within)
    except Exception as error:
        level, text, figures = Level.UNKNOWN, _plain(explain(error)[1], _MAX_TEXT), ""
    print_answer(f"PLANTA {level.name}: {text}{figures}\n")
    return level


def _parser() -> _Parser:
    parser = _Parser(
        prog="headless monitor",
        description="Did jobs end well lately? One line, and an exit status as Nagios has them: 0 yes; 1 one still"
        " runs, or its end is not known; 2 no, or one never started; 3 that cannot be said.",
    )
    parser.add_argument(
        "--job",
        required=True,
        action="append",
        metavar="JOB",
        type=_name,
        help="what -m, -f or -c of the job says; or of code the sha256 in its receipts, the title in its journal; "
        "again for another job: the worst counts",
    )
    parser.add_argument(
        "--within", required=True, type=_duration, metavar="TIME", help="how long ago that may be: 90m, 26h or 8d"
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--home", metavar="DIR", help="the folder of a job server")
    place.add_argument(
        "--receipts",
        action="append",
        type=_name,
        metavar="FILE",
        help="a file of PLANTA_RECEIPT; again for a rotated one, which may be compressed (gzip) or missing",
    )
    parser.add_argument("--user", type=_name, metavar="USER", help="the runs of this user alone")
    return parser


def _name(text: str) -> str:
    if not text:  # a variable of a script, say; it would be every user, or a job that never ran
        raise argparse.ArgumentTypeError("it is empty")
    return text


def _duration(text: str) -> float:
    """In seconds."""
    number, unit = text[:-1], text[-1:]
    if not (unit in _UNITS and number.isascii() and number.isdigit() and 0 < int(number) < 100_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90m, 26h or 8d")
    return int(number) * _UNITS[unit]


def _runs(arguments: argparse.Namespace, now: float) -> Iterator[Run]:
    """In the order in which they have ended, as far as that is known. Raises HeadlessError."""
    if arguments.receipts:
        return _in_receipts(arguments)
    return _in_home(arguments, now)


def _in_receipts(arguments: argparse.Namespace) -> Iterator[Run]:
    """The file that was written to last comes last; of two at the same time the one that was given first. All are open
    before one is read: logrotate may rename one meanwhile."""
    with ExitStack() as stack:
        files: list[tuple[str, IO[bytes]]] = []
        for path in arguments.receipts:
            for name in (path, f"{path}.gz"):
                with _reading(path):
                    try:
                        files.insert(0, (path, stack.enter_context(receipts.opened(name))))
                        break
                    except FileNotFoundError:
                        continue
        if not files:
            raise CommandFailed(
                f"there are no receipts {arguments.receipts[0]!r}: is PLANTA_RECEIPT set where the job is?"
            )
        for path, file in sorted(files, key=lambda each: os.fstat(each[1].fileno()).st_mtime_ns):
            written = os.fstat(file.fileno()).st_mtime
            with _reading(path):
                for run in receipts.runs_in(file, arguments.job, arguments.user or ""):
                    # Whatever clock has dated a failure, it was there when the file was last written to.
                    yield run if run.state == OK else replace(run, at=min(run.at, written))


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Raises CommandFailed in the place of what a file can raise."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CommandFailed(f"the receipts {path!r} cannot be read: {reason}") from None


def _in_home(arguments: argparse.Namespace, now: float) -> Iterator[Run]:
    try:
        home = existing_home(arguments)
        with closing(home.database()) as database:
            yield from _in_journal(Journal(database), home, arguments, now)
    except (OSError, sqlite3.Error) as error:
        raise CommandFailed(
            f"the home {arguments.home!r} cannot be read: {getattr(error, 'strerror', None) or error}; run this as the "
            "user of the server"
        ) from None


def _in_journal(journal: Journal, home: Home, arguments: argparse.Namespace, now: float) -> Iterator[Run]:
    """What was accepted after the first session that counts, whatever its date says."""
    position = journal.start(Selection(since=now - arguments.within - _LOOK_BACK))
    while page := journal.page(Selection(user=arguments.user or ""), position, _PAGE_LENGTH):
        position = page[-1].position
        for entry in page:
            for job in arguments.job:
                if _is_of(job, entry, journal):
                    yield _run(job, entry, home, now)


def _run(job: str, entry: JobView, home: Home, now: float) -> Run:
    """Raises OSError."""
    seen = look(home, entry)
    at, stage = entry.started or entry.accepted, Stage.GOES_ON
    if seen.state not in (QUEUED, RUNNING):  # an end that nobody saw was before it was recorded, or before now
        noticed = entry.over or (now if seen.state == UNKNOWN else None)
        at, stage = entry.ended or (noticed if seen.state != OK else None) or at, Stage.OVER
    return Run(stage, at, seen.state, seen.message, seen.seconds, job, entry.user, entry.session_id)


def _is_of(job: str, entry: JobView, journal: Journal) -> bool:
    """Whether this is the job that is meant: by its title or, since the titles of two codes can be the same, by all of
    its code."""
    if entry.title == job:
        return True
    return entry.title == title_of(entry.kind, job) and journal.job(entry.session_id, entry.job).text == job


def _summary(reports: list[Report]) -> tuple[Level, str]:
    """The worst level, and what is to be said of each job, the worst one first."""
    worst_first = sorted(reports, key=lambda report: -report.level.severity)
    room = max(_MIN_TEXT, _MAX_TEXT // len(reports))
    return worst_first[0].level, "; ".join(_plain(report.text, room) for report in worst_first)


def _plain(text: str, room: int) -> str:
    """In one line; what follows a | would be taken for figures."""
    return shorten(escape_control_chars(text.replace("|", "/")), room)


def _figures(reports: dict[str, Report], within: float) -> str:
    """As performance data: label=value, unit; warning;critical;minimum. Of several jobs the label has the name."""
    figures = {}
    for number, (job, report) in enumerate(reports.items(), 1):
        prefix = ""
        if len(reports) > 1:
            prefix = re.sub(r"[^\w.:/-]+", "_", job, flags=re.ASCII)[:_MAX_LABEL] + "_"
            prefix = f"{prefix}{number}_" if f"{prefix}age" in figures else prefix
        figures[f"{prefix}age"] = "U" if report.age is None else f"{report.age:.0f}s;;{within:.0f};0"
        figures[f"{prefix}runtime"] = "U" if report.runtime is None else f"{report.runtime:.3f}s;;;0"
    known = [f"{label}={value}" for label, value in figures.items() if value != "U"]
    return f" | {' '.join(known)}" if known else ""
