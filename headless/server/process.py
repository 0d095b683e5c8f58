"""What the server needs of the processes of jobs, whichever way they are started.

Here are the types that jobs.py uses: what to run, a process, and what starts processes. The two ways are in
forked.py and spawned.py, and which of them this platform has is in processes.py. What a job runs, jobs.py says.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

SECONDS_TO_CLEAN_UP = 1.0  # between SIGTERM and SIGKILL, where a job is ended
LOST = 256  # no exit status: the process that the job was forked from has ended


class ProcessSpec(NamedTuple):
    """A script to run in this folder, with its output in these files. `environment` is what it has besides what every
    job has."""

    script: str
    folder: str
    stdout: str
    stderr: str
    environment: dict[str, str]


class Process(Protocol):
    """A process that was started."""

    async def wait(self) -> int:
        """The exit status; the negative number of the signal that ended it; LOST."""

    async def end(self) -> None:
        """Ends it and all that it has started: SIGTERM, and what is left after a second is killed."""


class Processes(Protocol):
    """What starts processes, from `open` to `close`."""

    async def open(self) -> None:
        """Makes ready. Raises OSError if that cannot be done."""

    async def start(self, spec: ProcessSpec) -> Process:
        """Raises OSError if no process can be had."""

    async def close(self) -> None:
        """Ends what still runs."""
