"""A server whose every connection follows the script of a test, by literal XML. It knows the protocol from PROTOCOL.md
alone, and shares no code with the package."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

from support.frames import frame
from support.process import PATIENCE


class Disconnected(Exception):
    """The client has closed the connection."""


class Peer:
    """The server's end of one connection, in the hand of a test's script."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received: list[str] = []

    def receive(self) -> str:
        """The payload of the next frame. Raises Disconnected."""
        (length,) = struct.unpack(">I", self._exactly(4))
        self.received.append(self._exactly(length).decode())
        return self.received[-1]

    def send(self, *documents: str | bytes) -> None:
        """The frames of these documents, in one piece."""
        self.sock.sendall(b"".join(map(frame, documents)))

    def wait_for_disconnect(self) -> None:
        with suppress(Disconnected, OSError):
            while True:
                self.receive()

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise Disconnected
            data += more
        return data


Script = Callable[[Peer], object]  # what a server does with one connection


class ScriptedServer:
    """A server whose every connection is handled by `script(peer)`. What a script raises is raised again by `close`.

    `bound` is a socket that has its address already, and refuses connections so far."""

    def __init__(self, script: Script, host: str = "127.0.0.1", bound: socket.socket | None = None) -> None:
        self._script = script
        if bound is None:
            bound = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        else:
            bound.listen()
        self._listener = bound
        self._errors: list[BaseException] = []
        self.peers: list[Peer] = []
        self._last: tuple[str, int] | None = None  # from where the last connection comes
        self.port = self._listener.getsockname()[1]
        self.address = f"{host}:{self.port}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with self._listener:
            while True:
                sock, address = self._listener.accept()
                if address == self._last:
                    sock.close()
                    return
                sock.settimeout(PATIENCE)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the real one
                self.peers.append(Peer(sock))
                self._threads.append(threading.Thread(target=self._run, args=(self.peers[-1],), daemon=True))
                self._threads[-1].start()

    def _run(self, peer: Peer) -> None:
        try:
            with peer.sock:
                self._script(peer)
        except (Disconnected, ConnectionError):
            pass
        except BaseException as error:
            self._errors.append(error)

    def close(self) -> None:
        if self._last is not None:
            return
        # Connections are accepted in order: after this one no client is left waiting.
        with socket.socket(self._listener.family) as last:
            last.bind((self._listener.getsockname()[0], 0))
            self._last = last.getsockname()
            last.connect((self._last[0], self.port))
        for thread in self._threads:
            thread.join(PATIENCE)
        for error in self._errors:
            raise error
