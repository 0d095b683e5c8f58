"""What a client asks for: a login, and then one thing. It runs a session, attaches to one, cancels one or lists them.

Here is how each request is answered, up to the last message.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from contextlib import suppress
from datetime import datetime, timezone
from typing import NamedTuple
from weakref import WeakValueDictionary

from headless.dialects.base import Accepted, Attached, Cancelled, Ended, JobFinished, JobStarted, Listed, Output
from headless.dialects.own.connection import ConnectionClosed
from headless.dialects.own.messages import (
    VERSION_NUMBER,
    Attach,
    Cancel,
    Jobs,
    Login,
    Message,
    Sessions,
    UnsupportedLogin,
    Welcome,
)
from headless.dialects.vocabulary import (
    BUSY,
    FAILED,
    JOBS,
    OK,
    PROTOCOL,
    PY_CODE,
    QUEUED,
    RUNNING,
    VERSION,
    Job,
    Offset,
    replace_invalid_xml_chars,
)
from headless.errors import Busy, Refusal
from headless.server.accounts import Account
from headless.server.admission import Admission
from headless.server.authentication import Authenticator, Identity
from headless.server.connection import ClientLeft, Connection
from headless.server.disk import Disk
from headless.server.history import RefusedLogins
from headless.server.home import Home
from headless.server.jobs import JobRefused, check_scripts
from headless.server.journal import Journal
from headless.server.output import FollowedOutput
from headless.server.queue import SessionQueue
from headless.server.session import NewSession, Session
from headless.server.settings import Settings
from headless.server.store import Store
from headless.server.threads import Threads
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

_LISTED = 20  # sessions that are over
_LISTED_AT_ONCE = 200
_CHECK_SECONDS = 5.0  # for the files of one session
_CHECK_THREADS, _CHECK_BACKLOG = 2, 500
_FEW = 100  # jobs that may be looked at in the event loop, if no file has to be


class JobChecks:
    """Checks what a session must be before it is recorded: runnable, allowed, and with room for it on the disk."""

    def __init__(self, home: Home, disk: Disk) -> None:
        self._home = home
        self._disk = disk
        self._threads = Threads("looking for scripts", _CHECK_THREADS, _CHECK_BACKLOG)

    async def check(self, account: Account, jobs: tuple[Job, ...]) -> None:
        """Raises JobRefused, Busy."""
        if len(jobs) <= _FEW and all(job.kind == PY_CODE for job in jobs):
            check_scripts(self._home, account, jobs, _CHECK_SECONDS)  # which looks for no file then
            if self._disk.is_known_to_have_room(_size_of(jobs)):
                return
        try:
            await self._threads.call(self._check, account, jobs, timeout=2 * _CHECK_SECONDS)
        except (asyncio.TimeoutError, TimeoutError):
            raise Busy("looking for the scripts of the jobs takes too long") from None
        except OSError as error:
            raise Busy(f"the disk of the server cannot be read: {error.strerror or error}") from None

    def _check(self, account: Account, jobs: tuple[Job, ...]) -> None:
        """Raises JobRefused, Busy, TimeoutError, OSError."""
        self._disk.check_room(_size_of(jobs))
        check_scripts(self._home, account, jobs, _CHECK_SECONDS)


def _size_of(jobs: tuple[Job, ...]) -> int:
    """Counts characters, which are bytes as far as it matters here."""
    return sum(len(job.text) for job in jobs)


class Parts(NamedTuple):
    """Holds what all connections of a server have in common. `refused` are logins that are not recorded yet. `locks`
    are of an account's number and the key of one of its sessions; None is for its list of sessions."""

    settings: Settings
    admission: Admission
    authenticator: Authenticator
    checks: JobChecks
    queue: SessionQueue
    output: FollowedOutput
    store: Store
    refused: RefusedLogins
    locks: WeakValueDictionary[tuple[int, str | None], asyncio.Lock]


