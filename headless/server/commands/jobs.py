"""jobs: shows the journal."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import Any

from headless.errors import CommandFailed
from headless.server.commands.arguments import add_command, existing_home, moment
from headless.server.journal import STATES, Journal, Selection
from headless.server.listing import Listing

_LAST = 20


def add(commands: Any) -> None:
    """Adds the command to these."""
    jobs = add_command(commands, "jobs", _jobs, "show the journal: one line a job, the newest last")
    jobs.add_argument("session", nargs="?", metavar="SESSION", help="this session alone, with the output of its jobs")
    number = jobs.add_mutually_exclusive_group()
    number.add_argument(
        "--last",
        type=_number,
        metavar="N",
        help=f"the last N jobs, 0 for all (default: {_LAST}; with SESSION or --since all)",
    )
    number.add_argument("--all", action="store_const", dest="last", const=0, help="the same as --last 0")
    jobs.add_argument(
        "--since",
        type=moment,
        metavar="WHEN",
        help="what was accepted since then: YYYY-MM-DD, 'YYYY-MM-DD HH:MM', today, yesterday, or a duration such as "
        "90m, 12h or 7d",
    )
    jobs.add_argument("--state", choices=STATES, default="", metavar="STATE", help=f"one of {', '.join(STATES)}")
    jobs.add_argument("--user", default="", metavar="USER", help="the jobs of this account")
    jobs.add_argument("--json", action="store_true", help="one JSON object a line")
    jobs.add_argument(
        "--follow",
        action="store_true",
        help="go on: a job is shown again when its state changes, a session's output as it is written; with SESSION "
        "until that is over",
    )


def _jobs(arguments: argparse.Namespace) -> None:
    home = existing_home(arguments)
    selection = Selection(arguments.session or "", arguments.user, arguments.state, arguments.since)
    with closing(home.database()) as database:
        journal = Journal(database)
        if arguments.session is not None and not journal.has_session(arguments.session):
            raise CommandFailed(f"there is no session {arguments.session!r} in the journal")
        listing = Listing(home, journal, selection, arguments.json)
        listing.show(_last(arguments))
        if arguments.follow:
            listing.follow()


def _last(arguments: argparse.Namespace) -> int | None:
    if arguments.last is None:
        return None if arguments.session or arguments.since is not None else _LAST
    return arguments.last or None


def _number(text: str) -> int:
    """Returns a number from 0."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 999999999")
    return int(text)
