"""Jobs as interpreters of their own, where the platform cannot fork. Elsewhere forked.py does this faster.

Here is how such a process is started and ended. Should the server be killed, these processes live on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress

from headless.server.process import SECONDS_TO_CLEAN_UP, ProcessSpec


class SpawnedProcess:
    """One job's process, and the group of all that it has started."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def wait(self) -> int:
        return await self._process.wait()

    async def end(self) -> None:
        _signal_group(self._process.pid, "SIGTERM")
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._process.wait(), SECONDS_TO_CLEAN_UP)
        _signal_group(self._process.pid, "SIGKILL")


class SpawnedProcesses:
    """Starts an interpreter for each job. `environment` is what every job has."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    async def open(self) -> None:
        pass

    async def start(self, spec: ProcessSpec) -> SpawnedProcess:
        with open(spec.stdout, "wb") as out, open(spec.stderr, "wb") as err:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-u",
                spec.script,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=spec.folder,
                env={**self._environment, **spec.environment},
                start_new_session=True,
                creationflags=_OWN_GROUP,
            )
        return SpawnedProcess(process)

    async def close(self) -> None:
        pass


if sys.platform == "win32":
    _OWN_GROUP = subprocess.CREATE_NEW_PROCESS_GROUP

    def _signal_group(pid: int, name: str) -> None:
        if name == "SIGKILL":
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True, check=False)

else:
    _OWN_GROUP = 0  # start_new_session is what makes one

    def _signal_group(pid: int, name: str) -> None:
        with suppress(ProcessLookupError):
            os.killpg(pid, getattr(signal, name))
