"""The server from its start to its stop: what it is made of, and which connections it has."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

from headless.dialects.vocabulary import BUSY
from headless.errors import Busy
from headless.server.admission import Admission, listen
from headless.server.authentication import Authenticator
from headless.server.connection import LINGER_SECONDS, Connection
from headless.server.disk import Disk, Retention
from headless.server.history import RefusedLogins
from headless.server.home import Home
from headless.server.journal import Journal
from headless.server.output import FollowedOutput
from headless.server.processes import JobProcesses
from headless.server.queue import SessionQueue
from headless.server.requests import Client, JobChecks, Parts
from headless.server.settings import Settings
from headless.server.store import Store
from headless.server.threads import Threads
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

_STORE_SECONDS = 5.0  # for the last changes to be journaled
_TURNED_AWAY_MAX = 50  # connections that are refused with a reason at a time
_STATUS_SECONDS = 10.0
_HISTORY_SECONDS = 5.0
_SEEN_SECONDS = 60.0  # a disk that sleeps is woken once a minute
_FILE_THREADS, _FILE_BACKLOG = 8, 20_000
_REPEAT_SECONDS = 1.0  # between two lines about the same fault of connections
# What the context of an exception has that came about at a connection or at the listening socket.
_AT_A_CONNECTION = {"transport", "protocol", "socket"}


class Server:
    """Runs a server from `open` to `stop`, in the running event loop. `lost_log_lines` returns how many lines the log
    has lost."""

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
            RefusedLogins(),
            WeakValueDictionary(),
        )
        self._retention = Retention(home, self._store, self._files, settings.retention_days)
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._turned_away = 0
        self._has_begun = asyncio.Event()
        self._background: list[asyncio.Task[None]] = []

    async def open(self) -> str:
        """Listens, and returns HOST:PORT. Clients wait until `begin`. Raises OSError if it cannot listen there."""
        settings = self._settings
        asyncio.get_running_loop().set_exception_handler(ExceptionHandler())
        self._listener = await listen(settings, self._admission, self._serve)
        host, port = self._listener.address[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        log.info("listening on %s", address)
        return address

    async def begin(self) -> None:
        """Resumes what an earlier server has left, and serves. Raises Busy."""
        self._store.write_later(Journal.begin_server)
        self._background.append(asyncio.create_task(self._record_history()))
        self._background.append(asyncio.create_task(self._publish_status()))  # what is there is of an earlier server
        await self._queue.recover()
        self._background.append(asyncio.create_task(self._retention.run()))
        self._has_begun.set()

    async def renew_tls(self, load: Callable[[], ssl.SSLContext | None]) -> None:
        """Encrypts new connections by what `load` returns. Raises what it raises, and Busy: then nothing changes."""
        self._listener.tls = await self._files.call(load)

    async def stop(self, force_stop: asyncio.Event) -> None:
        """Begins no more sessions. Running ones have the grace, unless `force_stop` is set, and are reported."""
        log.info("stopping: running sessions get %g s", self._settings.grace)
        for task in self._background:
            task.cancel()
        await self._queue.stop(force_stop)
        self._store.write_later(self._store.recording(self._parts.refused.take()))
        self._store.write_later(Journal.end_server)
        await self._store.settle(_STORE_SECONDS, force_stop)  # so that clients that wait for that are not refused
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
        """Serves one connection, from its first byte to its last."""
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
        """Refuses the connection with the reason, or closes it without a word if too many are being refused."""
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

    async def _record_history(self) -> None:
        """Records now and then that this server runs, and soon which logins it has refused."""
        seen = time.monotonic()
        while True:
            await asyncio.sleep(_HISTORY_SECONDS)
            with suppress(Busy):
                if refused := self._parts.refused.take():
                    await self._store.write(self._store.recording(refused))
                if time.monotonic() - seen >= _SEEN_SECONDS:
                    await self._store.write(Journal.see_server)
                    seen = time.monotonic()

    async def _publish_status(self) -> None:
        """Keeps up to date what only this process knows: its figures in the journal, the reserve, the home."""
        published = None
        while True:
            status = (self._admission.logged_in_count, self._lost_log_lines())
            if status != published:
                figures = {"sessions": status[0], "dropped_log_lines": status[1]}
                with suppress(Busy):
                    await self._store.write(Journal.set_fact, "status", json.dumps(figures))
                    published = status
            with suppress(Busy):  # the journal may have used the reserve
                await self._files.call(self._disk.set_aside)
            # A server that has nothing to do notices here that its home was replaced.
            with suppress(Busy, OSError):
                await self._files.call(self._home.check_held)
            await asyncio.sleep(_STATUS_SECONDS)


class ExceptionHandler:
    """Logs exceptions that were not caught: a fault of a connection in one line, a bug with its traceback.

    Where descriptors run out, asyncio calls it up to a thousand times in a row, once for each connection that may wait
    to be accepted. So the same line about connections is logged once a second at most.
    """

    def __init__(self) -> None:
        self._last_line = ""
        self._last_time = 0.0

    def __call__(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """For `loop.set_exception_handler`."""
        error = context.get("exception")
        message = escape_control_chars(str(context["message"]))
        if isinstance(error, OSError) and _is_of_accept(context.get("future")):
            return  # the listener has it, too
        # ssl.SSLError is an OSError. Elsewhere an OSError may be that of a file, and a bug.
        if isinstance(error, ConnectionError) or (isinstance(error, OSError) and _AT_A_CONNECTION & context.keys()):
            self._log_once(f"{message}: {escape_control_chars(str(error))}")
        else:
            log.error("internal error: %s", message, exc_info=error)

    def _log_once(self, line: str) -> None:
        now = time.monotonic()
        if line != self._last_line or now - self._last_time >= _REPEAT_SECONDS:
            self._last_line, self._last_time = line, now
            log.warning("%s", line)


def _is_of_accept(task: object) -> bool:
    """Returns whether it is the task that asyncio makes for each connection that Windows is to accept, and never looks
    at."""
    return isinstance(task, asyncio.Task) and getattr(task.get_coro(), "__name__", "") == "accept_coro"
