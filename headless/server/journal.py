"""The journal: which batches were accepted, and what became of their jobs. Its tables and its queries.

A batch has not started, or one of its jobs is running, or it is over. There is no moment between two jobs, so that
after a crash it is always clear what may still run. Who writes here is in batch_queue.py and retention.py, and how the
journal is shown in listing.py. What jobs print is not in the database: home.py says where it is.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from typing import NamedTuple

from headless.protocol.vocabulary import OK, SKIPPED, Job

# States of a job, besides OK, FAILED and SKIPPED.
QUEUED = "queued"
RUNNING = "running"
INTERRUPTED = "interrupted"

REASON_OF_CRASH = "the server stopped while the job was running"

SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS batches (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        session TEXT NOT NULL UNIQUE,
        user TEXT NOT NULL,
        accepted REAL NOT NULL
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS jobs (
        session TEXT NOT NULL REFERENCES batches (session),
        job INTEGER NOT NULL,
        kind TEXT NOT NULL,
        text TEXT NOT NULL,
        state TEXT NOT NULL,
        started REAL,
        ended REAL,
        message TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (session, job)
    )
    """,
)


class Entry(NamedTuple):
    """One job of the journal. Times are seconds since the epoch, None for what has not happened."""

    session: str
    job: int
    user: str
    kind: str
    state: str
    accepted: float
    started: float | None
    ended: float | None
    message: str


class AcceptedBatch(NamedTuple):
    """The jobs that one session has submitted, in the order in which they run."""

    session: str
    user: str
    jobs: tuple[Job, ...]


class Journal:
    """The journal of one database. A method that changes something is one transaction, which is on disk when the method
    returns. Every method may raise sqlite3.Error. The first job of a batch has the number 1."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def accept(self, batch: AcceptedBatch) -> None:
        """Records the batch as queued."""
        with self._database:
            self._database.execute(
                "INSERT INTO batches (session, user, accepted) VALUES (?, ?, ?)",
                (batch.session, batch.user, time.time()),
            )
            self._database.executemany(
                "INSERT INTO jobs (session, job, kind, text, state) VALUES (?, ?, ?, ?, ?)",
                [(batch.session, number, job.kind, job.text, QUEUED) for number, job in enumerate(batch.jobs, 1)],
            )

    def begin(self, session: str) -> None:
        """The first job runs."""
        with self._database:
            self._run(session, 1)

    def finish(self, session: str, job: int, state: str, message: str) -> None:
        """The running job has ended: OK, FAILED or INTERRUPTED. Only after OK the next one runs."""
        with self._database:
            self._database.execute(
                "UPDATE jobs SET state = ?, message = ?, ended = ? WHERE session = ? AND job = ?",
                (state, message, time.time(), session, job),
            )
            if state == OK:
                self._run(session, job + 1)
            else:
                self._skip_after(session, job)

    def interrupt_running(self) -> list[tuple[str, int]]:
        """After a crash: what was running is interrupted. Returns session and job of each."""
        running = self._database.execute("SELECT session, job FROM jobs WHERE state = ?", (RUNNING,)).fetchall()
        for session, job in running:
            self.finish(session, job, INTERRUPTED, REASON_OF_CRASH)
        return running

    def queued(self) -> list[AcceptedBatch]:
        """The batches that have not started, in their order."""
        rows = self._database.execute(
            "SELECT session, user, kind, text FROM jobs JOIN batches USING (session) WHERE state = ?"
            " ORDER BY number, job",
            (QUEUED,),
        )
        return _batches(rows)

    def prune(self, before: float) -> list[str]:
        """Removes the sessions that were over before this time (seconds since the epoch). Returns their names."""
        with self._database:
            rows = self._database.execute(
                "SELECT session FROM jobs GROUP BY session"
                " HAVING max(state IN (?, ?)) = 0 AND max(coalesce(ended, 0)) < ?",
                (QUEUED, RUNNING, before),
            ).fetchall()
            self._database.executemany("DELETE FROM jobs WHERE session = ?", rows)
            self._database.executemany("DELETE FROM batches WHERE session = ?", rows)
        return [session for (session,) in rows]

    def sessions(self) -> set[str]:
        """The names of all sessions in the journal."""
        return {session for (session,) in self._database.execute("SELECT session FROM batches")}

    def entries(self, session: str | None = None) -> Iterable[Entry]:
        """The jobs of one session, or all of them, the newest last."""
        return (
            Entry(*row)
            for row in self._database.execute(
                "SELECT session, job, user, kind, state, accepted, started, ended, message FROM jobs"
                " JOIN batches USING (session) WHERE session = coalesce(?, session) ORDER BY number, job",
                (session,),
            )
        )

    def _run(self, session: str, job: int) -> None:
        self._database.execute(
            "UPDATE jobs SET state = ?, started = ? WHERE session = ? AND job = ?", (RUNNING, time.time(), session, job)
        )

    def _skip_after(self, session: str, job: int) -> None:
        self._database.execute(
            "UPDATE jobs SET state = ?, ended = ? WHERE session = ? AND job > ?", (SKIPPED, time.time(), session, job)
        )


def _batches(rows: Iterable[tuple[str, str, str, str]]) -> list[AcceptedBatch]:
    jobs: dict[tuple[str, str], list[Job]] = {}
    for session, user, kind, text in rows:
        jobs.setdefault((session, user), []).append(Job(kind, text))
    return [AcceptedBatch(session, user, tuple(batch)) for (session, user), batch in jobs.items()]
