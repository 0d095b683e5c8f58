"""The store: all that the event loop knows of journal and accounts, and the only way to them.

Here is when something is written and read, in which thread, and what happens while that fails. What is written and
read is in journal.py and accounts.py. Another kind of store needs the methods of `Store`, and nothing else of a server
changes; only what shows a journal, the commands, reads the database itself.

One thread writes. It takes what has come meanwhile and writes it in one transaction, so that many sessions share one
wait for the disk. A transaction that fails is tried again until it succeeds: what has happened to a job stays true,
and nobody is told of it before it is on disk. Only a new session has a time limit, after which it is refused.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from headless.dialects.own import scram
from headless.dialects.vocabulary import Job
from headless.errors import Busy, HomeReplaced
from headless.server.accounts import Account, Accounts
from headless.server.journal import (
    AcceptedSession,
    Cancellation,
    JobEnd,
    JobStart,
    Journal,
    KnownSession,
    SessionEntry,
    SubmittedSession,
    digest_of,
)
from headless.server.threads import Threads

log = logging.getLogger(__name__)

_ACCEPT_SECONDS = 10.0  # a new session has to be written; the client gives up after thirty
_READ_SECONDS = 5.0
_READS_MAX = 5000  # that may wait
_CLOSE_SECONDS = 0.5  # for a read that is not over when a server stops
_LAST_WRITE_SECONDS = 1.0  # for a write that is under way when all the others are given up
_WRITES_AT_ONCE = 500  # that share a transaction
_FIRST_PAUSE, _PAUSE_MAX = 0.05, 1.0  # seconds between attempts
_POLL_SECONDS = 0.01
_LOG_AGAIN_SECONDS = 60.0
# Errors of one statement, which trying again does not mend, and which others in the transaction do not share.
_ERRORS_OF_ONE = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.InterfaceError)

_T = TypeVar("_T")


class StoreUnavailable(Busy):
    """Nothing has been written or read, and nothing will be."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"the journal cannot be used: {cause}")


class AccountChanged(Busy):
    """Nothing has been written or read. The next login gets what the account is now."""

    def __init__(self) -> None:
        super().__init__("the account has been changed or removed since the login")


