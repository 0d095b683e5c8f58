"""What the server needs of the processes of jobs, whichever way they are started.

Here are the types that jobs.py uses: what to run, how it ended, a process, and what starts processes. How that is done
is in shims.py. What a job runs, jobs.py says.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

UNKNOWN_HOME = "-"
SECONDS_TO_CLEAN_UP = 1.0  # between SIGTERM and SIGKILL, where a job is ended


class ProcessSpec(NamedTuple):
    """A script to run.

    script, folder   what runs, and its working directory
    output           where its files are, without their suffix: OUTPUT.stdout, OUTPUT.stderr, OUTPUT.shim
    environment      all of its environment variables
    output_limit     bytes of each stream that are stored
    disk_floor       bytes that the output leaves free on the disk
    home             the identity of the home, without blanks; a dash where none is known
    """

    script: str
    folder: str
    output: str
    environment: dict[str, str]
    output_limit: int
    disk_floor: int
    home: str = UNKNOWN_HOME


class ProcessEnd(NamedTuple):
    """How a process ended.

    status      the exit status, or the negative number of the signal that ended it
    was_asked   whether somebody had it ended before it ended by itself
    ended       when, in seconds since the epoch
    seconds     how long it ran, by a clock that is never set
    lost        bytes of its output that were not stored, whose place a line in the output takes where it could
    """

    status: int
    was_asked: bool
    ended: float
    seconds: float
    lost: int = 0


class Process(Protocol):
    """A process that was started, by this server or an earlier one. `age` is for how many seconds it had run when it
    was found; 0 where that cannot be known."""

    age: float

    async def wait(self) -> ProcessEnd | None:
        """How it ended; None if nobody knows: what has watched over it was killed, and what was left of it is."""

    async def end(self) -> None:
        """Ends it and all that it has started: SIGTERM, and what is left after a second is killed. Returns when that is
        done, within a few seconds whatever the process does. It does nothing to a process that has ended."""


class NotStarted(NamedTuple):
    """Nothing was started for this output, and nothing will be by whoever was about to."""


class Processes(Protocol):
    """What starts processes."""

    async def start(self, spec: ProcessSpec) -> Process:
        """Raises OSError if no process can be had: then nothing has run, and it may be tried again."""

    async def find(self, output: str) -> Process | NotStarted | None:
        """What an earlier server has started for this output: a process, whose `wait` tells how it ends or has ended;
        None where nobody can know any more. Raises OSError if that cannot be found out now."""
