"""Calls of the command whose end is timed. Times count from the client's own lines of -v, so its start-up does not."""

from __future__ import annotations

import subprocess
import time
from typing import Any, NamedTuple

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

    def assert_ended_at_deadline(self, seconds: float, code: int, submission: str) -> None:
        self.assert_ended(code, submission)
        if code == 3:
            assert seconds <= self.since("the server has accepted the jobs") <= seconds + LATE
        else:
            assert "in time" in self.lines[-1]
            assert seconds <= self.ended - self.started
            assert self.since("info connecting") <= seconds + LATE


def timed(command: Command, address: str, *argv: str, challenge: bool = False, **options: Any) -> Timed:
    """The call with -v, or more of it, and one short job unless argv has another. It is killed after ten seconds."""
    login = ("-u", "R41", "-p", command.secret_file()) if challenge else ()
    jobs = () if "-c" in argv else ("-c", "pass")
    started = time.time()
    with command.start("-s", address, "-v", *login, *argv, *jobs, **options) as process:
        try:
            stdout, stderr = process.communicate(timeout=PATIENCE / 2)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
        ended = time.time()
    assert stderr == ""
    return Timed(process.returncode, stdout.splitlines(), started, ended)
