"""The server from its start to its stop: what it is made of, and which connections it has.

Here are the parts put together, and started and stopped in the right order. What happens on a connection is in
session.py. The command that runs a server, and the signals that stop it, are in commands/serve.py.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakValueDictionary

from headless.dialects.vocabulary import BUSY
from headless.errors import Busy
from headless.server.admission import Admission
from headless.server.authentication import Authenticator
from headless.server.connection import LINGER_SECONDS, Connection
from headless.server.disk import Disk
from headless.server.exception_handler import ExceptionHandler
from headless.server.home import Home
from headless.server.journal import Journal
from headless.server.listener import listen
from headless.server.output import FollowedOutput
from headless.server.processes import JobProcesses
from headless.server.queue import SessionQueue
from headless.server.requests import Client, JobChecks, Parts
from headless.server.retention import Retention
from headless.server.settings import Settings
from headless.server.store import Store
from headless.server.threads import Threads

log = logging.getLogger(__name__)

_STORE_SECONDS = 5.0  # for the last changes to be journaled
_TURNED_AWAY_MAX = 50  # connections that are told why at a time
_STATUS_SECONDS = 10.0
_FILE_THREADS, _FILE_BACKLOG = 8, 20_000


class Server:
    """A server from `open` to `stop`, in the running event loop. `lost_log_lines` says how many lines the log has
    lost."""

    def __init__(self, home: Home, settings: Settings, lost_log_lines: Callable[[], int] = lambda: 0) -> None:
        self._home = home
        self._settings = settings
        self._lost_log_lines = lost_log_lines
        self._disk = Disk(home.folder, settings.disk_floor)
        self._store = Store(home.database, self._disk.make_room, home.check_journal)
        self._files = Threads("the files of jobs", _FILE_THREADS, _FILE_BACKLOG)
        self._admission = Admission(settings)
        self._queue = SessionQueue(self._store, JobProcesses(home, settings, self._files), settings)
        self._parts = Parts(
            settings,
            self._admission,
            Authenticator(self._store, settings),
            JobChecks(home, self._disk),
            self._queue,
            FollowedOutput(home, settings.heartbeat),
            self._store,
            WeakValueDictionary(),
        )
        self._retention = Retention(home, self._store, self._files, settings.retention_days)
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._turned_away = 0
        self._has_begun = asyncio.Event()
        self._background: list[asyncio.Task[None]] = []

    async def open(self) -> str:
        """HOST:PORT where it listens from now on. Clients wait until `begin`. Raises OSError if it cannot."""
        settings = self._settings
        asyncio.get_running_loop().set_exception_handler(ExceptionHandler())
        self._listener = await listen(settings, self._admission, self._serve)
        host, port = self._listener.address[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        log.info("listening on %s", address)
        return address

    async def begin(self) -> None:
        """Takes up what an earlier server has left, and serves. Raises Busy."""
        self._background.append(asyncio.create_task(self._publish_status()))  # what is there is of an earlier server
        await self._queue.recover()
        self._background.append(asyncio.create_task(self._retention.run()))
        self._has_begun.set()

    async def stop(self, force_stop: asyncio.Event) -> None:
        """Begins no session. Running sessions have the grace, unless `force_stop` is set. Their clients are told."""
        log.info("stopping: running sessions get %g s", self._settings.grace)
        for task in self._background:
            task.cancel()
        await self._queue.stop(force_stop)
        await self._store.settle(_STORE_SECONDS, force_stop)  # so that who waits for that is not refused
        await self._close_connections()
        self._listener.close()
        self._store.close(0.0)
        log.info("stopped")

    async def _close_connections(self) -> None:
        """Lets the clients read how their sessions ended, and refuses those that wait for more."""
        if self._connections:
            await asyncio.wait(self._connections.values(), timeout=LINGER_SECONDS / 2)
        for connection, task in list(self._connections.items()):
            connection.refuse(BUSY, "the server is stopping; what it has accepted runs on, or when it is back")
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections.values(), timeout=LINGER_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first byte to its last."""
        try:
            connection = Connection(reader, writer, self._admission.bytes_in_flight)
        except OSError as error:
            log.info("a connection was lost before it began: %s", error)
            writer.transport.abort()
            return
        try:
            self._admission.enter(connection.peer[0])
        except Busy as error:
            await self._turn_away(connection, writer, str(error))
            return
        task = asyncio.current_task()
        assert task is not None
        self._connections[connection] = task
        client = Client(connection, self._parts)
        try:
            with suppress(asyncio.CancelledError):  # the server is stopping
                await self._has_begun.wait()
                await client.serve()
        finally:
            with suppress(asyncio.CancelledError):
                await connection.close()
            del self._connections[connection]
            self._admission.leave(connection.peer[0], client.account.number if client.account else None)

    async def _turn_away(self, connection: Connection, writer: asyncio.StreamWriter, reason: str) -> None:
        """Tells the client why, unless so many are being told that this would be too much in itself."""
        if self._turned_away >= _TURNED_AWAY_MAX:
            writer.transport.abort()
            return
        self._turned_away += 1
        connection.refuse(BUSY, reason)
        try:
            with suppress(asyncio.CancelledError):  # the server has stopped
                await connection.close()
        finally:
            self._turned_away -= 1

    async def _publish_status(self) -> None:
        """Leaves in the journal what only this process knows, for whoever monitors it."""
        published = None
        while True:
            status = (self._admission.session_count, self._lost_log_lines())
            if status != published:
                figures = {"sessions": status[0], "dropped_log_lines": status[1], "time": time.time()}
                with suppress(Busy):
                    await self._store.write(Journal.set_fact, "status", json.dumps(figures))
                    published = status
            with suppress(Busy):  # and room for the journal, which may have used what there was
                await self._files.call(self._disk.set_aside)
            # A server that has nothing to do notices, too, that its home was replaced.
            with suppress(Busy, OSError):
                await self._files.call(self._home.check_held)
            await asyncio.sleep(_STATUS_SECONDS)
