"""jobs cancel: asks the server to end jobs, or not to start them, and prints what was done."""

from __future__ import annotations

import argparse
import getpass
import os
import sqlite3
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from headless import system
from headless.dialects.vocabulary import QUEUED, RUNNING
from headless.errors import CommandFailed
from headless.server.commands.arguments import add_command, count, existing_home
from headless.server.home import Home
from headless.server.journal import CANCELLED, Cancellation, JobView, Journal, Selection

NAME = "jobs cancel"
_WAIT_SECONDS = 10.0
_POLL_SECONDS = 0.1


def add(commands: Any) -> None:
    """Adds the command to these."""
    cancel = add_command(commands, NAME, _cancel, "end a session's jobs, or one of them, or do not let them start")
    cancel.add_argument("session", metavar="SESSION")
    cancel.add_argument("job", type=count, nargs="?", default=0, metavar="JOB", help="the number of one job alone")


def _cancel(arguments: argparse.Namespace) -> None:
    home = existing_home(arguments)
    with closing(home.database()) as database:
        journal = Journal(database)
        request = Cancellation(arguments.session, arguments.job, _requester())
        if _record(database, journal, request):
            _wait(home, journal, request)
        print(_outcome(home, journal, request))


def _record(database: sqlite3.Connection, journal: Journal, request: Cancellation) -> bool:
    """Records the request, and returns True, if there is anything to cancel. Raises CommandFailed."""
    with database:
        database.execute("BEGIN IMMEDIATE")
        jobs = _jobs(journal, request)
        if not jobs:
            which = f" with a job {request.job}" if journal.has_session(request.session_id) else ""
            raise CommandFailed(f"there is no session {request.session_id!r}{which} in the journal")
        if _are_over(jobs):
            return False
        journal.request_cancellation(request)
        return True


def _wait(home: Home, journal: Journal, request: Cancellation) -> None:
    """Returns when a server has answered; also if none runs, or if that takes too long."""
    end = time.monotonic() + _WAIT_SECONDS
    while _is_pending(journal, request) and home.is_served and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)


def _is_pending(journal: Journal, request: Cancellation) -> bool:
    return any((each.session_id, each.job) == (request.session_id, request.job) for each in journal.cancellations())


def _jobs(journal: Journal, request: Cancellation) -> list[JobView]:
    return journal.page(Selection(request.session_id, job=request.job))


def _are_over(jobs: list[JobView]) -> bool:
    return not any(entry.state in (QUEUED, RUNNING) for entry in jobs)


def _outcome(home: Home, journal: Journal, request: Cancellation) -> str:
    """Returns one line that says what was done."""
    jobs = _jobs(journal, request)
    if any(entry.state == CANCELLED for entry in jobs):
        return _by_state(jobs)
    if _are_over(jobs):
        return f"had already ended: {_by_state(jobs)}"
    if not _is_pending(journal, request):
        return f"not cancelled: {_by_state(jobs)}"
    if home.is_served:
        return f"requested: the server has not answered yet; {_by_state(jobs)}"
    return "requested: no server runs; it takes effect when one does"


def _by_state(jobs: list[JobView]) -> str:
    """Returns the states of these jobs, for example `cancelled: 2-10; ok: 1`."""
    states = sorted({entry.state for entry in jobs})
    return "; ".join(f"{state}: {_ranges(entry.job for entry in jobs if entry.state == state)}" for state in states)


def _ranges(numbers: Iterable[int]) -> str:
    """Returns ascending numbers, with a hyphen where some follow each other."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _requester() -> str:
    """Returns the user of the operating system who runs this; its number, if it has no name."""
    if sys.platform == "win32":
        return getpass.getuser()
    return system.shown_user(os.getuid())
