"""What jobs do so that a test can see them and decide when they go on."""

from __future__ import annotations

from pathlib import Path


class Gate:
    """A file that a job waits for, so that the test decides when the job goes on. `code` waits for half a minute."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.code = (
            "import os, time\n"
            "for _ in range(3000):\n"
            f"    if os.path.exists({str(path)!r}): break\n"
            "    time.sleep(0.01)\n"
            "else: raise SystemExit('nobody came')\n"
        )

    def open(self) -> None:
        self._path.touch()


def is_free(lock: Path) -> bool:
    """Whether no process holds the lock on this file, which a job has taken with flock."""
    import fcntl  # not on Windows

    with open(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
