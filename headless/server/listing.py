"""What the command `jobs` shows: which jobs of the journal, and with one session the stored output.

Here is in which order that is shown, and what is new since the last look. How one job looks is in appearance.py, what
the journal is asked is in journal.py, and the arguments of the command are in commands/jobs.py.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Iterator

from headless.dialects.vocabulary import QUEUED, RUNNING
from headless.server import appearance
from headless.server.appearance import Widths
from headless.server.home import Home
from headless.server.journal import BEGINNING, Entry, Journal, Position, Selection
from headless.server.stored_output import STREAMS, NewLines, missing, pieces
from headless.terminal import escape_control_chars

_POLL_SECONDS = 0.5
_PAGE_LENGTH = 500  # jobs that are read, and held, at a time


class Listing:
    """The jobs that are asked for; of one session with their output. What has been shown once is not shown again.

    However long the journal is, only the jobs are kept in memory that are not over.
    """

    def __init__(self, home: Home, journal: Journal, selection: Selection, as_json: bool) -> None:
        self._home = home
        self._journal = journal
        self._selection = selection
        self._as_json = as_json
        self._widths = Widths()
        self._version = 0  # of the journal when it was last looked at
        self._newest = 0  # the number of the last session that has been looked at
        self._unfinished: dict[tuple[str, int], str] = {}  # the states that have been seen
        self._output = NewLines(home, selection.session_id) if selection.session_id and not as_json else None

    def show(self, last: int | None) -> None:
        """Shows the jobs that are there, or the last so many. Raises OSError, sqlite3.Error."""
        self._version = self._journal.version()
        self._newest = self._journal.newest()
        self._unfinished = self._journal.unfinished_jobs(self._selection)
        for entries in self._pages(self._selection, self._journal.start(self._selection, last), self._newest):
            self._show(entries)

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
        """What has another state than before, and then what has been accepted."""
        newest = self._journal.newest()  # first: what is accepted from here on is shown after what happens meanwhile
        now = self._journal.unfinished_jobs(self._selection)
        for key, state in list(self._unfinished.items()):
            if now.get(key) != state:
                found = self._journal.page(Selection(key[0], job=key[1]), BEGINNING, 1)
                self._show([entry for _, entry in found])
                if not found:
                    del self._unfinished[key]  # it has been pruned
            elif state == RUNNING:
                self._show_output(key[1], is_over=False)
        for entries in self._pages(self._selection._replace(state=""), Position(self._newest + 1, 0), newest):
            self._show(entries)
        self._newest = newest

    def _pages(self, selection: Selection, after: Position, newest: int) -> Iterator[list[Entry]]:
        """A few jobs at a time, up to the session with this number. Between two pages, no read holds up the database: a
        reader may be slow."""
        while page := self._journal.page(selection, after, _PAGE_LENGTH):
            yield [entry for position, entry in page if position.number <= newest]
            after = page[-1][0]
            if after.number > newest:
                return

    def _show(self, entries: list[Entry]) -> None:
        """Shows these jobs, if their states are asked for, and keeps in mind what may change."""
        shown = [entry for entry in entries if self._selection.state in ("", entry.state)]
        self._widths = appearance.widths(shown, self._widths)
        for entry in entries:
            is_over = entry.state not in (QUEUED, RUNNING)
            if is_over:
                self._unfinished.pop((entry.session_id, entry.job), None)
            else:
                self._unfinished[entry.session_id, entry.job] = entry.state
            if self._selection.state in ("", entry.state):
                self._show_entry(entry)
                self._show_output(entry.job, is_over)

    def _show_entry(self, entry: Entry) -> None:
        now = appearance.appearance(self._home, entry)
        lost = missing(self._home, entry) if self._selection.session_id else []
        if not self._as_json:
            print(appearance.line(entry, now, self._widths))
            for path in lost:
                print(f"  {entry.job} {path.suffix[1:]} is not there: {escape_control_chars(str(path))}")
            return
        sys.stdout.write(json.dumps(appearance.fields(entry, now)).removesuffix("}"))
        for stream in STREAMS if self._selection.session_id else ():
            path = self._home.output(entry.session_id, entry.job, stream)
            sys.stdout.write(f', "{stream}": ')
            _write_json(None if path in lost else pieces(path))
        print("}")

    def _show_output(self, job: int, is_over: bool) -> None:
        for stream, text in self._output.of(job, is_over) if self._output else ():
            print(f"  {job} {stream}: {escape_control_chars(text)}")


def _write_json(output: Iterator[str] | None) -> None:
    """As one string; null if there is no such file."""
    if output is None:
        sys.stdout.write("null")
        return
    sys.stdout.write('"')
    for piece in output:
        sys.stdout.write(json.dumps(piece)[1:-1])
    sys.stdout.write('"')
