"""Finds and ends the shims of a home, with a server or without. Only Linux lists them."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_SECONDS_TO_END = 8.0  # for jobs that do not want to


class WatchedJob(NamedTuple):
    """A job by its session and its number."""

    session: str
    number: int


def shims_of(home: Path) -> dict[int, WatchedJob]:
    """Returns the numbers of these processes and the job of each."""
    if not sys.platform.startswith("linux"):
        return {}
    from headless.server import shim  # whose modules are not everywhere

    found: dict[int, WatchedJob] = {}
    parents: dict[int, int] = {}
    output = os.fsencode(home / "output") + b"/"
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with suppress(OSError, IndexError, ValueError):
            words = _command_line(entry)
            if output in words and b"shim.main()" in words:
                path = next((word for word in words.split(b"\0") if word.startswith(output)), b"")
                session, number = path[len(output) :].decode().split("/")
                parents[int(entry)] = int(shim.stat_of(int(entry))[1])
                found[int(entry)] = WatchedJob(session, int(number))
    # A job that is about to start looks like its shim, whose child it is.
    return {pid: job for pid, job in found.items() if parents[pid] not in found}


def _command_line(entry: str) -> bytes:
    descriptor = os.open(f"/proc/{entry}/cmdline", os.O_RDONLY)
    try:
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)


def send(pid: int, *signums: int) -> bool:
    """Returns whether there is such a process."""
    try:
        for signum in signums:
            os.kill(pid, signum)
    except ProcessLookupError:
        return False
    return True


def end_shims(home: Path) -> None:
    """Ends all jobs of this home, and waits for that."""
    late = time.monotonic() + _SECONDS_TO_END
    while left := shims_of(home):
        is_late = time.monotonic() > late
        for pid in left:
            send(pid, *([signal.SIGKILL] if is_late else [signal.SIGTERM, signal.SIGCONT]))
        time.sleep(0.05)
