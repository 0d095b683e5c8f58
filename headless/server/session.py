"""A session: a client logs in, submits one batch, and is told what becomes of it.

Here are the stages of a session, and how each way to fail ends the connection. Who may log in is in authentication.py,
what a batch does in batch_queue.py, what is reported of it in reporter.py, and how messages travel in link.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from typing import Any

from headless.protocol.errors import LocalProtocolError, RemoteProtocolError
from headless.protocol.messages import (
    VERSION_NUMBER,
    Accepted,
    Alive,
    Jobs,
    Login,
    Message,
    Refused,
    UnsupportedLogin,
    Welcome,
)
from headless.protocol.text import replace_invalid_xml_chars
from headless.protocol.vocabulary import BUSY, JOBS, PROTOCOL, VERSION
from headless.server.authentication import Authenticator, Identity
from headless.server.batch import Batch
from headless.server.batch_queue import BatchQueue
from headless.server.errors import Refusal
from headless.server.home import Home
from headless.server.jobs import JobRefused, script_of
from headless.server.journal import AcceptedBatch
from headless.server.link import Link
from headless.server.reporter import report
from headless.server.settings import Settings
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)


class Session:
    """What happens on one connection, from the first message to the last."""

    def __init__(
        self, link: Link, authenticator: Authenticator, queue: BatchQueue, home: Home, settings: Settings
    ) -> None:
        self._link = link
        self._authenticator = authenticator
        self._queue = queue
        self._home = home
        self._settings = settings

    async def run(self) -> None:
        """Returns when there is nothing more to send. The link is still open then, for the last message to arrive."""
        link = self._link
        try:
            await self._run_stages_or_refuse()
        except OSError as error:
            log.info("%s: the connection was lost: %s", link.name, escape_control_chars(str(error)))
        except LocalProtocolError:
            log.exception("%s: internal error: the server was about to break the protocol", link.name)
            link.refuse(Refused(BUSY, "the server could not go on, its log says why"))
        except Exception:  # the database cannot be read, say
            log.exception("%s: given up", link.name)
            link.refuse(Refused(BUSY, "the server could not go on, its log says why"))

    async def _run_stages_or_refuse(self) -> None:
        try:
            await self._run_stages()
        except Refusal as refusal:
            await asyncio.sleep(refusal.delay)
            self._link.refuse(refusal.message)
        except RemoteProtocolError as error:
            self._link.refuse(Refused(PROTOCOL, replace_invalid_xml_chars(str(error))))

    async def _run_stages(self) -> None:
        link = self._link
        try:
            identity = await asyncio.wait_for(self._log_in(), self._settings.login_timeout)
        except asyncio.TimeoutError:
            log.info("%s: no login within %g s", link.name, self._settings.login_timeout)
            return
        if identity is None:
            return
        session = os.urandom(8).hex()
        log.info("session %s: %s logged in from %s", session, escape_control_chars(identity.user), link.name)
        link.name = f"session {session}"
        await link.send(Welcome(session, self._settings.heartbeat, identity.signature))
        jobs = await self._receive_jobs()
        if jobs is None:
            return
        batch = self._accept(AcceptedBatch(session, identity.user, jobs.jobs))
        await link.send(Accepted())
        await self._follow(batch)
        log.info("%s: the client %s", link.name, "was told the end" if batch.is_over else "has left")

    async def _log_in(self) -> Identity | None:
        """Who has logged in; None if the client has left. Raises Refusal."""
        request = await self._link.receive_request()
        if isinstance(request, UnsupportedLogin):
            raise Refusal(VERSION, f"this is protocol version {VERSION_NUMBER}")
        if not isinstance(request, Login):
            return None
        self._check_not_stopping()
        return await self._authenticator.authenticate(self._link, request)

    async def _receive_jobs(self) -> Jobs | None:
        """The batch; None if the client has left. Until it comes, the client is told that the server is alive."""
        receiving = asyncio.ensure_future(self._link.receive())
        try:
            while not (await asyncio.wait({receiving}, timeout=self._settings.heartbeat))[0]:
                await self._send(Alive())
            message = receiving.result()
        finally:
            await _cancel(receiving)
        return message if isinstance(message, Jobs) else None

    def _accept(self, accepted: AcceptedBatch) -> Batch:
        """Raises Refusal, with nothing recorded and nothing run."""
        self._check_not_stopping()
        try:
            for number, job in enumerate(accepted.jobs, 1):
                script_of(self._home, accepted.session, number, job)
            return self._queue.accept(accepted)
        except JobRefused as error:
            raise Refusal(JOBS, str(error)) from None
        except (OSError, sqlite3.Error):
            log.exception("session %s: cannot be recorded", accepted.session)
            raise Refusal(BUSY, "the server cannot record the jobs") from None

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
            await _cancel(reporting, receiving)

    async def _report(self, batch: Batch) -> None:
        async for message in report(batch, self._home, self._settings.heartbeat):
            await self._send(message)

    async def _send(self, message: Message) -> None:
        """Sends what the client has not asked for, unless it has just said that it leaves."""
        if not self._link.connection.is_over:
            await self._link.send(message)

    def _check_not_stopping(self) -> None:
        if self._queue.is_stopping:
            raise Refusal(BUSY, "the server is stopping")


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    """Returns when these have ended: nobody else can read the connection before that.

    What they raise no longer matters: a lost connection may fail both to read and to write.
    """
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
