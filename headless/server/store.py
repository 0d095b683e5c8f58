"""The store: journal and accounts as the event loop uses them, in threads.

One thread writes. It takes what has come meanwhile and writes it in one transaction, so that many sessions share one
wait for the disk. A transaction that fails is tried again until it succeeds: what has happened to a job stays true,
and is not reported before it is on disk. Only what a client asks for has a time limit, after which it is refused.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from headless.dialects.vocabulary import Job
from headless.errors import Busy, HeadlessError, HomeReplaced
from headless.server.accounts import Account, Accounts
from headless.server.history import RefusedLogin
from headless.server.journal import Cancellation, JobEnd, JobStart, Journal
from headless.server.session import NewSession, Session
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


class PathNeeded(HeadlessError):
    """Is raised if it depends on the path of its file whether this job may run. Nothing has been written."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.job = job


class StoreUncertain(HeadlessError):
    """Is raised if a change was given up that may have reached the disk. A session will be withdrawn as soon as that is
    possible; until then it is not known whether it runs."""


class Store:
    """Writes and reads journal and accounts of one server. `open_database` opens another connection to its database. In
    the thread that writes, `make_room` is called when the disk is full, and `check` before and after each transaction:
    it raises HomeReplaced if the database is not the one that others find. Then nothing is written any more.

    Every method raises Busy if nothing has been written or read. What a method writes is on disk when it returns.
    """

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

    # What is written

    async def accept(self, account: Account, new: NewSession) -> str:
        """Returns the ID of the session: that of an earlier one, if it has the same key. Raises Busy, also if the
        account has changed or may not have the same jobs twice at a time; Refusal if the key has other jobs;
        StoreUncertain; sqlite3.Error for what can never be written."""

        def accept(journal: Journal) -> str:
            _check(self._writing_accounts, account)
            known = journal.of_key(new) if new.key else None
            if known is not None:
                return known
            twin = journal.unfinished_like(new) if account.limits.one_at_a_time else None
            if twin is not None:
                raise Busy(f"the session {twin} of this account has the same jobs, and is not over")
            journal.accept(new)
            return new.id

        return await self._writer.write(accept, _ACCEPT_SECONDS, lambda journal: journal.withdraw(new.id))

    async def begin(self, session_id: str, job: int, path: str | None = None) -> JobEnd | None:
        """Records that the job runs. If its account may not run it, or has been removed, it has failed: this end is
        returned, and the session is over. `path` is as in Account.refuses, None if it was not looked for. Raises
        PathNeeded, JobTaken."""
        return await self.write(Journal.begin, session_id, job, self._start(path))

    async def finish(self, session_id: str, job: int, end: JobEnd, path: str | None = None) -> JobEnd | None:
        """Records that the job has ended. After OK the next one runs, or its end is returned as by `begin`. `path` is
        that of the next one. Raises PathNeeded, JobTaken."""
        return await self.write(Journal.finish, session_id, job, end, self._start(path))

    async def request_cancellation(self, request: Cancellation) -> None:
        """Raises StoreUncertain."""
        await self._writer.write(lambda journal: journal.request_cancellation(request), _ACCEPT_SECONDS)

    def recording(self, refused: list[RefusedLogin]) -> Callable[[Journal], None]:
        """Returns what records refused logins, to be given to `write` or `write_later`."""

        def record(journal: Journal) -> None:
            of_user = self._writing_accounts.of_user
            journal.add_refusals([(each, of_user(each.user) is not None) for each in refused])

        return record

    def write_later(self, change: Callable[[Journal], object]) -> None:
        """Calls this method of Journal when its turn has come, and does not wait for that."""
        self._writer.write_later(change)

    async def write(self, change: Callable[..., _T], *arguments: Any) -> _T:
        """Calls this method of Journal, and returns what it returns. Tries until that is on disk."""
        return await self._writer.write(lambda journal: change(journal, *arguments))

    # What is read

    async def read(self, query: Callable[..., _T], *arguments: Any) -> _T:
        """Calls this method of Journal, and returns what it returns."""
        return await self._read(self._readers, query, self._journal, *arguments)

    async def read_accounts(self, query: Callable[..., _T], *arguments: Any) -> _T:
        """Calls this method of Accounts, and returns what it returns."""
        return await self._read(self._readers, query, self._accounts, *arguments)

    async def check(self, account: Account) -> None:
        """Raises Busy if that is not the account any more."""
        await self.read_accounts(_check, account)

    async def sessions_of(self, account: Account, count: int, after: int, most: int) -> list[Session]:
        """Returns the account's sessions as the journal has them. Raises Busy if the account has changed."""
        await self.check(account)
        return await self._read(self._listers, Journal.sessions_of, self._lists, account.number, count, after, most)

    def _start(self, path: str | None) -> JobStart:
        def refuse(number: int, job: Job) -> str:
            """Runs in the thread that writes. Raises PathNeeded."""
            account = self._writing_accounts.of_number(number)
            if account is None:
                return "the account has been removed"
            if path is None and account.needs_path(job):
                raise PathNeeded(job)
            return account.refuses(job, path or "")

        return JobStart(refuse, set())

    async def _read(self, threads: Threads, function: Callable[..., _T], *arguments: Any) -> _T:
        try:
            return await threads.call(function, *arguments, timeout=_READ_SECONDS)
        except asyncio.TimeoutError:
            raise _busy("the disk of the journal does not answer") from None
        except sqlite3.Error as error:
            raise _busy(_cause_of(error)) from None


