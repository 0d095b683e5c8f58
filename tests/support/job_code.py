"""Code for jobs that a test can see and hold up."""

from __future__ import annotations

import sys
from pathlib import Path

# Takes the lock on the open file `lock`; it lasts as long as the process, and on POSIX its children that inherit it.
TAKE_LOCK = (
    "import msvcrt; msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)"
    if sys.platform == "win32"
    else "import fcntl; fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)"
)


class Gate:
    """A file that `code` of a job waits for, at most half a minute."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.code = (
            "import os, time\n"
            "for _ in range(3000):\n"
            f"    if os.path.exists({str(path)!r}): break\n"
            "    time.sleep(0.01)\n"
            "else: raise SystemExit('the gate stayed closed')\n"
        )

    def open(self) -> None:
        self._path.touch()


def is_free(lock: Path) -> bool:
    """Whether no process holds the lock that TAKE_LOCK has taken on this file."""
    with open(lock) as file:
        try:
            exec(TAKE_LOCK, {"lock": file})
        except OSError:
            return False
    return True
