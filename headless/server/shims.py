"""The server's side of shims: starts them, finds those of an earlier server, and ends them.

A shim holds a lock on its record, OUTPUT.shim, as long as it lives. Only what the record says is believed, and a record
is final when the lock is free. Nothing here waits for a disk in the event loop.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from headless.errors import Busy, HeadlessError
from headless.server import shim
from headless.server.jobs import Process, ProcessEnd, ProcessSpec, known
from headless.server.settings import DESCRIPTORS_AT_START
from headless.server.shim import END_OFFSET, MARK
from headless.server.threads import Threads
from headless.system import try_lock

assert sys.platform != "win32"

log = logging.getLogger(__name__)

_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
_PROGRAM = "import sys; sys.path.append(sys.argv.pop(1)); from headless.server import shim; shim.main()"
_DESCRIPTORS = DESCRIPTORS_AT_START  # what a job may open
_IS_LINUX = sys.platform.startswith("linux")
_DEAD = (b"Z", b"X")  # states of a process that has released all it had

_SECONDS_TO_END = 4.0  # what a shim needs to end a job that does not want to, and a bit
_SECONDS_TO_DIE = 3.0  # and what is needed after that to kill both
_SECONDS_TO_BEGIN = 10.0  # for a shim that an earlier server has started just before it ended
_SECONDS_TO_LOOK = 2.0  # for which a process that only looks may hold the lock
_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_BETWEEN_TRIES = 1.0  # for what a disk does not give, and for a shim that may be stopped
_SWEEPS = 150  # counted, not timed: on a busy machine this process may have no turn for seconds

_T = TypeVar("_T")


# Records

_NUMBER = r"(\d{1,18})"
_STARTED = re.compile(rf"started {_NUMBER} {_NUMBER} {_NUMBER} {_NUMBER} (\S+) (\S+) \{MARK}")
_ENDED = re.compile(rf"ended (-?\d{{1,18}}) ([01]) (\d+\.\d+) (\d+\.\d+) {_NUMBER} \{MARK}")


class RecordDamaged(HeadlessError):
    """Means that no shim has written this record: how the job ended cannot be known."""


class Identity(NamedTuple):
    """Identifies a process by its number and its time of start, which is 0 where that is not known."""

    pid: int
    start: int


class Record(NamedTuple):
    """Holds what a shim has recorded: what it has started, for which home, and how that ended, if it has."""

    job: Identity
    shim: Identity
    machine: str
    home: str
    end: ProcessEnd | None


def read_record(output: str) -> Record | None:
    """Returns None if there is none, or none of a job that was started. Raises OSError, RecordDamaged."""
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
    return Record(
        Identity(pid, start),
        Identity(shim_pid, shim_start),
        started[5],
        started[6],
        _end_in(text[END_OFFSET:].rstrip()),
    )


def _end_in(line: str) -> ProcessEnd | None:
    """Returns None for a line that is not whole: the shim writes it again, or was killed. Raises RecordDamaged."""
    if not line.endswith(MARK):
        return None
    ended = _ENDED.fullmatch(line)
    if ended is None:
        raise RecordDamaged
    return ProcessEnd(int(ended[1]), ended[2] == "1", float(ended[3]), float(ended[4]), int(ended[5]))


def is_locked(output: str) -> bool:
    """Returns whether a shim lives, or is about to. Several processes may look at the same time. Raises OSError."""
    try:
        descriptor = os.open(f"{output}.shim", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not try_lock(descriptor, shared=True)
    finally:
        os.close(descriptor)


# Jobs under shims, in the event loop


class Shims:
    """Starts a shim for each job of the home that has this identity."""

    def __init__(self, threads: Threads, home: str) -> None:
        self._threads = threads
        self._home = home

    async def start(self, spec: ProcessSpec) -> ShimProcess:
        """Returns a job that has started. Raises OSError, Busy if nothing was started."""
        identity, descriptor = await self._threads.call(spawn, spec, self._home)
        report = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(report), os.fdopen(descriptor, "rb", 0)
        )
        line = asyncio.ensure_future(report.readline())
        try:
            while not (await asyncio.wait({line}, timeout=_SECONDS_BETWEEN_TRIES))[0]:
                signal_to(identity, signal.SIGCONT)  # the job, which runs by then, may have stopped it
        except asyncio.CancelledError:
            line.cancel()
            pipe.close()
            raise
        process = ShimProcess(self._threads, spec.output, self._home, identity, _until_closed(report, pipe))
        kind, _, text = line.result().decode("utf-8", "replace").rstrip("\n").partition(" ")
        if kind == "started":
            process.pid = int(text)
            return process
        await process.wait()
        if kind != "error":  # it was killed, maybe after it had recorded the start
            found = await _retry(self._threads, _look, spec.output, self._home)
            if found.is_damaged or found.record is not None:
                process.pid = found.record.job.pid if found.record is not None else 0
                return process
        raise OSError(text or "the job's shim has ended before it started anything")

    async def find(self, output: str) -> Process | None:
        """Returns what an earlier server has started; None if it has started nothing, and will not. Raises OSError or
        Busy if that cannot be known now."""
        late = time.monotonic() + _SECONDS_TO_BEGIN
        while time.monotonic() < late:
            is_alive, record, is_damaged, is_foreign = await self._threads.call(_look, output, self._home)
            if record is not None and record.end is not None and (is_foreign or not is_alive):
                return Process(known(record.end))
            if is_foreign:  # this home is a copy: the job goes on for the other one
                return Process(known(None))
            if is_alive and record is not None:
                process = ShimProcess(self._threads, output, self._home, record.shim)
                process.pid, process.age = record.job.pid, age_of(record.job)
                return process
            if not is_alive:
                if record is None and not is_damaged:
                    return None
                await self._threads.call(kill_left, output, 0, record, self._home)
                return Process(known(None))
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        raise OSError(errno.EAGAIN, "a shim lives that has not started its job", f"{output}.shim")

    @staticmethod
    def forget(output: str) -> None:
        """Removes what only served to find the process. May block. Raises OSError."""
        Path(f"{output}.shim").unlink(missing_ok=True)

    @staticmethod
    def running_pid(output: str) -> int | None:
        """Returns the number of the job's process as long as its shim lives. May block. Raises OSError."""
        with suppress(RecordDamaged):
            record = read_record(output) if is_locked(output) else None
            if record is not None and record.end is None:
                return record.job.pid
        return None


