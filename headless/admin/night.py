"""night: what happened to the calls since yesterday evening, on one page or as text. And sessions without options:
those of the receipts, whatever server and user they are of."""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from headless.admin import night_forms
from headless.admin.known import Known
from headless.admin.night_runs import Night, night_of
from headless.admin.runs import Outcome, Run
from headless.arguments import Parser
from headless.errors import CONNECTION_ERROR, OK, PARAMETER_ERROR, CommandFailed, HomeError, ParameterError
from headless.options import SessionsOptions
from headless.server.commands.arguments import existing_home, moment
from headless.system import strerror_of
from headless.terminal import escape_control_chars, is_closed_pipe, print_answer, print_warning, report, table, write

if TYPE_CHECKING:
    from headless.admin.plan import PlannedCall

PROGRAM = "headless night"
_NOT_KNOWN = 3  # the exit status
_EVENING = 18  # o'clock
_DAY = 86400.0  # seconds that sessions looks back
_HEAD = ("session", "state", "begun", "user", "server", "jobs")
_GOING = (Outcome.STILL_RUNS, Outcome.NOT_KNOWN)
_NIGHTS = 14 * 86400.0  # seconds before, of which the usual times are the medians


def main(argv: Sequence[str]) -> int:
    """Returns 0 if all was well, 1 if something was not, 2 if the command line must be corrected, 3 if it cannot be
    said, or not be written. Raises SystemExit for --help."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    given = os.environ.get("PLANTA_RECEIPT", "")
    if not arguments.receipts and given not in ("", os.devnull):
        arguments.receipts = [given]
    if not (arguments.receipts or arguments.home):
        parser.error("--receipts FILE or --home DIR is missing: what is known of the night?")
    if arguments.user is not None and not arguments.crontab:
        parser.error("--as needs a --crontab")
    try:
        now = time.time()
        night = _night(arguments, now)
        if arguments.output:
            night_forms.write(arguments.output, night)
        if arguments.text or not arguments.output:
            _print(night_forms.as_text(night))
    except Exception as error:
        return PARAMETER_ERROR if report(PROGRAM, error) == PARAMETER_ERROR else _NOT_KNOWN
    return night.exit_status


def _print(text: str) -> None:
    """Raises CommandFailed. A reader that has read enough is none."""
    try:
        write(sys.stdout, text)
    except (OSError, ValueError) as error:
        if not is_closed_pipe(error):
            raise CommandFailed(f"the text cannot be written: {strerror_of(error)}") from None


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROGRAM,
        description="What happened to the calls since yesterday 18:00: a page, or text. The exit status is 0 if all"
        " was well, 1 if something was not, 2 for a mistake in the command line, 3 if it cannot be said.",
    )
    parser.add_argument(
        "--receipts",
        action="append",
        metavar="FILE|DIR",
        help="file or folder of PLANTA_RECEIPT, with what logrotate has made of it; again for another one (default: "
        "that of PLANTA_RECEIPT)",
    )
    parser.add_argument("--home", metavar="DIR", help="the folder of a job server, to know how its sessions ended")
    planned = parser.add_mutually_exclusive_group()
    planned.add_argument(
        "--crontab", action="append", metavar="FILE", help="a crontab of this machine, to know what is missing; again"
    )
    planned.add_argument("--system", action="store_true", help="all crontabs and units of this machine")
    parser.add_argument("--as", dest="user", metavar="USER", help="whose crontab a FILE is (default: its owner)")
    parser.add_argument(
        "--since",
        type=moment,
        metavar="WHEN",
        help="YYYY-MM-DD, 'YYYY-MM-DD HH:MM', today, yesterday, or a duration such as 90m, 12h or 7d",
    )
    parser.add_argument("-o", dest="output", metavar="FILE.html", help="write the page to this file")
    parser.add_argument("--text", action="store_true", help="print it as text (default without -o)")
    return parser


def _night(arguments: argparse.Namespace, now: float) -> Night:
    """Raises HeadlessError, OSError."""
    since = arguments.since if arguments.since is not None else _yesterday_evening(now)
    if since >= now:
        raise ParameterError("--since is not in the past")
    known = Known(since - _NIGHTS)
    known.read_receipts(arguments.receipts or ())
    if arguments.home:
        try:
            known.read_home(existing_home(arguments))
        except (HomeError, OSError, sqlite3.Error) as error:
            known.problems.append(f"the home {arguments.home!r} cannot be read: {strerror_of(error)}")
    plan: list[PlannedCall] = []
    if arguments.crontab or arguments.system:
        from headless.admin.plan import read_plan  # which needs the extra [admin]

        not_understood: list[str] = []
        plan = read_plan(arguments.crontab or (), arguments.user, not_understood)
        if not (plan or not_understood):  # a wrong name is not taken for a night in which nothing is missing
            not_understood.append("no call of planta_headless.py is planned there: nothing is known to be missing")
        known.problems += not_understood
    return night_of(known, plan, since, now, arguments.home or "")


def _yesterday_evening(now: float) -> float:
    evening = datetime.fromtimestamp(now).replace(hour=_EVENING, minute=0, second=0, microsecond=0)
    return (evening - timedelta(days=1)).timestamp()


# -- sessions --


def show_sessions(path: str) -> int:
    """Prints the sessions of the last 24 hours in the receipts of this file or folder, and the calls whose session is
    not known yet. Returns 0, or 1 with a warning if some may be missing."""
    known = Known(time.time() - _DAY)
    known.read_receipts([path])
    rows = [_row(run) for run in known.runs() if run.session or run.outcome in _GOING]
    if rows:
        print_answer(table([_HEAD, *rows]))
    for problem in known.problems:
        print_warning(SessionsOptions.program, problem)
    return CONNECTION_ERROR if known.problems else OK


def _row(run: Run) -> tuple[str, ...]:
    begun = f"{datetime.fromtimestamp(run.begun):%Y-%m-%d %H:%M:%S}"
    cells = (run.session or "-", run.outcome.value, begun, run.user or "-", run.server or "-", run.title)
    return tuple(map(escape_control_chars, cells))
