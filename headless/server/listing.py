"""What `jobs` shows: jobs of the journal, whether they are seen to run, and with one session the stored output."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from headless.dialects.vocabulary import QUEUED, RUNNING
from headless.server.home import Home
from headless.server.journal import JobView, Journal, Position, Selection
from headless.server.output import STREAMS, NewLines, pieces
from headless.server.processes import JobProcesses
from headless.terminal import escape_control_chars

UNKNOWN = "unknown"  # a state that no journal has
_END_UNKNOWN = "no server runs; the next one records how it ended"
_BETWEEN = "no process of it runs: the server is about to start it, or to record how it ended"
_SECONDS_BETWEEN = 10.0  # which that takes at most, as a rule
_MAX_WIDTH = 60  # of a column; what is longer pushes the rest of its line to the right
_HEAD = ("session", "job", "state", "accepted", "started", "duration", "user", "kind", "title", "reason")
_POLL_SECONDS = 0.5
_PAGE_LENGTH = 500  # jobs that are read, and held, at a time


def look(home: Home, view: JobView) -> JobView:
    """Returns what is known of this job now: of one that runs in the journal, whether it really does, and for how
    long. Raises OSError."""
    if view.state != RUNNING:
        return view._replace(seconds=_seconds(view))
    try:
        pid = JobProcesses.running_pid(home, view.session_id, view.job)
    except OSError:  # of this record; the list is whole without it
        pid = None
    if pid is not None:
        return view._replace(seconds=None if view.started is None else max(0.0, time.time() - view.started), pid=pid)
    if not home.is_served:
        return view._replace(state=UNKNOWN, message=_END_UNKNOWN)
    is_late = view.started is None or time.time() - view.started > _SECONDS_BETWEEN
    return view._replace(message=_BETWEEN if is_late else view.message)


def iso(seconds: float | None) -> str | None:
    """Returns the time as ISO 8601 has it, in UTC, to the millisecond."""
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


class Listing:
    """Shows the jobs that are asked for; of one session with their output. What has been shown once is not shown again.

    However long the journal is, only the jobs are kept in memory that are not over.
    """

    def __init__(self, home: Home, journal: Journal, selection: Selection, as_json: bool) -> None:
        self._home = home
        self._journal = journal
        self._selection = selection
        self._as_json = as_json
        self._widths = [len(name) for name in ("job", "user", "title")]  # of the columns that `_columns` returns
        self._is_headed = as_json  # there is a head, or none is wanted
        self._version = 0  # of the journal when it was last looked at
        self._newest = 0  # the number of the last session that has been looked at
        self._unfinished: dict[tuple[str, int], str] = {}  # the states that have been seen
        self._output = NewLines(home, selection.session_id) if selection.session_id and not as_json else None

    def show(self, last: int | None) -> None:
        """Shows the jobs that are there, or the last so many. Raises OSError, sqlite3.Error."""
        self._version = self._journal.version()
        self._newest = self._journal.newest()
        self._unfinished = self._journal.unfinished_jobs(self._selection)
        for views in self._pages(self._selection, self._journal.start(self._selection, last), self._newest):
            self._show(views)

    def follow(self) -> None:
        """Goes on showing: until the session is over, or for ever. Raises OSError, sqlite3.Error."""
        while self._unfinished or not self._selection.session_id:
            sys.stdout.flush()
            time.sleep(_POLL_SECONDS)
            try:
                self._show_news()
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise

    def _show_news(self) -> None:
        """Looks no further if neither the journal nor an output has changed."""
        version = self._journal.version()
        if version != self._version:
            self._show_changes()
            self._version = version
        elif self._output:
            for (_, job), state in self._unfinished.items():
                if state == RUNNING and self._output.have_come(job):
                    self._show_output(job, is_over=False)

    def _show_changes(self) -> None:
        """Shows what has another state than before, and then what has been accepted."""
        newest = self._journal.newest()  # first: what is accepted from here on is shown after what happens meanwhile
        now = self._journal.unfinished_jobs(self._selection)
        for key, state in list(self._unfinished.items()):
            if now.get(key) != state:
                found = self._journal.page(Selection(key[0], job=key[1]))
                self._show(found)
                if not found:
                    del self._unfinished[key]  # it has been pruned
            elif state == RUNNING:
                self._show_output(key[1], is_over=False)
        for views in self._pages(self._selection._replace(state=""), Position(self._newest + 1, 0), newest):
            self._show(views)
        self._newest = newest

    def _pages(self, selection: Selection, after: Position, newest: int) -> Iterator[list[JobView]]:
        """Yields a few jobs at a time, up to the session with this number. Between two pages, no read holds up the
        database: a reader may be slow."""
        while page := self._journal.page(selection, after, _PAGE_LENGTH):
            yield [view for view in page if view.position.number <= newest]
            after = page[-1].position
            if after.number > newest:
                return

    def _show(self, views: list[JobView]) -> None:
        """Shows these jobs, if their states are asked for, and keeps in mind what may change."""
        shown = [view for view in views if self._selection.state in ("", view.state)]
        for view in shown:
            needed = [min(_MAX_WIDTH, len(text)) for text in _columns(view)]
            self._widths = [max(pair) for pair in zip(self._widths, needed)]
        for view in views:
            is_over = view.state not in (QUEUED, RUNNING)
            if is_over:
                self._unfinished.pop((view.session_id, view.job), None)
            else:
                self._unfinished[view.session_id, view.job] = view.state
            if self._selection.state in ("", view.state):
                self._show_job(view)
                self._show_output(view.job, is_over)

    def _missing(self, view: JobView) -> list[Path]:
        """Returns the files of a job that has run and is over that are not there: they were compressed or removed, or
        its process could not be started. Raises OSError."""
        if not self._selection.session_id or view.started is None or view.state == RUNNING:
            return []
        paths = [self._home.output(view.session_id, view.job, stream) for stream in STREAMS]
        return [path for path in paths if not path.exists()]

    def _show_job(self, view: JobView) -> None:
        lost = self._missing(view)
        view = look(self._home, view)
        if not self._is_headed:
            print(_row(_HEAD, self._widths))
            self._is_headed = True
        if not self._as_json:
            print(_row(_cells(view), self._widths))
            for path in lost:
                print(f"  {view.job} {path.suffix[1:]} is not there: {escape_control_chars(str(path))}")
            return
        sys.stdout.write(json.dumps(_fields(view)).removesuffix("}"))
        for stream in STREAMS if self._selection.session_id else ():
            path = self._home.output(view.session_id, view.job, stream)
            sys.stdout.write(f', "{stream}": ')
            _write_json(None if path in lost else pieces(path))
        print("}")

    def _show_output(self, job: int, is_over: bool) -> None:
        for stream, text in self._output.of(job, is_over) if self._output else ():
            print(f"  {job} {stream}: {escape_control_chars(text)}")


def _write_json(output: Iterator[str] | None) -> None:
    """Writes it as one string; null if there is no such file."""
    if output is None:
        sys.stdout.write("null")
        return
    sys.stdout.write('"')
    for piece in output:
        sys.stdout.write(json.dumps(piece)[1:-1])
    sys.stdout.write('"')


def _columns(view: JobView) -> tuple[str, str, str]:
    """Returns the texts that differ in length from job to job."""
    return str(view.job), escape_control_chars(view.user), escape_control_chars(view.title)


def _cells(view: JobView) -> tuple[str, ...]:
    """Returns what the job has in the columns of _HEAD."""
    job, user, title = _columns(view)
    accepted, started, seconds = _local(view.accepted), _local(view.started), _duration(view.seconds)
    message = escape_control_chars(view.message)
    return view.session_id, job, view.state, accepted, started, seconds, user, view.kind, title, message


def _row(cells: tuple[str, ...], widths: list[int]) -> str:
    """Returns the line of one job, or the head."""
    session, job, state, accepted, started, seconds, user, kind, title, message = cells
    of_job, of_user, of_title = widths
    times = f"{accepted:19}  {started:19}  {seconds:>10}"
    what = f"{user:{of_user}}  {kind:7}  {title:{of_title}}  {message}"
    return f"{session:16}  {job:>{of_job}}  {state:11}  {times}  {what}".rstrip()


def _fields(view: JobView) -> dict[str, object]:
    """Returns the job as JSON has it."""
    return {
        "session": view.session_id,
        "job": view.job,
        "user": view.user,
        "kind": view.kind,
        "title": view.title,
        "state": view.state,
        "accepted": iso(view.accepted),
        "started": iso(view.started),
        "ended": iso(view.ended),
        "seconds": None if view.seconds is None else round(view.seconds, 3),
        "exit_status": view.exit_status,
        "signal": view.signal,
        "message": view.message,
        "pid": view.pid,
        "key": view.key,
        "host": view.host or None,
    }


def _seconds(view: JobView) -> float | None:
    """Returns how long a job ran that is over."""
    if view.seconds is not None or view.started is None or view.ended is None:
        return view.seconds
    return max(0.0, view.ended - view.started)  # the clock may have been set back


def _local(seconds: float | None) -> str:
    """Returns the time in this machine's time zone, to the second."""
    return "-" if seconds is None else f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"


def _duration(seconds: float | None) -> str:
    """Returns hours, minutes and seconds."""
    if seconds is None:
        return "-"
    minutes, tenths = divmod(int(seconds * 10), 600)
    return f"{minutes // 60}:{minutes % 60:02}:{tenths / 10:04.1f}"
