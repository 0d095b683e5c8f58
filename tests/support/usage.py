"""What calls of the command and other processes take of processor, memory and time."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Callable, NamedTuple

from support.process import PATIENCE, ROOT


class Usage(NamedTuple):
    code: int
    seconds: float  # of the processor
    peak: int  # bytes


# Runs command lines and reports what each took; of memory, the most until then.
_CALLS = """import json, sys, time
sys.path.insert(0, sys.argv[1])
from headless.cli import main
for line in sys.stdin:
    begun = time.process_time()
    code = main(json.loads(line))
    used = time.process_time() - begun
    with open('/proc/self/status') as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith('VmHWM:'))
    print(json.dumps([code, used, peak * 1024]), file=sys.stderr, flush=True)
"""


class MeasuredCalls:
    """Measures calls one after the other, in one process; of memory, the peak until then. Linux alone."""

    def __init__(self, stdout: int | IO[bytes] = subprocess.DEVNULL) -> None:
        self._stdout = stdout

    def __enter__(self) -> MeasuredCalls:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CALLS, str(ROOT)],
            stdin=subprocess.PIPE, stdout=self._stdout, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=PATIENCE)

    def __call__(self, *argv: str) -> Usage:
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self._process.stdin.write(json.dumps(argv) + "\n")
        self._process.stdin.flush()
        return Usage(*json.loads(self._process.stderr.readline()))


def memory_of(process: subprocess.Popen[Any], field: str = "VmRSS") -> int:
    """Bytes of memory that a process occupies; with "VmHWM" at most so far. proc(5). Linux alone."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def in_turns(rounds: int, *measures: Callable[[], float]) -> list[float]:
    """Returns the median of each measure, in seconds. They take turns, so that other load meets all of them."""
    times: list[list[float]] = [[] for _ in measures]
    for _ in range(rounds):
        for taken, measure in zip(times, measures):
            taken.append(measure())
    return [statistics.median(taken) for taken in times]
