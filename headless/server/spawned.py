"""Jobs as interpreters of their own without a shim, where the platform cannot fork: Windows. Elsewhere shims.py does
more.

Here is how such a process is started and ended. Should the server be killed, these processes live on, and nobody knows
how they end. Their output goes straight into the files, and has no limit.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

from headless.server.process import SECONDS_TO_CLEAN_UP, Process, ProcessEnd, ProcessSpec


class SpawnedProcess:
    """One job's process, and the group of all that it has started."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._was_asked = False
        self._begun = time.monotonic()
        self._end = asyncio.ensure_future(self._watch())

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> ProcessEnd:
        return await asyncio.shield(self._end)

    async def end(self) -> None:
        if self._end.done():
            return
        self._was_asked = True
        _signal_group(self._process.pid, "SIGTERM")
        await asyncio.wait({self._end}, timeout=SECONDS_TO_CLEAN_UP)
        _signal_group(self._process.pid, "SIGKILL")

    async def _watch(self) -> ProcessEnd:
        status = await self._process.wait()
        return ProcessEnd(status, self._was_asked, time.time(), time.monotonic() - self._begun)


class SpawnedProcesses:
    """Starts an interpreter for each job."""

    async def start(self, spec: ProcessSpec) -> SpawnedProcess:
        for stream in ("stdout", "stderr"):
            with open(f"{spec.output}.{stream}", "wb"):
                pass  # what an earlier try has left
        with open(f"{spec.output}.stdout", "ab") as out, open(f"{spec.output}.stderr", "ab") as err:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-u",
                spec.script,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=spec.folder,
                env=spec.environment,
                start_new_session=True,
                creationflags=_OWN_GROUP,
            )
        return SpawnedProcess(process)

    async def find(self, output: str) -> Process | None:  # noqa: ARG002
        """Nobody knows what has become of it."""
        return None


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
