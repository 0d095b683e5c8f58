"""The processes of jobs: started, awaited, and ended with all that they have started. What they run, jobs.py says.

Where the platform can fork, jobs are forked from a process kept ready (forkserver.py), which also ends them should the
server be killed. Elsewhere each one is an interpreter of its own.
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
from typing import Any, NamedTuple, Optional, Protocol

_FORK_SERVER = str(Path(__file__).with_name("forkserver.py"))
_SECONDS_TO_CLEAN_UP = 1.0  # between asking a job to end and ending it
LOST = 256  # no exit status: the process that the job was forked from has ended


class Order(NamedTuple):
    """A script to run in this folder, with this environment besides `base`, and its output into these files."""

    script: str
    folder: str
    stdout: str
    stderr: str
    environment: dict[str, str]


class Process(Protocol):
    async def wait(self) -> int:
        """The exit status; the negative number of the signal that ended it; LOST."""

    async def end(self) -> None:
        """Ends it and all that it has started: SIGTERM, and what is left after a second is killed."""


class Processes(Protocol):
    async def open(self) -> None:
        """Makes ready."""

    async def start(self, order: Order) -> Process:
        """Raises OSError if no process can be had."""

    async def close(self) -> None:
        """Ends what still runs."""


def processes(environment: dict[str, str], lock: Optional[int] = None) -> Processes:
    """The platform's way. `environment` is what every job has; `lock` is a descriptor that stays open as long as jobs
    run, whatever becomes of the server."""
    return ForkedProcesses(environment, lock) if hasattr(os, "fork") else SpawnedProcesses(environment)


class _Forked:
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

    def hear(self, what: str, value: int | str) -> None:
        if what == "pid":
            self.started.set_result(int(value))
        elif what == "status":
            self.status.set_result(int(value))
        else:
            self.started.set_exception(OSError(value))

    def lose(self) -> None:
        """The process that it was forked from has ended."""
        if not self.started.done():
            self.started.set_exception(OSError("the process that starts jobs has ended"))
        elif not self.status.done():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.started.result(), signal.SIGKILL)
            self.status.set_result(LOST)


class ForkedProcesses:
    def __init__(self, environment: dict[str, str], lock: Optional[int]) -> None:
        self._environment = environment
        self._lock = lock
        self._numbers = itertools.count(1)
        self._running: dict[int, _Forked] = {}
        self._socket: Optional[socket.socket] = None
        self._received = b""
        self._unsent = b""

    async def open(self) -> None:
        self._open()

    async def start(self, order: Order) -> _Forked:
        number = next(self._numbers)
        process = self._running[number] = _Forked(self, number)
        try:
            self.send("start", number, tuple(order))
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
        self._lose()

    def send(self, what: str, number: int, order: tuple[Any, ...]) -> None:
        """Raises OSError."""
        data = marshal.dumps((what, number, order))
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
            loop.add_writer(self._socket, self._flush_later)
        else:
            loop.remove_writer(self._socket)

    def _flush_later(self) -> None:
        try:
            self._flush()
        except OSError:
            self._lose()

    def _open(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs, open(os.devnull, "rb") as nothing:
            lock = nothing.fileno() if self._lock is None else self._lock
            self._process = subprocess.Popen(
                [sys.executable, "-u", _FORK_SERVER, str(theirs.fileno()), str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), lock),
                env=self._environment,
                start_new_session=True,
            )
        self._socket, self._received, self._unsent = ours, b"", b""
        asyncio.get_running_loop().add_reader(ours, self._hear)

    def _hear(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        self._received += data
        while len(self._received) >= 4:
            end = 4 + int.from_bytes(self._received[:4], "big")
            if len(self._received) < end:
                return
            (number, what, value), self._received = marshal.loads(self._received[4:end]), self._received[end:]
            process = self._running[number] if what == "pid" else self._running.pop(number)
            process.hear(what, value)

    def _lose(self) -> None:
        """The process that jobs are forked from has ended; the next job gets another."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            asyncio.get_running_loop().remove_writer(self._socket)
            self._socket.close()
            self._socket = None
            self._process.wait()
        lost = list(self._running.values())
        self._running.clear()
        for process in lost:
            process.lose()


class _Spawned:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def wait(self) -> int:
        return await self._process.wait()

    async def end(self) -> None:
        _signal_group(self._process.pid, "SIGTERM")
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._process.wait(), _SECONDS_TO_CLEAN_UP)
        _signal_group(self._process.pid, "SIGKILL")


class SpawnedProcesses:
    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    async def open(self) -> None:
        pass

    async def start(self, order: Order) -> _Spawned:
        with open(order.stdout, "wb") as out, open(order.stderr, "wb") as err:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-u",
                order.script,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=order.folder,
                env={**self._environment, **order.environment},
                start_new_session=True,
                creationflags=_OWN_GROUP,
            )
        return _Spawned(process)

    async def close(self) -> None:
        pass


if sys.platform == "win32":
    _OWN_GROUP = subprocess.CREATE_NEW_PROCESS_GROUP

    def _signal_group(pid: int, name: str) -> None:
        if name == "SIGKILL":
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True, check=False)

else:
    _OWN_GROUP = 0  # start_new_session is what makes one

    def _signal_group(pid: int, name: str) -> None:
        with suppress(ProcessLookupError):
            os.killpg(pid, getattr(signal, name))
