"""How a platform that can fork starts, watches, asks and kills shims: what shims.py needs of it.

A shim holds a lock on its record as long as it lives. Where the platform has descriptors of processes, they tell that,
too. What a shim itself does is in shim.py.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from headless.server import shim
from headless.server.descriptors import AT_START
from headless.server.jobs import ProcessSpec
from headless.server.records import Identity, Record, Report

assert sys.platform != "win32"

_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
_PROGRAM = "import sys; sys.path.append(sys.argv.pop(1)); from headless.server import shim; shim.main()"
_DESCRIPTORS = AT_START  # what a job may open
_IS_LINUX = sys.platform.startswith("linux")
_DEAD = (b"Z", b"X")  # states of a process that has released all it had

_SWEEPS = 150  # counted, not timed: on a busy machine this process may have no turn for seconds
_SECONDS_TO_LOOK = 2.0  # for which somebody who only looks may hold the lock


class Spawned(NamedTuple):
    """A shim that was started, and the end of a pipe on which it reports."""

    shim: Identity
    report: int


class PipedReport(Report):
    """The report of a shim that is a child of this process. The pipe closes when it ends."""

    def __init__(self, spawned: Spawned) -> None:
        super().__init__()
        self._pid = spawned.shim.pid
        self._descriptor = spawned.report
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 4096)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self.receive(data)

    def close(self) -> None:
        """Nobody listens any more."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)

    def reap(self) -> None:
        """Lets nothing be left of a shim that is ending. Waits for that."""
        with suppress(ChildProcessError):  # a server that is the first process of a container reaps all
            os.waitpid(self._pid, 0)


async def until_ended(shim: Identity) -> None:
    """Returns when the shim has ended; at once where it cannot be watched."""
    descriptor = _open_pidfd(shim)
    if descriptor is not None:
        try:
            await _readable(descriptor)
        finally:
            os.close(descriptor)


def ask_to_end(shim: Identity) -> None:
    """Asks the shim to end its job."""
    _signal(shim, signal.SIGTERM, signal.SIGCONT)  # a job may have stopped it


def wake(shim: Identity) -> None:
    """Lets the shim go on, if somebody has stopped it."""
    _signal(shim, signal.SIGCONT)


def kill(shim: Identity) -> None:
    """Kills the shim, and so its job."""
    _signal(shim, signal.SIGKILL)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    is_readable: asyncio.Future[None] = loop.create_future()

    def on_readable() -> None:
        loop.remove_reader(descriptor)
        is_readable.set_result(None)

    loop.add_reader(descriptor, on_readable)
    try:
        await is_readable
    finally:
        loop.remove_reader(descriptor)


# What may block, and runs in threads


def is_locked(output: str) -> bool:
    """Whether a shim lives, or is about to. Those who look may do so at the same time. Raises OSError."""
    try:
        descriptor = os.open(f"{output}.shim", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def spawn(spec: ProcessSpec, home: str) -> Spawned:
    """Starts a shim. Raises OSError."""
    with _locked_record(spec.output) as record:
        report, reports = os.pipe()
        try:
            os.set_blocking(report, False)
            process = subprocess.Popen(
                _command(spec, home, record, reports),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=spec.folder,
                env=spec.environment,
                pass_fds=(record, reports),
                start_new_session=True,
            )
        except BaseException:
            os.close(report)
            raise
        finally:
            os.close(reports)
    process.returncode = 0  # what reaps it is below, and not this object
    return Spawned(Identity(process.pid, shim.start_time(process.pid)), report)


def _command(spec: ProcessSpec, home: str, record: int, report: int) -> list[str]:
    numbers = (record, report, spec.output_limit, spec.disk_floor, _DESCRIPTORS)
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, _PACKAGE_PARENT, *map(str, numbers)]
    command += [home, spec.output, spec.script]
    if "LC_CTYPE" in spec.environment:  # which the shim's interpreter may change
        command.append(spec.environment["LC_CTYPE"])
    return command


@contextmanager
def _locked_record(output: str) -> Iterator[int]:
    """An empty record, locked: the shim gets this descriptor, and with it the lock, without a gap."""
    path = f"{output}.shim"
    record = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        late = time.monotonic() + _SECONDS_TO_LOOK
        while not _lock(record):
            if time.monotonic() > late:
                raise OSError(errno.EBUSY, "another shim lives", path)
            time.sleep(0.01)
        os.ftruncate(record, 0)
        yield record
    finally:
        os.close(record)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def age_of(job: Identity) -> float:
    """For how many seconds the job's process has run by the clock of the kernel, which is never set; 0 where that is
    not known. proc(5), /proc/[pid]/stat, starttime."""
    if not (_IS_LINUX and job.start):
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - job.start / os.sysconf("SC_CLK_TCK"))


def kill_left(output: str, pid: int, record: Record | None, home: str) -> None:
    """Kills what is left of a job of this home whose shim was killed, and returns when it is gone, or cannot be killed.
    `pid` is its own process; 0 where that number may be another's by now."""
    if pid and not _IS_LINUX:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    _sweep(output, record, home)


def _sweep(output: str, record: Record | None, home: str) -> None:
    """The same for all that can be found of it."""
    if not _IS_LINUX or (record is not None and record.machine != shim.machine()):
        return
    found = set[Identity]()  # one that dies loses its environment before its locks
    for _ in range(_SWEEPS):
        found.update(_left(output, record, home))
        left = [process for process in found if _is_alive(process)]
        if not left:
            return
        for process in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.01)


def _is_alive(process: Identity) -> bool:
    try:
        stat = shim.stat_of(process.pid)
    except OSError:
        return False
    return int(stat[19]) == process.start and stat[0] not in _DEAD


def _left(output: str, record: Record | None, home: str) -> Iterator[Identity]:
    """The processes of the job: its own, those of its session, and those that have its name in their environment. A
    copy of the home has jobs of the same names."""
    session_id, number = Path(output).parts[-2:]
    name = {f"PLANTA_HOME_ID={home}".encode(), f"PLANTA_SESSION={session_id}".encode(), f"PLANTA_JOB={number}".encode()}
    job = None if record is None else record.job
    if job is not None and shim.start_time(job.pid) not in (0, job.start):
        job = None  # its number is that of another process by now
    for pid in [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and int(entry) != os.getpid()]:
        with suppress(OSError, IndexError):
            stat = shim.stat_of(pid)
            if stat[0] not in _DEAD and (
                (job is not None and int(stat[3]) == job.pid and int(stat[19]) >= job.start)
                or name <= set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
            ):
                yield Identity(pid, int(stat[19]))


def _open_pidfd(process: Identity) -> int | None:
    """A descriptor of the process, readable when it has ended. None if it has, or where there is no such thing."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return None
    if shim.start_time(process.pid) != process.start:
        os.close(descriptor)
        return None
    return descriptor


def _signal(process: Identity, *signums: int) -> None:
    descriptor = _open_pidfd(process)
    with suppress(ProcessLookupError, PermissionError):
        if descriptor is not None:
            try:
                for signum in signums:
                    signal.pidfd_send_signal(descriptor, signum)
            finally:
                os.close(descriptor)
        elif shim.start_time(process.pid) == process.start:
            for signum in signums:
                os.kill(process.pid, signum)
