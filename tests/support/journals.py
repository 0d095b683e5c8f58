"""Journals that tests write themselves, without a server."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

from headless.dialects.vocabulary import OK, STDERR, STDOUT, Job
from headless.server.home import Home
from headless.server.journal import JobEnd, JobStart, Journal
from headless.server.session import NewSession


class Record(Journal):
    """A journal in which every account may run everything. A test may also change it as no server does."""

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self._database.execute(statement, values)

    def make_older(self, what: str, seconds: float, session: str = "") -> None:
        """Moves a time of all sessions, or of this one: `accepted`, `over`, or `started` and `ended` of the jobs."""
        table = "jobs" if what in ("started", "ended") else "sessions"
        self.execute(f"UPDATE {table} SET {what} = {what} - ? WHERE ? IN ('', session_id)", seconds, session)

    def begin(self, session: str, job: int = 1, start: JobStart | None = None) -> JobEnd | None:
        return super().begin(session, job, start or JobStart(lambda *_: "", set()))

    def finish(self, session: str, job: int, end: JobEnd, next_start: JobStart | None = None) -> JobEnd | None:
        return super().finish(session, job, end, next_start or JobStart(lambda *_: "", set()))


def new_session(session: str, user: str = "R41", jobs: int = 1, kind: str = "py_code", text: str = "1") -> NewSession:
    return NewSession(session, 1, user, (Job(kind, text),) * jobs)


def end(state: str, message: str = "", seconds: float = 0.0) -> JobEnd:
    """Returns the end of a job just now."""
    return JobEnd(state, message, time.time(), seconds, 0 if state == OK else 1)


def write(home: Home, session: str, job: int, stream: str, output: bytes) -> None:
    """Appends to the output of a job."""
    path = home.output(session, job, stream)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        file.write(output)


def silent(home: Home, session: str, jobs: int = 1) -> None:
    """Makes the output of jobs that have printed nothing."""
    for job in range(1, jobs + 1):
        for stream in (STDOUT, STDERR):
            write(home, session, job, stream, b"")


def running(record: Record, session: str = "s", user: str = "R41", jobs: int = 1) -> None:
    """Adds a session whose first job runs."""
    record.accept(new_session(session, user, jobs))
    record.begin(session)


def over(record: Record, session: str, state: str = OK, user: str = "R41", jobs: int = 1) -> None:
    """Adds a session whose jobs have all ended, the last one in this state."""
    running(record, session, user, jobs)
    for job in range(1, jobs):
        record.finish(session, job, end(OK))
    record.finish(session, jobs, end(state))


PER_SESSION = 4
FIRST = 1_700_000_000  # when the first session of many was accepted; the others follow a second after each other


def fill(home: Home, jobs: int) -> None:
    """Adds jobs of fifty users. The last job of every hundredth session has failed, and the last session waits."""
    with closing(home.database()) as database, database:
        database.execute(
            "INSERT INTO sessions (session_id, account, user, job_count, at_hand, accepted, over, digest)"
            " WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?)"
            " SELECT printf('%016x', (n * 40503) % 65536 * 4294967296 + n), n % 50 + 1,"
            " 'R' || (n % 50), ?, ?, ? + n, ? + n, x'00' FROM n",
            (jobs // PER_SESSION, PER_SESSION, PER_SESSION, FIRST, FIRST + 10),
        )
        database.execute(
            "INSERT INTO jobs (session_id, job, kind, text, title, state, started, ended)"
            " WITH RECURSIVE j (job) AS (SELECT 1 UNION ALL SELECT job + 1 FROM j WHERE job < ?)"
            " SELECT session_id, job, 'module', '009ABC', '009ABC', iif(number % 100 = 0 AND job = 4, 'failed', 'ok'),"
            " accepted, accepted + 1 FROM sessions CROSS JOIN j ORDER BY number, job",
            (PER_SESSION,),
        )
        database.execute("UPDATE sessions SET over = NULL, at_hand = 1 WHERE number = ?", (jobs // PER_SESSION,))
        database.execute("UPDATE jobs SET state = 'queued', started = NULL, ended = NULL WHERE rowid > ?", (jobs - 4,))
