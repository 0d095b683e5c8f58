"""The server from its start to its stop: what it is made of, and which connections it has.

Here are the parts put together, and started and stopped in the right order. What happens on a connection is in
session.py. The command that runs a server, and the signals that stop it, are in commands/serve.py.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import suppress

from headless.protocol.messages import Refused
from headless.protocol.vocabulary import BUSY
from headless.server.accounts import Accounts
from headless.server.authentication import Authenticator
from headless.server.batch_queue import BatchQueue
from headless.server.exception_handler import ExceptionHandler
from headless.server.home import Home
from headless.server.journal import Journal
from headless.server.link import LINGER_SECONDS, Link
from headless.server.listener import listen
from headless.server.process import Processes
from headless.server.retention import Retention
from headless.server.session import Session
from headless.server.settings import Settings

log = logging.getLogger(__name__)


class Server:
    """A server from `start` to `stop`, in the running event loop."""

    def __init__(self, home: Home, database: sqlite3.Connection, processes: Processes, settings: Settings) -> None:
        journal = Journal(database)
        self._home = home
        self._processes = processes
        self._settings = settings
        self._authenticator = Authenticator(Accounts(database), settings.trust_osuser)
        self._queue = BatchQueue(home, journal, processes, settings.workers)
        self._retention = None
        if settings.retention_days is not None:
            self._retention = Retention(home, journal, settings.retention_days)
        self._links: dict[Link, asyncio.Task[None]] = {}
        self._listener: asyncio.Server | None = None
        self._pruning: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """HOST:PORT where it listens. Raises OSError if it cannot."""
        settings = self._settings
        asyncio.get_running_loop().set_exception_handler(ExceptionHandler())
        self._listener = await listen(settings.host, settings.port, settings.tls, settings.login_timeout, self._serve)
        await self._processes.open()
        self._queue.recover()
        if self._retention is not None:
            self._pruning = asyncio.ensure_future(self._retention.run())
        host, port = self._listener.sockets[0].getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        log.info("listening on %s", address)
        return address

    async def stop(self, force_stop: asyncio.Event) -> None:
        """Begins no session. Running batches have the grace, unless `force_stop` is set. Their clients are told."""
        assert self._listener is not None
        log.info("stopping: running batches get %g s", self._settings.grace)
        if self._pruning is not None:
            self._pruning.cancel()
        await self._queue.stop(self._settings.grace, force_stop)
        await self._close_links()
        self._listener.close()
        await self._processes.close()
        log.info("stopped")

    async def _close_links(self) -> None:
        """Lets the clients read how their batches ended, and refuses those that wait for more."""
        if self._links:
            await asyncio.wait(self._links.values(), timeout=LINGER_SECONDS / 2)
        for link, task in list(self._links.items()):
            link.refuse(Refused(BUSY, "the server is stopping; what it has accepted runs when it is back"))
            task.cancel()
        if self._links:
            await asyncio.wait(self._links.values(), timeout=LINGER_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first byte to its last."""
        try:
            link = Link(reader, writer)
        except OSError as error:
            log.info("a connection was lost before it began: %s", error)
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._links[link] = task
        try:
            with suppress(asyncio.CancelledError):  # the server is stopping
                await Session(link, self._authenticator, self._queue, self._home, self._settings).run()
        finally:
            with suppress(asyncio.CancelledError):
                await link.close()
            del self._links[link]
