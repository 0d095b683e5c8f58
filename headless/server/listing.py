"""What the command `jobs` shows: the journal and the stored output, a line at a time, for people or for programs.

Here is how it looks, and what is new since the last look. What the journal is asked is in journal.py, and the
arguments of the command are in commands/jobs.py.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone

from headless.protocol.vocabulary import STDERR, STDOUT
from headless.server.home import Home
from headless.server.journal import QUEUED, RUNNING, Entry, Journal
from headless.terminal import escape_control_chars

_STREAMS = (STDOUT, STDERR)
_POLL_SECONDS = 0.5
_PIECE_LENGTH = 65536  # characters of output that are read at a time
_LINE_BYTES = 65536  # the most that is shown as one line


class Listing:
    """The jobs of one session, with their output, or all jobs. What has been shown once is not shown again."""

    def __init__(self, home: Home, journal: Journal, session: str | None, as_json: bool) -> None:
        self._home = home
        self._journal = journal
        self._session = session
        self._as_json = as_json
        self._shown: dict[tuple[str, int], str] = {}
        self._positions: dict[tuple[int, str], int] = {}
        self._widths = (0, 0)

    def show(self) -> bool:
        """Shows every job whose state is new. Returns whether there are any jobs. Raises OSError, sqlite3.Error."""
        entries = list(self._journal.entries(self._session))
        users = [len(escape_control_chars(entry.user)) for entry in entries]
        self._widths = (max(users, default=0), max((entry.job for entry in entries), default=0))
        for entry in entries:
            if self._shown.get((entry.session, entry.job)) != entry.state:
                self._shown[entry.session, entry.job] = entry.state
                if self._as_json:
                    self._show_object(entry)
                else:
                    print(self._line(entry))
            if self._session and not self._as_json:
                self._show_output(entry)
        return bool(entries)

    def follow(self) -> None:
        """Goes on showing: until the session is over, or for ever. Raises OSError, sqlite3.Error."""
        while self._session is None or {QUEUED, RUNNING} & set(self._shown.values()):
            sys.stdout.flush()
            time.sleep(_POLL_SECONDS)
            self.show()

    def _line(self, entry: Entry) -> str:
        users, jobs = self._widths
        job, user = str(entry.job).rjust(len(str(jobs))), escape_control_chars(entry.user).ljust(users)
        times = f"{_local(entry.accepted)}  {_local(entry.started)}  {_duration(entry):>10}"
        message = escape_control_chars(entry.message)
        return f"{entry.session}  {job}  {entry.state:11}  {times}  {user}  {entry.kind:7}  {message}".rstrip()

    def _show_object(self, entry: Entry) -> None:
        times = {name: _iso(getattr(entry, name)) for name in ("accepted", "started", "ended")}
        sys.stdout.write(json.dumps({**entry._asdict(), **times}).removesuffix("}"))
        for stream in _STREAMS if self._session else ():
            sys.stdout.write(f', "{stream}": "')
            for piece in self._output(entry, stream):
                sys.stdout.write(json.dumps(piece)[1:-1])
            sys.stdout.write('"')
        print("}")

    def _output(self, entry: Entry, stream: str) -> Iterator[str]:
        """The stored output in pieces: it may be larger than the memory."""
        path = self._home.output(entry.session, entry.job, stream)
        try:
            with open(path, encoding="utf-8", errors="replace", newline="") as file:
                while piece := file.read(_PIECE_LENGTH):
                    yield piece
        except FileNotFoundError:
            pass

    def _show_output(self, entry: Entry) -> None:
        for stream in _STREAMS:
            for line in self._new_lines(entry, stream):
                print(f"  {entry.job} {stream}: {escape_control_chars(line.decode('utf-8', 'replace'))}")

    def _new_lines(self, entry: Entry, stream: str) -> Iterator[bytes]:
        position = self._positions.get((entry.job, stream), 0)
        try:
            with open(self._home.output(entry.session, entry.job, stream), "rb") as file:
                file.seek(position)
                while line := file.readline(_LINE_BYTES):
                    is_whole = line.endswith(b"\n") or len(line) == _LINE_BYTES
                    if not is_whole and entry.state == RUNNING:
                        break
                    position += len(line)
                    yield line.removesuffix(b"\n").removesuffix(b"\r")
        except FileNotFoundError:
            pass
        self._positions[entry.job, stream] = position


def _iso(seconds: float | None) -> str | None:
    """ISO 8601, in UTC, to the millisecond."""
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def _local(seconds: float | None) -> str:
    """In this machine's time zone, to the second."""
    return f"{'-':19}" if seconds is None else f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"


def _duration(entry: Entry) -> str:
    """Hours, minutes and seconds that the job has taken so far."""
    if entry.started is None:
        return "-"
    seconds = max(0.0, (time.time() if entry.ended is None else entry.ended) - entry.started)
    minutes, tenths = divmod(int(seconds * 10), 600)
    return f"{minutes // 60}:{minutes % 60:02}:{tenths / 10:04.1f}"
