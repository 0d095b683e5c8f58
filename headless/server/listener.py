"""The listening socket: connections are accepted here, and encrypted where TLS is wanted.

Here is what happens before the first message. Why not `asyncio.start_server(ssl=...)`: that drops a connection whose
handshake fails without a word, and on Windows it listens no more once a client has gone before it was accepted
(https://github.com/python/cpython/issues/93821). What happens on an accepted connection is in server.py and session.py.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import cast

from headless.errors import Busy
from headless.server.admission import Admission
from headless.server.settings import Settings
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

_BACKLOG = 1024  # connections that wait to be accepted
_SECONDS_BETWEEN_TRIES = 1.0  # where the machine has no more descriptors or memory
_SHORTAGE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def listen(settings: Settings, admission: Admission, serve: Serve) -> Listener:
    """Listens, and runs `serve` for each connection, once it is encrypted if the settings say so. Raises OSError if
    nobody can listen there."""
    loop = asyncio.get_running_loop()
    context = settings.tls

    def make_protocol() -> asyncio.Protocol:
        if context is not None:
            return _Handshake(context, settings.login_timeout, admission, serve)
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), serve, loop=loop)

    bound = await loop.create_server(make_protocol, settings.host, settings.port, start_serving=False)
    sockets = [each.dup() for each in bound.sockets]
    bound.close()
    for each in sockets:
        each.setblocking(False)
        each.listen(_BACKLOG)
    return Listener(sockets, make_protocol)


class Listener:
    """Accepts connections on these sockets until it is closed, whatever becomes of a single one."""

    def __init__(self, sockets: list[socket.socket], make_protocol: Callable[[], asyncio.Protocol]) -> None:
        self.address = sockets[0].getsockname()
        self._sockets = sockets
        self._make_protocol = make_protocol
        self._tasks = [asyncio.ensure_future(self._accept(each)) for each in sockets]

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for each in self._sockets:
            each.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:  # also of a peer that has gone meanwhile, on Windows
                loop.call_exception_handler(
                    {"message": "a connection was not accepted", "exception": error, "socket": listening}
                )
                await asyncio.sleep(_SECONDS_BETWEEN_TRIES if error.errno in _SHORTAGE else 0)
                continue
            # One at a time: what has begun is counted before the next one takes its place.
            await self._begin(connection)

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._make_protocol, connection)
        except OSError as error:
            log.info("a connection was lost before it began: %s", error)
            connection.close()


class _Handshake(asyncio.Protocol):
    """A connection that was accepted, until it is encrypted."""

    def __init__(self, context: ssl.SSLContext, timeout: float, admission: Admission, serve: Serve) -> None:
        self._context = context
        self._timeout = timeout
        self._admission = admission
        self._serve = serve

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Nothing is read before the task has begun, and there start_tls() stops reading first. To stop it here would be
        # too early: Python 3.9 begins to read after this, whatever was said.
        plain = cast(asyncio.Transport, transport)
        host, port = (plain.get_extra_info("peername") or ("unknown", 0))[:2]
        try:
            self._admission.begin_handshake(host)
        except Busy as error:
            log.info("%s port %s: turned away: %s", host, port, error)
            plain.abort()
            return
        self._task = asyncio.ensure_future(self._run(plain, host, port))

    async def _run(self, plain: asyncio.Transport, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            encrypted = await loop.start_tls(
                plain, protocol, self._context, server_side=True, ssl_handshake_timeout=self._timeout
            )
            if encrypted is None:  # closed meanwhile, in newer versions of Python
                raise ConnectionResetError("the client has gone already")
        except OSError as error:  # which an ssl.SSLError is
            log.info("%s port %s: the TLS handshake failed: %s", host, port, escape_control_chars(str(error)))
            plain.abort()
            return
        finally:
            self._admission.end_handshake(host)
        protocol.connection_made(encrypted)
        await self._serve(reader, asyncio.StreamWriter(encrypted, protocol, reader, loop))
