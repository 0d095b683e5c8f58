"""The journal: which sessions were accepted, and what became of their jobs. Its tables and its queries.

A session has not started, or one of its jobs is running, or it is over. There is no moment between two jobs, so that
after a crash it is always clear what may still run. Who writes here is in store.py, which also says when what is
written is on disk; how the journal is shown is in listing.py. What jobs print is not in the database: home.py says
where it is.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from headless.dialects.vocabulary import FAILED, OK, PY_CODE, QUEUED, RUNNING, SKIPPED, Job, title_of

# States of a job, besides those that the protocol has a word for.
INTERRUPTED = "interrupted"
CANCELLED = "cancelled"
STATES = (QUEUED, RUNNING, OK, FAILED, SKIPPED, INTERRUPTED, CANCELLED)

CALENDAR = "calendar"  # the fact that says how late it is at least, in seconds since the epoch

# A session belongs to the number of an account; the name is for people. A key is the client's: the same one from the
# same account is the same session. A digest is of the jobs.
SCHEMA = (
    """
    CREATE TABLE sessions (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        session_id TEXT NOT NULL UNIQUE,
        account INTEGER NOT NULL,
        user TEXT NOT NULL,
        accepted REAL NOT NULL,
        over REAL,
        key TEXT,
        digest BLOB NOT NULL
    )
    """,
    """
    CREATE TABLE jobs (
        session_id TEXT NOT NULL REFERENCES sessions (session_id),
        job INTEGER NOT NULL,
        kind TEXT NOT NULL,
        title TEXT NOT NULL,
        state TEXT NOT NULL,
        started REAL,
        ended REAL,
        seconds REAL,
        exit_status INTEGER,
        signal INTEGER,
        message TEXT NOT NULL DEFAULT '',
        text TEXT NOT NULL,  -- the last one: it may be large, and is seldom read
        PRIMARY KEY (session_id, job)
    )
    """,
    # What is not over is found, and what did not end well, without looking at all the rest.
    "CREATE INDEX sessions_over ON sessions (over)",
    "CREATE INDEX sessions_of_account ON sessions (account)",
    "CREATE INDEX sessions_of_user ON sessions (user)",
    "CREATE UNIQUE INDEX sessions_of_key ON sessions (account, key) WHERE key IS NOT NULL",
    "CREATE INDEX jobs_not_ok ON jobs (state) WHERE state NOT IN ('ok', 'skipped')",
    """
    CREATE TABLE cancellations (
        session_id TEXT NOT NULL,
        job INTEGER NOT NULL,
        requester TEXT NOT NULL,
        PRIMARY KEY (session_id, job)
    )
    """,
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)

_NAME = "journal"  # of the fact that names it
_NOT_OK = "state NOT IN ('ok', 'skipped')"  # word for word as in the index


class JobTaken(Exception):
    """Another server of the same home has begun or ended this job: nothing has been written."""


class SubmittedSession(NamedTuple):
    """The jobs that one session has submitted, in the order in which they run, and the client's key for them, if it has
    made one. `account` is the number of the account."""

    session_id: str
    account: int
    user: str
    jobs: tuple[Job, ...]
    key: str | None = None


class AcceptedSession(NamedTuple):
    """A session of the journal that is not over. `running` is the number of the job that runs, 0 if none has started,
    and `started` when it was, in seconds since the epoch."""

    session_id: str
    account: int
    user: str
    job_count: int
    running: int = 0
    started: float | None = None


class KnownSession(NamedTuple):
    """What the journal has of a session: the first of its jobs that has not ended well, or the last one. Of that job
    its state, the message, and whether it has ever run."""

    session_id: str
    account: int
    user: str
    is_over: bool
    job_count: int
    job: int
    state: str
    message: str
    has_run: bool


class SessionEntry(NamedTuple):
    """A session in one line: the first of its jobs that has not ended well, or the last one. `number` grows with time,
    `accepted` is in seconds since the epoch."""

    number: int
    session_id: str
    state: str
    accepted: float
    job: int
    job_count: int
    title: str


class JobEnd(NamedTuple):
    """How a job ended: its state, and why. Times are None where nobody saw it.

    ended         seconds since the epoch
    seconds       how long it ran
    exit_status   of its process; None if a signal ended it, or if there was none
    signal        the number of the signal that ended its process
    """

    state: str
    message: str = ""
    ended: float | None = None
    seconds: float | None = None
    exit_status: int | None = None
    signal: int | None = None


class JobStart(NamedTuple):
    """What decides whether a job starts.

    refuse   says why the account with this number may not run this job, "" if it may
    own      times of start, in seconds since the epoch: a job that runs since one of them may start, nothing has run
    """

    refuse: Callable[[int, Job], str]
    own: set[float]


class Entry(NamedTuple):
    """One job of the journal. Times are seconds since the epoch, None for what has not happened, or nobody saw. `over`
    is when the end of its session was recorded."""

    session_id: str
    job: int
    user: str
    kind: str
    title: str
    state: str
    accepted: float
    started: float | None
    ended: float | None
    seconds: float | None
    exit_status: int | None
    signal: int | None
    message: str
    key: str | None
    over: float | None


class Selection(NamedTuple):
    """Which jobs are asked for; "", None and 0 are all. `since` is the time of acceptance, in seconds since the
    epoch."""

    session_id: str = ""
    user: str = ""
    state: str = ""
    since: float | None = None
    job: int = 0


class Position(NamedTuple):
    """Where a job stands in the journal: the number of its session, and its row among the jobs. Both grow with time."""

    number: int
    row: int


BEGINNING = Position(0, 0)


class Counts(NamedTuple):
    """What the journal has to say to a monitor. Times are seconds since the epoch."""

    queued: int
    running: int
    failed: int
    oldest_queued: float | None


class Cancellation(NamedTuple):
    """Somebody wants this job, or with 0 every job of this session, not to run on."""

    session_id: str
    job: int
    requester: str


def initialize(database: sqlite3.Connection) -> None:
    """Gives a journal without a name one."""
    database.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (_NAME, os.urandom(16).hex()))


class Journal:
    """The journal of one database. No method begins or ends a transaction. Every one may raise sqlite3.Error. The first
    job of a session has the number 1."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    # What happens to a session

    def accept(self, session: SubmittedSession) -> None:
        """Records the session as queued."""
        self._database.execute(
            "INSERT INTO sessions (session_id, account, user, accepted, key, digest) VALUES (?, ?, ?, ?, ?, ?)",
            (session.session_id, session.account, session.user, time.time(), session.key, digest_of(session.jobs)),
        )
        self._database.executemany(
            "INSERT INTO jobs (session_id, job, kind, text, title, state) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (session.session_id, number, job.kind, job.text, title_of(job.kind, job.text), QUEUED)
                for number, job in enumerate(session.jobs, 1)
            ],
        )

    def withdraw(self, session_id: str) -> None:
        """Forgets a session that nobody was told of."""
        for table in ("jobs", "sessions"):
            self._database.execute(f"DELETE FROM {table} WHERE session_id = ?", (session_id,))

    def begin(self, session_id: str, job: int, start: JobStart) -> JobEnd | None:
        """The job runs. If its account may not run it, it has failed: this end is returned, and the session is over.
        Raises JobTaken."""
        account, kind, text, state, started, message = self._database.execute(
            "SELECT account, kind, CASE kind WHEN ? THEN '' ELSE text END, state, started, message"
            " FROM jobs JOIN sessions USING (session_id) WHERE session_id = ? AND job = ?",
            (PY_CODE, session_id, job),
        ).fetchone()
        if state == FAILED and started is None:  # by an attempt that has reached the disk, although it seemed to fail
            return JobEnd(state, message)
        if state != QUEUED and not (state == RUNNING and started in start.own):
            raise JobTaken
        refusal = start.refuse(account, Job(kind, text))
        if refusal:
            return self._refuse(session_id, job, f"not started: {refusal}")
        now = time.time()
        start.own.add(now)
        self._database.execute(
            "UPDATE jobs SET state = ?, started = ? WHERE session_id = ? AND job = ?", (RUNNING, now, session_id, job)
        )
        return None

    def finish(self, session_id: str, job: int, end: JobEnd, next_start: JobStart) -> JobEnd | None:
        """The job has ended. Only after OK the next one runs. If its account may not run that, this is the end of the
        next one, and returned. Raises JobTaken."""
        changed = self._database.execute(
            "UPDATE jobs SET state = ?, message = ?, ended = ?, seconds = ?, exit_status = ?, signal = ?"
            " WHERE session_id = ? AND job = ? AND state IN (?, ?, ?)",
            (*end, session_id, job, QUEUED, RUNNING, end.state),
        )
        if not changed.rowcount:
            raise JobTaken
        if end.state == OK and self._has_job(session_id, job + 1):
            return self.begin(session_id, job + 1, next_start)
        self._end_session(session_id)
        return None

    def unfinished(self) -> list[AcceptedSession]:
        """The sessions that are not over, in their order."""
        # The + keeps SQLite from looking at all jobs of a session: few of all jobs run, and an index has those.
        rows = self._database.execute(
            "SELECT session_id, account, user, (SELECT max(job) FROM jobs WHERE session_id = sessions.session_id),"
            " CASE state WHEN ? THEN job ELSE 0 END, started FROM sessions JOIN jobs USING (session_id)"
            " WHERE over IS NULL AND state IN (?, ?) AND job = coalesce((SELECT job FROM jobs AS running"
            f" WHERE +session_id = sessions.session_id AND state = ? AND {_NOT_OK}), 1) ORDER BY number",
            (RUNNING, RUNNING, QUEUED, RUNNING),
        )
        return [AcceptedSession(*row) for row in rows]

    def of_key(self, account: int, key: str) -> tuple[str, bytes] | None:
        """Session and digest of the session that this account has submitted with this key."""
        row = self._database.execute(
            "SELECT session_id, digest FROM sessions WHERE account = ? AND key = ?", (account, key)
        )
        found: tuple[str, bytes] | None = row.fetchone()
        return found

    def unfinished_like(self, account: int, digest: bytes) -> str | None:
        """The session of a session of this account that has these jobs and is not over."""
        row = self._database.execute(
            "SELECT session_id FROM sessions WHERE over IS NULL AND account = ? AND digest = ? ORDER BY number LIMIT 1",
            (account, digest),
        ).fetchone()
        return None if row is None else str(row[0])

    def known(self, session_id: str) -> KnownSession | None:
        """What is recorded of this session."""
        row = self._database.execute(
            "SELECT account, user, over IS NOT NULL, (SELECT max(job) FROM jobs WHERE session_id = sessions.session_id)"
            " AS last, job, state, message, state = ? OR started IS NOT NULL FROM sessions JOIN jobs USING (session_id)"
            " WHERE session_id = ? AND (state != ? OR job = last) ORDER BY job LIMIT 1",
            (OK, session_id, OK),
        ).fetchone()
        if row is None:
            return None
        account, user, is_over, job_count, job, state, message, has_run = row
        return KnownSession(session_id, account, user, bool(is_over), job_count, job, state, message, bool(has_run))

    def unfinished_count(self, account: int) -> int:
        """How many sessions of this account are not over."""
        (count,) = self._database.execute(
            "SELECT count(*) FROM sessions WHERE over IS NULL AND account = ?", (account,)
        ).fetchone()
        return int(count)

    def sessions_of(self, account: int, count: int, after: int, most: int) -> list[SessionEntry]:
        """The account's sessions, the oldest first: those that are not over, and the last so many of the others. At
        most `most` of those with a number behind `after`."""
        rows = self._database.execute(
            "WITH chosen AS ("
            " SELECT number, session_id, accepted FROM sessions WHERE account = ? AND over IS NULL"
            " UNION SELECT * FROM (SELECT number, session_id, accepted FROM sessions WHERE account = ?"
            " AND over IS NOT NULL ORDER BY number DESC LIMIT ?)),"
            " shown AS (SELECT number, session_id, accepted, coalesce("
            " (SELECT min(job) FROM jobs WHERE session_id = chosen.session_id AND state != ?),"
            " (SELECT max(job) FROM jobs WHERE session_id = chosen.session_id)) AS job"
            " FROM chosen WHERE number > ? ORDER BY number LIMIT ?)"
            " SELECT number, session_id, state, accepted, job,"
            " (SELECT max(job) FROM jobs WHERE session_id = shown.session_id), title"
            " FROM shown JOIN jobs USING (session_id, job) ORDER BY number",
            (account, account, count, OK, after, most),
        )
        return [SessionEntry(*row) for row in rows]

    def job(self, session_id: str, job: int) -> Job:
        """What this job is."""
        row = self._database.execute("SELECT kind, text FROM jobs WHERE session_id = ? AND job = ?", (session_id, job))
        return Job(*row.fetchone())

    # What people ask for

    def entries(self, selection: Selection, last: int | None = None) -> Iterator[Entry]:
        """The jobs that are asked for, the newest first; only so many of them. They are read one by one."""
        rows = self._select(selection, self.start(selection), "DESC", -1 if last is None else last)
        return (Entry(*row) for _, _, *row in rows)

    def page(self, selection: Selection, after: Position, count: int) -> list[tuple[Position, Entry]]:
        """At most so many of the jobs that are asked for, the oldest first: those that follow this position."""
        rows = self._select(selection, after, "ASC", count)
        return [(Position(number, row), Entry(*entry)) for number, row, *entry in rows]

    def start(self, selection: Selection, last: int | None = None) -> Position:
        """After which position the jobs that are asked for begin, or the last so many of them."""
        start = BEGINNING
        if selection.since is not None:
            row = self._database.execute(
                "SELECT number, jobs.rowid - 1 FROM sessions JOIN jobs USING (session_id)"
                " WHERE number = (SELECT min(number) FROM sessions WHERE accepted >= ?) AND job = 1",
                (selection.since,),
            ).fetchone()
            start = Position(*row) if row else Position(self.newest() + 1, 0)
        if last is None:
            return start
        one_more = self._select(selection, start, "DESC", 1, last).fetchone()
        return Position(*one_more[:2]) if one_more else start

    def _select(
        self, selection: Selection, after: Position, direction: str, count: int, offset: int = 0
    ) -> sqlite3.Cursor:
        """Number, row and fields of jobs. The tables are joined in an order in which nothing has to be sorted."""
        conditions: list[str] = ["number >= ?", "jobs.rowid > ?"]
        values: list[object] = [*after]
        for condition, value in (
            ("session_id = ?", selection.session_id or None),
            ("job = ?", selection.job or None),
            ("user = ?", selection.user or None),
            (_condition_on(selection.state), selection.state or None),
            ("accepted >= ?", selection.since),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        is_all_of_few = selection.session_id or (selection.user and selection.state in (OK, SKIPPED))
        if selection.state and not is_all_of_few:
            tables, order = "jobs CROSS JOIN sessions", f"jobs.rowid {direction}"
        else:
            tables, order = "sessions CROSS JOIN jobs", f"number {direction}, job {direction}"
        return self._database.execute(
            "SELECT number, jobs.rowid, session_id, job, user, kind, title, state, accepted, started, ended, seconds,"
            f" exit_status, signal, message, key, over FROM"
            f" {tables} USING (session_id) WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT ? OFFSET ?",
            (*values, count, offset),
        )

    def unfinished_jobs(self, selection: Selection) -> dict[tuple[str, int], str]:
        """The states of the jobs that wait or run, by session and job, the oldest first. The state that is asked for
        does not matter."""
        rows = self._database.execute(
            "SELECT session_id, job, state FROM jobs CROSS JOIN sessions USING (session_id)"
            f" WHERE {_NOT_OK} AND state IN (?, ?)"
            " AND ? IN ('', session_id) AND ? IN ('', user) AND (? IS NULL OR accepted >= ?) ORDER BY jobs.rowid",
            (QUEUED, RUNNING, selection.session_id, selection.user, selection.since, selection.since),
        )
        return {(session_id, job): state for session_id, job, state in rows}

    def newest(self) -> int:
        """The number of the session that was accepted last; 0 if there is none."""
        (number,) = self._database.execute("SELECT coalesce(max(number), 0) FROM sessions").fetchone()
        return int(number)

    def version(self) -> int:
        """Another number whenever another process has written something. To ask costs next to nothing."""
        (version,) = self._database.execute("PRAGMA data_version").fetchone()
        return int(version)

    def counts(self, since: float) -> Counts:
        """How much waits and runs, and how much is known since this time not to have ended well."""

        def number_of(state: str, condition: str = "1", *values: float) -> int:
            query = f"SELECT count(*) FROM jobs JOIN sessions USING (session_id) WHERE {_NOT_OK} AND state = ?"
            (number,) = self._database.execute(f"{query} AND {condition}", (state, *values)).fetchone()
            return int(number)

        # A session is over when its failure is recorded, which for an end that nobody saw is the one known time.
        failed = sum(number_of(state, "over >= ?", since) for state in (FAILED, INTERRUPTED))
        (oldest,) = self._database.execute(
            f"SELECT min(accepted) FROM jobs JOIN sessions USING (session_id) WHERE {_NOT_OK} AND state = ?"
            " AND job = 1",
            (QUEUED,),
        ).fetchone()
        return Counts(number_of(QUEUED), number_of(RUNNING), failed, oldest)

    # Cancelling

    def request_cancellation(self, cancellation: Cancellation) -> None:
        self._database.execute("INSERT OR REPLACE INTO cancellations VALUES (?, ?, ?)", cancellation)

    def cancellations(self) -> list[Cancellation]:
        """What has been requested and not been seen to."""
        return [Cancellation(*row) for row in self._database.execute("SELECT * FROM cancellations")]

    def drop_cancellation(self, session_id: str, job: int) -> None:
        """It has been seen to."""
        self._database.execute("DELETE FROM cancellations WHERE session_id = ? AND job = ?", (session_id, job))

    # Retention, and what a server leaves to the next one

    def prune(self, before: float, count: int) -> list[str]:
        """Removes at most so many of the sessions that were over before this time (seconds since the epoch). Returns
        their names."""
        rows = self._database.execute(
            "SELECT session_id FROM sessions WHERE over < ? ORDER BY over LIMIT ?", (before, count)
        ).fetchall()
        for table in ("jobs", "sessions", "cancellations"):
            self._database.executemany(f"DELETE FROM {table} WHERE session_id = ?", rows)
        return [session_id for (session_id,) in rows]

    def last_acceptance(self) -> float | None:
        """When the newest session was accepted, in seconds since the epoch."""
        row = self._database.execute("SELECT accepted FROM sessions ORDER BY number DESC LIMIT 1").fetchone()
        return None if row is None else float(row[0])

    def has_session(self, session_id: str) -> bool:
        return (
            self._database.execute("SELECT 1 FROM sessions WHERE session_id = ?", (session_id,)).fetchone() is not None
        )

    @property
    def name(self) -> str:
        """What no other journal is called but a copy of this one."""
        return self.fact(_NAME) or ""

    def fact(self, name: str) -> str | None:
        """What an earlier server has left under this name."""
        row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_fact(self, name: str, value: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def _has_job(self, session_id: str, job: int) -> bool:
        found = self._database.execute("SELECT 1 FROM jobs WHERE session_id = ? AND job = ?", (session_id, job))
        return found.fetchone() is not None

    def _refuse(self, session_id: str, job: int, reason: str) -> JobEnd:
        """The job has failed without a start, and so the session is over."""
        self._database.execute(
            "UPDATE jobs SET state = ?, message = ?, started = NULL WHERE session_id = ? AND job = ?",
            (FAILED, reason, session_id, job),
        )
        self._end_session(session_id)
        return JobEnd(FAILED, reason)

    def _end_session(self, session_id: str) -> None:
        """What waits is skipped, and the session is over."""
        self._database.execute(
            "UPDATE jobs SET state = ? WHERE session_id = ? AND state = ?", (SKIPPED, session_id, QUEUED)
        )
        # A clock that was late for a while must not make it look old: the calendar is never ahead of the true time.
        self._database.execute(
            "UPDATE sessions SET over = max(?, coalesce((SELECT CAST(value AS REAL) FROM facts WHERE name = ?), 0))"
            " WHERE session_id = ?",
            (time.time(), CALENDAR, session_id),
        )


def _condition_on(state: str) -> str:
    return "state = ?" if state in (OK, SKIPPED) else f"{_NOT_OK} AND state = ?"


def digest_of(jobs: tuple[Job, ...]) -> bytes:
    """What is the same for the same jobs in the same order, and for no others."""
    digest = hashlib.sha256()
    for job in jobs:
        text = job.text.encode("utf-8")
        digest.update(f"{job.kind} {len(text)} ".encode("ascii") + text)
    return digest.digest()
