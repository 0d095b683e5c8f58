"""Sockets that end or answer as no good peer does."""

from __future__ import annotations

import socket
import struct
from contextlib import ExitStack


def reset(sock: socket.socket) -> None:
    """Closes the socket with an RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def full_listener(stack: ExitStack, host: str = "127.0.0.1", port: int = 0) -> str:
    """The address of a socket that listens and accepts no connection. It is open as long as the stack."""
    return "{}:{}".format(*full_socket(stack, host, port).getsockname())


def full_socket(stack: ExitStack, host: str, port: int) -> socket.socket:
    """The same socket itself."""
    full = stack.enter_context(socket.socket())
    full.bind((host, port))
    full.listen(0)
    for _ in range(4):  # fills the backlog: further connections get no answer
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
    return full