class PathNeeded(Exception):
    """Whether the account may run this job depends on the path of its file: nothing has been written."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.job = job


class KeyTaken(Exception):
    """The key of a session belongs to one with other jobs: nothing has been written."""


class SameJobs(Exception):
    """The account may not have the same jobs twice at a time: nothing has been written. The text is the session that
    has them."""


class StoreUncertain(Exception):
    """A change was given up, but may have reached the disk. A session will be withdrawn as soon as that is possible;
    until then nobody can say whether it runs."""


class Store:
    """Journal and accounts of one server. `open_database` opens another connection to its database. In the thread that
    writes, `make_room` is called when the disk is full, and `check` before and after each transaction: it raises
    HomeReplaced if the database is not the one that others find. Then nothing is written any more."""

    def __init__(
        self,
        open_database: Callable[[], sqlite3.Connection],
        make_room: Callable[[], None],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        writing = open_database()
        self._writing_accounts = Accounts(writing)  # for what the writer does
        self._writer = _Writer(writing, make_room, check)
        self._reading, self._listing = open_database(), open_database()
        for database in (self._reading, self._listing):
            database.execute("PRAGMA query_only = ON")
        self._readers = Threads("reading the journal", 1, _READS_MAX)
        self._listers = Threads("listing sessions", 1, _READS_MAX)  # which takes longer, and no login waits for it
        self._journal = Journal(self._reading)
        self._lists = Journal(self._listing)
        self._accounts = Accounts(self._reading)
        self.journal_name = self._journal.name

    async def settle(self, timeout: float, force_stop: asyncio.Event) -> None:
        """Writes what waits to be written, and reports it, but no longer than `timeout` seconds, or until `force_stop`
        is set. Nothing is written for what is asked later."""
        await self._writer.settle(timeout, force_stop)

    def close(self, timeout: float) -> None:
        """Writes what waits to be written, but no longer than `timeout` seconds. It does not hang."""
        self._writer.close(timeout)
        self._readers.end(self._reading.close, _CLOSE_SECONDS)
        self._listers.end(self._listing.close, _CLOSE_SECONDS)

    # What happens to sessions. All of it is on disk when the method returns.

    async def accept(self, account: Account, session: SubmittedSession) -> str:
        """The session of the session: an earlier one, if it has the same key. Raises AccountChanged if that is not the
        account any more, KeyTaken, SameJobs, StoreUnavailable, StoreUncertain, or sqlite3.Error for what can never be
        written."""
        digest = digest_of(session.jobs)

        def accept(journal: Journal) -> str:
            _check(self._writing_accounts, account)
            known = journal.of_key(account.number, session.key) if session.key else None
            if known is not None:
                return _session_of(known, digest)
            twin = journal.unfinished_like(account.number, digest) if account.limits.one_at_a_time else None
            if twin is not None:
                raise SameJobs(twin)
            journal.accept(session)
            return session.session_id

        def withdraw(journal: Journal) -> None:
            journal.withdraw(session.session_id)

        return await self._writer.write(accept, _ACCEPT_SECONDS, withdraw)

    async def begin(
        self, session_id: str, job: int, path: str | None = None, lost_start: float | None = None
    ) -> JobEnd | None:
        """The job runs. If its account may not run it, or has been removed, it has failed: this end is returned, and
        the session is over.

        `path` is as in Account.refuses, None if it was not looked for. `lost_start` is when the journal says that an
        earlier server has begun the job, which had not started. Raises PathNeeded, JobTaken.
        """
        start = JobStart(lambda number, job: self._refusal(number, job, path), {lost_start} if lost_start else set())
        return await self._writer.write(lambda journal: journal.begin(session_id, job, start))

    async def finish(self, session_id: str, job: int, end: JobEnd, path: str | None = None) -> JobEnd | None:
        """The job has ended, and after OK the next one runs, or its end is returned as by `begin`. `path` is that of
        the next one. Raises PathNeeded, JobTaken."""
        start = JobStart(lambda number, job: self._refusal(number, job, path), set())
        return await self._writer.write(lambda journal: journal.finish(session_id, job, end, start))

    async def request_cancellation(self, request: Cancellation) -> None:
        """Raises StoreUnavailable, StoreUncertain."""
        await self._writer.write(lambda journal: journal.request_cancellation(request), _ACCEPT_SECONDS)

    async def drop_cancellation(self, request: Cancellation) -> None:
        await self._writer.write(lambda journal: journal.drop_cancellation(request.session_id, request.job))

    async def prune(self, before: float, count: int) -> list[str]:
        """Removes so many of the sessions that were over before this time. Returns their names."""
        return await self._writer.write(lambda journal: journal.prune(before, count))

    async def set_fact(self, name: str, value: str) -> None:
        await self._writer.write(lambda journal: journal.set_fact(name, value))

    # What is read. Each may raise StoreUnavailable.

    async def unfinished(self) -> list[AcceptedSession]:
        return await self._read(self._journal.unfinished)

    async def check(self, account: Account) -> None:
        """Raises AccountChanged."""
        await self._read(_check, self._accounts, account)

    async def of_key(self, account: Account, key: str, jobs: tuple[Job, ...]) -> str | None:
        """The session of the session that has this key. Raises KeyTaken if it has other jobs, AccountChanged."""
        await self.check(account)
        known = await self._read(self._journal.of_key, account.number, key)
        return None if known is None else _session_of(known, digest_of(jobs))

    async def known(self, session_id: str) -> KnownSession | None:
        return await self._read(self._journal.known, session_id)

    async def sessions_of(self, account: Account, count: int, after: int, most: int) -> list[SessionEntry]:
        """The account's sessions that are not over, and the last so many of the others; at most `most` of those with a
        number behind `after`. Raises AccountChanged."""
        await self.check(account)
        return await self._read(self._lists.sessions_of, account.number, count, after, most, threads=self._listers)

    async def job(self, session_id: str, job: int) -> Job:
        return await self._read(self._journal.job, session_id, job)

    async def cancellations(self) -> list[Cancellation]:
        return await self._read(self._journal.cancellations)

    async def unknown_sessions(self, sessions: Iterable[str]) -> list[str]:
        """Those that are not in the journal."""
        return await self._read(lambda: [each for each in sessions if not self._journal.has_session(each)])

    async def last_acceptance(self) -> float | None:
        """When the newest session was accepted, in seconds since the epoch."""
        return await self._read(self._journal.last_acceptance)

    async def fact(self, name: str) -> str | None:
        return await self._read(self._journal.fact, name)

    async def account(self, user: str) -> Account | None:
        return await self._read(self._accounts.of_user, user)

    async def accounts_of(self, os_user: str) -> list[Account]:
        """The accounts that this user of the operating system may log in to."""
        return await self._read(self._accounts.of_os_user, os_user)

    async def keys_of(self, user: str) -> scram.Keys:
        """The user's keys, or decoys."""
        return await self._read(self._accounts.keys_of, user)

    def _refusal(self, number: int, job: Job, path: str | None) -> str:
        """Why the account with this number may not run this job now. Raises PathNeeded. Runs in the thread that
        writes."""
        account = self._writing_accounts.of_number(number)
        if account is None:
            return "the account has been removed"
        if path is None and account.needs_path(job):
            raise PathNeeded(job)
        return account.refuses(job, path or "")

    async def _read(self, function: Callable[..., _T], *args: Any, threads: Threads | None = None) -> _T:
        try:
            return await (threads or self._readers).call(function, *args, timeout=_READ_SECONDS)
        except asyncio.TimeoutError:
            raise StoreUnavailable("the disk of the journal does not answer") from None
        except AccountChanged:
            raise
        except (Busy, sqlite3.Error) as error:
            raise StoreUnavailable(cause_of(error)) from None


