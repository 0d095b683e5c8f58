"""The lines of `-v` on stdout: what happens, what the jobs print, and what is sent and received.

Nothing that fails here changes how a call ends: a closed, full or broken stdout is written to no more.
"""

from __future__ import annotations

import os
import sys
import time

from headless.terminal import escape_control_chars

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from headless.client.stdout import Output
    from headless.client.waiting import Waiter

# Levels of -v.
_INFO, _SENT, _RECEIVED = 1, 2, 3
_PIECE = 65536  # characters that are made ready at a time: a long text could take many times its memory


class Console:
    """The lines of one call, at its verbosity."""

    def __init__(self, verbosity: int, waiter: Waiter) -> None:
        self._verbosity = verbosity
        self._stdout = _open_stdout(waiter) if verbosity else None
        self._encoding = (getattr(sys.stdout, "encoding", None) or "utf-8") if verbosity else "utf-8"
        self._newline = "\n".encode(self._encoding).removeprefix("".encode(self._encoding))  # "" may be a mark
        self._is_mid_line = False  # a line was begun, and then the deadline passed or a signal came

    def info(self, text: str) -> None:
        self._lines(_INFO, "info", "", [text])

    def output(self, source: str, text: str) -> None:
        """A line for each one that a job has printed."""
        self._lines(_INFO, "info", f"{source}: ", _split_lines(text))

    def sent(self, text: str) -> None:
        self._lines(_SENT, "sent", "", [text])

    def received(self, text: str) -> None:
        self._lines(_RECEIVED, "received", "", [text])

    def shows_traffic(self) -> bool:
        return self._verbosity >= _SENT

    def _lines(self, level: int, kind: str, prefix: str, lines: Iterator[str] | list[str]) -> None:
        if self._verbosity < level or self._stdout is None:
            return
        now = time.time()
        stamp = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))}.{int(now * 1000) % 1000:03d}"
        head = f"{stamp} {kind} {prefix}"
        ready: list[str] = [os.linesep] if self._is_mid_line else []
        size = 0
        for line in lines:
            for piece in _pieces(head, line):
                ready.append(piece)
                size += len(piece)
                if size >= _PIECE:
                    if not self._write("".join(ready)):
                        return
                    ready, size = [], 0
        self._write("".join(ready))

    def _write(self, text: str) -> bool:
        """Whether all of the text was written. What ends in the middle of a line is noted."""
        data = text.encode(self._encoding, "backslashreplace")
        try:
            while data:
                if self._stdout is None:
                    return False
                size = self._stdout.piece
                end = data.rfind(self._newline, 0, size)  # whole lines, where others write to the same pipe
                written = self._stdout.write(data[: size if end < 0 else end + len(self._newline)])
                if not written:
                    return False
                self._is_mid_line = not data[:written].endswith(self._newline)
                data = data[written:]
        except OSError:
            self._stdout = None
            return False
        return True


def _open_stdout(waiter: Waiter) -> Output | None:
    from headless.client.stdout import open_stdout  # most calls say nothing

    return open_stdout(waiter)


def _pieces(head: str, line: str) -> Iterator[str]:
    begin = 0
    while len(line) - begin > _PIECE:
        yield head + escape_control_chars(line[begin : begin + _PIECE])
        head = ""
        begin += _PIECE
    yield head + escape_control_chars(line[begin:]) + os.linesep


def _split_lines(text: str) -> Iterator[str]:
    """The lines of a text, one at a time: as a list they could take many times the text's memory."""
    begin = 0
    while begin < len(text):
        end = text.find("\n", begin)
        end = len(text) if end < 0 else end
        yield text[begin:end].removesuffix("\r")
        begin = end + 1