def _check(accounts: Accounts, account: Account) -> None:
    """Raises Busy if that is not the account any more: the next login finds out what it is now."""
    if accounts.of_number(account.number) != account:
        raise Busy("the account has been changed or removed since the login")


def _busy(cause: str) -> Busy:
    return Busy(f"the journal cannot be used: {cause}")


@dataclass
class _Write:
    """Holds one change, and its result. `waiting` is for its result, None if that is not waited for."""

    function: Callable[[Journal], Any]
    waiting: asyncio.Future[Any] | None = None
    deadline: float | None = None
    undo: Callable[[Journal], None] | None = None
    is_uncertain: bool = False  # whether it may have reached the disk
    result: Any = None
    error: Exception | None = None


class _Writer:
    """Is the thread that writes. What it is given first is on disk first."""

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
        """Returns the result of the function, when what it did is on disk. `patience` is in seconds; `undo` takes back
        what may have been written when that is over. Raises Busy, StoreUncertain, or what the function raises."""
        if self._is_closing.is_set():
            raise _busy("the server is stopping")
        waiting: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        deadline = None if patience is None else time.monotonic() + patience
        self._writes.put(_Write(function, waiting, deadline, undo))
        return await waiting

    def write_later(self, function: Callable[[Journal], object]) -> None:
        self._writes.put(_Write(function))

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
        """Returns what has come. With `wait` it waits until something comes."""
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
                self._transaction(writes)
            except Exception as error:  # of SQLite; or of Python, for want of memory
                self._on_failure(error)
                time.sleep(_FIRST_PAUSE if self._is_closing.wait(pause) else 0)
                pause = min(2 * pause, _PAUSE_MAX)
                if not self._is_closing.is_set():
                    writes += self._take(wait=False)
                writes = self._without_late_ones(writes, error)
            else:
                if self._failing_since:
                    log.warning("the journal is written again, after %.1f s", time.monotonic() - self._failing_since)
                    self._failing_since = self._logged = 0.0
                _deliver(writes)
                return

    def _transaction(self, writes: list[_Write]) -> None:
        """Gives each its result or error, and returns when they are on disk. Raises sqlite3.Error if they are not."""
        database = self._database
        if database.in_transaction:  # it could not even be rolled back
            database.execute("ROLLBACK")
        self._check()
        database.execute("BEGIN IMMEDIATE")
        try:
            for write in writes:
                self._apply(write)
            for write in writes:
                write.is_uncertain = True
            database.execute("COMMIT")
            self._check()  # what is committed to another file than others find is not on disk for them
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def _apply(self, write: _Write) -> None:
        """Makes one change. Its error is no error of the others."""
        database = self._database
        database.execute("SAVEPOINT one")
        write.result = write.error = None
        try:
            if write.undo and write.is_uncertain:
                write.undo(self._journal)
            write.result = write.function(self._journal)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and not isinstance(error, _ERRORS_OF_ONE):
                raise
            database.execute("ROLLBACK TO one")
            write.error = error
        database.execute("RELEASE one")

    def _without_late_ones(self, writes: list[_Write], error: Exception) -> list[_Write]:
        """Returns what is still to be tried. The others are refused."""
        now = time.monotonic()
        gives_up = now >= self._give_up_at
        is_replaced = isinstance(error, HomeReplaced)  # which is in the log
        cause = _cause_of(error)
        if gives_up and not is_replaced:
            log.error("%d changes could not be journaled, the next server finds out: %s", len(writes), cause)
        late, rest = list[_Write](), list[_Write]()
        for write in writes:
            is_late = write.deadline is not None and (is_replaced or now >= write.deadline)
            (late if gives_up or is_late else rest).append(write)
        for write in late:
            write.error = StoreUncertain(cause) if write.is_uncertain else _busy(cause)
        _deliver(late)
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
            log.error("the journal cannot be written, which is tried again: %s", _cause_of(error))
        if "full" in str(error):
            self._make_room()


def _cause_of(error: Exception) -> str:
    """Returns what is wrong with the journal, for people."""
    if isinstance(error, HomeReplaced):
        return "the home of this server was replaced"
    text = str(error)
    if "locked" in text:
        return "another process has locked the journal"
    return "the disk is full" if "full" in text else text


def _deliver(writes: list[_Write]) -> None:
    """Hands the results over to the event loop, all at once."""
    loop = next((write.waiting.get_loop() for write in writes if write.waiting is not None), None)
    if loop is not None:
        with suppress(RuntimeError):  # it is closed
            loop.call_soon_threadsafe(_set_results, writes)


def _set_results(writes: list[_Write]) -> None:
    for write in writes:
        if write.waiting is None or write.waiting.done():
            continue
        if write.error is None:
            write.waiting.set_result(write.result)
        else:
            write.waiting.set_exception(write.error)
