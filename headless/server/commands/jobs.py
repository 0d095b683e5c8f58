"""jobs: shows the journal. What is shown, and how it is followed, is in listing.py."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import Any

from headless.outcome import CommandFailed
from headless.server.commands.arguments import add_command, existing_home
from headless.server.journal import Journal
from headless.server.listing import Listing


def add(commands: Any) -> None:
    """Adds the command to these."""
    jobs = add_command(commands, "jobs", _jobs, "show the journal: one line a job, the newest last")
    jobs.add_argument("session", nargs="?", metavar="SESSION", help="this session alone, with the output of its jobs")
    jobs.add_argument("--json", action="store_true", help="one JSON object a line")
    jobs.add_argument(
        "--follow",
        action="store_true",
        help="go on: a job is shown again when its state changes, a session's output as it is written; with SESSION "
        "until that is over",
    )


def _jobs(arguments: argparse.Namespace) -> None:
    home = existing_home(arguments)
    with closing(home.database()) as database:
        listing = Listing(home, Journal(database), arguments.session, arguments.json)
        if not listing.show() and arguments.session:
            raise CommandFailed(f"there is no session {arguments.session!r} in the journal")
        if arguments.follow:
            listing.follow()
