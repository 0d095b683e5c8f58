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
from typing import Callable

from headless.options import Service
from headless.protocol_tools.recordings import CLIENT, SERVER, Folder, Piece, line_of, write_all

_READ_BYTES = 65536
_MAX_WAITING = 1024  # pieces of so many bytes that are not on the disk yet
_ADDRESS_DELAY = 0.25  # seconds after which another address of the server is tried (RFC 8305)
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close sends RST

Complain = Callable[[str], None]  # shows a sentence about what went wrong


class Recorder:
    """Writes recordings in a thread. `connections` are their names. After the first fault it writes no more, for what
    misses a part would be taken for what was said. `ended` is called in the thread with the name of a connection that
    is over, and may raise OSError."""

    def __init__(self, folder: Folder, complain: Complain, ended: Callable[[str], None]) -> None:
        self._folder = folder
        self._complain = complain
        self._ended = ended
        self._queue: queue.Queue[tuple[int, Piece | None] | None] = queue.Queue(_MAX_WAITING)
        self._files: dict[int, tuple[str, int]] = {}
        self.connections: list[str] = []
        self.is_whole = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(self, connection: int, piece: Piece | None) -> None:
        """Adds to the recording of the connection of this number. None ends it."""
        try:
            self._queue.put_nowait((connection, piece))
        except queue.Full:
            self._give_up("the disk is too slow")

    def close(self) -> None:
        """Returns when all is written."""
        self._queue.put(None)
        self._thread.join()

    def _give_up(self, reason: str) -> None:
        if self.is_whole:
            self.is_whole = False
            self._complain(f"the recording ends here: {reason}; the connections go on")

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                if self.is_whole:
                    self._write(*item)
            except OSError as error:
                self._give_up(error.strerror or str(error))
        for _, descriptor in self._files.values():
            os.close(descriptor)

    def _write(self, connection: int, piece: Piece | None) -> None:
        if connection not in self._files:
            self._files[connection] = self._folder.create_recording()
            self.connections.append(self._files[connection][0])
        if piece is not None:
            write_all(self._files[connection][1], line_of(piece))
            return
        name, descriptor = self._files.pop(connection)
        os.close(descriptor)
        self._ended(name)


class Relay:
    """Passes on connections to `service`. With a context it speaks TLS: upstream to the server, downstream to the
    client."""

    def __init__(
        self,
        recorder: Recorder,
        complain: Complain,
        service: Service,
        upstream: ssl.SSLContext | None,
        downstream: ssl.SSLContext | None,
    ) -> None:
        self._recorder = recorder
        self._complain = complain
        self._service = service
        self._upstream = upstream
        self._downstream = downstream
        self._count = 0  # of connections
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Returns a server that listens there. Raises OSError."""
        return await asyncio.start_server(self._accepted, host, port, ssl=self._downstream)

    async def close(self, seconds: float) -> None:
        """Waits so long for the connections to end, and resets those that remain."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._connect(reader, writer)
        except asyncio.CancelledError:  # asyncio.streams of Python 3.11 would print it as an error
            pass
        finally:
            self._tasks.discard(task)
            _reset(writer)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._service.host, self._service.port
        try:
            from_server, to_server = await asyncio.open_connection(
                host, port, ssl=self._upstream, happy_eyeballs_delay=_ADDRESS_DELAY
            )
        except OSError as error:
            self._complain(f"no connection to {self._service}: {_reason(error)}")
            return
        self._count += 1
        number, begun = self._count, time.monotonic()

        def record(sender: str, data: bytes) -> None:
            self._recorder.add(number, Piece(time.monotonic() - begun, sender, data))

        async def copy(sender: str, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(_READ_BYTES):
                target.write(data)
                record(sender, data)
                await target.drain()
            record(sender, b"")
            _end(target)

        copies = [
            asyncio.ensure_future(copy(CLIENT, reader, to_server)),
            asyncio.ensure_future(copy(SERVER, from_server, writer)),
        ]
        try:
            await asyncio.gather(*copies)
            await asyncio.gather(_close(writer), _close(to_server))
        except OSError:  # one side has reset the connection: so the other one gets a reset, too
            pass
        finally:
            for each in copies:
                each.cancel()
            _reset(to_server)
            await asyncio.gather(*copies, return_exceptions=True)
            self._recorder.add(number, None)


def _end(writer: asyncio.StreamWriter) -> None:
    """Passes on the end of a stream. TLS has no half of a connection."""
    with suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Returns when all has left."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection by a reset if it is still open."""
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


def _reason(error: OSError) -> str:
    """Returns why there is no connection, without Python's own words."""
    if isinstance(error, (ssl.SSLError, socket.gaierror)) or not error.errno:
        return str(error.strerror or error) or "it ends at once"
    return os.strerror(error.errno)
