"""monitor: did jobs end well lately? One line and an exit status, as Nagios expects them of a plugin.

What is known of the jobs comes from the home of a server, or from files of receipts.
"""

from __future__ import annotations

import argparse
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from typing import IO, NoReturn

from headless.admin import receipts
from headless.admin.monitor_verdict import Level, Verdict, judge
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


class _Parser(Parser):
    """Makes a mistake in the options an UNKNOWN, in the one line that the monitor shows: no job has made it."""

    def error(self, message: str) -> NoReturn:
        raise ParameterError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str]) -> int:
    """Returns 0 if each job ended well, 1 if one still runs or its end is not known, 2 if one failed or is missing, 3
    if that cannot be found out: the worst of all counts. Raises SystemExit for --help."""
    try:
        arguments = _parser().parse_args(argv)
        now = time.time()
        level, text, figures = (_of_jobs if arguments.job else _of_plan)(arguments, now)
    except Exception as error:
        level, text, figures = Level.UNKNOWN, _plain(explain(error)[1], _MAX_TEXT), ""
    print_answer(f"PLANTA {level.name}: {text}{figures}\n")
    return level


def _of_jobs(arguments: argparse.Namespace, now: float) -> tuple[Level, str, str]:
    """Returns the level, the text and the figures. Raises ParameterError, CommandFailed."""
    if arguments.within is None or arguments.prometheus or arguments.crontab_user:
        raise ParameterError("--job needs --within, and neither --prometheus nor --as (see headless monitor --help)")
    jobs = list(dict.fromkeys(arguments.job))
    found = list(_in_receipts(arguments) if arguments.receipts else _in_home(arguments, now))
    verdicts = {job: judge(job, (each for each in found if each.job == job), arguments.within, now) for job in jobs}
    return (*_summary(list(verdicts.values())), _figures(verdicts, arguments.within))


def _of_plan(arguments: argparse.Namespace, now: float) -> tuple[Level, str, str]:
    """Does the same for all calls of crontabs, without figures: there may be hundreds. Raises HeadlessError."""
    if arguments.within is not None or arguments.user:
        raise ParameterError("--within and --user belong to --job (see headless monitor --help)")
    from headless.admin import monitor_plan  # which needs the extra [admin]

    verdicts = monitor_plan.verdicts(arguments, now)
    wrong = [each for each in verdicts if each.level is not Level.OK]
    well = f"{len(verdicts) - len(wrong)} of {len(verdicts)} calls are as planned"
    if not wrong:
        return Level.OK, well, ""
    level, text = _summary(wrong)
    return level, f"{shorten(text, _MAX_TEXT)}; {well}", ""


def _parser() -> _Parser:
    parser = _Parser(
        prog="headless monitor",
        description="Did jobs end well lately? One line, and an exit status as Nagios has them: 0 yes; 1 one still"
        " runs, or its end is not known; 2 no, or one never started; 3 that cannot be found out.",
    )
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument(
        "--job",
        action="append",
        metavar="JOB",
        type=_name,
        help="the value of -m, -f or -c of the job; or of code the sha256 in its receipts, the title in its journal; "
        "again for another job: the worst counts",
    )
    subject.add_argument(
        "--crontab",
        action="append",
        type=_name,
        metavar="FILE",
        help="all calls of this crontab: each within the longest gap of its schedule and twice its median; again",
    )
    subject.add_argument("--system", action="store_true", help="all calls of the crontabs and units of this machine")
    parser.add_argument(
        "--as", dest="crontab_user", metavar="USER", help="whose crontab a FILE is (default: its owner)"
    )
    parser.add_argument(
        "--within", type=_duration, metavar="TIME", help="how long ago a JOB may have ended well: 90m, 26h or 8d"
    )
    parser.add_argument(
        "--prometheus",
        metavar="FILE.prom",
        help="with --crontab or --system: write start, end, success, runtime and code of each call for node_exporter",
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
            return [(user, stack.enter_context(receipts.opened(each, user))) for user, each in receipts.files_in(path)]
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