class Client:
    """Serves the client of one connection. `account` is who it is, None until it is logged in."""

    def __init__(self, connection: Connection, parts: Parts) -> None:
        self.account: Account | None = None
        self._connection = connection
        self._parts = parts

    async def serve(self) -> None:
        """Returns when there is nothing more to send. The connection is still open then, for the last message to
        arrive."""
        try:
            await self._serve()
        except Exception as error:
            self._connection.end_by(error, self.account is not None)

    async def _serve(self) -> None:
        connection, settings = self._connection, self._parts.settings
        account, signature = await self._log_in()
        self._parts.admission.log_in(connection.peer[0], account.number)
        self.account = account
        session_id = os.urandom(8).hex()
        log.info("session %s: %s logged in from %s", session_id, escape_control_chars(account.user), connection.name)
        connection.name = f"session {session_id}"
        await connection.send(Welcome(session_id, settings.heartbeat, signature, self._parts.store.journal_name))
        connection.begin_heartbeat(settings.heartbeat)
        # It is not kept here: it may be large.
        await self.answer(account, session_id, await connection.receive_whole(settings.message_timeout))

    async def _log_in(self) -> Identity:
        """Raises Refusal, Busy, ClientLeft, asyncio.TimeoutError."""
        login = await self._connection.receive_within(self._parts.settings.login_timeout)
        if isinstance(login, UnsupportedLogin):
            raise Refusal(VERSION, f"this is protocol version {VERSION_NUMBER}")
        if not isinstance(login, Login):
            raise ClientLeft
        self._check_not_stopping()
        try:
            return await self._parts.authenticator.authenticate(self._connection, login)
        except Refusal as error:
            self._parts.refused.add(login.user or login.os_user or "", self._connection.peer[0], str(error))
            raise

    async def answer(self, account: Account, session_id: str, request: Message | ConnectionClosed) -> None:
        """Returns when the last message is sent, or the client has left. `session_id` is for a new session.

        The account is looked at again: a connection may have waited for long since the login. Raises Refusal, Busy,
        StoreUncertain, ClientLeft, ProtocolError, OSError.
        """
        if isinstance(request, Jobs):
            host = self._connection.peer[0]
            new = NewSession(session_id, account.number, account.user, request.jobs, request.key, host)
            has_key = request.key is not None
            del request  # it may be large, and this goes on as long as the jobs do
            with self._connection.in_doubt():
                session = await self._accept(account, new)
            del new
            self._connection.release()
            await self._connection.send(Accepted(session.id if has_key else ""))
            await self._follow(session, Offset())
        elif isinstance(request, Attach):
            await self._attach(account, request)
        elif isinstance(request, Cancel):
            await self._cancel(account, request.session)
        elif isinstance(request, Sessions):
            await self._list(account)

    # To run a session

    async def _accept(self, account: Account, new: NewSession) -> Session:
        """Raises Refusal or Busy, with nothing recorded and nothing run; StoreUncertain."""
        self._check_not_stopping()
        try:
            if new.key is None:
                return await self._accept_new(account, new)
            async with self._lock(account, new.key):
                return await self._known(account, new) or await self._accept_new(account, new)
        except JobRefused as error:
            raise Refusal(JOBS, str(error)) from None
        except sqlite3.Error as error:
            log.exception("session %s: cannot be recorded", new.id)
            raise Busy(f"the server cannot record the jobs: {error}") from None

    async def _known(self, account: Account, new: NewSession) -> Session | None:
        """Returns the session if it has been submitted before. What it needed then need not be there any more."""
        await self._parts.store.check(account)
        session_id = await self._parts.store.read(Journal.of_key, new)
        if session_id is not None:
            with suppress(Refusal):  # it has been pruned just now
                return await self._parts.queue.find(account, session_id)
        return None

    async def _accept_new(self, account: Account, new: NewSession) -> Session:
        await self._parts.checks.check(account, new.jobs)
        self._check_not_stopping()
        return await self._parts.queue.accept(account, new)

    def _check_not_stopping(self) -> None:
        """Raises Refusal."""
        if self._parts.queue.is_stopping:
            raise Refusal(BUSY, "the server is stopping")

    def _lock(self, account: Account, key: str | None) -> asyncio.Lock:
        return self._parts.locks.setdefault((account.number, key), asyncio.Lock())

    # To follow one

    async def _attach(self, account: Account, request: Attach) -> None:
        session = await self._connection.work(self._find(account, request.session))
        offset = request.offset
        if offset is None:
            offset = await self._connection.work(self._end_of_output(session))
        _check_offset(session, offset)
        log.info("%s: attached to session %s, from job %d on", self._connection.name, session.id, offset.job)
        await self._connection.send(Attached(session.job_count, offset))
        await self._follow(session, offset)

    async def _find(self, account: Account, session_id: str) -> Session:
        """Raises Refusal, Busy."""
        await self._parts.store.check(account)
        return await self._parts.queue.find(account, session_id)

    async def _end_of_output(self, session: Session) -> Offset:
        """Returns where a client begins that wants nothing of what has been printed so far. Raises OSError, Busy."""
        job = session.first_not_ok
        if job > session.job_count:
            return Offset(job)
        return Offset(job, *await self._parts.output.count(session.id, job))

    async def _follow(self, session: Session, offset: Offset) -> None:
        """Reports what happens to the session, until it is over or the client leaves. The jobs go on either way."""
        await self._connection.work(self._report(session, offset))
        log.info("%s: result sent", self._connection.name)

    async def _report(self, session: Session, offset: Offset) -> None:
        """Sends the messages about this session, from this offset on, up to `ended`, no faster than the client takes
        them. Raises OSError if stored output cannot be read."""
        failed = session.first_not_ok < offset.job
        for job in range(offset.job, session.job_count + 1):
            while session.state_of(job) == QUEUED:
                await session.wait_for_change()
            if session.has_run(job):
                await self._send(JobStarted(job))
                with self._parts.output.follow(session, offset if job == offset.job else Offset(job)) as texts:
                    async for stream, text in texts:
                        await self._send(Output(job, stream, text))
            status, text = session.outcome_of(job)
            failed = failed or status != OK
            await self._send(JobFinished(job, status, text))
        await self._send(Ended(FAILED if failed else OK))

    async def _send(self, message: Message) -> None:
        """Sends what the client has not asked for, unless it has just said that it leaves."""
        if not self._connection.protocol.is_over:
            await self._connection.send(message)

    # To cancel one, and to list them

    async def _cancel(self, account: Account, session_id: str) -> None:
        connection = self._connection
        session = await connection.work(self._find(account, session_id))
        with connection.in_doubt():
            state = await connection.work(self._parts.queue.cancel(account, session))
        log.info("%s: session %s cancelled, it was %s", connection.name, escape_control_chars(session_id), state)
        await connection.send(Cancelled(state))

    async def _list(self, account: Account) -> None:
        number = 0
        while sessions := await self._connection.work(self._some_sessions(account, number)):
            number = sessions[-1].number
            for session in sessions:
                title = replace_invalid_xml_chars(session.title)
                accepted = datetime.fromtimestamp(session.accepted, timezone.utc).isoformat(timespec="milliseconds")
                await self._connection.send(
                    Listed(session.id, session.state, accepted, session.job, session.job_count, title)
                )
                await asyncio.sleep(0)  # a list may be long, and others have a turn in between
        await self._connection.send(Ended(OK))

    async def _some_sessions(self, account: Account, after: int) -> list[Session]:
        """Reads one list of the account at a time: those of others do not wait for all of them, and what a slow client
        does not take is not held."""
        async with self._lock(account, None):
            return await self._parts.store.sessions_of(account, _LISTED, after, _LISTED_AT_ONCE)


def _check_offset(session: Session, offset: Offset) -> None:
    """Raises Refusal for an offset that no client can have had."""
    if offset.job > session.job_count + 1:
        raise Refusal(PROTOCOL, f"there is no job {offset.job} in this session")
    if offset.job > 1 and session.state_of(offset.job - 1) in (QUEUED, RUNNING):
        raise Refusal(PROTOCOL, f"the jobs before job {offset.job} are not over")
    has_run = offset.job <= session.job_count and session.has_run(offset.job)
    if (offset.stdout or offset.stderr) and not has_run:
        raise Refusal(PROTOCOL, f"job {offset.job} has printed nothing")
