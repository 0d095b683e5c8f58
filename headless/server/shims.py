"""Jobs as processes under shims: the server's side.

Here is how a shim is started, watched, found again by the next server, and ended, and what is done about a job whose
shim was killed. How a platform does each of these is in posix_shims.py and windows_shims.py, what a shim itself does in
shim.py and windows_shim.py. Nothing here waits for a disk in the event loop.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from headless.errors import Busy
from headless.server.jobs import Process, ProcessEnd, ProcessSpec
from headless.server.records import Identity, Record, RecordDamaged, read_record
from headless.server.threads import Threads

if sys.platform == "win32":
    from headless.server import windows_shims as platform
else:
    from headless.server import posix_shims as platform

log = logging.getLogger(__name__)

_SECONDS_TO_END = 4.0  # what a shim needs to end a job that does not want to, and a bit
_SECONDS_TO_DIE = 3.0  # and what is needed after that to kill both
_SECONDS_TO_BEGIN = 10.0  # for a shim that an earlier server has started just before it ended
_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_BETWEEN_TRIES = 1.0  # for what a disk does not give, and for a shim that may be stopped

_UNKNOWN_HOME = "-"

_T = TypeVar("_T")


def running_pid(output: str) -> int | None:
    """The number of the job's process as long as a shim watches over it. Raises OSError."""
    with suppress(RecordDamaged):
        record = read_record(output) if platform.is_locked(output) else None
        if record is not None and record.end is None:
            return record.job.pid
    return None


class Shims:
    """Starts a shim for each job of the home that has this identity."""

    def __init__(self, threads: Threads, home: str) -> None:
        self._threads = threads
        self._home = home

    async def start(self, spec: ProcessSpec) -> ShimProcess:
        """Raises OSError, Busy if nothing was started. Where this is cancelled, `find` finds out."""
        spawned = await self._threads.call(platform.spawn, spec, self._home)
        process = _OwnProcess(self._threads, spec.output, self._home, spawned)
        kind, _, text = (await process.reported()).partition(" ")
        if kind == "started":
            process.pid = int(text)
            return process
        await process.wait()
        if kind != "error":
            found = await _insist(self._threads, _look, spec.output, self._home)
            if found.is_damaged or found.record is not None:
                process.pid = found.record.job.pid if found.record is not None else 0
                return process
        raise OSError(text or "the job's shim has ended before it started anything")

    async def find(self, output: str) -> Process | None:
        late = time.monotonic() + _SECONDS_TO_BEGIN
        while time.monotonic() < late:
            is_locked, record, is_damaged, is_foreign = await self._threads.call(_look, output, self._home)
            if record is not None and record.end is not None and (is_foreign or not is_locked):
                return EndedProcess(record.end, record.job.pid)
            if is_foreign:  # this home is a copy: the job goes on for the other one
                return EndedProcess(None)
            if is_locked and record is not None:
                process = ShimProcess(self._threads, output, self._home, record.shim, record.job.pid)
                process.age = platform.age_of(record.job)
                return process
            if not is_locked:
                if record is None and not is_damaged:
                    return None
                await self._threads.call(platform.kill_left, output, 0, record, self._home)
                return EndedProcess(None)
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        raise OSError(errno.EAGAIN, "a shim lives that has not started its job", f"{output}.shim")

    def forget(self, output: str) -> None:
        Path(f"{output}.shim").unlink(missing_ok=True)


class EndedProcess:
    """A job that has ended while no server was there; `end` is None if its shim was killed."""

    age = 0.0

    def __init__(self, end: ProcessEnd | None, pid: int = 0) -> None:
        self._end = end
        self.pid = pid

    async def wait(self) -> ProcessEnd | None:
        return self._end

    async def end(self) -> None:
        pass


class ShimProcess:
    """A job and its shim, which lives, or did when this was made. `pid` is the number of the job's own process."""

    def __init__(self, threads: Threads, output: str, home: str, shim: Identity, pid: int = 0) -> None:
        self.pid = pid
        self.age = 0.0
        self._threads = threads
        self._output = output
        self._home = home
        self._shim = shim
        self._end = asyncio.ensure_future(self._watch())

    async def wait(self) -> ProcessEnd | None:
        return await asyncio.shield(self._end)

    async def end(self) -> None:
        if self._end.done():
            return
        platform.ask_to_end(self._shim)
        if not (await asyncio.wait({self._end}, timeout=_SECONDS_TO_END))[0]:
            platform.kill(self._shim)
            await asyncio.wait({self._end}, timeout=_SECONDS_TO_DIE)

    async def _watch(self) -> ProcessEnd | None:
        await self._until_shim_has_ended()
        return await _insist(self._threads, _end_of, self._output, self._home, self.pid)

    async def _until_shim_has_ended(self) -> None:
        """For a shim that an earlier server has started."""
        await platform.until_ended(self._shim)
        while await _insist(self._threads, platform.is_locked, self._output):
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)


class _OwnProcess(ShimProcess):
    """One whose shim is a child of this process."""

    def __init__(self, threads: Threads, output: str, home: str, spawned: platform.Spawned) -> None:
        self.report = platform.PipedReport(spawned)
        super().__init__(threads, output, home, spawned.shim)

    async def reported(self) -> str:
        """What the shim reports of the start. The job, which runs by then, may have stopped it before it could."""
        line = self.report.line
        while not (await asyncio.wait({line}, timeout=_SECONDS_BETWEEN_TRIES))[0]:
            platform.wake(self._shim)
        return line.result()

    async def _until_shim_has_ended(self) -> None:
        try:
            await self.report.end
        finally:
            self.report.close()
        await _insist(self._threads, self.report.reap)


async def _insist(threads: Threads, function: Callable[..., _T], *args: Any) -> _T:
    """Tries until a disk has answered: another answer is never made up."""
    while True:
        try:
            return await threads.call(function, *args)
        except (OSError, Busy):
            await asyncio.sleep(_SECONDS_BETWEEN_TRIES)


# What may block, and runs in threads


class _Look(NamedTuple):
    """Whether a shim lives, and what it has written: for this home or another one, or nothing that can be read."""

    is_locked: bool
    record: Record | None
    is_damaged: bool = False
    is_foreign: bool = False


def _look(output: str, home: str) -> _Look:
    """In this order: what is found of a shim that is gone is final. Raises OSError."""
    is_locked = platform.is_locked(output)
    try:
        record = read_record(output)
    except RecordDamaged:
        if not is_locked:
            log.error("%s.shim is damaged: nobody knows how the job has ended", output)
        return _Look(is_locked, None, is_damaged=True)
    return _Look(is_locked, record, is_foreign=record is not None and record.home not in (home, _UNKNOWN_HOME))


def _end_of(output: str, home: str, pid: int) -> ProcessEnd | None:
    """How a job has ended whose shim has gone just now. Without an end, what is left is killed. `pid` is 0 where it may
    not have started."""
    _, record, is_damaged, _ = _look(output, home)
    if record is not None and record.end is not None:
        return record.end
    if pid or record is not None or is_damaged:
        platform.kill_left(output, pid, record, home)
    return None
