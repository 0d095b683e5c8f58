"""A relay between clients and a server, for any number of connections, that ends some of them."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from support.process import PATIENCE
from support.sockets import reset

CLIENT, SERVER = "client", "server"  # whose bytes
FIN, RST, HOLE = "FIN", "RST", "HOLE"
NEVER = 10**9


class Ends(NamedTuple):
    """Where a connection ends: after so many bytes of each side, whichever comes first, and by FIN, by RST, or in a
    HOLE: both ends stay open, and nothing passes any more."""

    client: int = NEVER
    server: int = NEVER
    by: str = RST


class _Connection:
    def __init__(self, client: socket.socket, server: socket.socket, ends: Ends) -> None:
        self.sides = {client: (server, CLIENT), server: (client, SERVER)}
        self.passed = {CLIENT: b"", SERVER: b""}
        self.ends = {CLIENT: ends.client, SERVER: ends.server}
        self.by = ends.by
        self.is_due = 0 in self.ends.values()
        self.is_over = False

    def pass_on(self, source: socket.socket) -> bool:
        """Whether anything more can come from there."""
        target, side = self.sides[source]
        data = source.recv(65536)
        passing = data[: self.ends[side] - len(self.passed[side])]
        self.passed[side] += passing
        target.sendall(passing)
        self.is_due = len(self.passed[side]) >= self.ends[side]
        if not data:
            target.shutdown(socket.SHUT_WR)
        return bool(data)


class UnreliableRelay:
    """`ends_of(n)` says where the n-th connection ends; the first one is 0. `address` stays the same, also while the
    server has another one, or none: then it refuses."""

    def __init__(self, server: Callable[[], str], ends_of: Callable[[int], Ends]) -> None:
        self._server = server
        self._ends_of = ends_of
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.count = 0  # of connections
        self.passed: list[dict[str, bytes]] = []  # of each side, of each connection
        self._opened = [self._listener]
        self._waker, self._wakeup = socket.socketpair()  # which end the thread at once
        self._opened += [self._waker, self._wakeup]
        self._selector = selectors.DefaultSelector()
        for sock in (self._listener, self._wakeup):
            self._selector.register(sock, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> UnreliableRelay:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._waker.send(b".")
        self._thread.join(PATIENCE)
        self._selector.close()
        for sock in self._opened:
            sock.close()

    def _run(self) -> None:
        is_over = False
        while not is_over:
            for key, _ in self._selector.select():
                if key.fileobj is self._wakeup:
                    is_over = True  # after what else has come
                elif key.fileobj is self._listener:
                    self._accept()
                elif not key.data.is_over:  # its other end may have ended it meanwhile
                    assert isinstance(key.fileobj, socket.socket)
                    self._pass_on(key.fileobj, key.data)

    def _accept(self) -> None:
        client = self._listener.accept()[0]
        self._opened.append(client)
        host, port = self._server().split(":")
        try:
            server = socket.create_connection((host, int(port)), PATIENCE)
        except OSError:
            reset(client)
            return
        self._opened.append(server)
        for sock in (client, server):
            sock.settimeout(PATIENCE)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(client, server, self._ends_of(self.count))
        self.count += 1
        self.passed.append(connection.passed)
        for sock in (client, server):
            self._selector.register(sock, selectors.EVENT_READ, connection)
        if connection.is_due:
            self._end(connection)

    def _pass_on(self, source: socket.socket, connection: _Connection) -> None:
        try:
            if not connection.pass_on(source):
                self._selector.unregister(source)
                if not any(sock in self._selector.get_map() for sock in connection.sides):
                    self._end(connection)
        except OSError:
            connection.is_due = True
        if connection.is_due:
            self._end(connection)

    def _end(self, connection: _Connection) -> None:
        connection.is_over = True
        for sock in connection.sides:
            with suppress(KeyError, ValueError):
                self._selector.unregister(sock)
            if connection.by == RST:
                with suppress(OSError):
                    reset(sock)
            elif connection.by != HOLE:
                sock.close()
