"""How Windows starts, watches, asks and kills shims: what shims.py needs of it.

A shim is known by its record: as long as it lives, nobody else can open that to write. The server opens it, and the
shim inherits it without a gap. What a shim itself does is in windows_shim.py.
"""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

assert sys.platform == "win32"

import _winapi  # noqa: E402
import msvcrt  # noqa: E402

from headless.server import windows_processes  # noqa: E402
from headless.server.process import ProcessSpec  # noqa: E402
from headless.server.records import Identity, Record, Report  # noqa: E402

_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
_PROGRAM = "import sys; sys.path.append(sys.argv.pop(1)); from headless.server import windows_shim; windows_shim.main()"
# That of a virtual environment only starts another one, which would be the shim.
_PYTHON = str(getattr(sys, "_base_executable", sys.executable))
_FLAGS = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP

_SECONDS_TO_SWEEP = 2.0
_SECONDS_TO_LOOK = 2.0  # for which somebody who only looks may have the record open
_SECONDS_BETWEEN_LOOKS = 0.02


class Spawned(NamedTuple):
    """A shim that was started, a handle of its process, and the end of a pipe on which it reports."""

    shim: Identity
    process: int
    report: int


class PipedReport(Report):
    """The report of a shim that this process has started. The pipe closes when it ends."""

    def __init__(self, spawned: Spawned) -> None:
        super().__init__()
        self._spawned = spawned
        self._look()

    def _look(self) -> None:
        """No event loop of Windows can wait for a pipe like this."""
        handle = msvcrt.get_osfhandle(self._spawned.report)
        try:
            if _winapi.PeekNamedPipe(handle, 0)[0]:
                self.receive(os.read(self._spawned.report, 4096))
        except OSError:  # its other end is closed
            self.receive(b"")
        if not self.end.done():
            self._next = asyncio.get_running_loop().call_later(_SECONDS_BETWEEN_LOOKS, self._look)

    def close(self) -> None:
        """Nobody listens any more."""
        self._next.cancel()
        os.close(self._spawned.report)

    def reap(self) -> None:
        """Waits for the end of a shim that is ending."""
        windows_processes.wait(self._spawned.process, _SECONDS_TO_SWEEP)
        _winapi.CloseHandle(self._spawned.process)


async def until_ended(shim: Identity) -> None:
    """Returns when the shim has ended; at once where it cannot be watched."""
    with suppress(OSError), windows_processes.opened(shim.pid, shim.start) as process:
        while process is not None and not windows_processes.has_ended(process):
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)


def ask_to_end(shim: Identity) -> None:
    """Asks the shim to end its job."""
    with suppress(OSError), windows_processes.opened(shim.pid, shim.start, _winapi.PROCESS_DUP_HANDLE) as process:
        if process is not None:
            windows_processes.set_event(process, shim.request)


def kill(shim: Identity) -> None:
    """Kills the shim, and so its job."""
    with suppress(OSError):
        windows_processes.kill(shim.pid, shim.start)


# What may block, and runs in threads


def is_locked(output: str) -> bool:
    """Whether a shim lives, or is about to. Those who look may do so at the same time. Raises OSError."""
    return windows_processes.is_open_alone(f"{output}.shim")


def spawn(spec: ProcessSpec) -> Spawned:
    """Starts a shim. Raises OSError."""
    with _locked_record(spec.output) as record, _inheritable_event() as event:
        report, reports = os.pipe()
        try:
            os.set_handle_inheritable(msvcrt.get_osfhandle(reports), True)
            child = _start(spec, record, msvcrt.get_osfhandle(reports), event)
        except BaseException:
            os.close(report)
            raise
        finally:
            os.close(reports)
        process = windows_processes.open_child(child)
    child.returncode = 0  # what watches it is above, and not this object
    return Spawned(Identity(child.pid, windows_processes.start_time(process), event), process, report)


def _start(spec: ProcessSpec, record: int, report: int, event: int) -> subprocess.Popen[bytes]:
    """With a console of its own, which the job shares: only so can it get a Ctrl-Break."""
    numbers = (record, report, event, spec.output_limit, spec.disk_floor)
    command = [_PYTHON, "-I", "-S", "-c", _PROGRAM, _PACKAGE_PARENT, *map(str, numbers)]
    command += [spec.output, sys.executable, spec.script]

    def start(flags: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=spec.folder,
            env=spec.environment,
            startupinfo=subprocess.STARTUPINFO(lpAttributeList={"handle_list": [record, report, event]}),
            creationflags=flags,
        )

    try:
        # What started the server may end all that belongs to it when that ends; this does not belong to it.
        return start(_FLAGS | subprocess.CREATE_BREAKAWAY_FROM_JOB)
    except PermissionError:  # it does not let anything leave
        return start(_FLAGS)
    except NotADirectoryError as error:
        error.filename = spec.folder
        raise


@contextmanager
def _locked_record(output: str) -> Iterator[int]:
    """A handle of an empty record that nobody else can write to."""
    path = f"{output}.shim"
    late = time.monotonic() + _SECONDS_TO_LOOK
    while (handle := windows_processes.open_alone(path)) is None:
        if time.monotonic() > late:
            raise OSError(errno.EBUSY, "another shim lives", path)
        time.sleep(0.01)
    descriptor = msvcrt.open_osfhandle(handle, 0)
    try:
        os.ftruncate(descriptor, 0)
        os.set_handle_inheritable(handle, True)
        yield handle
    finally:
        os.close(descriptor)


@contextmanager
def _inheritable_event() -> Iterator[int]:
    """It has the same number in what inherits it."""
    event = windows_processes.make_event()
    try:
        os.set_handle_inheritable(event, True)
        yield event
    finally:
        _winapi.CloseHandle(event)


def kill_left(output: str, pid: int, record: Record | None) -> None:  # noqa: ARG001
    """Returns when the kernel has ended the job's own process, or after a while: it ends all of the job whose shim was
    killed."""
    if record is None:
        return
    with windows_processes.opened(*record.job[:2]) as process:
        if process is not None:
            windows_processes.wait(process, _SECONDS_TO_SWEEP)
