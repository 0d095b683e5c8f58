"""Jobs as processes that are forked from one that is kept ready: a Python that has started already.

Here is the server's side: what is sent to the fork server, and what comes back. The other side is forkserver.py, which
also says how the two talk, and ends the jobs should the server be killed.
"""

from __future__ import annotations

import asyncio
import itertools
import marshal
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from headless.server.process import LOST, ProcessSpec

_FORK_SERVER = str(Path(__file__).with_name("forkserver.py"))
_READ_BYTES = 65536


class ForkedProcess:
    """One job's process, as the fork server reports on it."""

    def __init__(self, server: ForkedProcesses, number: int) -> None:
        self._server = server
        self._number = number
        self.started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        return await asyncio.shield(self.status)

    async def end(self) -> None:
        self._server.send("end", self._number, ())
        await self.wait()

    def receive(self, kind: str, value: int | str) -> None:
        """Takes a report of the fork server: "pid", "status" or "error"."""
        if kind == "pid":
            self.started.set_result(int(value))
        elif kind == "status":
            self.status.set_result(int(value))
        else:
            self.started.set_exception(OSError(value))

    def connection_lost(self) -> None:
        """The process that it was forked from has ended."""
        if not self.started.done():
            self.started.set_exception(OSError("the process that starts jobs has ended"))
        elif not self.status.done():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.started.result(), signal.SIGKILL)
            self.status.set_result(LOST)


class ForkedProcesses:
    """The server's side of the fork server: sends requests, receives reports. A fork server that has ended is replaced
    when the next job starts. For `environment` and `lock` see processes.py."""

    def __init__(self, environment: dict[str, str], lock: int | None) -> None:
        self._environment = environment
        self._lock = lock
        self._numbers = itertools.count(1)
        self._running: dict[int, ForkedProcess] = {}
        self._socket: socket.socket | None = None
        self._received = b""
        self._unsent = b""

    async def open(self) -> None:
        self._open()

    async def start(self, spec: ProcessSpec) -> ForkedProcess:
        number = next(self._numbers)
        process = self._running[number] = ForkedProcess(self, number)
        try:
            self.send("start", number, tuple(spec))
            await process.started
        except OSError:
            self._running.pop(number, None)
            raise
        return process

    async def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_writer(self._socket)
            self._socket.shutdown(socket.SHUT_WR)
            await asyncio.get_running_loop().run_in_executor(None, self._process.wait)
        self._connection_lost()

    def send(self, kind: str, number: int, spec: tuple[Any, ...]) -> None:
        """Sends a request, "start" or "end". Raises OSError if there is no fork server to be had."""
        data = marshal.dumps((kind, number, spec))
        if self._socket is None:
            self._open()
        self._unsent += len(data).to_bytes(4, "big") + data
        self._flush()

    def _flush(self) -> None:
        """Sends what fits; the rest waits until there is room: the other side may be waiting for this one to read."""
        assert self._socket is not None
        with suppress(BlockingIOError):
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        loop = asyncio.get_running_loop()
        if self._unsent:
            loop.add_writer(self._socket, self._on_writable)
        else:
            loop.remove_writer(self._socket)

    def _on_writable(self) -> None:
        try:
            self._flush()
        except OSError:
            self._connection_lost()

    def _open(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs, open(os.devnull, "rb") as null:
            lock = null.fileno() if self._lock is None else self._lock
            self._process = subprocess.Popen(
                [sys.executable, "-u", _FORK_SERVER, str(theirs.fileno()), str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), lock),
                env=self._environment,
                start_new_session=True,
            )
        self._socket, self._received, self._unsent = ours, b"", b""
        asyncio.get_running_loop().add_reader(ours, self._receive)

    def _receive(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._connection_lost()
            return
        self._received += data
        while len(self._received) >= 4:
            end = 4 + int.from_bytes(self._received[:4], "big")
            if len(self._received) < end:
                return
            (number, kind, value), self._received = marshal.loads(self._received[4:end]), self._received[end:]
            process = self._running[number] if kind == "pid" else self._running.pop(number)
            process.receive(kind, value)

    def _connection_lost(self) -> None:
        """The process that jobs are forked from has ended; the next job gets another."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            asyncio.get_running_loop().remove_writer(self._socket)
            self._socket.close()
            self._socket = None
            self._process.wait()
        processes = list(self._running.values())
        self._running.clear()
        for process in processes:
            process.connection_lost()
