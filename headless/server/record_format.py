"""What a shim tells: how its record, OUTPUT.shim, and its report are written.

A server and the shims of an earlier one have to agree on this. Shims import it, and so it imports nothing. How a server
reads it is in records.py.

    at 0            a line when the job is started: started PID START SHIM START MACHINE HOME [REQUEST] .
    at END_OFFSET   a line when it has ended:       ended STATUS WAS-ASKED WHEN SECONDS LOST .
"""

from __future__ import annotations

RECORD_BYTES = 512  # written at once, so that the end has its place whatever becomes of the disk
END_OFFSET = 256
MARK = "."  # the last word of a line that is whole
READY = b"ready\n"  # what a shim on Windows says before its report, and then waits for a byte


def start_of_record(job: tuple[int, int], shim: tuple[int, int], machine: str, home: str, *request: int) -> bytes:
    """The whole record of a job that is about to run. Job and shim are each a number and a time of start."""
    words = ("started", *job, *shim, machine, home, *request, MARK)
    line = " ".join(map(str, words)).ljust(END_OFFSET - 1) + "\n"
    return line.ljust(RECORD_BYTES - 1).encode() + b"\n"


def end_of_record(status: int, was_asked: bool, ended: float, seconds: float, lost: int) -> bytes:
    """What stands at END_OFFSET when the job has ended."""
    line = f"ended {status} {int(was_asked)} {ended:.6f} {seconds:.6f} {lost} {MARK}"
    return (line.ljust(RECORD_BYTES - END_OFFSET - 1) + "\n").encode()


def report(text: str) -> bytes:
    """The only line that a shim says to the server that has started it."""
    return " ".join(text.splitlines()).encode("utf-8", "replace") + b"\n"
