"""What a server learns from a shim: from its record, and from its report.

Here is how both are read. How they are written is in record_format.py, what follows from them in shims.py.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

from headless.server.process import ProcessEnd
from headless.server.record_format import END_OFFSET, MARK


class Identity(NamedTuple):
    """A process and no other: its number, and when it started, as the platform tells that. `request` is what a shim is
    asked by to end its job, where that is no signal."""

    pid: int
    start: int
    request: int = 0


class Record(NamedTuple):
    """What a shim has written down: what it has started, and how that ended, if it has."""

    job: Identity
    shim: Identity
    machine: str
    end: ProcessEnd | None


def read_record(output: str) -> Record | None:
    """None if there is none, or none of a job that was started. Raises OSError."""
    try:
        text = Path(f"{output}.shim").read_text("ascii", "replace")
    except FileNotFoundError:
        return None
    started, ended = text[:END_OFFSET].split(), text[END_OFFSET:].split()
    if started[-1:] != [MARK]:
        return None
    pid, start, shim_pid, shim_start = map(int, started[1:5])
    end = None
    if ended[-1:] == [MARK]:
        end = ProcessEnd(int(ended[1]), ended[2] == "1", float(ended[3]), float(ended[4]), int(ended[5]))
    return Record(Identity(pid, start), Identity(shim_pid, shim_start, *map(int, started[6:-1])), started[5], end)


class Report:
    """What a shim says to the server that has started it: its only line, "" if it has ended without one, and then the
    end."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.line: asyncio.Future[str] = loop.create_future()
        self.end: asyncio.Future[None] = loop.create_future()
        self._received = b""

    def receive(self, data: bytes) -> None:
        """What has come; nothing is the end."""
        self._received += data
        if not self.line.done() and (not data or data.endswith(b"\n")):
            self.line.set_result(self._received.decode("utf-8", "replace").rstrip("\n"))
        if not data and not self.end.done():
            self.end.set_result(None)
