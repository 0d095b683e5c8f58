"""Standard output, as what never holds a call up beyond its deadline, whether anybody reads it or not.

What is written there is in console.py. A pipe or a terminal that nobody reads blocks whoever writes to it. Where the
platform can tell whether it would, we ask before; Windows cannot tell, and there a thread of its own writes.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from contextlib import suppress

from headless.client.waiting import READ, WRITE, DeadlinePassed
from headless.terminal import descriptor_of, raw_writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from headless.client.waiting import Waiter

    class Output(Protocol):
        """Where bytes go."""

        piece: int  # bytes that `write` takes at most

        def write(self, data: bytes) -> int:
            """How many bytes were written, or are with a thread that writes them as soon as somebody reads; 0 if the
            deadline has passed. Raises OSError, Interrupted."""


def open_stdout(waiter: Waiter) -> Output | None:
    """None if there is none."""
    descriptor = descriptor_of(sys.stdout)
    if descriptor is None:
        return None
    if os.name == "nt":
        return ThreadedOutput(raw_writer(sys.stdout, descriptor), waiter)
    return _ReadyOutput(descriptor, waiter)


class _ReadyOutput:
    """A descriptor of which the platform tells whether a short write would block."""

    piece = getattr(select, "PIPE_BUF", 512)  # what a pipe takes without blocking once it takes any

    def __init__(self, descriptor: int, waiter: Waiter) -> None:
        self._descriptor = descriptor
        self._waiter = waiter

    def write(self, data: bytes) -> int:
        try:
            self._waiter.wait(self._descriptor, WRITE)
        except DeadlinePassed:
            return 0
        return os.write(self._descriptor, data)


class ThreadedOutput:
    """What a thread writes to with this function: it returns how many bytes it has written, raises OSError, and may
    block for ever. Then the thread is left to itself."""

    piece = 65536

    def __init__(self, write: Callable[[bytes], int], waiter: Waiter) -> None:
        self._write = write
        self._waiter = waiter
        self._thread: socket.socket | None = None  # to which a byte goes for each piece, and comes back when it is done
        self._data = b""
        self._error: OSError | None = None
        self._is_busy = False

    def write(self, data: bytes) -> int:
        try:
            self._finish()
        except DeadlinePassed:
            return 0
        if self._thread is None:
            self._thread = self._start()
        self._data, self._is_busy = data, True
        self._thread.send(b".")
        with suppress(DeadlinePassed):  # the next piece finds out whether nobody reads still
            self._finish()
        return len(data)

    def _finish(self) -> None:
        """Returns when nothing is left to be written. Raises OSError, DeadlinePassed, Interrupted."""
        if self._is_busy and self._thread is not None:
            self._waiter.wait(self._thread, READ)
            self._thread.recv(1)
            self._is_busy = False
        if self._error is not None:
            raise self._error

    def _start(self) -> socket.socket:
        import threading

        ours, theirs = socket.socketpair()
        threading.Thread(target=self._run, args=(theirs,), daemon=True).start()
        return ours

    def _run(self, done: socket.socket) -> None:
        while done.recv(1):
            try:
                data = self._data
                while data:
                    data = data[self._write(data) :]
            except OSError as error:
                self._error = error
            done.send(b".")
