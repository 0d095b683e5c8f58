"""How Windows starts, watches, asks and kills shims: what shims.py needs of it.

A shim is known by its record: as long as it lives, nobody else can open that to write. It opens the record itself, and
starts nothing before the server that has started it has heard of that. So what it starts is found by the next server,
and one that never came so far never starts anything. What a shim itself does is in windows_shim.py.
"""

from __future__ import annotations

import _winapi
import asyncio
import msvcrt
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from headless.server import windows_processes
from headless.server.jobs import ProcessSpec
from headless.server.record_format import READY
from headless.server.records import Identity, Record, Report

assert sys.platform == "win32"

_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
_PROGRAM = "import sys; sys.path.append(sys.argv.pop(1)); from headless.server import windows_shim; windows_shim.main()"
# That of a virtual environment only starts another one, which would be the shim.
_PYTHON = str(getattr(sys, "_base_executable", sys.executable))
_FLAGS = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP

_READ_BYTES = 4096
_SECONDS_TO_SWEEP = 2.0
_SECONDS_BETWEEN_LOOKS = 0.02


class Spawned(NamedTuple):
    """A shim that was started, a handle of its process, and the pipes to and from it."""

    shim: Identity
    process: int
    pipes: subprocess.Popen[bytes]


class PipedReport(Report):
    """The report of a shim that this process has started."""

    def __init__(self, spawned: Spawned) -> None:
        super().__init__()
        assert spawned.pipes.stdin is not None and spawned.pipes.stdout is not None
        self._process = spawned.process
        self._to_shim, self._from_shim = spawned.pipes.stdin, spawned.pipes.stdout
        self._look()

    def _look(self) -> None:
        """No event loop of Windows can wait for a pipe like this."""
        has_ended = windows_processes.has_ended(self._process)  # first: nothing comes after that
        data = self._read()
        if data.startswith(READY):
            with suppress(OSError):  # it has ended meanwhile
                os.write(self._to_shim.fileno(), b".")
            data = data[len(READY) :]
        if data:
            self.receive(data)
        if has_ended:
            self.receive(b"")
        else:
            self._next = asyncio.get_running_loop().call_later(_SECONDS_BETWEEN_LOOKS, self._look)

    def _read(self) -> bytes:
        descriptor = self._from_shim.fileno()
        try:
            is_there = _winapi.PeekNamedPipe(msvcrt.get_osfhandle(descriptor), 0)[0]
            return os.read(descriptor, _READ_BYTES) if is_there else b""
        except OSError:  # the other end is closed
            return b""

    def close(self) -> None:
        """Nobody listens any more."""
        self._next.cancel()
        self._to_shim.close()
        self._from_shim.close()

    def reap(self) -> None:
        """Lets nothing be left of a shim that has ended."""
        _winapi.CloseHandle(self._process)


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


def wake(shim: Identity) -> None:
    """Nothing has stopped it: there is no signal for that."""


def kill(shim: Identity) -> None:
    """Kills the shim, and so its job."""
    with suppress(OSError):
        windows_processes.kill(shim.pid, shim.start)


# What may block, and runs in threads


def is_locked(output: str) -> bool:
    """Whether a shim lives, or is about to. Those who look may do so at the same time. Raises OSError."""
    return windows_processes.is_open_alone(f"{output}.shim")


def spawn(spec: ProcessSpec, home: str) -> Spawned:  # noqa: ARG001
    """Starts a shim. Raises OSError."""
    event = windows_processes.make_event()  # it has the same number in what inherits it
    try:
        os.set_handle_inheritable(event, True)
        child = _start(spec, event)
    finally:
        _winapi.CloseHandle(event)
    process = windows_processes.open_child(child)
    child.returncode = 0  # what watches it is this handle, and not this object
    return Spawned(Identity(child.pid, windows_processes.start_time(process), event), process, child)


def _start(spec: ProcessSpec, event: int) -> subprocess.Popen[bytes]:
    """With a console of its own, which the job shares: only so can it get a Ctrl-Break."""
    numbers = (event, spec.output_limit, spec.disk_floor)
    command = [_PYTHON, "-I", "-S", "-c", _PROGRAM, _PACKAGE_PARENT, *map(str, numbers)]
    command += [spec.output, sys.executable, spec.script]

    def start(flags: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=spec.folder,
            env=spec.environment,
            startupinfo=subprocess.STARTUPINFO(lpAttributeList={"handle_list": [event]}),
            creationflags=flags,
        )

    try:
        # What has started the server may end all that belongs to it when that ends; this does not belong to it.
        return start(_FLAGS | subprocess.CREATE_BREAKAWAY_FROM_JOB)
    except PermissionError:  # it does not let anything leave
        return start(_FLAGS)
    except NotADirectoryError as error:
        error.filename = spec.folder
        raise


def age_of(job: Identity) -> float:  # noqa: ARG001
    """Not known here."""
    return 0.0


def kill_left(output: str, pid: int, record: Record | None, home: str) -> None:  # noqa: ARG001
    """Returns when the kernel has ended the job's own process, or after a while: it ends all of the job whose shim was
    killed."""
    if record is None:
        return
    with windows_processes.opened(*record.job[:2]) as process:
        if process is not None:
            windows_processes.wait(process, _SECONDS_TO_SWEEP)
