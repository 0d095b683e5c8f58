"""Calls of the command whose end is timed. Times count from the client's own lines of -v, so its start-up does not."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from support.process import PATIENCE, Command

LATE = 0.5  # seconds after the deadline at which a client has to have ended


# How long a call takes


class Timed(NamedTuple):
    """A call that has ended, and when: seconds of time.time()."""

    code: int
    lines: list[str]
    started: float
    ended: float

    def since(self, event: str) -> float:
        """Seconds from the last line that has this to the end of the process."""
        stamp = [line for line in self.lines if event in line][-1].split()[1]
        hours, minutes, seconds = stamp.split(":")
        now = time.localtime(self.ended)
        end_of_process = now.tm_hour * 3600 + now.tm_min * 60 + now.tm_sec + self.ended % 1
        return (end_of_process - int(hours) * 3600 - int(minutes) * 60 - float(seconds)) % 86400

    def assert_ended(self, code: int, submission: str) -> None:
        assert (self.code, self.lines[-1].rpartition("; ")[2]) == (code, f"jobs: {submission}")

    def assert_ended_at_deadline(self, seconds: float, code: int, submission: str, stall: float = 0.0) -> None:
        self.assert_ended(code, submission)
        latest = seconds + LATE + stall
        if code == 3:
            assert seconds <= self.since("the server has accepted the jobs") <= latest, self
        else:
            assert "in time" in self.lines[-1]
            assert seconds <= self.ended - self.started, self
            assert self.since("info connecting") <= latest, self


class Started(NamedTuple):
    process: subprocess.Popen[str]
    at: float  # seconds of time.time()


def start_timed(command: Command, address: str, *argv: str, secret: str = "") -> Started:
    """The call with -v, or more of it, and one short job unless argv has another. With a password file R41 logs in."""
    login = ("-u", "R41", "-p", secret) if secret else ()
    jobs = () if "-c" in argv else ("-c", "pass")
    at = time.time()
    return Started(command.start("-s", address, "-v", *login, *argv, *jobs), at)


def ended_together(calls: Sequence[Started]) -> list[Timed]:
    """What became of them. All are killed after ten seconds."""

    def wait(call: Started) -> Timed:
        with call.process as process:
            try:
                stdout, stderr = process.communicate(timeout=PATIENCE / 2)
            except subprocess.TimeoutExpired:
                process.kill()
                stdout, stderr = process.communicate()
            ended = time.time()
        assert stderr == "", stderr
        return Timed(process.returncode, stdout.splitlines(), call.at, ended)

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(wait, calls))


@contextmanager
def stalls() -> Iterator[Callable[[], float]]:
    """What to allow for a busy machine: some times the seconds that it has taken for a fiftieth of one of work, at the
    worst while the block ran. A call has about as much to do when its time is over."""
    worst = 0.0
    is_over = threading.Event()

    def work_now_and_then() -> None:
        nonlocal worst
        while not is_over.wait(0.4):
            begun, used = time.monotonic(), time.thread_time()
            while time.thread_time() < used + 0.02:
                pass
            worst = max(worst, time.monotonic() - begun)

    thread = threading.Thread(target=work_now_and_then)
    thread.start()
    try:
        yield lambda: 4 * worst
    finally:
        is_over.set()
        thread.join()
