"""Jobs on Windows: each runs in a job object, which ends with the server. That is for rehearsing there.

Each job writes to its files itself, so nothing limits what is stored. It has a console of its own, which is not shown.
"""

from __future__ import annotations

import _winapi
import asyncio
import ctypes
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from headless.server.jobs import Process, ProcessEnd, ProcessSpec, known
from headless.server.threads import Threads

assert sys.platform == "win32"

_SECONDS_TO_DIE = 1.5  # for the processes of a job object that is ended
_SECONDS_BETWEEN_LOOKS = 0.02  # no event loop of Windows can wait for a process like this
_STATUS_OF_THE_KILLED = 1

_kernel = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel.CreateJobObjectW.restype = ctypes.c_void_p

_QUERY_LIMITED_INFORMATION = 0x1000  # a right on a process
_CREATE_SUSPENDED = 0x4
_KILL_ON_JOB_CLOSE = 0x2000
_BASIC_ACCOUNTING, _EXTENDED_LIMITS = 1, 9  # kinds of information on a job object


class WindowsJobs:
    """Starts each job in a job object of its own. `home` is not needed: nothing of an earlier server is left."""

    def __init__(self, threads: Threads, home: str) -> None:  # noqa: ARG002
        self._threads = threads

    async def start(self, spec: ProcessSpec) -> WindowsProcess:
        """Returns a job that has started. Raises OSError, Busy if nothing was started."""
        return WindowsProcess(*await self._threads.call(_start, spec))

    async def find(self, output: str) -> Process | None:  # noqa: ARG002
        """Returns a process whose end is not known, also for a job that may not have started: it never starts again."""
        return Process(known(None))

    @staticmethod
    def forget(output: str) -> None:
        """Removes what only served to find the process. May block. Raises OSError."""
        Path(f"{output}.pid").unlink(missing_ok=True)

    @staticmethod
    def running_pid(output: str) -> int | None:
        """Returns the number of the process as long as it runs. May block. Raises OSError."""
        try:
            pid, start = map(int, Path(f"{output}.pid").read_text("ascii").split())
        except (FileNotFoundError, ValueError):  # or it is just being written
            return None
        try:
            process = _winapi.OpenProcess(_winapi.SYNCHRONIZE | _QUERY_LIMITED_INFORMATION, False, pid)
        except OSError:  # there is none, or one of another user
            return None
        try:
            has_ended = _winapi.WaitForSingleObject(process, 0) == _winapi.WAIT_OBJECT_0
            return pid if _start_time(process) == start and not has_ended else None
        finally:
            _winapi.CloseHandle(process)


class WindowsProcess(Process):
    """Watches and ends a job by its job object."""

    def __init__(self, process: subprocess.Popen[bytes], job_object: JobObject) -> None:
        self._process = process
        self._job_object = job_object
        self._begun = time.monotonic()
        self._was_asked = False
        super().__init__(self._watch())
        self.pid = process.pid

    async def end(self) -> None:
        if not self._end.done() and self._process.poll() is None:
            self._was_asked = True
            self._job_object.kill()
        await asyncio.wait({self._end}, timeout=2 * _SECONDS_TO_DIE)

    async def _watch(self) -> ProcessEnd:
        """Returns when the process has ended, and all that it had started was ended."""
        while (status := self._process.poll()) is None:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        ended, seconds = time.time(), time.monotonic() - self._begun
        late = time.monotonic() + _SECONDS_TO_DIE
        with suppress(OSError):
            while self._job_object.count() and time.monotonic() < late:
                self._job_object.kill()
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        self._job_object.close()
        return ProcessEnd(status, self._was_asked, ended, seconds)


def _start(spec: ProcessSpec) -> tuple[subprocess.Popen[bytes], JobObject]:
    """Starts the job, which waits before its first instruction until it is in its job object. Raises OSError."""
    with open(f"{spec.output}.stdout", "wb") as stdout, open(f"{spec.output}.stderr", "wb") as stderr:
        try:
            process = subprocess.Popen(
                [sys.executable, "-u", spec.script],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=spec.folder,
                env=spec.environment,
                creationflags=_CREATE_SUSPENDED | subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP,
            )
        except NotADirectoryError as error:
            error.filename = spec.folder
            raise
    job_object = JobObject()
    try:
        handle = int(process._handle)  # type: ignore[attr-defined]  # noqa: SLF001
        job_object.add(handle)
        Path(f"{spec.output}.pid").write_text(f"{process.pid} {_start_time(handle)}", "ascii")
        if ctypes.WinDLL("ntdll").NtResumeProcess(ctypes.c_void_p(handle)) < 0:  # which opens no thread
            raise OSError("the process of the job cannot be resumed")
    except OSError:
        process.kill()
        process.wait()
        job_object.close()
        raise
    return process, job_object


def _start_time(process: int) -> int:
    """Returns when it was started, in units of 100 ns. Raises OSError."""
    times = [ctypes.c_uint64() for _ in range(4)]
    _call("GetProcessTimes", ctypes.c_void_p(process), *map(ctypes.byref, times))
    return times[0].value


def _call(name: str, *arguments: object) -> int:
    """Calls a function that returns 0 where it fails. Raises OSError."""
    result: int | None = getattr(_kernel, name)(*arguments)
    if not result:
        raise ctypes.WinError(ctypes.get_last_error())
    return result


class _Limits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION"""

    _fields_ = (
        ("times", ctypes.c_int64 * 2),
        ("flags", ctypes.c_uint32),
        ("sizes", ctypes.c_size_t * 2),
        ("processes", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t),
        ("classes", ctypes.c_uint32 * 2),
        ("counters", ctypes.c_uint64 * 6),
        ("memory", ctypes.c_size_t * 4),
    )


class _Accounting(ctypes.Structure):
    """JOBOBJECT_BASIC_ACCOUNTING_INFORMATION"""

    _fields_ = (("times", ctypes.c_int64 * 4), ("counts", ctypes.c_uint32 * 4))


class JobObject:
    """Holds processes and all that they start. When this process ends, however it does, the kernel ends them: no other
    process has a handle. Each method may raise OSError."""

    def __init__(self) -> None:
        self._handle = ctypes.c_void_p(_call("CreateJobObjectW", None, None))
        limits = _Limits(flags=_KILL_ON_JOB_CLOSE)
        size = ctypes.sizeof(limits)
        _call("SetInformationJobObject", self._handle, _EXTENDED_LIMITS, ctypes.byref(limits), size)

    def add(self, process: int) -> None:
        _call("AssignProcessToJobObject", self._handle, ctypes.c_void_p(process))

    def count(self) -> int:
        """Returns how many of them live."""
        known = _Accounting()
        size = ctypes.sizeof(known)
        _call("QueryInformationJobObject", self._handle, _BASIC_ACCOUNTING, ctypes.byref(known), size, None)
        return int(known.counts[2])

    def kill(self) -> None:
        """Begins to end them all."""
        _call("TerminateJobObject", self._handle, _STATUS_OF_THE_KILLED)

    def close(self) -> None:
        """Ends what is left of them."""
        _call("CloseHandle", self._handle)
