"""The journal: which sessions were accepted, and how their jobs ended. Its tables and its queries.

A session has not started, or one of its jobs is running, or it is over. There is no moment between two jobs, so that
after a crash it is always clear what may still run.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from headless.dialects.vocabulary import FAILED, JOBS, OK, PY_CODE, QUEUED, RUNNING, SKIPPED, Job, title_of
from headless.errors import HeadlessError, Refusal
from headless.server.history import History
from headless.server.session import NewSession, Session

# States of a job, besides those that the protocol has a word for.
INTERRUPTED = "interrupted"
CANCELLED = "cancelled"
STATES = (QUEUED, RUNNING, OK, FAILED, SKIPPED, INTERRUPTED, CANCELLED)

CALENDAR = "calendar"  # the fact that says how late it is at least, in seconds since the epoch

# A session belongs to the number of an account; the name is for people. A key is the client's: the same one from the
# same account is the same session. A digest is of the jobs. The job at hand is the first one that has not ended well,
# or the last one.
SCHEMA = (
    """
    CREATE TABLE sessions (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        session_id TEXT NOT NULL UNIQUE,
        account INTEGER NOT NULL,
        user TEXT NOT NULL,
        job_count INTEGER NOT NULL,
        at_hand INTEGER NOT NULL DEFAULT 1,
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

# The fields of Session, and where they are.
_SESSION = (
    "sessions.session_id, account, user, job_count, job, state, message, started, accepted, number, title "
    "FROM sessions JOIN jobs ON jobs.session_id = sessions.session_id AND job = at_hand"
)
# The fields of JobView, and where they are.
_VIEW = (
    "number, jobs.rowid, session_id, job, user, kind, title, state, accepted, started, ended, seconds, exit_status, "
    "signal, message, key, over, host"
)


class JobTaken(HeadlessError):
    """Is raised if another server of the same home has begun or ended this job. Nothing has been written."""


class JobEnd(NamedTuple):
    """Says how a job ended: its state, and why. Times are None where they are not known.

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
    """Decides whether a job starts.

    refuse   returns why the account with this number may not run this job, "" if it may
    own      the times that were written when this start was tried before, in seconds since the epoch
    """

    refuse: Callable[[int, Job], str]
    own: set[float]


class Position(NamedTuple):
    """Says where a job is in the journal: number of its session, and its row among the jobs. Both grow with time."""

    number: int
    row: int


BEGINNING = Position(0, 0)


class JobView(NamedTuple):
    """Shows one job to people. Times are seconds since the epoch, None for what has not happened, or is not known.
    `over` is when the end of its session was recorded, `host` the address of the client, "" if it is not known, and
    `pid` the number of its process as long as that is seen to run."""

    position: Position
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
    host: str
    pid: int | None = None


class Selection(NamedTuple):
    """Says which jobs are asked for; "", None and 0 are all. `since` is the time of acceptance, in seconds since the
    epoch."""

    session_id: str = ""
    user: str = ""
    state: str = ""
    since: float | None = None
    job: int = 0


class Cancellation(NamedTuple):
    """Requests the end of this job, or with 0 of every job of this session."""

    session_id: str
    job: int
    requester: str


def initialize(database: sqlite3.Connection) -> None:
    """Gives a journal without a name one."""
    database.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (_NAME, os.urandom(16).hex()))


class Journal(History):
    """Is the journal of one database. No method begins or ends a transaction. Every one may raise sqlite3.Error. The
    first job of a session has the number 1."""

    # What happens to a session

    def accept(self, new: NewSession) -> None:
        """Records the session as queued."""
        self._database.execute(
            "INSERT INTO sessions (session_id, account, user, job_count, accepted, key, digest, host)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (new.id, new.account, new.user, len(new.jobs), time.time(), new.key, new.digest(), new.host),
        )
        self._database.executemany(
            "INSERT INTO jobs (session_id, job, kind, text, title, state) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (new.id, number, job.kind, job.text, title_of(job.kind, job.text), QUEUED)
                for number, job in enumerate(new.jobs, 1)
            ],
        )

    def withdraw(self, session_id: str) -> None:
        """Forgets a session whose acceptance was not reported."""
        for table in ("jobs", "sessions"):
            self._database.execute(f"DELETE FROM {table} WHERE session_id = ?", (session_id,))

    def begin(self, session_id: str, job: int, start: JobStart) -> JobEnd | None:
        """Records that the job runs. If its account may not run it, it has failed: this end is returned, and the
        session is over. Raises JobTaken."""
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
        """Records that the job has ended. Only after OK the next one runs. If its account may not run that, this is the
        end of the next one, and returned. Raises JobTaken."""
        changed = self._database.execute(
            "UPDATE jobs SET state = ?, message = ?, ended = ?, seconds = ?, exit_status = ?, signal = ?"
            " WHERE session_id = ? AND job = ? AND state IN (?, ?, ?)",
            (*end, session_id, job, QUEUED, RUNNING, end.state),
        )
        if not changed.rowcount:
            raise JobTaken
        if end.state == OK and self._move_on(session_id, job + 1):
            return self.begin(session_id, job + 1, next_start)
        self._end_session(session_id)
        return None

    def requeue(self, session_id: str, job: int, started: float | None) -> None:
        """Lets the job wait that began at this time and has not started, unless another server has begun it since."""
        self._database.execute(
            "UPDATE jobs SET state = ?, started = NULL WHERE session_id = ? AND job = ? AND state = ? AND started = ?",
            (QUEUED, session_id, job, RUNNING, started),
        )

    # What a server asks for

    def unfinished(self) -> list[Session]:
        """Returns the sessions that are not over, in their order."""
        return self._sessions("WHERE over IS NULL ORDER BY number")

    def session(self, session_id: str) -> Session | None:
        return next(iter(self._sessions("WHERE sessions.session_id = ?", session_id)), None)

    def sessions_of(self, account: int, count: int, after: int, most: int) -> list[Session]:
        """Returns the account's sessions, the oldest first: those that are not over, and the last so many of the
        others. Of these it returns those with a number behind `after`, at most `most`."""
        return self._sessions(
            "WHERE number > ? AND number IN ("
            " SELECT number FROM sessions WHERE account = ? AND over IS NULL"
            " UNION SELECT * FROM ("
            "  SELECT number FROM sessions WHERE account = ? AND over IS NOT NULL ORDER BY number DESC LIMIT ?"
            " )) ORDER BY number LIMIT ?",
            *(after, account, account, count, most),
        )

    def of_key(self, new: NewSession) -> str | None:
        """Returns the session that was submitted with this key before. Raises Refusal if it has other jobs."""
        row = self._database.execute(
            "SELECT session_id, digest FROM sessions WHERE account = ? AND key = ?", (new.account, new.key)
        ).fetchone()
        if row is not None and row[1] != new.digest():
            raise Refusal(JOBS, "the key of these jobs belongs to other jobs")
        return None if row is None else str(row[0])

    def unfinished_like(self, new: NewSession) -> str | None:
        """Returns a session of the same account that has the same jobs and is not over."""
        session_id: str | None = self._value(
            "SELECT session_id FROM sessions WHERE over IS NULL AND account = ? AND digest = ? ORDER BY number LIMIT 1",
            *(new.account, new.digest()),
        )
        return session_id

    def job(self, session_id: str, job: int) -> Job:
        row = self._database.execute("SELECT kind, text FROM jobs WHERE session_id = ? AND job = ?", (session_id, job))
        return Job(*row.fetchone())

    def has_session(self, session_id: str) -> bool:
        return self._value("SELECT 1 FROM sessions WHERE session_id = ?", session_id) is not None

    def unknown_sessions(self, sessions: Iterable[str]) -> list[str]:
        """Returns those that are not in the journal."""
        return [each for each in sessions if not self.has_session(each)]

    # What people ask for

    def page(self, selection: Selection, after: Position = BEGINNING, count: int = -1) -> list[JobView]:
        """Returns at most so many of the jobs that are asked for, the oldest first: those that follow this position.
        With -1 it returns all."""
        return self._select(selection, after, "ASC", count)

    def start(self, selection: Selection, last: int | None = None) -> Position:
        """Returns after which position the jobs that are asked for begin, or the last so many of them."""
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
        return next((before.position for before in self._select(selection, start, "DESC", 1, last)), start)

    def _select(
        self, selection: Selection, after: Position, direction: str, count: int, offset: int = 0
    ) -> list[JobView]:
        """Joins the tables in an order in which nothing has to be sorted."""
        conditions: list[str] = ["number >= ?", "jobs.rowid > ?"]
        values: list[object] = [*after]
        for condition, value in (
            ("session_id = ?", selection.session_id or None),
            ("job = ?", selection.job or None),
            ("user = ?", selection.user or None),
            ("state = ?" if selection.state in (OK, SKIPPED) else f"{_NOT_OK} AND state = ?", selection.state or None),
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
        rows = self._database.execute(
            f"SELECT {_VIEW} FROM {tables} USING (session_id) WHERE {' AND '.join(conditions)}"
            f" ORDER BY {order} LIMIT ? OFFSET ?",
            (*values, count, offset),
        )
        return [JobView(Position(number, row), *fields) for number, row, *fields in rows]

    def unfinished_jobs(self, selection: Selection) -> dict[tuple[str, int], str]:
        """Returns the states of the jobs that wait or run, by session and job, the oldest first. The state that is
        asked for does not matter."""
        rows = self._database.execute(
            "SELECT session_id, job, state FROM jobs CROSS JOIN sessions USING (session_id)"
            f" WHERE {_NOT_OK} AND state IN (?, ?)"
            " AND ? IN ('', session_id) AND ? IN ('', user) AND (? IS NULL OR accepted >= ?) ORDER BY jobs.rowid",
            (QUEUED, RUNNING, selection.session_id, selection.user, selection.since, selection.since),
        )
        return {(session_id, job): state for session_id, job, state in rows}

    def unfinished_count(self, account: int) -> int:
        """Returns how many sessions of this account are not over."""
        return int(self._value("SELECT count(*) FROM sessions WHERE over IS NULL AND account = ?", account))

    def newest(self) -> int:
        """Returns the number of the session that was accepted last; 0 if there is none."""
        return int(self._value("SELECT coalesce(max(number), 0) FROM sessions"))

    def version(self) -> int:
        """Returns another number whenever another process has written something. That costs next to nothing."""
        return int(self._value("PRAGMA data_version"))

    def counts(self, since: float) -> tuple[int, int, float | None]:
        """Returns how many jobs wait, how many are known since this time not to have ended well, and when the oldest
        session that waits was accepted. Times are seconds since the epoch."""
        jobs = f"FROM jobs JOIN sessions USING (session_id) WHERE {_NOT_OK} AND state = ?"
        # A session is over when its failure is recorded. Of a job whose end was not seen, this is the one known time.
        failed = [self._value(f"SELECT count(*) {jobs} AND over >= ?", each, since) for each in (FAILED, INTERRUPTED)]
        queued = self._value(f"SELECT count(*) {jobs}", QUEUED)
        return queued, sum(failed), self._value(f"SELECT min(accepted) {jobs} AND job = 1", QUEUED)

    # Cancelling

    def request_cancellation(self, cancellation: Cancellation) -> None:
        self._database.execute("INSERT OR REPLACE INTO cancellations VALUES (?, ?, ?)", cancellation)

    def cancellations(self) -> list[Cancellation]:
        """Returns the requests that are not done with."""
        return [Cancellation(*row) for row in self._database.execute("SELECT * FROM cancellations")]

    def drop_cancellation(self, session_id: str, job: int) -> None:
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
        """Returns when the newest session was accepted, in seconds since the epoch."""
        accepted: float | None = self._value("SELECT accepted FROM sessions ORDER BY number DESC LIMIT 1")
        return accepted

    @property
    def name(self) -> str:
        """Returns a name that no other journal has but a copy of this one."""
        return self.fact(_NAME) or ""

    def fact(self, name: str) -> str | None:
        """Returns what an earlier server has left under this name."""
        value: str | None = self._value("SELECT value FROM facts WHERE name = ?", name)
        return value

    def set_fact(self, name: str, value: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def _sessions(self, condition: str, *values: object) -> list[Session]:
        return [Session(*row) for row in self._database.execute(f"SELECT {_SESSION} {condition}", values)]

    def _move_on(self, session_id: str, job: int) -> bool:
        """Returns whether there is such a job, which is the one at hand from now on."""
        moved = self._database.execute(
            "UPDATE sessions SET at_hand = ? WHERE session_id = ? AND job_count >= ?", (job, session_id, job)
        )
        return bool(moved.rowcount)

    def _refuse(self, session_id: str, job: int, reason: str) -> JobEnd:
        """Records that the job has failed without a start, and so that the session is over."""
        self._database.execute(
            "UPDATE jobs SET state = ?, message = ?, started = NULL WHERE session_id = ? AND job = ?",
            (FAILED, reason, session_id, job),
        )
        self._end_session(session_id)
        return JobEnd(FAILED, reason)

    def _end_session(self, session_id: str) -> None:
        """Records that the session is over, and that what waits is skipped."""
        self._database.execute(
            "UPDATE jobs SET state = ? WHERE session_id = ? AND state = ?", (SKIPPED, session_id, QUEUED)
        )
        # A clock that was late for a while must not make it look old: the calendar is never ahead of the true time.
        self._database.execute(
            "UPDATE sessions SET over = max(?, coalesce((SELECT CAST(value AS REAL) FROM facts WHERE name = ?), 0))"
            " WHERE session_id = ?",
            (time.time(), CALENDAR, session_id),
        )
