"""Jobs as processes under shims, where the platform can fork: the server's side of shim.py.

Here is how a shim is started, watched, found again by the next server, and ended, and what is done about a job whose
shim was killed. What a shim itself does is in shim.py. Nothing here waits for a disk in the event loop.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from headless.server import shim
from headless.server.descriptors import AT_START
from headless.server.process import NotStarted, Process, ProcessEnd, ProcessSpec
from headless.server.threads import Overloaded, Threads

_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
_PROGRAM = "import sys; sys.path.append(sys.argv.pop(1)); from headless.server import shim; shim.main()"
_DESCRIPTORS = AT_START  # what a job may open
_IS_LINUX = sys.platform.startswith("linux")
_DEAD = (b"Z", b"X")  # states of a process that has released all it had

_SECONDS_TO_END = 4.0  # what a shim needs to end a job that does not want to, and a bit
_SECONDS_TO_DIE = 3.0  # and what is needed after that to kill both
_SECONDS_TO_SWEEP = 2.0
_SECONDS_TO_BEGIN = 10.0  # for a shim that an earlier server has started just before it ended
_SECONDS_TO_LOOK = 2.0  # for which somebody who only looks may hold the lock
_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_BETWEEN_TRIES = 1.0  # for what a disk does not give

_T = TypeVar("_T")


class Identity(NamedTuple):
    """A process and no other: its number, and when it started, as shim.py's start_time tells that."""

    pid: int
    start: int


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
    started, ended = text[: shim.END_OFFSET].split(), text[shim.END_OFFSET :].split()
    if started[-1:] != [shim.MARK]:
        return None
    pid, start, shim_pid, shim_start = map(int, started[1:5])
    end = None
    if ended[-1:] == [shim.MARK]:
        end = ProcessEnd(int(ended[1]), ended[2] == "1", float(ended[3]), float(ended[4]), int(ended[5]))
    return Record(Identity(pid, start), Identity(shim_pid, shim_start), started[5], end)


def running_pid(output: str) -> int | None:
    """The number of the job's process as long as a shim watches over it. Raises OSError."""
    record = read_record(output) if _is_locked(output) else None
    return record.job.pid if record is not None and record.end is None else None


def _is_locked(output: str) -> bool:
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


class Shims:
    """Starts a shim for each job. `ends_unwanted` says what becomes of a job that was started for somebody who does not
    wait for that any more: it is ended, or it goes on for the next server."""

    def __init__(self, threads: Threads, ends_unwanted: bool = True) -> None:
        self._threads = threads
        self._ends_unwanted = ends_unwanted
        self._unwanted: set[asyncio.Future[None]] = set()  # what was started for somebody who has gone meanwhile

    async def start(self, spec: ProcessSpec) -> ShimProcess:
        """Where this is cancelled, something may have been started or not: `find` tells."""
        spawning = asyncio.ensure_future(self._threads.call(_spawn, spec))
        try:
            process = self._process_of(spec.output, await asyncio.shield(spawning))
        except Overloaded as error:
            raise OSError(errno.EAGAIN, str(error)) from error
        except asyncio.CancelledError:
            spawning.add_done_callback(lambda _: self._on_unwanted(spec.output, spawning))
            raise
        try:
            kind, _, text = (await process.report.line).partition(" ")
        except asyncio.CancelledError:
            self._end_unwanted(process)
            raise
        if kind == "started":
            process.pid = int(text)
            return process
        await process.wait()
        record = None if kind == "error" else await _insist(self._threads, read_record, spec.output)
        if record is None:
            raise OSError(text or "the job's shim has ended before it started anything")
        process.pid = record.job.pid
        return process

    async def find(self, output: str) -> Process | NotStarted | None:
        late = time.monotonic() + _SECONDS_TO_BEGIN
        while time.monotonic() < late:
            is_locked, record = await self._call(_look, output)
            if is_locked and record is not None:
                return ShimProcess(self._threads, output, record.shim, record.job.pid)
            if not is_locked:
                if record is None:
                    return NotStarted()
                if record.end is not None:
                    return EndedProcess(record.end, record.job.pid)
                await self._call(_sweep, output, record)
                return None
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        raise OSError(errno.EAGAIN, "a shim lives that has not started its job", f"{output}.shim")

    async def _call(self, function: Callable[..., _T], *args: Any) -> _T:
        try:
            return await self._threads.call(function, *args)
        except Overloaded as error:
            raise OSError(errno.EAGAIN, str(error)) from error

    def _process_of(self, output: str, spawned: _Spawned) -> _OwnProcess:
        return _OwnProcess(self._threads, output, spawned)

    def _on_unwanted(self, output: str, spawning: asyncio.Future[_Spawned]) -> None:
        if not spawning.cancelled() and spawning.exception() is None:
            self._end_unwanted(self._process_of(output, spawning.result()))

    def _end_unwanted(self, process: ShimProcess) -> None:
        if not self._ends_unwanted:
            return
        ending = asyncio.ensure_future(process.end())
        self._unwanted.add(ending)
        ending.add_done_callback(self._unwanted.discard)


