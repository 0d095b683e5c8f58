"""The log, written by a thread of its own: whoever logs never waits for a disk, a pipe or its reader.

Here is the queue between the two, what is lost when it is full, and how the file is opened, again and closed. What is
logged stands with whoever logs it; the format and the level are set in commands/serve.py.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from typing import NamedTuple

from headless.terminal import escape_control_chars

_LINES_MAX = 10_000  # that wait
_BYTES_MAX = 4 * 1024 * 1024
_CHUNK_BYTES = 65536  # written at a time
_CLOSE_SECONDS = 1.0
_RETRY_SECONDS = 0.02
_LINE_END = os.linesep.encode("ascii")
_FULL = "nobody read them fast enough"


class _Line(NamedTuple):
    data: bytes
    lost: int = 0  # for a line that says so: how many lines were lost


class LogWriter(logging.Handler):
    """Writes to a file, which is appended to, or to an open descriptor, by default that of stderr.

    `dropped` is the number of lines that were lost so far. Raises OSError if the file cannot be opened.
    """

    def __init__(self, target: str | int = 2) -> None:
        super().__init__()
        self._path = None if isinstance(target, int) else target
        self._descriptor = target if isinstance(target, int) else _open(target)
        self.dropped = 0
        self._lost = 0  # of these, those that no line has told of yet
        self._why = _FULL
        self._lines: deque[_Line] = deque()
        self._unwritten = 0  # lines that the thread has taken
        self._bytes = 0  # in the queue, and of those lines
        self._is_mid_line = False
        self._is_to_reopen = False
        self._is_closing = False
        # Held for moments only, never while something is written or opened.
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    # For whoever logs

    def emit(self, record: logging.LogRecord) -> None:
        """Queues the line; drops and counts it if there is no room."""
        data = self._formatted(record)
        with self._changed:
            if self._lost and self._has_room(_LINES_MAX // 2, _BYTES_MAX // 2, len(data)):
                self._queue_line_of_loss()
            if self._lost or self._is_closing or not self._has_room(_LINES_MAX, _BYTES_MAX, len(data)):
                self._lose(1, _FULL)
            else:
                self._queue(_Line(data))
            self._changed.notify()

    def reopen(self) -> None:
        """Lets the thread open the file anew, after it was moved away say. If that fails the old one stays in use."""
        with self._changed:
            self._is_to_reopen = self._path is not None
            self._changed.notify()

    def close(self, timeout: float = _CLOSE_SECONDS) -> None:
        """Returns when all that waits is written, at the latest after so many seconds. What is logged later is lost."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(timeout)
        super().close()

    # Under the lock

    def _has_room(self, lines: int, size: int, more: int) -> bool:
        return len(self._lines) + self._unwritten < lines and self._bytes + more <= size

    def _queue(self, line: _Line) -> None:
        self._lines.append(line)
        self._bytes += len(line.data)

    def _queue_line_of_loss(self) -> None:
        lines = "1 line of the log was" if self._lost == 1 else f"{self._lost} lines of the log were"
        self._queue(_Line(self._own_line(f"{lines} lost: {self._why}"), self._lost))
        self._lost = 0

    def _lose(self, count: int, why: str) -> None:
        self.dropped += count
        self._lost += count
        self._why = why

    # In the thread

    def _run(self) -> None:
        is_broken = False  # what was written last was not taken
        while True:
            with self._changed:
                while not self._is_due(is_broken):
                    self._changed.wait()
                if self._lost and not self._lines:
                    self._queue_line_of_loss()
                chunk = self._take_chunk()
                is_to_reopen, self._is_to_reopen = self._is_to_reopen, False
            if is_to_reopen:
                self._reopen()
            is_broken = not self._write(chunk)
            with self._changed:
                if self._is_closing and not self._lines and (is_broken or not self._lost):
                    break
        if self._path is not None:
            os.close(self._descriptor)

    def _is_due(self, is_broken: bool) -> bool:
        """Whether there is something to do. A loss is told at once, unless the next try would be as vain."""
        return bool(self._lines or self._is_to_reopen or self._is_closing or (self._lost and not is_broken))

    def _take_chunk(self) -> list[_Line]:
        chunk: list[_Line] = []
        size = 0
        while self._lines and size < _CHUNK_BYTES:
            chunk.append(self._lines.popleft())
            size += len(chunk[-1].data)
        self._unwritten = len(chunk)
        return chunk

    def _write(self, chunk: list[_Line]) -> bool:
        """Whether the whole chunk was written. What was not is lost."""
        written, why = self._write_bytes(b"".join(line.data for line in chunk))
        with self._changed:
            self._unwritten = 0
            self._bytes -= sum(len(line.data) for line in chunk)
            for line in chunk:
                written -= len(line.data)
                if written < 0:
                    self._lost += line.lost
                    self._lose(0 if line.lost else 1, why)
        return not why

    def _write_bytes(self, data: bytes) -> tuple[int, str]:
        """How many bytes were written, and why not all of them, or ""."""
        written = 0
        while written < len(data):
            try:
                if self._is_mid_line:
                    os.write(self._descriptor, _LINE_END)
                    self._is_mid_line = False
                written += os.write(self._descriptor, data[written:])
            except BlockingIOError:  # whoever shares the pipe may have made it so
                time.sleep(_RETRY_SECONDS)
            except OSError as error:
                if written:
                    self._is_mid_line = data[written - 1 : written] != b"\n"
                return written, f"they cannot be written: {error.strerror}"
        return written, ""

    def _reopen(self) -> None:
        assert self._path is not None
        try:
            descriptor = _open(self._path)
        except OSError as error:
            line = self._own_line(f"the log {self._path!r} cannot be opened again: {error.strerror}")
            with self._changed:
                self._queue(_Line(line))
            return
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._is_mid_line = False

    # Lines

    def _own_line(self, text: str) -> bytes:
        record = logging.LogRecord(__name__, logging.ERROR, __file__, 0, escape_control_chars(text), None, None)
        return self._formatted(record)

    def _formatted(self, record: logging.LogRecord) -> bytes:
        try:
            text = self.format(record)
        except Exception as error:  # what was logged does not fit its own format, say
            text = escape_control_chars(f"a line of the log cannot be made: {error!r}")
        return f"{text}\n".replace("\n", os.linesep).encode("utf-8", "backslashreplace")


def _open(path: str) -> int:
    """A descriptor that appends to this file, which only we can read if it is new. Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for name in ("O_CLOEXEC", "O_NOCTTY", "O_NONBLOCK", "O_BINARY"):  # O_NONBLOCK: a FIFO that nobody reads is an error
        flags |= getattr(os, name, 0)
    return os.open(path, flags, 0o600)
