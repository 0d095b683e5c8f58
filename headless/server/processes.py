"""Which way to start the processes of jobs this platform has. How each way works is in forked.py and spawned.py."""

from __future__ import annotations

import os

from headless.server.forked import ForkedProcesses
from headless.server.process import Processes
from headless.server.spawned import SpawnedProcesses


def processes(environment: dict[str, str], lock: int | None = None) -> Processes:
    """The platform's way. `environment` is what every job has; `lock` is a descriptor that stays open as long as jobs
    run, whatever becomes of the server."""
    return ForkedProcesses(environment, lock) if hasattr(os, "fork") else SpawnedProcesses(environment)