class ShimProcess(Process):
    """Watches and ends a job by its shim, which lives, or did when this was made. `closing` returns when one has ended
    that this server has started."""

    def __init__(
        self, threads: Threads, output: str, home: str, identity: Identity, closing: Awaitable[None] | None = None
    ) -> None:
        self.shim = identity
        self._threads = threads
        self._output = output
        self._home = home
        super().__init__(self._watch(closing))

    async def end(self) -> None:
        if self._end.done():
            return
        signal_to(self.shim, signal.SIGTERM, signal.SIGCONT)  # a job may have stopped it
        if not (await asyncio.wait({self._end}, timeout=_SECONDS_TO_END))[0]:
            signal_to(self.shim, signal.SIGKILL)
            await asyncio.wait({self._end}, timeout=_SECONDS_TO_DIE)

    async def _watch(self, closing: Awaitable[None] | None) -> ProcessEnd | None:
        if closing is None:
            while await _retry(self._threads, is_locked, self._output):
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        else:
            await closing
            await _retry(self._threads, _reap, self.shim.pid)
        return await _retry(self._threads, self._read_end)

    def _read_end(self) -> ProcessEnd | None:
        """Returns the recorded end; if there is none, kills what is left. May block. Raises OSError."""
        _, record, is_damaged, _ = _look(self._output, self._home)
        if record is not None and record.end is not None:
            return record.end
        if self.pid or record is not None or is_damaged:
            kill_left(self._output, self.pid, record, self._home)
        return None


async def _until_closed(reader: asyncio.StreamReader, pipe: asyncio.ReadTransport) -> None:
    try:
        await reader.read()
    finally:
        pipe.close()


