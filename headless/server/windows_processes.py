"""What Windows has for processes, and Python has not: job objects, events, processes that wait before they begin, and
files that one alone may write to.

Here are the calls and nothing else. What they are for is in windows_shims.py and windows_shim.py. A handle is a number,
and whoever gets one closes it. Each function may raise OSError.
"""

from __future__ import annotations

import _winapi
import ctypes
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

assert sys.platform == "win32"

_kernel = ctypes.WinDLL("kernel32", use_last_error=True)
for _name in ("CreateJobObjectW", "CreateEventW"):
    getattr(_kernel, _name).restype = ctypes.c_void_p

_TERMINATE, _QUERY_LIMITED_INFORMATION = 0x0001, 0x1000  # rights on a process
_EVENT_MODIFY_STATE = 0x0002
_KILL_ON_JOB_CLOSE = 0x2000
_BASIC_ACCOUNTING, _EXTENDED_LIMITS = 1, 9  # kinds of information on a job object
_SHARE_READ, _SHARE_ALL = 0x1, 0x7
_OPEN_EXISTING, _OPEN_ALWAYS = 3, 4
_ATTRIBUTE_NORMAL = 0x80
_CREATE_SUSPENDED = 0x4
_CTRL_BREAK = 1
_ERROR_ACCESS_DENIED, _ERROR_SHARING_VIOLATION, _ERROR_INVALID_PARAMETER = 5, 32, 87
_STATUS_OF_THE_KILLED = 1


def _call(name: str, *arguments: object) -> int:
    """What a function returns that returns 0 where it fails."""
    result: int | None = getattr(_kernel, name)(*arguments)
    if not result:
        raise ctypes.WinError(ctypes.get_last_error())
    return result


# Processes


@contextmanager
def opened(pid: int, start: int, rights: int = 0) -> Iterator[int | None]:
    """A handle of the process that has this number and was started then. None if there is none any more, or none that
    this user may open. The number stays that of this process as long as the handle is open."""
    rights |= _winapi.SYNCHRONIZE | _QUERY_LIMITED_INFORMATION
    try:
        handle = _winapi.OpenProcess(rights, False, pid)
    except OSError as error:
        if error.winerror not in (_ERROR_ACCESS_DENIED, _ERROR_INVALID_PARAMETER):  # the latter where there is none
            raise
        yield None
        return
    try:
        yield handle if start_time(handle) == start and not has_ended(handle) else None
    finally:
        _winapi.CloseHandle(handle)


def open_child(child: subprocess.Popen[bytes]) -> int:
    """A handle of a process that was started here, and has not been waited for."""
    return _winapi.OpenProcess(_winapi.SYNCHRONIZE | _QUERY_LIMITED_INFORMATION, False, child.pid)


def start_time(process: int) -> int:
    """When it was started, in units of 100 ns."""
    times = [ctypes.c_uint64() for _ in range(4)]
    _call("GetProcessTimes", ctypes.c_void_p(process), *map(ctypes.byref, times))
    return times[0].value


def has_ended(process: int) -> bool:
    return _winapi.WaitForSingleObject(process, 0) == _winapi.WAIT_OBJECT_0


def wait(process: int, seconds: float) -> bool:
    """Whether it has ended by then."""
    return _winapi.WaitForSingleObject(process, int(seconds * 1000)) == _winapi.WAIT_OBJECT_0


def kill(pid: int, start: int) -> None:
    """Begins to end this process, if it lives."""
    with opened(pid, start, _TERMINATE) as process:
        if process is not None:
            with suppress(PermissionError):  # it is just ending
                _winapi.TerminateProcess(process, _STATUS_OF_THE_KILLED)


class Suspended(NamedTuple):
    """A process whose only thread waits before its first instruction."""

    process: int
    thread: int
    pid: int


