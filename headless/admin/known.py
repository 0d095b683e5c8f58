"""Collects what is known of the calls since a moment: from their receipts, and from the journal of a server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from headless.admin import receipts
from headless.admin.runs import Call, Job, Outcome, Run, calls_in
from headless.client.receipt import described, utc
from headless.dialects.vocabulary import OK, PY_CODE, QUEUED, RUNNING, SKIPPED, STDERR
from headless.server.history import RefusedLogin, times_without_server
from headless.server.home import Home
from headless.server.journal import JobView, Journal, Selection
from headless.server.listing import UNKNOWN, look
from headless.system import open_regular, strerror_of

_TAIL_BYTES = 4096  # of an output, in which its last line is looked for
_PAGE_LENGTH = 500  # jobs of a journal that are read at a time
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


@dataclass
class Known:
    """Collects what is known since a moment, and what cannot be read."""

    since: float  # seconds since the epoch
    problems: list[str] = field(default_factory=list)
    without_server: list[tuple[float, float]] = field(default_factory=list)
    refused: list[RefusedLogin] = field(default_factory=list)
    _calls: dict[object, Call] = field(default_factory=dict)
    _sessions: dict[str, list[JobView]] = field(default_factory=dict)
    _stderr: dict[str, str] = field(default_factory=dict)  # by session
    _code: dict[tuple[str, int], str] = field(default_factory=dict)  # the sha256

    def read_receipts(self, paths: Iterable[str]) -> None:
        """Reads these files, with those that logrotate has made of them, and all files of these folders. All are open
        before one is read: logrotate may rename one meanwhile."""
        files: list[tuple[str, IO[bytes]]] = []
        with ExitStack() as stack:
            for path in paths:
                with self._noting(path):
                    for os_user, each in receipts.files_of(path):
                        with self._noting(each):
                            files.append((os_user, stack.enter_context(receipts.opened(each, os_user))))
            for os_user, file in files:
                with self._noting(file.name):
                    self._read_file(file, os_user)

    @contextmanager
    def _noting(self, path: str) -> Iterator[None]:
        """Notes what a file can raise."""
        try:
            yield
        except (OSError, ValueError) as error:
            self.problems.append(f"the receipts {path!r} cannot be read: {strerror_of(error)}")

    def _read_file(self, file: IO[bytes], os_user: str) -> None:
        """Raises OSError, ValueError."""
        first = receipts.BEGINNING + utc(self.since).encode("ascii")
        broken = 0
        for line, call in calls_in(file, os_user, lambda line: line[: len(first)] >= first[: len(line)]):
            broken += bool(line.strip()) and not (call and call.is_whole)
            if call is not None:
                key = (call.key, call.run.host, os_user) if call.key else line
                self._calls[key] = call.joined_with(self._calls.get(key))
        if broken:
            self.problems.append(f"{broken} lines of the receipts {file.name!r} are cut off or no receipts")

    def read_home(self, home: Home) -> None:
        """Raises HeadlessError, OSError, sqlite3.Error."""
        home.check_trust()
        with closing(home.database()) as database:
            journal = Journal(database)
            servers = journal.servers(self.since)
            self.without_server += times_without_server(servers, self.since, time.time(), home.is_served)
            self.refused += journal.refusals(self.since)
            selection = Selection(since=self.since)
            position = journal.start(selection)
            while page := journal.page(selection, position, _PAGE_LENGTH):
                position = page[-1].position
                for view in page:
                    self._add_job(look(home, view), home, journal)

    def _add_job(self, view: JobView, home: Home, journal: Journal) -> None:
        self._sessions.setdefault(view.session_id, []).append(view)
        if view.kind == PY_CODE:
            job = journal.job(view.session_id, view.job)
            self._code[view.session_id, view.job] = str(described(job)["sha256"])
        if view.state not in (OK, QUEUED, RUNNING, SKIPPED):
            with suppress(OSError, ValueError):
                self._stderr[view.session_id] = _last_line(home.output(view.session_id, view.job, STDERR))

    def runs(self) -> list[Run]:
        """Returns them in the order in which they began."""
        calls = sorted(self._calls.values(), key=lambda call: call.run.begun)
        last_of_process = {(call.run.host, call.pid): call for call in calls}
        by_key = {views[0].key: session for session, views in self._sessions.items() if views[0].key}
        found, rest = [], dict.fromkeys(self._sessions)
        for call in calls:
            run = call.as_run(last_of_process[call.run.host, call.pid] is call)
            session = call.run.session if call.run.session in self._sessions else by_key.get(call.key, "")
            if session in rest:
                del rest[session]
                found.append(self._with_journal(run, session))
            else:
                found.append(run)
        return sorted([*found, *map(self._of_journal, rest)], key=lambda run: run.begun)

    def _of_journal(self, session: str) -> Run:
        """Returns the run of a call that has left no receipt here."""
        views = self._sessions[session]
        jobs = tuple(
            Job(view.kind, self._code.get((session, view.job), view.title), view.title, view.state) for view in views
        )
        return self._with_journal(Run(jobs, views[0].accepted, Outcome.WELL, user=views[0].user), session)

    def _with_journal(self, run: Run, session: str) -> Run:
        """Returns the run with what the journal knows: it has the last word."""
        views = self._sessions[session]
        outcome, reason = _outcome_of_session(views)
        if outcome is Outcome.FAILED and run.outcome is Outcome.FAILED:
            reason = run.reason or reason
        elif run.outcome is Outcome.FAILED:
            reason = "; ".join(filter(None, (reason, f"the call itself ended with {run.exit_status}: {run.reason}")))
        elif run.outcome is Outcome.NOT_KNOWN and run.exit_status is None:
            reason = "; ".join(filter(None, (reason, f"of the call itself {run.reason}")))
        is_over = outcome in (Outcome.WELL, Outcome.FAILED)
        ends = [each for view in views for each in (view.ended,) if each is not None]
        return replace(
            run,
            outcome=outcome,
            reason=reason,
            accepted=views[0].accepted,
            started=views[0].started,
            ended=(max(ends) if ends else run.ended or views[0].over) if is_over else None,
            session=session,
            in_journal=True,
            stderr=self._stderr.get(session, ""),
        )


def _outcome_of_session(views: Sequence[JobView]) -> tuple[Outcome, str]:
    wrong = [view for view in views if view.state not in (OK, QUEUED, RUNNING, SKIPPED)]
    if wrong:
        view = wrong[0]
        if view.state == UNKNOWN:
            return Outcome.NOT_KNOWN, view.message
        return Outcome.FAILED, ": ".join(filter(None, (view.title, view.state, view.message)))
    going = [view for view in views if view.state in (QUEUED, RUNNING)]
    if going:
        return Outcome.STILL_RUNS, going[0].message or ("waits for a worker" if going[0].started is None else "")
    return Outcome.WELL, ""


def _last_line(path: Path) -> str:
    """Returns the last line of an output that is not empty. Raises OSError."""
    with open(path, "rb", opener=lambda name, _: open_regular(name, os.O_RDONLY | _NO_FOLLOW)) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
        lines = file.read(_TAIL_BYTES).decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