async def _retry(threads: Threads, function: Callable[..., _T], *args: Any) -> _T:
    """Tries until a disk has answered: another answer is never made up."""
    while True:
        try:
            return await threads.call(function, *args)
        except (OSError, Busy):
            await asyncio.sleep(_SECONDS_BETWEEN_TRIES)


# What may block, and is called in threads


class _Look(NamedTuple):
    """Holds whether a shim lives, and what it has recorded: for this home, another one, or nothing that can be read."""

    is_alive: bool
    record: Record | None
    is_damaged: bool = False
    is_foreign: bool = False


def _look(output: str, home: str) -> _Look:
    """Looks at the lock first: what is recorded when that is free is final. Raises OSError."""
    is_alive = is_locked(output)
    try:
        record = read_record(output)
    except RecordDamaged:
        if not is_alive:
            log.error("%s.shim is damaged: how the job has ended is not known", output)
        return _Look(is_alive, None, is_damaged=True)
    return _Look(is_alive, record, is_foreign=record is not None and record.home != home)


def spawn(spec: ProcessSpec, home: str) -> tuple[Identity, int]:
    """Starts a shim. Returns it, and the end of the pipe on which it reports. Raises OSError."""
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
    return Identity(process.pid, shim.start_time(process.pid)), report


def _command(spec: ProcessSpec, home: str, record: int, report: int) -> list[str]:
    numbers = (record, report, spec.output_limit, spec.disk_floor, _DESCRIPTORS)
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, _PACKAGE_PARENT, *map(str, numbers)]
    command += [home, spec.output, spec.script]
    if "LC_CTYPE" in spec.environment:  # which the shim's interpreter may change
        command.append(spec.environment["LC_CTYPE"])
    return command


@contextmanager
def _locked_record(output: str) -> Iterator[int]:
    """Makes an empty record, and locks it: the shim inherits this descriptor, and with it the lock, without a gap."""
    path = f"{output}.shim"
    record = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        late = time.monotonic() + _SECONDS_TO_LOOK
        while not try_lock(record):
            if time.monotonic() > late:
                raise OSError(errno.EBUSY, "another shim lives", path)
            time.sleep(0.01)
        os.ftruncate(record, 0)
        yield record
    finally:
        os.close(record)


def _reap(pid: int) -> None:
    """Waits for a shim that is ending, and lets nothing be left of it."""
    with suppress(ChildProcessError):  # a server that is the first process of a container reaps all
        os.waitpid(pid, 0)


def age_of(job: Identity) -> float:
    """Returns how many seconds the job has run by the clock of the kernel, which is never set; 0 where that is not
    known. proc(5), /proc/[pid]/stat, starttime."""
    if not (_IS_LINUX and job.start):
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - job.start / os.sysconf("SC_CLK_TCK"))


def signal_to(process: Identity, *signums: int) -> None:
    """Sends these to this process, and to no other that has its number by now."""
    with suppress(ProcessLookupError, PermissionError):
        for signum in signums:
            if shim.start_time(process.pid) == process.start:
                os.kill(process.pid, signum)


def kill_left(output: str, pid: int, record: Record | None, home: str) -> None:
    """Kills what is left of a job of this home whose shim was killed, and returns when it is gone, or cannot be killed.
    `pid` is its own process; 0 where that number may be another's by now."""
    if not _IS_LINUX:
        if pid:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        return
    if record is not None and record.machine != shim.machine():
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
    """Finds the processes of the job: its own, those of its session, and those that have its name in their environment.
    The identity of the home belongs to the name: a copy of the home has jobs of the same numbers."""
    session_id, number = Path(output).parts[-2:]
    name = {f"PLANTA_HOME_ID={home}".encode(), f"PLANTA_SESSION={session_id}".encode(), f"PLANTA_JOB={number}".encode()}
    job = None if record is None else record.job
    if job is not None and shim.start_time(job.pid) not in (0, job.start):
        job = None  # its number is that of another process by now
    for pid in [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and int(entry) != os.getpid()]:
        with suppress(OSError, IndexError):
            stat = shim.stat_of(pid)
            if stat[0] not in _DEAD and (
                (job is not None and int(stat[3]) == job.pid)
                or name <= set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
            ):
                yield Identity(pid, int(stat[19]))
