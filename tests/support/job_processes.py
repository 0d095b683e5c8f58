"""Scripts that run as jobs do, under a shim but without a server, and the same scripts run by hand."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

from headless.server.jobs import ProcessEnd, ProcessSpec
from headless.server.processes import Platform
from headless.server.threads import Threads
from support.job_code import TAKE_LOCK, is_free
from support.process import PATIENCE, ROOT
from support.waiting import in_time

_T = TypeVar("_T")


def new_shims() -> Platform:
    """Returns what a new server starts and finds jobs with."""
    return Platform(Threads("shims", 4, 10000), "-")


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(in_time(coroutine))


class Result(NamedTuple):
    """How a process ended, and what it has printed."""

    status: int
    stdout: bytes
    stderr: bytes


class Folder:
    """Where jobs find their files, `py`, and where their output goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.py = path / "py"
        self.scripts = path / "scripts"
        self.session = uuid4().hex  # what is swept is found by this
        self.output = path / "output" / self.session
        for folder in (self.py, self.scripts, self.output):
            folder.mkdir(parents=True)

    def script(self, source: str | bytes, name: str = "script.py") -> Path:
        script = self.scripts / name
        script.write_bytes(textwrap.dedent(source).encode() if isinstance(source, str) else source)
        return script

    def spec_of(self, script: Path, number: int = 1, **changes: Any) -> ProcessSpec:
        names = ("PATH", "HOME", "LANG", "SYSTEMROOT")  # without the last one Windows starts nothing
        passed_on = {name: os.environ[name] for name in names if name in os.environ}
        environment = {
            **passed_on,
            "PYTHONPATH": str(self.py),
            "PYTHONIOENCODING": "utf-8",
            "PLANTA_HOME_ID": "-",
            "PLANTA_SESSION": self.session,
            "PLANTA_JOB": str(number),
        }
        spec = ProcessSpec(str(script), str(self.py), str(self.output / str(number)), environment, 1 << 26, 0)
        return spec._replace(**changes)

    def spec(self, source: str, number: int = 1, **changes: Any) -> ProcessSpec:
        """Of a script of its own."""
        return self.spec_of(self.script(source, f"{number}.py"), number, **changes)

    def as_job(self, script: Path, **changes: Any) -> Result:
        async def run_it() -> Result:
            spec = self.spec_of(script, **changes)
            return result_of(spec, await (await new_shims().start(spec)).wait())

        return run(run_it())


async def start(folder: Folder, source: str, number: int = 1, **changes: Any) -> Any:
    return await new_shims().start(folder.spec(source, number, **changes))


async def end_of(folder: Folder, source: str, number: int = 1, **changes: Any) -> Any:
    """Returns None where the end is unknown."""
    return await (await start(folder, source, number, **changes)).wait()


def by_hand(spec: ProcessSpec) -> Result:
    """Runs `python -u SCRIPT`."""
    done = subprocess.run(
        [sys.executable, "-u", spec.script],
        cwd=spec.folder,
        env=spec.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,
        timeout=PATIENCE,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def stored(spec: ProcessSpec, stream: str = "stdout") -> bytes:
    return Path(f"{spec.output}.{stream}").read_bytes()


def result_of(spec: ProcessSpec, end: ProcessEnd | None) -> Result:
    assert end is not None
    return Result(end.status, stored(spec), stored(spec, "stderr"))


async def found(output: str) -> Any:
    """Returns the process that a new server finds."""
    process = await new_shims().find(output)
    assert process is not None
    return process


def shim_of(process: Any) -> int:
    """The number of the shim's process."""
    pid: int = process.shim.pid
    return pid


def is_running(pid: int) -> bool:
    """Whether there is such a process that is no zombie."""
    if sys.platform == "win32":
        import _winapi

        try:
            handle = _winapi.OpenProcess(_winapi.SYNCHRONIZE, False, pid)
        except OSError:
            return False
        try:
            return _winapi.WaitForSingleObject(handle, 0) != _winapi.WAIT_OBJECT_0
        finally:
            _winapi.CloseHandle(handle)
    from headless.server import shim

    try:
        return shim.stat_of(pid)[0] != b"Z"
    except (OSError, IndexError):
        return False


def private_memory(pid: int) -> int:
    """Returns the memory in KiB that a process has written to and shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Private_Dirty")).split()[1])


def kill(pid: int) -> None:
    os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))  # on Windows this is no signal either, and ends it at once


class Lock:
    """A lock that a process of a job holds as long as it lives. `code` takes it, and then does more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = path.with_suffix(".taken")

    def code(self, then: str = "time.sleep(60)") -> str:
        return (
            f"import os, signal, sys, time\nlock = open({str(self._path)!r}, 'a')\n{TAKE_LOCK}\n"
            f"open({str(self._taken)!r}, 'w').close()\n{then}\n"
        )

    def wait_for(self) -> str:
        """Returns code of a parent that waits until its child has it."""
        return f"import os, time\nwhile not os.path.exists({str(self._taken)!r}): time.sleep(0.01)\n"

    @property
    def is_taken(self) -> bool:
        return self._taken.exists()

    def is_free(self) -> bool:
        return is_free(self._path)


IGNORE_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


def with_child(lock: Lock, code: str, then: str = "", **options: object) -> str:
    """Returns a job that starts a child, waits until it holds the lock, and does `then`."""
    child = f"subprocess.Popen([sys.executable, '-I', '-S', '-c', {code!r}], **{options!r})"
    return f"import subprocess, sys\nprocess = {child}\n{lock.wait_for()}process.returncode = 0\n{then}"


SERVER = """
import asyncio, json, sys
from headless.server.jobs import ProcessSpec
from headless.server.processes import Platform
from headless.server.threads import Threads

async def serve():
    process = await Platform(Threads("server", 2, 10), "-").start(ProcessSpec(*json.loads(sys.argv[1])))
    print(process.pid, flush=True)
    print(await process.wait(), flush=True)

asyncio.run(serve())
"""


def serve(spec: ProcessSpec) -> subprocess.Popen[bytes]:
    """Starts a process that starts this job, and prints the number of the job's process, and its end."""
    command = [sys.executable, "-c", SERVER, json.dumps(spec)]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


@contextmanager
def left_by_a_server(spec: ProcessSpec) -> Iterator[int]:
    """Yields the number of a job's process whose server was killed."""
    with serve(spec) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        server.kill()
    yield pid
