"""Scripts run in every way in which a job can be started, without a server: by hand, forked and spawned."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from headless.server.forked import ForkedProcesses
from headless.server.jobs import environment
from headless.server.process import Processes, ProcessSpec
from headless.server.spawned import SpawnedProcesses
from support.job_code import is_free
from support.process import PATIENCE

WAYS: dict[str, Callable[[], Processes]] = {
    "forked": lambda: ForkedProcesses(environment(), None),
    "spawned": lambda: SpawnedProcesses(environment()),
}


_T = TypeVar("_T")


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
        self.py.mkdir()
        self.environment = {"PYTHONPATH": str(self.py), "PLANTA_SESSION": "5f0c"}

    def script(self, source: str | bytes, name: str = "script.py") -> Path:
        (self.path / "scripts").mkdir(exist_ok=True)
        script = self.path / "scripts" / name
        script.write_bytes(textwrap.dedent(source).encode() if isinstance(source, str) else source)
        return script

    def spec_of(self, script: Path, way: str) -> ProcessSpec:
        stdout, stderr = (str(self.path / f"{way}.{stream}") for stream in ("stdout", "stderr"))
        return ProcessSpec(str(script), str(self.py), stdout, stderr, self.environment)

    def result_of(self, spec: ProcessSpec, status: int) -> Result:
        return Result(status, Path(spec.stdout).read_bytes(), Path(spec.stderr).read_bytes())

    def by_hand(self, script: Path) -> Result:
        """What `python -u SCRIPT` results in."""
        spec = self.spec_of(script, "by hand")
        with open(spec.stdout, "wb") as stdout, open(spec.stderr, "wb") as stderr:
            done = subprocess.run(
                [sys.executable, "-u", spec.script],
                cwd=spec.folder,
                env={**environment(), **spec.environment},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                timeout=PATIENCE,
                check=False,
            )
        return self.result_of(spec, done.returncode)

    async def as_job(self, script: Path, way: str) -> Result:
        spec = self.spec_of(script, way)
        async with opened(way) as processes:
            process = await processes.start(spec)
            return self.result_of(spec, await in_time(process.wait()))

    def in_every_way(self, script: Path) -> dict[str, Result]:
        async def run_all() -> list[Result]:
            by_hand = asyncio.get_running_loop().run_in_executor(None, self.by_hand, script)
            return await asyncio.gather(by_hand, *(self.as_job(script, way) for way in WAYS))

        return dict(zip(["by hand", *WAYS], asyncio.run(run_all())))


@asynccontextmanager
async def opened(way: str) -> AsyncIterator[Processes]:
    """Processes of this kind, closed in the end."""
    processes = WAYS[way]()
    await processes.open()
    try:
        yield processes
    finally:
        await in_time(processes.close())


def fork_server(processes: Processes) -> subprocess.Popen[bytes]:
    """The process that jobs are forked from."""
    assert isinstance(processes, ForkedProcesses)
    assert processes._process is not None
    return processes._process


async def in_time(awaitable: Awaitable[_T]) -> _T:
    return await asyncio.wait_for(awaitable, PATIENCE)


LOOK = "import os, sys; print(sys.path, sorted(os.environ), os.umask(0), sorted(os.listdir('/dev/fd')))"


class Lock:
    """A lock that a process of a job holds as long as it lives. `code` takes it, makes that known, and goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = path.with_suffix(".taken")

    def code(self, then: str = "time.sleep(60)") -> str:
        return (
            "import fcntl, os, signal, sys, time\n"
            f"lock = open({str(self._path)!r}, 'a'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
            f"open({str(self._taken)!r}, 'w').close()\n{then}\n"
        )

    def wait_for(self) -> str:
        """Code of a parent that waits until its child has it."""
        return f"import os, time\nwhile not os.path.exists({str(self._taken)!r}): time.sleep(0.01)\n"

    @property
    def is_taken(self) -> bool:
        return self._taken.exists()

    def is_free(self) -> bool:
        return is_free(self._path)


IGNORE_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


def with_child(lock: Lock, code: str, **options: object) -> str:
    """A job that starts a child which holds the lock, and then ends."""
    return (
        f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {code!r}], **{options!r})\n{lock.wait_for()}"
    )
