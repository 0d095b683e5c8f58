"""Which connections a server takes: it accepts and encrypts them, within limits.

Not `asyncio.start_server(ssl=...)`: that drops a connection whose handshake fails without a word, and on Windows it
listens no more once a client has gone before it was accepted (https://github.com/python/cpython/issues/93821).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import cast

from headless.errors import Busy
from headless.server.settings import Settings
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

_BACKLOG = 1024  # connections that wait to be accepted
_SECONDS_BETWEEN_TRIES = 1.0  # where the machine has no more descriptors or memory
_SHORTAGE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class _Group:
    """Counts connections, in all and by what they share: an address, say."""

    def __init__(self, kind: str, most: int, most_of_one: int, shared: str = "from this address") -> None:
        self._kind = kind
        self._most = most
        self._most_of_one = most_of_one
        self._shared = shared
        self._by_one: Counter[str | int] = Counter()
        self.count = 0

    def check(self, one: str | int) -> None:
        """Raises Busy if one more is too many."""
        if self.count >= self._most:
            raise Busy(f"the server has {self._most} {self._kind} and takes no more")
        if self._by_one[one] >= self._most_of_one:
            raise Busy(f"the server has {self._most_of_one} {self._kind} {self._shared} and takes no more")

    def add(self, one: str | int) -> None:
        self.count += 1
        self._by_one[one] += 1

    def remove(self, one: str | int) -> None:
        self.count -= 1
        self._by_one[one] -= 1
        if not self._by_one[one]:
            del self._by_one[one]


class BytesInFlight:
    """Counts the bytes of messages that are not whole, or not journaled yet."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    def hold(self, count: int) -> None:
        """Raises Busy if so many more are too many."""
        if self._held + count > self._most:
            raise Busy(f"{self._most} bytes are on their way to the server, and it takes no more at a time")
        self._held += count

    def release(self, count: int) -> None:
        self._held -= count


class Admission:
    """Counts what comes to one server. A connection over a limit is refused, and does not count."""

    def __init__(self, settings: Settings) -> None:
        of_strangers = settings.max_strangers, settings.max_strangers_per_address
        self._all = _Group("connections", settings.max_connections, settings.max_connections_per_address)
        self._handshakes = _Group("TLS handshakes", *of_strangers)
        self._strangers = _Group("connections without a login", *of_strangers)
        self._logged_in = _Group(
            "connections", settings.max_connections, settings.max_connections_per_account, "of this account"
        )
        self.bytes_in_flight = BytesInFlight(settings.max_bytes_in_flight)

    @property
    def logged_in_count(self) -> int:
        return self._logged_in.count

    def begin_handshake(self, address: str) -> None:
        """Counts a connection from this address that is not encrypted yet. Raises Busy."""
        self._add(address, self._handshakes)

    def end_handshake(self, address: str) -> None:
        """Drops it: it is gone, or is encrypted and enters now."""
        self._all.remove(address)
        self._handshakes.remove(address)

    def enter(self, address: str) -> None:
        """Counts a connection from this address. Raises Busy."""
        self._add(address, self._strangers)

    def log_in(self, address: str, account: int) -> None:
        """Counts one of them for this account from now on. Raises Busy."""
        self._logged_in.check(account)
        self._logged_in.add(account)
        self._strangers.remove(address)

    def leave(self, address: str, account: int | None) -> None:
        """Drops a connection. `account` is None if it had not logged in."""
        self._all.remove(address)
        if account is None:
            self._strangers.remove(address)
        else:
            self._logged_in.remove(account)

    def _add(self, address: str, group: _Group) -> None:
        self._all.check(address)
        group.check(address)
        self._all.add(address)
        group.add(address)


async def listen(settings: Settings, admission: Admission, serve: Serve) -> Listener:
    """Listens, and runs `serve` for each connection, once it is encrypted if the settings ask for that. Raises OSError
    if that address cannot be had."""
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
    """Accepts connections on these sockets until it is closed, whatever happens to a single one."""

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
            try:  # one at a time: what has begun is counted before the next one is accepted
                await loop.connect_accepted_socket(self._make_protocol, connection)
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
        # too early: Python 3.9 begins to read after this in any case.
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
