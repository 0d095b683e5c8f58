"""The shims of a home: the processes that watch over its jobs, whether a server runs or not. Only Linux tells them."""

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
    """The numbers of these processes, and what each watches over."""
    if not sys.platform.startswith("linux"):
        return {}
    from headless.server import shim  # whose modules are not everywhere

    found: dict[int, WatchedJob] = {}
    parents: dict[int, int] = {}
    output = f"{os.fsencode(home / 'output').decode()}/"
    for entry in os.listdir("/proc"):
        with suppress(OSError, IndexError, ValueError):
            words = Path(f"/proc/{entry}/cmdline").read_text("utf-8", "replace").split("\0")
            path = next((word for word in words if word.startswith(output)), "")
            if path and any("shim.main()" in word for word in words) and entry.isdigit():
                session, number = path.removeprefix(output).split("/")
                parents[int(entry)] = int(shim.stat_of(int(entry))[1])
                found[int(entry)] = WatchedJob(session, int(number))
    # A job that is about to start looks like its shim, whose child it is.
    return {pid: job for pid, job in found.items() if parents[pid] not in found}


def send(pid: int, *signums: int) -> bool:
    """Whether there is such a process."""
    try:
        for signum in signums:
            os.kill(pid, signum)
    except ProcessLookupError:
        return False
    return True


def end_shims(home: Path) -> None:
    """Returns when no job of this home is left."""
    late = time.monotonic() + _SECONDS_TO_END
    while left := shims_of(home):
        is_late = time.monotonic() > late
        for pid in left:
            send(pid, *([signal.SIGKILL] if is_late else [signal.SIGTERM, signal.SIGCONT]))
        time.sleep(0.05)