class EndedProcess:
    """A job that has ended while no server was there."""

    def __init__(self, end: ProcessEnd, pid: int) -> None:
        self._end = end
        self.pid = pid

    async def wait(self) -> ProcessEnd:
        return self._end

    async def end(self) -> None:
        pass


class ShimProcess:
    """A job and its shim, which lives, or did when this was made. `pid` is the number of the job's own process."""

    def __init__(self, threads: Threads, output: str, shim: Identity, pid: int) -> None:
        self.pid = pid
        self._threads = threads
        self._output = output
        self._shim = shim
        self._end = asyncio.ensure_future(self._watch())

    async def wait(self) -> ProcessEnd | None:
        return await asyncio.shield(self._end)

    async def end(self) -> None:
        if self._end.done():
            return
        _signal(self._shim, signal.SIGTERM, signal.SIGCONT)  # a job may have stopped it
        if not (await asyncio.wait({self._end}, timeout=_SECONDS_TO_END))[0]:
            _signal(self._shim, signal.SIGKILL)
            await asyncio.wait({self._end}, timeout=_SECONDS_TO_DIE)

    async def _watch(self) -> ProcessEnd | None:
        await self._until_shim_has_ended()
        return await _insist(self._threads, _end_of, self._output, self.pid)

    async def _until_shim_has_ended(self) -> None:
        """For a shim that an earlier server has started."""
        descriptor = _open_pidfd(self._shim)
        if descriptor is not None:
            try:
                await _readable(descriptor)
            finally:
                os.close(descriptor)
        while await _insist(self._threads, _is_locked, self._output):
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)


class _OwnProcess(ShimProcess):
    """One whose shim is a child of this process."""

    def __init__(self, threads: Threads, output: str, spawned: _Spawned) -> None:
        self.report = _Report(spawned.report)
        super().__init__(threads, output, spawned.shim, 0)

    async def _until_shim_has_ended(self) -> None:
        try:
            await self.report.end
        finally:
            self.report.close()
        await _insist(self._threads, _reap, self._shim.pid)


class _Report:
    """What a shim says: its only line, "" if it has ended without one, and then the end."""

    def __init__(self, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        self.line: asyncio.Future[str] = loop.create_future()
        self.end: asyncio.Future[None] = loop.create_future()
        self._descriptor = descriptor
        self._received = b""
        loop.add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 4096)
        except BlockingIOError:
            return
        self._received += data
        if not self.line.done() and (not data or data.endswith(b"\n")):
            self.line.set_result(self._received.decode("utf-8", "replace").rstrip("\n"))
        if not data:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self.end.set_result(None)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)


async def _insist(threads: Threads, function: Callable[..., _T], *args: Any) -> _T:
    """Tries until a disk has answered: another answer is never made up."""
    while True:
        try:
            return await threads.call(function, *args)
        except (OSError, Overloaded):
            await asyncio.sleep(_SECONDS_BETWEEN_TRIES)


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


class _Spawned(NamedTuple):
    shim: Identity
    report: int


def _spawn(spec: ProcessSpec) -> _Spawned:
    with _locked_record(spec.output) as record:
        report, reports = os.pipe()
        try:
            os.set_blocking(report, False)
            process = subprocess.Popen(
                _command(spec, record, reports),
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
    return _Spawned(Identity(process.pid, shim.start_time(process.pid)), report)


def _command(spec: ProcessSpec, record: int, report: int) -> list[str]:
    numbers = (record, report, spec.output_limit, spec.disk_floor, _DESCRIPTORS)
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, _PACKAGE_PARENT, *map(str, numbers)]
    command += [spec.output, spec.script]
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


def _look(output: str) -> tuple[bool, Record | None]:
    """Whether a shim lives, and what it has written. In this order: what is found of one that is gone is final."""
    is_locked = _is_locked(output)
    return is_locked, read_record(output)


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):  # a server that is the first process of a container reaps all
        os.waitpid(pid, 0)


def _end_of(output: str, pid: int) -> ProcessEnd | None:
    """How a job has ended whose shim has gone just now. Without an end, what is left is killed. `pid` is 0 where it may
    not have started."""
    record = read_record(output)
    if record is not None and record.end is not None:
        return record.end
    if pid and not _IS_LINUX:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    if pid or record is not None:
        _sweep(output, record)
    return None


def _sweep(output: str, record: Record | None) -> None:
    """Kills what is left of a job whose shim was killed, and returns when it is gone, or cannot be killed."""
    if not _IS_LINUX or (record is not None and record.machine != shim.machine()):
        return
    late = time.monotonic() + _SECONDS_TO_SWEEP
    found = set[Identity]()  # one that dies loses its environment before its locks
    while time.monotonic() < late:
        found.update(_left(output, record))
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


def _left(output: str, record: Record | None) -> Iterator[Identity]:
    """The processes of the job: its own, those of its session, and those that have its name in their environment."""
    session, number = Path(output).parts[-2:]
    name = {f"PLANTA_SESSION={session}".encode(), f"PLANTA_JOB={number}".encode()}
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