def _check(accounts: Accounts, account: Account) -> None:
    """Raises AccountChanged if that is not the account any more."""
    if accounts.of_number(account.number) != account:
        raise AccountChanged


def _session_of(known: tuple[str, bytes], digest: bytes) -> str:
    session_id, its_digest = known
    if its_digest != digest:
        raise KeyTaken
    return session_id


class _Write:
    """One change, and who waits for it: None if nobody does."""

    def __init__(
        self,
        function: Callable[[Journal], Any],
        waiting: asyncio.Future[Any] | None = None,
        deadline: float | None = None,
        undo: Callable[[Journal], None] | None = None,
    ) -> None:
        self.function = function
        self.waiting = waiting
        self.deadline = deadline
        self.undo = undo
        self.is_uncertain = False  # whether it may have reached the disk


class _Writer:
    """The thread that writes. What it is given first is on disk first."""

    def __init__(self, database: sqlite3.Connection, make_room: Callable[[], None], check: Callable[[], None]) -> None:
        database.isolation_level = None  # transactions begin and end here
        database.execute("PRAGMA busy_timeout = 200")
        self._database = database
        self._journal = Journal(database)
        self._make_room = make_room
        self._check = check
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._is_closing = threading.Event()
        self._is_last = False  # nothing will follow what has been taken
        self._give_up_at = float("inf")
        self._failing_since = self._logged = 0.0
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    async def write(
        self,
        function: Callable[[Journal], _T],
        patience: float | None = None,
        undo: Callable[[Journal], None] | None = None,
    ) -> _T:
        """The result of the function, when what it did is on disk. `patience` is in seconds; `undo` takes back what may
        have been written when that is over. Raises StoreUnavailable, StoreUncertain, or what the function raises."""
        if self._is_closing.is_set():
            raise StoreUnavailable("the server is stopping")
        waiting: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        deadline = None if patience is None else time.monotonic() + patience
        self._writes.put(_Write(function, waiting, deadline, undo))
        return await waiting

    async def settle(self, timeout: float, force_stop: asyncio.Event) -> None:
        self._end_within(timeout)
        while self._thread.is_alive() and time.monotonic() < self._give_up_at + _LAST_WRITE_SECONDS:
            if force_stop.is_set():
                self._give_up_at = min(self._give_up_at, time.monotonic())
            await asyncio.sleep(_POLL_SECONDS)

    def close(self, timeout: float) -> None:
        self._end_within(timeout)
        self._thread.join(timeout + _LAST_WRITE_SECONDS)

    def _end_within(self, timeout: float) -> None:
        self._give_up_at = time.monotonic() + timeout
        self._is_closing.set()
        self._writes.put(None)

    def _run(self) -> None:
        while not self._is_last:
            self._commit(self._take())
        with suppress(sqlite3.Error):
            self._database.close()

    def _take(self, wait: bool = True) -> list[_Write]:
        """What has come. With `wait` it waits until something comes."""
        writes: list[_Write] = []
        with suppress(queue.Empty):
            while len(writes) < _WRITES_AT_ONCE:
                write = self._writes.get(block=wait and not writes)
                if write is None:
                    self._is_last = True
                    break
                writes.append(write)
        return writes

    def _commit(self, writes: list[_Write]) -> None:
        """Writes these, and what comes while that fails, however long it takes."""
        pause = _FIRST_PAUSE
        while writes:
            try:
                outcomes = self._transaction(writes)
            except Exception as error:  # of SQLite; or of Python, for want of memory
                self._on_failure(error)
                time.sleep(_FIRST_PAUSE if self._is_closing.wait(pause) else 0)
                pause = min(2 * pause, _PAUSE_MAX)
                if not self._is_closing.is_set():
                    writes += self._take(wait=False)
                writes = self._without_late_ones(writes, error)
            else:
                self._on_success()
                _deliver(list(zip(writes, outcomes)))
                return

    def _transaction(self, writes: list[_Write]) -> list[tuple[Any, Exception | None]]:
        """Result or error of each, if they are on disk. Raises sqlite3.Error if they are not."""
        database = self._database
        if database.in_transaction:  # it could not even be rolled back
            database.execute("ROLLBACK")
        self._check()
        database.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [self._apply(write) for write in writes]
            for write in writes:
                write.is_uncertain = True
            database.execute("COMMIT")
            self._check()  # what is committed to another file than others find is not on disk for them
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        return outcomes

    def _apply(self, write: _Write) -> tuple[Any, Exception | None]:
        """What one of them results in. An error of its own is no error of the others."""
        database = self._database
        database.execute("SAVEPOINT one")
        try:
            if write.undo and write.is_uncertain:
                write.undo(self._journal)
            result = write.function(self._journal)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and not isinstance(error, _ERRORS_OF_ONE):
                raise
            database.execute("ROLLBACK TO one")
            database.execute("RELEASE one")
            return None, error
        database.execute("RELEASE one")
        return result, None

    def _without_late_ones(self, writes: list[_Write], error: Exception) -> list[_Write]:
        """What is still to be tried. The others are told that there is no hope."""
        now = time.monotonic()
        gives_up = now >= self._give_up_at
        is_replaced = isinstance(error, HomeReplaced)  # which is in the log
        if gives_up and not is_replaced:
            log.error("%d changes could not be journaled, the next server finds out: %s", len(writes), cause_of(error))
        late, rest = list[_Write](), list[_Write]()
        for write in writes:
            is_late = write.deadline is not None and (is_replaced or now >= write.deadline)
            (late if gives_up or is_late else rest).append(write)
        _deliver([(write, (None, _refusal_of(write, error))) for write in late])
        if not gives_up:
            rest += [_Write(write.undo) for write in late if write.undo and write.is_uncertain]
        return rest

    def _on_failure(self, error: Exception) -> None:
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if isinstance(error, HomeReplaced):  # which is in the log
            return
        if not self._logged or now - self._logged >= _LOG_AGAIN_SECONDS:
            self._logged = now
            log.error("the journal cannot be written, which is tried again: %s", cause_of(error))
        if "full" in str(error):
            self._make_room()

    def _on_success(self) -> None:
        if self._failing_since:
            log.warning("the journal is written again, after %.1f s", time.monotonic() - self._failing_since)
            self._failing_since = self._logged = 0.0


def cause_of(error: Exception) -> str:
    """What is wrong with the journal, for people."""
    if isinstance(error, HomeReplaced):
        return "the home of this server was replaced"
    text = str(error)
    if "locked" in text:
        return "another process has locked the journal"
    return "the disk is full" if "full" in text else text


def _refusal_of(write: _Write, error: Exception) -> Exception:
    cause = cause_of(error)
    return StoreUncertain(cause) if write.is_uncertain else StoreUnavailable(cause)


def _deliver(outcomes: list[tuple[_Write, tuple[Any, Exception | None]]]) -> None:
    """Tells those who wait, all at once."""

    def set_results() -> None:
        for write, (result, error) in outcomes:
            if write.waiting is None or write.waiting.done():
                continue
            if error is None:
                write.waiting.set_result(result)
            else:
                write.waiting.set_exception(error)

    loop = next((write.waiting.get_loop() for write, _ in outcomes if write.waiting is not None), None)
    if loop is not None:
        with suppress(RuntimeError):  # it is closed: nobody waits any more
            loop.call_soon_threadsafe(set_results)
