"""status: one line of figures for monitoring, and whether a server runs. What a server alone knows it leaves in the
journal, as the fact of this name."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from contextlib import closing
from typing import Any, NamedTuple

from headless.dialects.vocabulary import RUNNING
from headless.server.commands.arguments import add_command, existing_home, moment
from headless.server.home import Home
from headless.server.journal import Journal, Selection
from headless.server.listing import iso, look

FACT = "status"
_DEFAULT_SINCE = "24h"
_GIB = 2**30


class Status(NamedTuple):
    """The figures. None is what only a server knows, and none runs; and the age of the oldest job if none waits.

    failed           jobs that did not end well since `since`, a time in seconds since the epoch
    oldest_queued    for how many seconds the oldest session waits that has not started
    disk_free        bytes
    log_dropped      lines that the server could not write to its log
    """

    server: bool
    sessions: int | None
    queued: int
    running: int
    failed: int
    since: float
    oldest_queued: float | None
    disk_free: int
    log_dropped: int | None


def add(commands: Any) -> None:
    """Adds the command to these."""
    status = add_command(
        commands, "status", _status, "one line of figures for monitoring; the exit status is 1 if no server runs"
    )
    status.add_argument(
        "--since",
        type=moment,
        default=_DEFAULT_SINCE,
        metavar="WHEN",
        help=f"from when on failed jobs count, as for jobs (default: {_DEFAULT_SINCE})",
    )
    status.add_argument("--json", action="store_true", help="the same as one JSON object")


def _status(arguments: argparse.Namespace) -> int:
    home = existing_home(arguments)
    with closing(home.database()) as database:
        status = _read(home, Journal(database), arguments.since)
    print(json.dumps({**status._asdict(), "since": iso(status.since)}) if arguments.json else _line(status))
    return 0 if status.server else 1


def _read(home: Home, journal: Journal, since: float) -> Status:
    is_served = home.is_served
    of_server = _left_by_the_server(journal) if is_served else {}
    counts = journal.counts(since)
    return Status(
        server=is_served,
        sessions=_number(of_server.get("sessions")),
        queued=counts.queued,
        running=_running(home, journal) if counts.running else 0,
        failed=counts.failed,
        since=since,
        oldest_queued=None if counts.oldest_queued is None else round(max(0.0, time.time() - counts.oldest_queued), 3),
        disk_free=shutil.disk_usage(home.folder).free,
        log_dropped=_number(of_server.get("dropped_log_lines")),
    )


def _running(home: Home, journal: Journal) -> int:
    """How many jobs run, or are about to start or to be recorded by a server that runs."""
    entries = journal.entries(Selection(state=RUNNING))
    return sum(look(home, entry).state == RUNNING for entry in entries)


def _left_by_the_server(journal: Journal) -> dict[str, object]:
    try:
        fact = json.loads(journal.fact(FACT) or "{}")
    except ValueError:
        return {}
    return fact if isinstance(fact, dict) else {}


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _line(status: Status) -> str:
    figures = {
        "server": "up" if status.server else "down",
        "sessions": status.sessions,
        "queued": status.queued,
        "running": status.running,
        "failed": status.failed,
        "oldest_queued": None if status.oldest_queued is None else f"{status.oldest_queued:.0f}s",
        "disk_free": f"{status.disk_free / _GIB:.1f}GiB",
        "log_dropped": status.log_dropped,
    }
    return " ".join(f"{name}={'-' if value is None else value}" for name, value in figures.items())
