"""A session: a client logs in, submits one batch, and is told what becomes of it.

Here are the stages of a session, and how each way to fail ends the connection. Who may log in is in authentication.py,
what a batch does in batch_queue.py, what is reported of it in reporter.py, and how messages travel in link.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from typing import NamedTuple

from headless.protocol.errors import LocalProtocolError, RemoteProtocolError
from headless.protocol.messages import (
    VERSION_NUMBER,
    Accepted,
    Jobs,
    Login,
    Message,
    Refused,
    UnsupportedLogin,
    Welcome,
)
from headless.protocol.text import replace_invalid_xml_chars
from headless.protocol.vocabulary import BUSY, JOBS, PROTOCOL, VERSION
from headless.server.accounts import Account
from headless.server.admission import Admission
from headless.server.authentication import Authenticator, Identity
from headless.server.batch import Batch
from headless.server.batch_queue import BatchQueue
from headless.server.entrance import Entrance
from headless.server.errors import Busy, Refusal
from headless.server.heartbeat import Heartbeat
from headless.server.jobs import JobRefused
from headless.server.journal import SubmittedBatch
from headless.server.link import ClientLeft, Link, cancel
from headless.server.reporter import Reporter
from headless.server.settings import Settings
from headless.server.store import AccountChanged, StoreUnavailable, StoreUncertain
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)


class Parts(NamedTuple):
    """What all sessions of a server have in common."""

    settings: Settings
    admission: Admission
    authenticator: Authenticator
    entrance: Entrance
    queue: BatchQueue
    reporter: Reporter


class Session:
    """What happens on one connection, from the first message to the last."""

    def __init__(self, link: Link, parts: Parts) -> None:
        self._link = link
        self._parts = parts
        self.is_logged_in = False

    async def run(self) -> None:
        """Returns when there is nothing more to send. The link is still open then, for the last message to arrive."""
        try:
            await self._run_stages()
        except Exception as error:
            self._end_by(error)

    def _end_by(self, error: Exception) -> None:
        """What the log and the client are told of a session that this has ended."""
        link = self._link
        refusal = _refusal_for(error)
        try:
            if refusal is not None:
                link.refuse(refusal)
            elif isinstance(error, (ClientLeft, asyncio.TimeoutError)) and not self.is_logged_in:
                log.info("%s: no login", link.name)
            elif isinstance(error, StoreUncertain):
                log.error("%s: closed without a word, nobody knows whether its batch is recorded: %s", link.name, error)
            elif isinstance(error, OSError):
                log.info("%s: the connection was lost: %s", link.name, escape_control_chars(str(error)))
            else:
                raise error
        except Exception as bug:
            what = ": the server was about to break the protocol" if isinstance(bug, LocalProtocolError) else ""
            log.exception("%s: internal error%s", link.name, what)
            link.refuse(Refused(BUSY, "the server could not go on, its log says why"))

    async def _run_stages(self) -> None:
        link = self._link
        identity = await self._log_in()
        self.is_logged_in = True
        self._parts.admission.log_in(link.peer[0])
        session = os.urandom(8).hex()
        log.info("session %s: %s logged in from %s", session, escape_control_chars(identity.account.user), link.name)
        link.name = f"session {session}"
        await link.send(Welcome(session, self._parts.settings.heartbeat, identity.signature))
        jobs = await self._receive_jobs()
        if jobs is None:
            return
        batch = await self._accept(identity.account, SubmittedBatch(session, identity.account.user, jobs.jobs))
        del jobs  # they may be large, and this goes on as long as they do
        link.release()
        await link.send(Accepted())
        await self._follow(batch)
        log.info("%s: the client %s", link.name, "was told the end" if batch.is_over else "has left")

    async def _log_in(self) -> Identity:
        """Who has logged in. Raises Refusal, Busy, ClientLeft, asyncio.TimeoutError."""
        request = await self._link.receive_request(self._parts.settings.login_timeout)
        if isinstance(request, UnsupportedLogin):
            raise Refusal(VERSION, f"this is protocol version {VERSION_NUMBER}")
        if not isinstance(request, Login):
            raise ClientLeft
        self._check_not_stopping()
        return await self._parts.authenticator.authenticate(self._link, request)

    async def _receive_jobs(self) -> Jobs | None:
        """The batch; None if the client has left. Until it comes, the client is told that the server is alive. Raises
        Busy if it has begun and takes too long."""
        settings = self._parts.settings
        with Heartbeat(self._link, settings.heartbeat, settings.message_timeout):
            message = await self._link.receive()
        return message if isinstance(message, Jobs) else None

    async def _accept(self, account: Account, submitted: SubmittedBatch) -> Batch:
        """Raises Refusal, Busy or StoreUnavailable, with nothing recorded and nothing run; StoreUncertain."""
        self._check_not_stopping()
        try:
            await self._parts.entrance.check(account, submitted)
            self._check_not_stopping()
            return await self._parts.queue.accept(account, submitted)
        except JobRefused as error:
            raise Refusal(JOBS, str(error)) from None
        except AccountChanged:
            raise Busy("the account has been changed or removed since the login") from None
        except sqlite3.Error as error:
            log.exception("session %s: cannot be recorded", submitted.session)
            raise Busy(f"the server cannot record the jobs: {error}") from None

    async def _follow(self, batch: Batch) -> None:
        """Reports what becomes of the batch, until that is known or the client leaves. The jobs go on either way."""
        reporting = asyncio.ensure_future(self._report(batch))
        receiving = asyncio.ensure_future(self._link.receive())
        try:
            await asyncio.wait({reporting, receiving}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (reporting, receiving):
                if ended.done():
                    ended.result()
        finally:
            await cancel(reporting, receiving)

    async def _report(self, batch: Batch) -> None:
        async for message in self._parts.reporter.report(batch):
            await self._send(message)

    async def _send(self, message: Message) -> None:
        """Sends what the client has not asked for, unless it has just said that it leaves."""
        if not self._link.connection.is_over:
            await self._link.send(message)

    def _check_not_stopping(self) -> None:
        if self._parts.queue.is_stopping:
            raise Refusal(BUSY, "the server is stopping")


def _refusal_for(error: Exception) -> Refused | None:
    """What the client is told where it has not got what it has asked for."""
    if isinstance(error, Refusal):
        return error.message
    if isinstance(error, RemoteProtocolError):
        return Refused(PROTOCOL, replace_invalid_xml_chars(str(error)))
    if isinstance(error, Busy):
        return Refused(BUSY, replace_invalid_xml_chars(str(error)))
    if isinstance(error, StoreUnavailable):
        return Refused(BUSY, replace_invalid_xml_chars(f"the journal cannot be used: {error}"))
    return None
