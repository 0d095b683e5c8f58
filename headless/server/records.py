"""What a server learns from a shim: from its record, and from its report.

Here is how both are read. How they are written is in record_format.py, what follows from them in shims.py.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import NamedTuple

from headless.server.jobs import ProcessEnd
from headless.server.record_format import END_OFFSET, MARK

_NUMBER = r"(\d{1,18})"
_STARTED = re.compile(rf"started {_NUMBER} {_NUMBER} {_NUMBER} {_NUMBER} (\S+) (\S+) (?:{_NUMBER} )?\{MARK}")
_ENDED = re.compile(rf"ended (-?\d{{1,18}}) ([01]) (\d+\.\d+) (\d+\.\d+) {_NUMBER} \{MARK}")


class RecordDamaged(Exception):
    """No shim has written this: nobody knows what has become of the job."""


class Identity(NamedTuple):
    """A process and no other: its number, and when it started, as the platform tells that. `request` is what a shim is
    asked by to end its job, where that is no signal."""

    pid: int
    start: int
    request: int = 0


class Record(NamedTuple):
    """What a shim has written down: what it has started, for which home, and how that ended, if it has."""

    job: Identity
    shim: Identity
    machine: str
    home: str
    end: ProcessEnd | None


def read_record(output: str) -> Record | None:
    """None if there is none, or none of a job that was started. Raises OSError, RecordDamaged."""
    try:
        text = Path(f"{output}.shim").read_text("ascii", "replace")
    except FileNotFoundError:
        return None
    line = text[:END_OFFSET].strip(" \n\0")
    if not line.endswith(MARK) and (line.startswith("started ") or "started".startswith(line)):
        return None  # it is written before the job may begin, and was not written to its end
    started = _STARTED.fullmatch(line)
    if started is None:
        raise RecordDamaged
    pid, start, shim_pid, shim_start = map(int, started.groups()[:4])
    shim = Identity(shim_pid, shim_start, int(started[7] or 0))
    return Record(Identity(pid, start), shim, started[5], started[6], _end_in(text[END_OFFSET:].rstrip()))


def _end_in(line: str) -> ProcessEnd | None:
    """None for a line that is not whole: the shim writes it again, or was killed. Raises RecordDamaged."""
    if not line.endswith(MARK):
        return None
    ended = _ENDED.fullmatch(line)
    if ended is None:
        raise RecordDamaged
    return ProcessEnd(int(ended[1]), ended[2] == "1", float(ended[3]), float(ended[4]), int(ended[5]))


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
