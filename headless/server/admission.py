"""Which connections a server takes: it accepts and encrypts them, within limits.

Not `asyncio.start_server(ssl=...)`: that drops a connection whose handshake fails without a word, and on Windows it
listens no more once a client has gone before it was accepted (https://github.com/python/cpython/issues/93821).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext

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

    @contextmanager
    def handshake(self, address: str) -> Iterator[None]:
        """Counts a connection from this address while it is being encrypted. Raises Busy."""
        self._add(address, self._handshakes)
        try:
            yield
        finally:
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
    bound = await loop.create_server(asyncio.Protocol, settings.host, settings.port, start_serving=False)
    sockets = [each.dup() for each in bound.sockets]
    bound.close()
    for each in sockets:
        each.setblocking(False)
        each.listen(_BACKLOG)
    return Listener(sockets, settings, admission, serve)


class Listener:
    """Accepts connections on these sockets until it is closed, whatever happens to a single one."""

    def __init__(self, sockets: list[socket.socket], settings: Settings, admission: Admission, serve: Serve) -> None:
        self.address = sockets[0].getsockname()
        self._sockets = sockets
        self.tls = settings.tls  # of new connections
        self._settings = settings
        self._admission = admission
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._tasks = {self._loop.create_task(self._accept(each)) for each in sockets}

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for each in self._sockets:
            each.close()

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, address = await self._loop.sock_accept(listening)
            except OSError as error:  # also of a peer that has gone meanwhile, on Windows
                self._loop.call_exception_handler(
                    {"message": "a connection was not accepted", "exception": error, "socket": listening}
                )
                await asyncio.sleep(_SECONDS_BETWEEN_TRIES if error.errno in _SHORTAGE else 0)
                continue
            task = self._loop.create_task(self._run(connection, *address[:2]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(0)  # it begins, and is counted soon, before many others are accepted

    async def _run(self, connection: socket.socket, host: str, port: int) -> None:
        """Serves a connection, once it is encrypted."""
        tls = self.tls
        reader = asyncio.StreamReader(loop=self._loop)
        try:
            with self._admission.handshake(host) if tls else nullcontext():
                transport, protocol = await self._loop.connect_accepted_socket(
                    lambda: asyncio.StreamReaderProtocol(reader, loop=self._loop),
                    connection,
                    ssl=tls,
                    ssl_handshake_timeout=self._settings.login_timeout if tls else None,
                )
        except (Busy, OSError) as error:  # OSError: also an ssl.SSLError
            what = "turned away" if isinstance(error, Busy) else "the TLS handshake failed" if tls else "lost"
            log.info("%s port %s: %s: %s", host, port, what, escape_control_chars(str(error)))
            connection.close()
            return
        await self._serve(reader, asyncio.StreamWriter(transport, protocol, reader, self._loop))
