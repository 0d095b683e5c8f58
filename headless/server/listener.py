"""Connections: each one logs in, submits one batch, and is told what becomes of it. The only room of asyncio's streams.

What may be said when is in protocol/conversation.py, what a batch does in batch_queue.py. A connection costs the others
nothing: it is read with a bound, written to no faster than it reads, and closed if it does not log in in time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sqlite3
import ssl
from contextlib import suppress
from typing import NamedTuple, Optional

from headless.outcome import ProtocolError
from headless.protocol import login
from headless.protocol.characters import made_fit_for_xml, on_one_line, shortened
from headless.protocol.conversation import ServerConversation
from headless.protocol.messages import (
    Accepted,
    Alive,
    Jobs,
    Login,
    Logout,
    Message,
    Refused,
    Response,
    VersionMismatch,
    Welcome,
)
from headless.server import peer
from headless.server.accounts import Account, Accounts
from headless.server.batch import Batch
from headless.server.batch_queue import BatchQueue
from headless.server.home import Home
from headless.server.jobs import JobRefused, script_of
from headless.server.journal import AcceptedBatch, Journal
from headless.server.process import Processes
from headless.server.reporter import report
from headless.server.retention import Retention
from headless.server.throttle import Throttle

log = logging.getLogger(__name__)

LOGIN_SECONDS = 10.0
HEARTBEAT_SECONDS = 30
_LAST_WORDS_SECONDS = 1.0  # for the last thing that is said to arrive
_WRITE_BUFFER_BYTES = 65536
_LOGIN_REFUSED = "user name or password is wrong, or this login is not allowed for the user"


class Settings(NamedTuple):
    """`keep_days` is how long what is over stays in the journal, None for ever. `trust_osuser` lets
    anybody on this machine be who they say they are, where the platform does not tell."""

    host: str = "127.0.0.1"
    port: int = 20000
    workers: int = os.cpu_count() or 1
    grace: float = 30.0
    heartbeat: int = HEARTBEAT_SECONDS
    keep_days: Optional[float] = None
    trust_osuser: bool = False
    tls: Optional[ssl.SSLContext] = None


class _Refuse(Exception):
    """What the other side asked for is not given; it is told so after this many seconds."""

    def __init__(self, reason: str, text: str, delay: float = 0.0) -> None:
        self.message = Refused(reason, made_fit_for_xml(shortened(text)))
        self.delay = delay


class _Link:
    """A connection and its conversation: whole messages in, whole messages out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.conversation = ServerConversation()
        writer.transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.peer: tuple[str, int] = writer.get_extra_info("peername")[:2]
        self.local: tuple[str, int] = writer.get_extra_info("sockname")[:2]
        self.name = f"{self.peer[0]} port {self.peer[1]}"  # in the log; a session's, once there is one
        self._is_closing = False

    async def hear(self) -> Message:
        """The next message; leaving without a word is Logout. Raises ProtocolError."""
        while True:
            message = self.conversation.next_message()
            if message is not None:
                return message
            data = await self._reader.read(_WRITE_BUFFER_BYTES)
            if not data:
                return Logout()
            self.conversation.feed(data)

    async def hear_question(self) -> Message:
        """The next message, which has to be answered before the client may go on. Raises ProtocolError if it does."""
        message = await self.hear()
        return self.conversation.next_message() or message

    async def say(self, message: Message) -> None:
        await self.send(self.conversation.say(message))

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def refuse(self, message: Refused) -> None:
        """Says why, if that is still possible."""
        if not self.conversation.is_over and not self._is_closing:
            log.info("%s: refused (%s): %s", self.name, message.reason, on_one_line(message.text))
            self._writer.write(self.conversation.say(message))

    async def close(self) -> None:
        """Lets what was said arrive: a connection that is closed with bytes unread takes back what it has sent."""
        self._is_closing = True
        try:
            with suppress(OSError, asyncio.TimeoutError):
                if self._writer.can_write_eof():
                    self._writer.write_eof()
                    await asyncio.wait_for(self._discard(), _LAST_WORDS_SECONDS)
                self._writer.close()
                await asyncio.wait_for(self._writer.wait_closed(), _LAST_WORDS_SECONDS)
        finally:
            self._writer.transport.abort()

    async def _discard(self) -> None:
        while await self._reader.read(_WRITE_BUFFER_BYTES):
            pass


