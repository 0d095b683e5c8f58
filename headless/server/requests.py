"""What a client that is logged in asks for: to run its jobs, to attach to a session, to cancel one, or to list them.

Here is how each request is answered, up to the last message. A connection has one request. How it comes to that is in
session.py, which also says how a request that fails ends the connection.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable
from contextlib import suppress
from datetime import datetime, timezone
from typing import NamedTuple, TypeVar

from headless.dialects.base import Accepted, Attached, Cancelled, Ended, Listed
from headless.dialects.own.connection import ConnectionClosed
from headless.dialects.own.messages import Attach, Cancel, Jobs, Message, Sessions
from headless.dialects.vocabulary import (
    BUSY,
    JOBS,
    OK,
    PROTOCOL,
    QUEUED,
    RUNNING,
    SESSION,
    Offset,
    replace_invalid_xml_chars,
)
from headless.errors import Busy, Refusal, UnknownSession
from headless.server.accounts import Account
from headless.server.admission import Admission
from headless.server.authentication import Authenticator
from headless.server.entrance import Entrance
from headless.server.heartbeat import Heartbeat
from headless.server.jobs import JobRefused
from headless.server.journal import SessionEntry, SubmittedSession
from headless.server.keys import Keys
from headless.server.link import Link, cancel
from headless.server.queue import SessionQueue
from headless.server.reporter import Reporter
from headless.server.session import Session
from headless.server.settings import Settings
from headless.server.store import KeyTaken, SameJobs, Store
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

_LISTED = 20  # sessions that are over
_LISTED_AT_ONCE = 200
_NOTHING_RECORDED = (Refusal, Busy)  # what these mean of a request

_T = TypeVar("_T")


class Parts(NamedTuple):
    """What all sessions of a server have in common."""

    settings: Settings
    admission: Admission
    authenticator: Authenticator
    entrance: Entrance
    queue: SessionQueue
    reporter: Reporter
    store: Store
    keys: Keys


class Requests:
    """The requests of one connection, of this account."""

    def __init__(self, link: Link, parts: Parts, account: Account) -> None:
        self._link = link
        self._parts = parts
        self._account = account

    async def answer(self, session_id: str, request: Message | ConnectionClosed) -> None:
        """Returns when the last message is sent, or the client has left. `session` is the name of the session, if this
        is one.

        The account is looked at again: a connection may have waited for long since the login. Raises AccountChanged,
        Refusal, Busy, StoreUnavailable, StoreUncertain, ClientLeft, ProtocolError, OSError.
        """
        if isinstance(request, Jobs):
            account = self._account
            submitted = SubmittedSession(session_id, account.number, account.user, request.jobs, request.key)
            has_key = request.key is not None
            del request  # it may be large, and this goes on as long as the jobs do
            with self._link.in_doubt(*_NOTHING_RECORDED):
                session = await self._accept(submitted)
            del submitted
            self._link.release()
            await self._link.send(Accepted(session.session_id if has_key else ""))
            await self._follow(session, Offset())
        elif isinstance(request, Attach):
            await self._attach(request)
        elif isinstance(request, Cancel):
            await self._cancel(request.session)
        elif isinstance(request, Sessions):
            await self._list()

    async def _attach(self, request: Attach) -> None:
        session = await self._while_alive(self._find(request.session))
        offset = request.offset
        if offset is None:
            offset = await self._while_alive(self._parts.reporter.now(session))
        _check_offset(session, offset)
        log.info("%s: attached to session %s, from job %d on", self._link.name, session.session_id, offset.job)
        await self._link.send(Attached(session.job_count, offset))
        await self._follow(session, offset)

    async def _find(self, session_id: str) -> Session:
        """Raises Refusal, Busy, AccountChanged, StoreUnavailable."""
        await self._parts.store.check(self._account)
        try:
            return await self._parts.queue.find(self._account.number, session_id)
        except UnknownSession:
            raise Refusal(
                SESSION, f"the account {self._account.user} has no session {session_id!r} on this server"
            ) from None

    async def _cancel(self, session_id: str) -> None:
        session = await self._while_alive(self._find(session_id))
        with self._link.in_doubt(*_NOTHING_RECORDED):
            state = await self._while_alive(self._parts.queue.cancel(self._account, session))
        log.info("%s: session %s cancelled, it was %s", self._link.name, escape_control_chars(session_id), state)
        await self._link.send(Cancelled(state))

    async def _list(self) -> None:
        number = 0
        while entries := await self._while_alive(self._entries(number)):
            number = entries[-1].number
            for entry in entries:
                title = replace_invalid_xml_chars(entry.title)
                accepted = datetime.fromtimestamp(entry.accepted, timezone.utc).isoformat(timespec="milliseconds")
                await self._link.send(
                    Listed(entry.session_id, entry.state, accepted, entry.job, entry.job_count, title)
                )
                await asyncio.sleep(0)  # a list may be long, and others have a turn in between
        await self._link.send(Ended(OK))

    async def _entries(self, after: int) -> list[SessionEntry]:
        """Some of one list of the account at a time: those of others do not wait for all of them, and what a slow
        client does not take is not held."""
        async with self._parts.keys.hold(self._account.number, "sessions"):
            return await self._parts.store.sessions_of(self._account, _LISTED, after, _LISTED_AT_ONCE)

    async def _accept(self, submitted: SubmittedSession) -> Session:
        """Raises Refusal, Busy, AccountChanged or StoreUnavailable, with nothing recorded and nothing run;
        StoreUncertain."""
        check_not_stopping(self._parts.queue)
        try:
            async with self._parts.keys.hold(submitted.account, submitted.key):
                return await self._known(submitted) or await self._accept_new(submitted)
        except JobRefused as error:
            raise Refusal(JOBS, str(error)) from None
        except KeyTaken:
            raise Refusal(JOBS, "the key of these jobs belongs to other jobs") from None
        except SameJobs as error:
            raise Busy(f"the session {error} of this account has the same jobs, and is not over") from None
        except sqlite3.Error as error:
            log.exception("session %s: cannot be recorded", submitted.session_id)
            raise Busy(f"the server cannot record the jobs: {error}") from None

    async def _known(self, submitted: SubmittedSession) -> Session | None:
        """The session, if it has been submitted before. What it needed then need not be there any more."""
        key = submitted.key
        session_id = await self._parts.store.of_key(self._account, key, submitted.jobs) if key else None
        if session_id is not None:
            with suppress(UnknownSession):  # it has been pruned just now
                return await self._parts.queue.find(submitted.account, session_id)
        return None

    async def _accept_new(self, submitted: SubmittedSession) -> Session:
        await self._parts.entrance.check(self._account, submitted)
        check_not_stopping(self._parts.queue)
        return await self._parts.queue.accept(self._account, submitted)

    async def _follow(self, session: Session, offset: Offset) -> None:
        """Reports what becomes of the session, until that is known or the client leaves. The jobs go on either way."""
        reporting = asyncio.ensure_future(self._report(session, offset))
        receiving = asyncio.ensure_future(self._link.receive())
        try:
            await asyncio.wait({reporting, receiving}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (reporting, receiving):
                if ended.done():
                    ended.result()
        finally:
            await cancel(reporting, receiving)
        log.info("%s: the client %s", self._link.name, "was told the end" if session.is_over else "has left")

    async def _report(self, session: Session, offset: Offset) -> None:
        async for message in self._parts.reporter.report(session, offset):
            await self._send(message)

    async def _while_alive(self, work: Awaitable[_T]) -> _T:
        """The result of the work, before which the client has nothing to say but that it leaves."""
        settings = self._parts.settings
        with Heartbeat(self._link, settings.heartbeat, settings.message_timeout):
            return await self._link.work(work)

    async def _send(self, message: Message) -> None:
        """Sends what the client has not asked for, unless it has just said that it leaves."""
        if not self._link.connection.is_over:
            await self._link.send(message)


def _check_offset(session: Session, offset: Offset) -> None:
    """Raises Refusal for a place that nobody can have been told of."""
    if offset.job > session.job_count + 1:
        raise Refusal(PROTOCOL, f"there is no job {offset.job} in this session")
    if offset.job > 1 and session.progress(offset.job - 1).state in (QUEUED, RUNNING):
        raise Refusal(PROTOCOL, f"the jobs before job {offset.job} are not over")
    has_run = offset.job <= session.job_count and session.progress(offset.job).has_run
    if (offset.stdout or offset.stderr) and not has_run:
        raise Refusal(PROTOCOL, f"job {offset.job} has printed nothing")


def check_not_stopping(queue: SessionQueue) -> None:
    """Raises Refusal."""
    if queue.is_stopping:
        raise Refusal(BUSY, "the server is stopping")
