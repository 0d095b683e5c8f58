"""A relay that passes on what a client and its server say, unchanged and undelayed, and records it.

The recording goes through a thread: a slow or full disk ends the recording, and not the conversation.
"""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import ssl
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

from headless.options import Service
from headless.protocol_tools.recordings import CLIENT, SERVER, Folder, Piece, line_of

_READ_BYTES = 65536
_MAX_WAITING = 64 * 2**20  # bytes that have not been written to the disk
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close sends RST


class Relay:
    """Passes on connections to `service`. `connections` are the names of their recordings, in their order. `problems`
    are sentences about what went wrong."""

    def __init__(
        self, folder: Folder, service: Service, upstream: ssl.SSLContext | None, downstream: ssl.SSLContext | None
    ) -> None:
        self._service = service
        self._upstream = upstream
        self._downstream = downstream
        self._writer = _Writer(folder)
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections: list[str] = []
        self.problems: list[str] = self._writer.problems

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Returns a server that listens there. Raises OSError."""
        return await asyncio.start_server(self._accepted, host, port, ssl=self._downstream)

    async def close(self, seconds: float) -> None:
        """Waits so long for the connections to end, ends those that remain, and writes what is left."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writer.close()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._pass_on(reader, writer)
        finally:
            self._tasks.discard(task)
            _reset(writer)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._service.host, self._service.port
        try:
            to_server = await asyncio.open_connection(host, port, ssl=self._upstream)
            name = self._writer.open()
        except OSError as error:
            self.problems.append(f"a connection to {self._service} was not recorded: {error}")
            return
        self.connections.append(name)
        begun = time.monotonic()

        async def copy(sender: str, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while True:
                data = await source.read(_READ_BYTES)
                self._writer.write(name, Piece(time.monotonic() - begun, sender, data))
                if not data:
                    break
                target.write(data)
                await target.drain()
            _end(target)

        try:
            await asyncio.gather(copy(CLIENT, reader, to_server[1]), copy(SERVER, to_server[0], writer))
            await _close(writer)
        except OSError:  # one side has reset the connection: so the other one gets a reset, too
            pass
        finally:
            self._writer.finish(name)
            _reset(to_server[1])


def _end(writer: asyncio.StreamWriter) -> None:
    """Passes on the end of a stream. TLS has no half of a connection."""
    with suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection that is still open by a reset."""
    if writer.is_closing():
        return
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


class _Writer:
    """Writes recordings in a thread."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._queue: queue.SimpleQueue[tuple[str, bytes | None] | None] = queue.SimpleQueue()
        self._waiting = 0  # bytes in the queue
        self._files: dict[str, int] = {}
        self._is_over = False
        self.problems: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def open(self) -> str:
        """Returns the name of a new recording. Raises OSError."""
        name, descriptor = self._folder.create_recording()
        self._files[name] = descriptor
        return name

    def write(self, name: str, piece: Piece) -> None:
        line = line_of(piece)
        if self._is_over or self._waiting + len(line) > _MAX_WAITING:
            self._give_up("the disk is too slow")
            return
        self._waiting += len(line)
        self._queue.put((name, line))

    def finish(self, name: str) -> None:
        self._queue.put((name, None))

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _give_up(self, reason: str) -> None:
        if not self._is_over:
            self._is_over = True
            self.problems.append(f"the recording ends here: {reason}; the connections go on")

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            name, line = item
            if line is None:
                os.close(self._files.pop(name))
                continue
            self._waiting -= len(line)
            if not self._is_over:
                self._append(name, line)

    def _append(self, name: str, line: bytes) -> None:
        try:
            while line:
                line = line[os.write(self._files[name], line) :]
        except OSError as error:
            self._give_up(error.strerror or str(error))


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Returns what the relay speaks TLS with to the client. Raises OSError (ssl.SSLError)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
