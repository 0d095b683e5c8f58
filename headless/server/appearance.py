"""How one job of the journal looks: as a line for people, as an object for programs.

Here is, too, what may be said of a job that the journal calls running: whether it does is known to its shim alone.
Which jobs are shown, and when, is in listing.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import NamedTuple

from headless.dialects.vocabulary import RUNNING
from headless.server.home import Home
from headless.server.journal import Entry
from headless.server.processes import JobProcesses
from headless.terminal import escape_control_chars

UNKNOWN = "unknown"  # a state that no journal has
_NOBODY_KNOWS = "no server runs; the next one records how it ended"
_BETWEEN = "no process of it runs: the server is about to start it, or to record how it ended"
_SECONDS_BETWEEN = 10.0  # which that takes at most, as a rule
_MAX_WIDTH = 60  # of a column; what is longer pushes the rest of its line to the right


class Appearance(NamedTuple):
    """What is known of a job now. `seconds` is None if nobody knows how long it ran, `pid` if it does not run."""

    state: str
    seconds: float | None
    pid: int | None
    message: str


class Widths(NamedTuple):
    """How many characters the columns have whose content is not always of one length."""

    job: int = 0
    user: int = 0
    title: int = 0


def appearance(home: Home, entry: Entry) -> Appearance:
    """What is to be said of this job. Raises OSError."""
    if entry.state != RUNNING:
        return Appearance(entry.state, _seconds(entry), None, entry.message)
    try:
        pid = JobProcesses.running_pid(home, entry.session_id, entry.job)
    except OSError:  # of this record; the list is whole without it
        pid = None
    if pid is not None:
        taken = None if entry.started is None else max(0.0, time.time() - entry.started)
        return Appearance(RUNNING, taken, pid, entry.message)
    if home.is_served:
        is_late = entry.started is None or time.time() - entry.started > _SECONDS_BETWEEN
        return Appearance(RUNNING, None, None, _BETWEEN if is_late else entry.message)
    return Appearance(UNKNOWN, None, None, _NOBODY_KNOWS)


def widths(entries: Iterable[Entry], least: Widths) -> Widths:
    """What these entries need, and not less than before."""
    job, user, title = least
    for entry in entries:
        job = max(job, len(str(entry.job)))
        user = max(user, min(_MAX_WIDTH, len(escape_control_chars(entry.user))))
        title = max(title, min(_MAX_WIDTH, len(escape_control_chars(entry.title))))
    return Widths(job, user, title)


def line(entry: Entry, now: Appearance, columns: Widths) -> str:
    """The job in one line."""
    user, title = escape_control_chars(entry.user), escape_control_chars(entry.title)
    times = f"{_local(entry.accepted)}  {_local(entry.started)}  {_duration(now.seconds):>10}"
    what = f"{user:{columns.user}}  {entry.kind:7}  {title:{columns.title}}"
    job = f"{entry.job:{columns.job}}"
    return f"{entry.session_id}  {job}  {now.state:11}  {times}  {what}  {escape_control_chars(now.message)}".rstrip()


def fields(entry: Entry, now: Appearance) -> dict[str, object]:
    """The job as JSON has it."""
    return {
        "session": entry.session_id,
        "job": entry.job,
        "user": entry.user,
        "kind": entry.kind,
        "title": entry.title,
        "state": now.state,
        "accepted": iso(entry.accepted),
        "started": iso(entry.started),
        "ended": iso(entry.ended),
        "seconds": None if now.seconds is None else round(now.seconds, 3),
        "exit_status": entry.exit_status,
        "signal": entry.signal,
        "message": now.message,
        "pid": now.pid,
        "key": entry.key,
    }


def iso(seconds: float | None) -> str | None:
    """ISO 8601, in UTC, to the millisecond."""
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def _seconds(entry: Entry) -> float | None:
    """How long a job ran that is over."""
    if entry.seconds is not None or entry.started is None or entry.ended is None:
        return entry.seconds
    return max(0.0, entry.ended - entry.started)  # the clock may have been set back


def _local(seconds: float | None) -> str:
    """In this machine's time zone, to the second."""
    return f"{'-':19}" if seconds is None else f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"


def _duration(seconds: float | None) -> str:
    """Hours, minutes and seconds."""
    if seconds is None:
        return "-"
    minutes, tenths = divmod(int(seconds * 10), 600)
    return f"{minutes // 60}:{minutes % 60:02}:{tenths / 10:04.1f}"
