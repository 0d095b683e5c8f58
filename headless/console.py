"""What the user sees: the lines of `-v` on stdout, and the one line on stderr for what must be corrected.

Nothing that fails here changes how a run ends: a closed, full or broken stream is written to no more.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from typing import Optional, TextIO

from headless.options import PROGRAM
from headless.protocol.characters import on_one_line
from headless.waiting import Waiter

# Levels of -v.
_INFO, _SENT, _RECEIVED = 1, 2, 3
# Bytes that a pipe takes without blocking once it takes any.
_CHUNK = getattr(select, "PIPE_BUF", 512)
_PIECE = 65536  # characters of a long line that are made ready at a time


class Console:
    """The lines of one run, at its verbosity."""

    def __init__(self, verbosity: int, waiter: Waiter) -> None:
        self._verbosity = verbosity
        self._waiter = waiter
        self._stdout: Optional[int] = _descriptor(sys.stdout) if verbosity else None
        self._encoding = (getattr(sys.stdout, "encoding", None) or "utf-8") if verbosity else "utf-8"
        self._is_mid_line = False  # a line was begun, and then the deadline passed or a signal came

    def info(self, text: str) -> None:
        self._line(_INFO, "info", text)

    def sent(self, text: str) -> None:
        self._line(_SENT, "sent", text)

    def received(self, text: str) -> None:
        self._line(_RECEIVED, "received", text)

    def shows_frames(self) -> bool:
        return self._verbosity >= _SENT

    def _line(self, level: int, kind: str, text: str) -> None:
        if self._verbosity < level or self._stdout is None:
            return
        now = time.time()
        stamp = f"{time.strftime('%H:%M:%S', time.localtime(now))}.{int(now * 1000) % 1000:03d}"
        self._write(self._stdout, f"{stamp} {kind} ", text)

    def _write(self, stdout: int, head: str, text: str) -> None:
        head = os.linesep + head if self._is_mid_line else head
        try:
            for piece in _pieces(head, text):
                data = piece.encode(self._encoding, "backslashreplace")
                while data:
                    if not self._waiter.wait_to_write(stdout):
                        return
                    data = data[os.write(stdout, data[:_CHUNK]) :]
                    self._is_mid_line = True
            self._is_mid_line = False
        except OSError:
            self._stdout = None


def _pieces(head: str, text: str) -> Iterator[str]:
    """A line, made ready no faster than it is written: a long one could take many times the text's memory."""
    begin = 0
    while len(text) - begin > _PIECE:
        yield head + on_one_line(text[begin : begin + _PIECE])
        head = ""
        begin += _PIECE
    yield head + on_one_line(text[begin:]) + os.linesep


def answer(text: str) -> None:
    """Writes the answer to --help or --version to stdout."""
    _write_whole(sys.stdout, text)


def complain(text: str) -> None:
    """Writes the one line on stderr that says what must be corrected."""
    _write_whole(sys.stderr, f"{PROGRAM}: error: {on_one_line(text)}\n")


def _write_whole(stream: Optional[TextIO], text: str) -> None:
    descriptor = _descriptor(stream)
    if stream is None or descriptor is None:
        return
    data = text.replace("\n", os.linesep).encode(stream.encoding or "utf-8", "backslashreplace")
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        pass


def _descriptor(stream: Optional[TextIO]) -> Optional[int]:
    """The stream's descriptor; None where there is none: a closed one may by now belong to something else."""
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None
