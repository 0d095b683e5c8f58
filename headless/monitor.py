"""monitor: did a job end well lately? One line and an exit status, as Nagios and its kin want them of a plugin.

Here the home of a server or a file of receipts meets the judgement, which is in admin/runs.py.
"""

from __future__ import annotations

import argparse
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NoReturn

from headless.admin import receipts
from headless.admin.runs import Level, Report, Run, Stage, judge
from headless.arguments import Parser
from headless.outcome import CommandFailed, ParameterError, explain
from headless.protocol.text import shorten
from headless.protocol.vocabulary import QUEUED, RUNNING
from headless.server.appearance import appearance
from headless.server.commands.arguments import existing_home
from headless.server.home import Home
from headless.server.journal import Entry, Journal, Selection, title_of
from headless.terminal import escape_control_chars, print_answer

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}  # in seconds
_LOOK_BACK = 31 * 86400.0  # seconds; further back nobody looks for the last good end
_MAX_TEXT = 400  # characters


class _Parser(Parser):
    """A mistake in the options is nothing that the job has done: UNKNOWN, in the one line that the monitor shows."""

    def error(self, message: str) -> NoReturn:
        raise ParameterError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str]) -> int:
    """0 the job ended well, 1 it goes on or nobody knows its end, 2 it did not, 3 that cannot be said.

    Raises SystemExit for --help."""
    try:
        arguments = _parser().parse_args(argv)
        now = time.time()
        report = judge(arguments.job, _runs(arguments, now), arguments.within, now)
        figures = _figures(report, arguments.within)
    except Exception as error:
        report, figures = Report(Level.UNKNOWN, explain(error)[1]), ""
    print_answer(f"PLANTA {report.level.name}: {_plain(report.text)}{figures}\n")
    return report.level


def _parser() -> _Parser:
    parser = _Parser(
        prog="headless monitor",
        description="Did a job end well lately? One line, and an exit status as Nagios has them: 0 yes; 1 it still"
        " runs, or its end is not known; 2 no, or it never started; 3 that cannot be said.",
    )
    parser.add_argument(
        "--job",
        required=True,
        metavar="JOB",
        type=_name,
        help="what -m, -f or -c of the job says; or of code the sha256 in its receipts, the title in its journal",
    )
    parser.add_argument(
        "--within", required=True, type=_duration, metavar="TIME", help="how long ago that may be: 90m, 26h or 8d"
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--home", metavar="DIR", help="the folder of a job server")
    place.add_argument(
        "--receipts",
        action="append",
        metavar="FILE",
        help="a file of PLANTA_RECEIPT; again for a rotated one, which may be missing",
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
    """Raises HeadlessError."""
    since = now - arguments.within - _LOOK_BACK
    found = _in_receipts(arguments) if arguments.receipts else _in_home(arguments, since)
    return (run for run in found if run.at >= since or run.stage is Stage.GOES_ON)


def _in_receipts(arguments: argparse.Namespace) -> Iterator[Run]:
    missing = 0
    for path in arguments.receipts:
        try:
            yield from receipts.runs_in(path, arguments.job, arguments.user or "")
        except FileNotFoundError:
            missing += 1
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CommandFailed(f"the receipts {path!r} cannot be read: {reason}") from None
    if missing == len(arguments.receipts):
        raise CommandFailed(f"there are no receipts {arguments.receipts[0]!r}: is PLANTA_RECEIPT set where the job is?")


def _in_home(arguments: argparse.Namespace, since: float) -> Iterator[Run]:
    try:
        home = existing_home(arguments)
        with closing(home.database()) as database:
            yield from _in_journal(Journal(database), home, arguments, since)
    except (OSError, sqlite3.Error) as error:
        raise CommandFailed(
            f"the home {arguments.home!r} cannot be read: {getattr(error, 'strerror', None) or error}; run this as the "
            "user of the server"
        ) from None


def _in_journal(journal: Journal, home: Home, arguments: argparse.Namespace, since: float) -> Iterator[Run]:
    for entry in journal.entries(Selection(user=arguments.user or "", since=since)):
        if not _is_of(arguments.job, entry, journal):
            continue
        seen = appearance(home, entry)
        if seen.state in (QUEUED, RUNNING):
            yield Run(Stage.GOES_ON, entry.started or entry.accepted, seen.state)
        else:
            at = entry.ended or entry.started or entry.accepted
            yield Run(Stage.OVER, at, seen.state, seen.message, seen.seconds)


def _is_of(job: str, entry: Entry, journal: Journal) -> bool:
    """Whether this is the job that is meant: by its title or, since the titles of two codes can be the same, by all of
    its code."""
    if entry.title == job:
        return True
    return entry.title == title_of(entry.kind, job) and journal.job(entry.session, entry.job).text == job


def _plain(text: str) -> str:
    """In one line; what follows a | would be taken for figures."""
    return shorten(escape_control_chars(text.replace("|", "/")), _MAX_TEXT)


def _figures(report: Report, within: float) -> str:
    """As performance data: label=value, unit; warning;critical;minimum."""
    figures = []
    if report.age is not None:
        figures.append(f"age={report.age:.0f}s;;{within:.0f};0")
    if report.runtime is not None:
        figures.append(f"runtime={report.runtime:.3f}s;;;0")
    return f" | {' '.join(figures)}" if figures else ""
