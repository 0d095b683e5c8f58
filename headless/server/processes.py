"""Which way to start the processes of jobs this platform has. How each way works is in shims.py and spawned.py."""

from __future__ import annotations

import os

from headless.server.process import Processes
from headless.server.threads import Threads


def processes(threads: Threads, ends_unwanted: bool = True) -> Processes:
    """The platform's way. What may block is done by the threads. `ends_unwanted` is what Shims takes."""
    if hasattr(os, "fork"):
        from headless.server.shims import Shims  # whose modules are not everywhere

        return Shims(threads, ends_unwanted)
    from headless.server.spawned import SpawnedProcesses

    return SpawnedProcesses()


def running_pid(output: str) -> int | None:
    """The number of the process of the job with this output, as long as something watches over it. Raises OSError."""
    if not hasattr(os, "fork"):
        return None
    from headless.server import shims

    return shims.running_pid(output)
