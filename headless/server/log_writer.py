"""The log of a server. A thread writes it: a disk that hangs or a pipe that is not read delays nothing else."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from contextlib import suppress
from logging.handlers import QueueHandler
from typing import Any

from headless.system import open_at_once
from headless.terminal import escape_control_chars

_LINES_MAX = 10_000  # that wait
_BYTES_MAX = 4 * 1024 * 1024
_CLOSE_SECONDS = 1.0
_RETRY_SECONDS = 0.02


class LogWriter(QueueHandler):
    """Appends lines to a file, or writes them to an open descriptor, by default that of stderr. A line for which the
    queue has no room is dropped.

    `dropped` counts the lines that were not written. Raises OSError if the file cannot be opened.
    """

    def __init__(self, target: str | int = 2) -> None:
        lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        super().__init__(lines)
        self._lines = lines
        self._output = _Output(target)
        self.dropped = 0
        self._unreported = 0  # dropped lines that no line of the log counts yet
        self._reason = ""
        self._bytes = 0  # that wait
        self._is_closing = False
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def prepare(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".replace("\n", os.linesep).encode("utf-8", "backslashreplace")

    def enqueue(self, record: Any) -> None:
        """Takes what `prepare` returns."""
        with self._counting:
            is_full = self._lines.qsize() >= _LINES_MAX or self._bytes + len(record) > _BYTES_MAX
            if is_full or self._is_closing:
                self._drop("they came faster than they were read")
            else:
                self._bytes += len(record)
                self._lines.put(record)

    def handleError(self, _record: logging.LogRecord) -> None:  # noqa: N802 (of a line that does not fit its format)
        self.enqueue(self._own_line(f"a line of the log cannot be made: {sys.exc_info()[1]!r}"))

    def close(self, timeout: float = _CLOSE_SECONDS) -> None:
        """Writes what waits, but no longer than `timeout` seconds. What is logged later is dropped."""
        self._is_closing = True
        self._lines.put(None)
        self._thread.join(timeout)
        super().close()

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            is_written = self._write(line)
            with self._counting:
                self._bytes -= len(line)
                if not is_written:
                    self._drop()
            if is_written and self._lines.qsize() < _LINES_MAX // 2:
                self._report_dropped_lines()
        self._output.close()

    def _write(self, line: bytes) -> bool:
        try:
            self._output.write(line)
        except OSError as error:
            self._reason = f"they cannot be written: {error.strerror}"
            return False
        return True

    def _drop(self, reason: str = "") -> None:
        self.dropped += 1
        self._unreported += 1
        self._reason = reason or self._reason

    def _report_dropped_lines(self) -> None:
        count = self._unreported
        lines = "1 line of the log was" if count == 1 else f"{count} lines of the log were"
        if count and self._write(self._own_line(f"{lines} lost: {self._reason}")):
            with self._counting:
                self._unreported -= count

    def _own_line(self, text: str) -> bytes:
        record = logging.LogRecord(__name__, logging.ERROR, __file__, 0, escape_control_chars(text), None, None)
        return self.prepare(record)


class _Output:
    """Writes to a file or an open descriptor. A file that was moved or removed is made anew, as WatchedFileHandler of
    `logging` does it; while that fails, the old one stays in use."""

    def __init__(self, target: str | int) -> None:
        self._path = None if isinstance(target, int) else target
        self._descriptor = target if isinstance(target, int) else _open(target)
        self._is_mid_line = False

    def write(self, line: bytes) -> None:
        """Raises OSError."""
        self._reopen_if_moved()
        rest = os.linesep.encode("ascii") * self._is_mid_line + line
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
                self._is_mid_line = bool(rest)
            except BlockingIOError:  # another holder of the pipe may have made it so
                time.sleep(_RETRY_SECONDS)

    def close(self) -> None:
        if self._path is not None:
            os.close(self._descriptor)

    def _reopen_if_moved(self) -> None:
        if self._path is None:
            return
        with suppress(OSError):
            if os.path.samestat(os.stat(self._path), os.fstat(self._descriptor)):
                return
        with suppress(OSError):
            descriptor = _open(self._path)
            os.close(self._descriptor)
            self._descriptor, self._is_mid_line = descriptor, False


def _open(path: str) -> int:
    return open_at_once(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
