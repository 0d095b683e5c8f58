"""status: one line of figures for monitoring, and whether a server runs."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from contextlib import closing
from typing import Any

from headless.dialects.vocabulary import RUNNING
from headless.server.commands.arguments import add_command, existing_home, moment
from headless.server.home import Home
from headless.server.journal import Journal, Selection
from headless.server.listing import iso, look

_DEFAULT_SINCE = "24h"
_GIB = 2**30


def add(commands: Any) -> None:
    """Adds the command to these."""
    status = add_command(
        commands, "status", _status, "one line of figures for monitoring; the exit status is 1 if no server runs"
    )
    status.add_argument(
        "--since", type=moment, default=_DEFAULT_SINCE, metavar="WHEN",
        help=f"from when on failed jobs count, as for jobs (default: {_DEFAULT_SINCE})",
    )  # fmt: skip
    status.add_argument("--json", action="store_true", help="the same as one JSON object")


def _status(arguments: argparse.Namespace) -> int:
    home = existing_home(arguments)
    with closing(home.database()) as database:
        figures = _figures(home, Journal(database), arguments.since)
    print(json.dumps(figures) if arguments.json else _line(figures))
    return 0 if figures["server"] else 1


def _figures(home: Home, journal: Journal, since: float) -> dict[str, Any]:
    """Returns the figures by name, in seconds and bytes. None is what only a server knows, where none runs, and the age
    of the oldest session that waits, where none does."""
    is_served = home.is_served
    of_server = json.loads(journal.fact("status") or "{}") if is_served else {}
    queued, failed, oldest = journal.counts(since)
    running = journal.page(Selection(state=RUNNING))  # or about to start, or to be recorded by a server that runs
    return {
        "server": is_served,
        "sessions": of_server.get("sessions"),
        "queued": queued,
        "running": sum(look(home, entry).state == RUNNING for entry in running),
        "failed": failed,
        "since": iso(since),
        "oldest_queued": None if oldest is None else round(max(0.0, time.time() - oldest), 3),
        "disk_free": shutil.disk_usage(home.folder).free,
        "log_dropped": of_server.get("dropped_log_lines"),
    }


def _line(figures: dict[str, Any]) -> str:
    oldest = figures["oldest_queued"]
    shown = {
        **figures,
        "server": "up" if figures["server"] else "down",
        "oldest_queued": None if oldest is None else f"{oldest:.0f}s",
        "disk_free": f"{figures['disk_free'] / _GIB:.1f}GiB",
    }
    del shown["since"]
    return " ".join(f"{name}={'-' if value is None else value}" for name, value in shown.items())
