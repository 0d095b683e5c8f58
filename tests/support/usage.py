"""What a call of the command takes of processor and memory, and what a process that runs does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO, Any, NamedTuple

from support.process import PATIENCE, SCRIPT


class Usage(NamedTuple):
    code: int
    seconds: float  # of the processor
    peak: int  # bytes


# A process as small as can be starts the command and measures it: what a child has used at most includes what its
# parent had when it was started.
_MEASURE = """import os, sys
pid = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ)
_, status, used = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, file=sys.stderr)
"""


def usage_of(*argv: str, stdout: int | IO[bytes] = subprocess.DEVNULL) -> Usage:
    """Runs the command, whose stderr has to stay empty. Linux alone: elsewhere the peak has another unit, or none."""
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", _MEASURE, str(SCRIPT), *argv],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=2 * PATIENCE,
        check=True,
    )
    code, seconds, peak = done.stderr.split()
    return Usage(int(code), float(seconds), int(peak))


def memory_of(process: subprocess.Popen[Any], field: str = "VmRSS") -> int:
    """Bytes of memory that a process occupies; with "VmHWM" at most so far. proc(5). Linux alone."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
