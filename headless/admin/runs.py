"""Finds out how calls ended: one value for each run of a call, from its receipts and its session in a journal."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from headless.admin import receipts
from headless.dialects.vocabulary import ENDED_WITHOUT_RESULT, OK, PY_CODE, QUEUED, RUNNING, SKIPPED, STDERR
from headless.errors import OK as ENDED_WELL
from headless.errors import TIMED_OUT
from headless.server.history import RefusedLogin, times_without_server
from headless.server.home import Home
from headless.server.journal import JobView, Journal, Selection
from headless.server.listing import UNKNOWN, look
from headless.system import open_regular

_TEXTS = ("host", "os_user", "user", "server", "session", "submission")  # of a receipt
_TAIL_BYTES = 4096  # of an output, in which its last line is looked for
_PAGE_LENGTH = 500  # jobs of a journal that are read at a time
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


class Outcome(Enum):
    """What a person is told of a run, the worst first."""

    FAILED = "failed"
    MISSING = "missing"
    NOT_KNOWN = "not known"
    STILL_RUNS = "still runs"
    WELL = "well"


@dataclass(frozen=True)
class Job:
    """Holds one job of a run. `name` is the module, the file, or of code the sha256."""

    kind: str
    name: str
    title: str
    status: str = ""  # "" if it is not known

    @property
    def identity(self) -> tuple[str, str]:
        return self.kind, self.name


@dataclass(frozen=True)
class Run:
    """Holds one run of a call. Times are seconds since the epoch, None for what has not happened, or is not known; so
    is "" of a text."""

    jobs: tuple[Job, ...]
    begun: float
    outcome: Outcome
    reason: str = ""  # why it is not well, or what is to know of one that is
    accepted: float | None = None
    started: float | None = None  # of the first job
    ended: float | None = None  # of the last job, else of the call; until when one was seen that still runs
    exit_status: int | None = None  # of the call, as a shell sees it
    host: str = ""
    os_user: str = ""
    user: str = ""  # of the login
    server: str = ""
    session: str = ""
    submission: str = ""  # whether the server has the jobs, as a call that has failed says it
    in_journal: bool = False
    stderr: str = ""  # the last line of the job that failed

    @property
    def title(self) -> str:
        return ", ".join(job.title for job in self.jobs) or "(no job)"

    @property
    def identity(self) -> tuple[object, ...]:
        """Is the same for each run of the same line of a crontab."""
        return tuple(job.identity for job in self.jobs), self.user, self.server, self.host

    @property
    def seconds(self) -> float | None:
        """How long the jobs ran, or the session took where their start is not known."""
        begun = self.started or self.accepted
        if self.outcome is Outcome.NOT_KNOWN or self.ended is None or begun is None:
            return None
        return max(0.0, self.ended - begun)


@dataclass
class Known:
    """Collects what is known since a moment, and what cannot be read."""

    since: float  # seconds since the epoch
    problems: list[str] = field(default_factory=list)
    without_server: list[tuple[float, float]] = field(default_factory=list)
    refused: list[RefusedLogin] = field(default_factory=list)
    _calls: dict[object, _Call] = field(default_factory=dict)
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
                    found = (
                        receipts.files_in(path) if os.path.isdir(path) else [("", each) for each in _with_rotated(path)]
                    )
                    for os_user, each in found:
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
            self.problems.append(f"the receipts {path!r} cannot be read: {getattr(error, 'strerror', None) or error}")

    def _read_file(self, file: IO[bytes], os_user: str) -> None:
        """Raises OSError, ValueError."""
        first = receipts.BEGINNING + receipts.iso(self.since).encode("ascii")
        is_empty, has_receipt, broken = True, False, 0
        for line in receipts.lines(file):
            is_receipt = line.startswith(receipts.BEGINNING)
            has_receipt = has_receipt or is_receipt
            is_empty = is_empty and not line.strip()
            if is_receipt and line[: len(first)] < first[: len(line)]:  # as most lines, which take long to parse
                continue
            broken += bool(line.strip()) and not (is_receipt and self._add(line, os_user))
        if not (is_empty or has_receipt):
            raise ValueError("no line in it is a receipt")
        if broken:
            self.problems.append(f"{broken} lines of the receipts {file.name!r} are cut off or no receipts")

    def _add(self, line: bytes, os_user: str) -> bool:
        """Returns whether all of the line could be read. Those of others in the file of a user do not count."""
        try:
            fields, is_whole = receipts.parsed(line)
            call = _Call.of(fields, is_whole)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return False
        if os_user in ("", call.run.os_user):
            key = (call.key, call.run.host, os_user) if call.key else line
            self._calls[key] = call.joined_with(self._calls.get(key))
        return is_whole

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
            text = journal.job(view.session_id, view.job).text
            self._code[view.session_id, view.job] = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
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


def _with_rotated(path: str) -> list[str]:
    """Returns the paths of a file and of what logrotate(8) has made of it: .1, .2.gz, and -20261201 with dateext. What
    others may have added to the folder does not count, nor does a link. Raises OSError."""
    folder, name = os.path.split(path)
    pattern = re.compile(re.escape(name) + r"(?:[.-][0-9]+)?(?:\.gz)?")
    is_there = os.path.exists(path)
    owners = (
        {0, os.stat(path).st_uid} if is_there else {0, os.stat(folder or ".").st_uid, getattr(os, "geteuid", int)()}
    )
    found = [path] if is_there else []
    for each in (os.path.join(folder, each) for each in os.listdir(folder or ".") if pattern.fullmatch(each)):
        status = os.lstat(each)
        if each != path and stat.S_ISREG(status.st_mode) and status.st_uid in owners:
            found.append(each)
    return found or [path]


@dataclass(frozen=True)
class _Call:
    """Holds what the receipts say of one call. `run` is that of its last line, else of its first one; `is_there` says
    whether its process was there then, None that this is not known."""

    run: Run
    key: str
    pid: int | None
    is_over: bool
    is_there: bool | None

    @classmethod
    def of(cls, fields: dict[str, Any], is_whole: bool) -> _Call:
        """Raises ValueError, TypeError, KeyError and others for what is no receipt."""
        texts: dict[str, Any] = {each: _text(fields.get(each)) for each in _TEXTS}
        pid = fields.get("pid")
        is_over = is_whole and fields.get("event") != "start"
        jobs = tuple(map(_job, fields.get("jobs") or ()))
        run = Run(jobs, receipts.seconds(fields["when"]), Outcome.NOT_KNOWN, "its last line is cut off", **texts)
        # If the process has gone, the last line is further down: whoever looks later can miss it.
        is_there = None if is_over else receipts.is_there(fields)
        return cls(
            _ended(run, fields) if is_over else run,
            _text(fields.get("key")),
            pid if type(pid) is int else None,
            is_over,
            is_there,
        )

    def joined_with(self, other: _Call | None) -> _Call:
        return self if other is None or self.is_over else other

    def as_run(self, is_last_of_process: bool) -> Run:
        """Returns the run. Of several calls that had the same number of a process only the last one can be there."""
        if self.is_over:
            return self.run
        if self.is_there is None:
            return replace(self.run, reason="there is no last line: the call still runs, or it was killed")
        if self.is_there and is_last_of_process:
            return replace(self.run, outcome=Outcome.STILL_RUNS, reason=f"its process {self.pid} is there")
        reason = "there is no last line, and no process: it was killed, the machine went down, or the disk was full"
        return replace(self.run, reason=reason)


def _job(fields: dict[str, Any]) -> Job:
    name = _text(fields.get("name")) or _text(fields.get("sha256"))
    kind = _text(fields["kind"])
    return Job(
        kind, name, _text(fields.get("title")) or (name if "name" in fields else kind), _text(fields.get("status"))
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _ended(run: Run, fields: dict[str, Any]) -> Run:
    """Returns the run with the last line of its call."""
    code, number = fields["code"], fields["signal"]
    status = 128 + int(number) if code is None else int(code)
    accepted, ended = (fields.get(name) and receipts.seconds(fields[name]) for name in ("accepted", "ended"))
    starts = [receipts.seconds(job["started"]) for job in fields["jobs"] if job.get("started")]
    outcome, reason = _outcome_of_call(status, fields)
    return replace(
        run,
        outcome=outcome,
        reason=reason,
        accepted=accepted,
        started=min(starts) if starts else None,
        ended=ended or receipts.seconds(fields["returned"]),
        exit_status=status,
    )


def _outcome_of_call(status: int, fields: dict[str, Any]) -> tuple[Outcome, str]:
    if status == TIMED_OUT:
        return Outcome.NOT_KNOWN, "the call has not waited for the end (-t was over); the jobs went on"
    if status != ENDED_WELL:
        state = _text(fields.get("submission"))
        return Outcome.FAILED, "; ".join(filter(None, (_text(fields.get("message")), state and f"jobs: {state}")))
    if fields["proof"] == "accepted":
        return Outcome.NOT_KNOWN, "the call does not wait for the end (no -t); the server has accepted the jobs"
    return Outcome.WELL, "the server has told an end, and no result" if fields["proof"] == ENDED_WITHOUT_RESULT else ""


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