class Server:
    """A server from `start` to `stop`, in the running event loop."""

    def __init__(self, home: Home, database: sqlite3.Connection, processes: Processes, settings: Settings) -> None:
        self._home = home
        self._processes = processes
        self._settings = settings
        self._accounts = Accounts(database)
        journal = Journal(database)
        self._queue = BatchQueue(home, journal, processes, settings.workers)
        self._retention = None if settings.keep_days is None else Retention(home, journal, settings.keep_days)
        self._throttle = Throttle()
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self._is_stopping = False
        self._server: Optional[asyncio.AbstractServer] = None
        self._pruning: Optional[asyncio.Task[None]] = None

    async def start(self) -> str:
        """HOST:PORT where it listens. Raises OSError if it cannot."""
        self._server = await asyncio.start_server(
            self._serve,
            self._settings.host,
            self._settings.port,
            backlog=1024,
            ssl=self._settings.tls,
            ssl_handshake_timeout=LOGIN_SECONDS if self._settings.tls else None,
        )
        await self._processes.open()
        self._queue.recover()
        if self._retention:
            self._pruning = asyncio.ensure_future(self._retention.run())
        host, port = self._server.sockets[0].getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        log.info("listening on %s", address)
        return address

    async def stop(self, hurry: asyncio.Event) -> None:
        """No new sessions; the running batches get the grace, unless there is hurry, and their followers are told."""
        assert self._server is not None
        self._is_stopping = True
        log.info("stopping: running batches get %g s", self._settings.grace)
        if self._pruning:
            self._pruning.cancel()
        await self._queue.stop(self._settings.grace, hurry)
        if self._links:
            await asyncio.wait(self._links.values(), timeout=_LAST_WORDS_SECONDS / 2)
        for link, task in list(self._links.items()):
            link.refuse(Refused("busy", "the server is stopping; what it has accepted runs when it is back"))
            task.cancel()
        if self._links:
            await asyncio.wait(self._links.values(), timeout=_LAST_WORDS_SECONDS)
        self._server.close()
        await self._processes.close()
        log.info("stopped")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._links[link] = task
        try:
            await self._session(link)
        except _Refuse as refusal:
            await asyncio.sleep(refusal.delay)
            link.refuse(refusal.message)
        except VersionMismatch as error:
            link.refuse(Refused("version", str(error)))
        except ProtocolError as error:
            link.refuse(Refused("protocol", made_fit_for_xml(str(error))))
        except asyncio.TimeoutError:
            log.info("%s: no login within %d s", link.name, LOGIN_SECONDS)
        except (OSError, asyncio.CancelledError):
            pass  # the client is gone, or the server is going
        except Exception:  # the database cannot be read, say
            log.exception("%s: given up", link.name)
            link.refuse(Refused("busy", "the server could not go on, its log says why"))
        finally:
            with suppress(asyncio.CancelledError):
                await link.close()
            del self._links[link]

    # The stages of a session

    async def _session(self, link: _Link) -> None:
        user = await asyncio.wait_for(self._log_in(link), LOGIN_SECONDS)
        if user is None:
            return
        session = os.urandom(8).hex()
        log.info("session %s: %s logged in from %s", session, on_one_line(user.name), link.name)
        link.name = f"session {session}"
        await link.say(Welcome(session, self._settings.heartbeat, user.signature))
        jobs = await self._hear_jobs(link)
        if jobs is None:
            return
        batch = self._accept(AcceptedBatch(session, user.name, jobs.jobs))
        await link.say(Accepted())
        await self._tell(link, batch)
        log.info("%s: the client %s", link.name, "was told the end" if batch.is_over else "has left")

    async def _log_in(self, link: _Link) -> Optional[_LoggedIn]:
        """Who logged in; None if the client left. Raises _Refuse."""
        first = await link.hear_question()
        if isinstance(first, Logout):
            return None
        assert isinstance(first, Login)
        if self._is_stopping:
            raise _Refuse("busy", "the server is stopping")
        if first.auth_type == "osuser":
            assert first.os_user is not None
            return _LoggedIn(self._account_of(link, first.os_user, first.user).user, None)
        assert first.user is not None
        return await self._check_response(link, first.user)

    async def _check_response(self, link: _Link, user: str) -> Optional[_LoggedIn]:
        keys = self._accounts.keys_of(user)
        await link.send(link.conversation.challenge(keys.salt, login.new_nonce(os.urandom(login.NONCE_BYTES))))
        response = await link.hear_question()
        if isinstance(response, Logout):
            return None
        assert isinstance(response, Response)
        signature = link.conversation.signature(keys)
        if signature is None:
            log.warning("%s: wrong login of %s", link.name, on_one_line(user))
            raise _Refuse("login", _LOGIN_REFUSED, delay=self._throttle.failed(link.peer[0], user))
        self._throttle.succeeded(link.peer[0], user)
        return _LoggedIn(user, signature)

    def _account_of(self, link: _Link, os_user: str, user: Optional[str]) -> Account:
        """The account that an osuser login is for. Raises _Refuse."""
        if not peer.is_loopback(link.peer[0]):
            raise _Refuse("login", "osuser is for clients on the server's own machine, use challenge")
        self._check_owner(link, os_user)
        accounts = [account for account in self._accounts.of_os_user(os_user) if user in (None, account.user)]
        if not accounts:
            raise _Refuse("login", f"no account {user or ''} allows the osuser login of {os_user!r}".replace("  ", " "))
        if len(accounts) > 1:
            raise _Refuse("login", f"several accounts allow the osuser login of {os_user!r}: say with -u which")
        return accounts[0]

    def _check_owner(self, link: _Link, os_user: str) -> None:
        try:
            if peer.is_user(peer.owner_uid(link.peer, link.local), os_user):
                return
        except peer.OwnerUnknown as error:
            if self._settings.trust_osuser:
                return
            raise _Refuse("login", f"{error}, so osuser logins cannot be checked") from None
        log.warning("%s: not a connection of the user %s", link.name, on_one_line(os_user))
        raise _Refuse("login", f"this connection is not one of the operating system's user {os_user!r}")

    async def _hear_jobs(self, link: _Link) -> Optional[Jobs]:
        """The batch; None if the client left."""
        hearing = asyncio.ensure_future(link.hear())
        try:
            while not (await asyncio.wait({hearing}, timeout=self._settings.heartbeat))[0]:
                await link.say(Alive())
            message = hearing.result()
        finally:
            hearing.cancel()
        return message if isinstance(message, Jobs) else None

    def _accept(self, accepted: AcceptedBatch) -> Batch:
        """Raises _Refuse, with nothing recorded and nothing run."""
        if self._is_stopping:
            raise _Refuse("busy", "the server is stopping")
        try:
            for number, job in enumerate(accepted.jobs, 1):
                script_of(self._home, accepted.session, number, job)
            return self._queue.accept(accepted)
        except JobRefused as error:
            raise _Refuse("jobs", str(error)) from None
        except (OSError, sqlite3.Error):
            log.exception("session %s: cannot be recorded", accepted.session)
            raise _Refuse("busy", "the server cannot record the jobs") from None

    async def _tell(self, link: _Link, batch: Batch) -> None:
        """Tells what becomes of the batch, until that is known or the client leaves. The jobs go on either way."""
        telling = asyncio.ensure_future(self._tell_all(link, batch))
        hearing = asyncio.ensure_future(link.hear())
        try:
            await asyncio.wait({telling, hearing}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (telling, hearing):
                if ended.done():
                    ended.result()
        finally:
            telling.cancel()
            hearing.cancel()

    async def _tell_all(self, link: _Link, batch: Batch) -> None:
        async for message in report(batch, self._home, self._settings.heartbeat):
            await link.say(message)


class _LoggedIn(NamedTuple):
    name: str
    signature: Optional[str]
