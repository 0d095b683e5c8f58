"""The lock on the folder of a server: one server at a time uses it.

Here is how the lock is taken, and how others see that it is, on each platform. Which file is locked, home.py says. The
jobs of a server do not hold it: they outlive their server.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import IO

from headless.server.errors import HomeError

_SECONDS_TO_WAIT = 3.0  # for a server that is just ending, and for whoever looks at the lock
_POLL_SECONDS = 0.02


def acquire(path: Path) -> IO[bytes]:
    """The open and locked file. The lock lasts as long as this file, or a copy of its descriptor, is open.

    Waits up to three seconds. Raises HomeError if somebody else still holds the lock then, OSError if the file cannot
    be opened.
    """
    file = open(path, "ab")  # noqa: SIM115 (it stays open)
    deadline = time.monotonic() + _SECONDS_TO_WAIT
    while True:
        try:
            _lock(file)
            return file
        except OSError:
            if time.monotonic() >= deadline:
                file.close()
                raise HomeError(f"another server uses the folder {str(path.parent)!r}") from None
        time.sleep(_POLL_SECONDS)


def is_held(path: Path) -> bool:
    """Whether a server lives. Raises OSError.

    This takes the lock for some microseconds, which a server that starts meanwhile does not mind: it tries again.
    """
    try:
        with open(path, "rb") as file:
            return not _try_shared_lock(file)
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def _try_shared_lock(file: IO[bytes]) -> bool:
        try:
            _lock(file)
        except OSError:
            return False
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        return True

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _try_shared_lock(file: IO[bytes]) -> bool:
        """Shared, so that those who ask do not take each other for a server."""
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
