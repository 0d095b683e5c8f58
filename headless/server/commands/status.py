"""status: one line of figures for monitoring, and whether a server runs."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

from headless.dialects.vocabulary import RUNNING
from headless.server.commands.arguments import add_command, existing_home, moment
from headless.server.home import Home
from headless.server.journal import Journal, Selection
from headless.server.listing import iso, look
from headless.terminal import escape_control_chars

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
    status.add_argument(
        "--history", action="store_true",
        help="when servers of this home ran since then, and which logins were refused: one line each",
    )  # fmt: skip
    status.add_argument("--json", action="store_true", help="the same as one JSON object, or one a line")


def _status(arguments: argparse.Namespace) -> int:
    home = existing_home(arguments)
    with closing(home.database()) as database:
        journal = Journal(database)
        figures = _figures(home, journal, arguments.since)
        history = list(_history(journal, arguments.since, figures["server"])) if arguments.history else []
    for fields, line in history if arguments.history else [(figures, _line(figures))]:
        print(json.dumps(fields) if arguments.json else line)
    return 0 if figures["server"] else 1


def _figures(home: Home, journal: Journal, since: float) -> dict[str, Any]:
    """Returns the figures by name, in seconds and bytes. None is what only a server knows, where none runs, and the age
    of the oldest session that waits, where none does."""
    is_served = home.is_served
    of_server = json.loads(journal.fact("status") or "{}") if is_served else {}
    queued, failed, oldest = journal.counts(since)
    newest = next(reversed(journal.servers(time.time())), None)
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
        "started": iso(newest.started) if newest and is_served else None,
        "last_seen": iso(newest.last_seen) if newest and not is_served else None,
        "refused_logins": sum(each.times for each in journal.refusals(since)),
    }


def _line(figures: dict[str, Any]) -> str:
    oldest = figures["oldest_queued"]
    shown = {
        **figures,
        "server": "up" if figures["server"] else "down",
        "oldest_queued": None if oldest is None else f"{oldest:.0f}s",
        "disk_free": f"{figures['disk_free'] / _GIB:.1f}GiB",
        **{name: figures[name] and _local(figures[name]).replace(" ", "T") for name in ("started", "last_seen")},
    }
    del shown["since"]
    return " ".join(f"{name}={'-' if value is None else value}" for name, value in shown.items())


def _history(journal: Journal, since: float, is_served: bool) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields each server and each refused login, as an object and as a line."""
    runs = journal.servers(since)
    for run in runs:
        if run is runs[-1] and is_served and run.stopped is None:
            end = "runs"
        else:
            end = "stopped" if run.stopped is not None else "killed, or the machine failed"
        fields = {name: iso(moment) for name, moment in run._asdict().items()}
        line = f"server   {_local(fields['started'])}  {_local(fields['last_seen'])}  {end}"
        yield {"event": "server", **fields}, line
    for each in journal.refusals(since):
        times = {"first": iso(each.first), "last": iso(each.last)}
        texts = "  ".join(escape_control_chars(text or "-") for text in (each.user, each.host, each.reason))
        line = f"refused  {_local(times['first'])}  {_local(times['last'])}  {each.times}x  {texts}"
        yield {"event": "refused login", **each._asdict(), **times}, line


def _local(moment: str | None) -> str:
    """Returns a time, as `iso` gives it, in this machine's time zone, to the second."""
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}" if moment else "-"
