"""The listening socket: connections are accepted here, and encrypted where TLS is wanted.

Here is what happens before the first message. Why not `asyncio.start_server(ssl=...)`: that drops a connection whose
handshake fails without a word. What happens on an accepted connection is in server.py and session.py.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import cast

from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

_BACKLOG = 1024  # connections that wait to be accepted

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def listen(
    host: str, port: int, tls: ssl.SSLContext | None, handshake_timeout: float, serve: Serve
) -> asyncio.Server:
    """Listens, and runs `serve` for each connection, once it is encrypted if `tls` is given. A handshake has
    `handshake_timeout` seconds. Raises OSError if nobody can listen there."""
    if tls is None:
        return await asyncio.start_server(serve, host, port, backlog=_BACKLOG)
    context = tls
    return await asyncio.get_running_loop().create_server(
        lambda: _Handshake(context, handshake_timeout, serve), host, port, backlog=_BACKLOG
    )


class _Handshake(asyncio.Protocol):
    """A connection that was accepted, until it is encrypted."""

    def __init__(self, context: ssl.SSLContext, timeout: float, serve: Serve) -> None:
        self._context = context
        self._timeout = timeout
        self._serve = serve

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Nothing is read before the task has begun, and there start_tls() stops reading first. To stop it here would be
        # too early: Python 3.9 begins to read after this, whatever was said.
        self._task = asyncio.ensure_future(self._run(cast(asyncio.Transport, transport)))

    async def _run(self, plain: asyncio.Transport) -> None:
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
            host, port = (plain.get_extra_info("peername") or ("unknown", 0))[:2]
            log.info("%s port %s: the TLS handshake failed: %s", host, port, escape_control_chars(str(error)))
            plain.abort()
            return
        protocol.connection_made(encrypted)
        await self._serve(reader, asyncio.StreamWriter(encrypted, protocol, reader, loop))
