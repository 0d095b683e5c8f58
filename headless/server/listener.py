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

from headless.server.admission import Admission
from headless.server.errors import Busy
from headless.server.settings import Settings
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

_BACKLOG = 1024  # connections that wait to be accepted
_AT_ONCE = 8  # that asyncio accepts before it looks at any: until then they are not counted

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def listen(settings: Settings, admission: Admission, serve: Serve) -> asyncio.Server:
    """Listens, and runs `serve` for each connection, once it is encrypted if the settings say so. Raises OSError if
    nobody can listen there."""
    host, port, context = settings.host, settings.port, settings.tls
    if context is None:
        server = await asyncio.start_server(serve, host, port, backlog=_AT_ONCE)
    else:
        server = await asyncio.get_running_loop().create_server(
            lambda: _Handshake(context, settings.login_timeout, admission, serve), host, port, backlog=_AT_ONCE
        )
    for listener in server.sockets:  # asyncio has one number for both
        with listener.dup() as same:
            same.listen(_BACKLOG)
    return server


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
