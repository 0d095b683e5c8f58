"""The lines of `-v` on stdout: what happens, what the jobs print, and what is sent and received.

Nothing that fails here changes how a call ends: a closed, full or broken stdout is written to no more. A pipe or a
terminal that is not read blocks its writer. Where the platform can tell whether it would, that is asked before; on
Windows, which cannot, a thread writes.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from contextlib import suppress

from headless.client.waiting import READ, WRITE, DeadlinePassed, is_ready
from headless.terminal import descriptor_of, escape_control_chars, raw_writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from headless.client.waiting import Waiter

# Levels of -v.
_INFO, _SENT, _RECEIVED = 1, 2, 3
_PIECE = 65536  # characters that are made ready at a time: a long text could take many times its memory


class Console:
    """Shows the lines of one call, at its verbosity."""

    def __init__(self, verbosity: int, waiter: Waiter) -> None:
        self._verbosity = verbosity
        self.shows_traffic = verbosity >= _SENT
        self._stdout = open_stdout(waiter) if verbosity else None
        self._encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        self._unfinished: dict[str, str] = {}  # by source: the beginning of a line
        self._is_mid_line = False  # a line was begun, and then the deadline passed or a signal came

    def info(self, text: str) -> None:
        unfinished, self._unfinished = self._unfinished, {}
        for source, line in unfinished.items():
            self._show(_INFO, f"info {source}:", [line], may_be_late=True)
        self._show(_INFO, "info", [text], may_be_late=True)

    def output(self, source: str, text: str) -> None:
        """Shows each line that a job has printed. What has no end yet waits for it, or for the next `info`."""
        if not self._verbosity:
            return
        text = self._unfinished.pop(source, "") + text
        end = text.rfind("\n") + 1
        if len(text) - end > _PIECE:
            end = len(text)
        if end < len(text):
            self._unfinished[source] = text[end:]
        if end:
            self._show(_INFO, f"info {source}:", _lines_of(text[:end]))

    def sent(self, text: str) -> None:
        self._show(_SENT, "sent", [text])

    def received(self, text: str) -> None:
        self._show(_RECEIVED, "received", [text])

    def _show(self, level: int, kind: str, lines: Iterable[str], may_be_late: bool = False) -> None:
        """Shows each line until the deadline has passed. A busy machine may come to a single one after it: that is
        shown if nothing has to be waited for."""
        if self._verbosity < level or self._stdout is None:
            return
        now = time.time()
        stamp = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))}.{int(now * 1000) % 1000:03d}"
        ready: list[str] = [os.linesep] if self._is_mid_line else []
        size = 0
        for line in lines:
            for piece in _pieces(f"{stamp} {kind} ", line):
                ready.append(piece)
                size += len(piece)
                if size >= _PIECE:
                    if not self._write("".join(ready), may_be_late):
                        return
                    ready, size = [], 0
        self._write("".join(ready), may_be_late)

    def _write(self, text: str, may_be_late: bool) -> bool:
        """Returns whether all of the text was written. What ends in the middle of a line is noted."""
        data = text.encode(self._encoding, "backslashreplace")
        try:
            while data:
                if self._stdout is None:
                    return False
                size = self._stdout.piece
                end = data.rfind(b"\n", 0, size) + 1  # whole lines, where others write to the same pipe
                written = self._stdout.write(data[: end or size], may_be_late)
                if not written:
                    return False
                self._is_mid_line = not data[:written].endswith(b"\n")
                data = data[written:]
        except OSError:
            self._stdout = None
            return False
        return True


def _pieces(head: str, line: str) -> Iterator[str]:
    begin = 0
    while len(line) - begin > _PIECE:
        yield head + escape_control_chars(line[begin : begin + _PIECE])
        head = ""
        begin += _PIECE
    yield head + escape_control_chars(line[begin:]) + os.linesep


def _lines_of(text: str) -> Iterator[str]:
    """Yields the lines of a text one at a time: as a list they could take many times the text's memory."""
    begin = 0
    while begin < len(text):
        end = text.find("\n", begin)
        end = len(text) if end < 0 else end
        yield text[begin:end].removesuffix("\r")
        begin = end + 1


def open_stdout(waiter: Waiter) -> PolledOutput | ThreadedOutput | None:
    descriptor = descriptor_of(sys.stdout)
    if descriptor is None:
        return None
    if os.name == "nt":
        return ThreadedOutput(raw_writer(sys.stdout, descriptor), waiter)
    return PolledOutput(descriptor, waiter)


class PolledOutput:
    """Writes to a descriptor of which the platform tells whether a short write would block."""

    piece = getattr(select, "PIPE_BUF", 512)  # bytes that a pipe takes without blocking once it takes any

    def __init__(self, descriptor: int, waiter: Waiter) -> None:
        self._descriptor = descriptor
        self._waiter = waiter

    def write(self, data: bytes, may_be_late: bool) -> int:
        """Returns how many bytes were written, 0 if the deadline has passed, unless it `may_be_late` and there is
        nothing to wait for. Raises OSError, Interrupted."""
        try:
            self._waiter.wait(self._descriptor, WRITE)
        except DeadlinePassed:
            if not (may_be_late and is_ready(self._descriptor, WRITE)):
                return 0
        return os.write(self._descriptor, data)


class ThreadedOutput:
    """Writes in a thread with this function, which returns how many bytes it has written, raises OSError, and may block
    for ever. Then the thread is left to itself."""

    piece = 65536

    def __init__(self, write: Callable[[bytes], int], waiter: Waiter) -> None:
        self._write = write
        self._waiter = waiter
        self._thread: socket.socket | None = None  # to which a byte goes for each piece, and comes back when it is done
        self._data = b""
        self._error: OSError | None = None
        self._is_busy = False

    def write(self, data: bytes, _may_be_late: bool = False) -> int:
        """Does the same, but nothing is late; the bytes may still be with the thread."""
        try:
            self._finish()
        except DeadlinePassed:
            return 0
        if self._thread is None:
            self._thread = self._start()
        self._data, self._is_busy = data, True
        self._thread.send(b".")
        with suppress(DeadlinePassed):  # the next piece finds out whether it is still not read
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