def start_suspended(command: Sequence[str], stdin: int, stdout: int, stderr: int) -> Suspended:
    """A process that inherits these handles and no others, with the environment and the folder of this one, and leads a
    group of its own."""
    handles = list(dict.fromkeys((stdin, stdout, stderr)))
    startup = subprocess.STARTUPINFO(
        dwFlags=subprocess.STARTF_USESTDHANDLES,
        hStdInput=stdin,
        hStdOutput=stdout,
        hStdError=stderr,
        lpAttributeList={"handle_list": handles},
    )
    flags = _CREATE_SUSPENDED | subprocess.CREATE_NEW_PROCESS_GROUP
    line = subprocess.list2cmdline(command)
    environment: Any = None  # that of this process
    process, thread, pid, _ = _winapi.CreateProcess(None, line, None, None, True, flags, environment, None, startup)
    return Suspended(process, thread, pid)


def resume(suspended: Suspended) -> None:
    """Lets it begin."""
    if _kernel.ResumeThread(ctypes.c_void_p(suspended.thread)) != 1:  # how often it was suspended
        raise ctypes.WinError(ctypes.get_last_error())
    _winapi.CloseHandle(suspended.thread)


def send_break(group: int) -> None:
    """Ctrl-Break for a group of processes that share the console of this one."""
    _call("GenerateConsoleCtrlEvent", _CTRL_BREAK, group)


# Job objects


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
    """Processes and all that they start, whether these want or not. When this process ends, however it does, the kernel
    ends them: nobody else has a handle."""

    def __init__(self) -> None:
        self._handle = ctypes.c_void_p(_call("CreateJobObjectW", None, None))
        limits = _Limits(flags=_KILL_ON_JOB_CLOSE)
        size = ctypes.sizeof(limits)
        _call("SetInformationJobObject", self._handle, _EXTENDED_LIMITS, ctypes.byref(limits), size)

    def add(self, process: int) -> None:
        _call("AssignProcessToJobObject", self._handle, ctypes.c_void_p(process))

    def count(self) -> int:
        """How many of them live."""
        known = _Accounting()
        size = ctypes.sizeof(known)
        _call("QueryInformationJobObject", self._handle, _BASIC_ACCOUNTING, ctypes.byref(known), size, None)
        return int(known.counts[2])

    def kill(self) -> None:
        """Begins to end them all."""
        _call("TerminateJobObject", self._handle, _STATUS_OF_THE_KILLED)


# Events


def make_event() -> int:
    """A handle of an event without a name: nobody finds it who cannot open a process that has it."""
    return _call("CreateEventW", None, True, False, None)


def set_event(process: int, event: int) -> None:
    """Sets an event of another process, which was opened with the right to take its handles."""
    handle = _winapi.DuplicateHandle(process, event, _winapi.GetCurrentProcess(), _EVENT_MODIFY_STATE, False, 0)
    try:
        _call("SetEvent", ctypes.c_void_p(handle))
    finally:
        _winapi.CloseHandle(handle)


# Files


def open_alone(path: str) -> int | None:
    """A handle of this file, to read and write; it is made if it is not there. As long as that, or what has inherited
    it, is open, nobody else can open it to write. None if somebody else has."""
    return _open(path, _SHARE_READ, _OPEN_ALWAYS)


def is_open_alone(path: str) -> bool:
    """Whether somebody has opened this file in this way. False if it is not there."""
    try:
        handle = _open(path, _SHARE_ALL, _OPEN_EXISTING)
    except FileNotFoundError:
        return False
    if handle is not None:
        _winapi.CloseHandle(handle)
    return handle is None


def _open(path: str, share: int, disposition: int) -> int | None:
    """None if others do not let it."""
    access = _winapi.GENERIC_READ | _winapi.GENERIC_WRITE
    try:
        return _winapi.CreateFile(path, access, share, 0, disposition, _ATTRIBUTE_NORMAL, 0)
    except OSError as error:
        if error.winerror == _ERROR_SHARING_VIOLATION:
            return None
        error.filename = path
        raise
