"""What the user sees: the lines of `-v` on stdout, and the one line on stderr for what must be corrected.

Nothing that fails here changes how a run ends: a closed, full or broken stream is written to no more.
"""

from __future__ import annotations

import os
import select
import sys
import time
from typing import Optional, TextIO

from headless.options import PROGRAM
from headless.protocol.characters import on_one_line
from headless.waiting import Waiter

# Levels of -v.
_INFO, _SENT, _RECEIVED = 1, 2, 3
# Bytes that a pipe takes without blocking once it takes any.
_CHUNK = getattr(select, "PIPE_BUF", 512)


class Console:
    """The lines of one run, at its verbosity."""

    def __init__(self, verbosity: int, waiter: Waiter) -> None:
        self._verbosity = verbosity
        self._waiter = waiter
        self._stdout: Optional[int] = _descriptor(sys.stdout) if verbosity else None
        self._encoding = (getattr(sys.stdout, "encoding", None) or "utf-8") if verbosity else "utf-8"

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
        line = f"{stamp} {kind} {on_one_line(text)}{os.linesep}"
        self._write(self._stdout, line.encode(self._encoding, "backslashreplace"))

    def _write(self, stdout: int, data: bytes) -> None:
        try:
            while data and self._waiter.wait_to_write(stdout):
                data = data[os.write(stdout, data[:_CHUNK]) :]
        except OSError:
            self._stdout = None


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
