"""A session: a client logs in, and asks for one thing: most often to run a session, and to be told what becomes of it.

Here are the stages of a session, and how each way to fail ends the connection. Who may log in is in authentication.py,
how requests are answered in requests.py, and how messages travel in link.py.
"""

from __future__ import annotations

import asyncio
import logging
import os

from headless.dialects.base import Refused
from headless.dialects.own.connection import ConnectionClosed
from headless.dialects.own.messages import VERSION_NUMBER, Login, Message, UnsupportedLogin, Welcome
from headless.dialects.vocabulary import BUSY, PROTOCOL, VERSION, replace_invalid_xml_chars
from headless.errors import Busy, LocalProtocolError, Refusal, RemoteProtocolError
from headless.server.authentication import Identity
from headless.server.heartbeat import Heartbeat
from headless.server.link import ClientLeft, Link
from headless.server.requests import Parts, Requests, check_not_stopping
from headless.server.store import StoreUncertain
from headless.terminal import escape_control_chars, shorten

log = logging.getLogger(__name__)


class Connection:
    """What happens on one connection, from the first message to the last."""

    def __init__(self, link: Link, parts: Parts) -> None:
        self._link = link
        self._parts = parts
        self.account: int | None = None  # its number, once somebody has logged in

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
            elif isinstance(error, (ClientLeft, asyncio.TimeoutError)) and self.account is None:
                log.info("%s: no login", link.name)
            elif isinstance(error, ClientLeft):
                log.info("%s: the client has left", link.name)
            elif isinstance(error, StoreUncertain):
                log.error(
                    "%s: closed without a word, nobody knows whether its session is recorded: %s", link.name, error
                )
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
        self._parts.admission.log_in(link.peer[0], identity.account.number)
        self.account = identity.account.number
        session_id = os.urandom(8).hex()
        log.info("session %s: %s logged in from %s", session_id, escape_control_chars(identity.account.user), link.name)
        link.name = f"session {session_id}"
        await link.send(
            Welcome(session_id, self._parts.settings.heartbeat, identity.signature, self._parts.store.journal_name)
        )
        requests = Requests(link, self._parts, identity.account)
        await requests.answer(session_id, await self._receive_request())  # and does not keep it, which may be large

    async def _log_in(self) -> Identity:
        """Who has logged in. Raises Refusal, Busy, ClientLeft, asyncio.TimeoutError."""
        request = await self._link.receive_request(self._parts.settings.login_timeout)
        if isinstance(request, UnsupportedLogin):
            raise Refusal(VERSION, f"this is protocol version {VERSION_NUMBER}")
        if not isinstance(request, Login):
            raise ClientLeft
        check_not_stopping(self._parts.queue)
        return await self._parts.authenticator.authenticate(self._link, request)

    async def _receive_request(self) -> Message | ConnectionClosed:
        """What the client wants. Until it comes, the client is told that the server is alive. Raises Busy if it has
        begun and takes too long."""
        settings = self._parts.settings
        with Heartbeat(self._link, settings.heartbeat, settings.message_timeout):
            return await self._link.receive()


def _refusal_for(error: Exception) -> Refused | None:
    """What the client is told where it has not got what it has asked for."""
    text = replace_invalid_xml_chars(shorten(str(error)))
    if isinstance(error, Refusal):
        return Refused(error.reason, text)
    if isinstance(error, RemoteProtocolError):
        return Refused(PROTOCOL, text)
    return Refused(BUSY, text) if isinstance(error, Busy) else None
