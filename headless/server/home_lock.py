"""The lock on the folder of a server: one server at a time uses it.

Here is how the lock is taken, on each platform. Which file is locked, home.py says. Who else keeps the lock open is
said in forked.py and forkserver.py.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import IO

from headless.server.errors import HomeError

_SECONDS_FOR_JOBS_TO_END = 3.0  # longer than the fork server of a killed server lives
_POLL_SECONDS = 0.02


def acquire(path: Path) -> IO[bytes]:
    """The open and locked file. The lock lasts as long as this file, or a copy of its descriptor, is open.

    Waits up to three seconds, so that the jobs of a server that was killed have the time to end. Raises HomeError if
    somebody else still holds the lock then, OSError if the file cannot be opened.
    """
    file = open(path, "ab")  # noqa: SIM115 (it stays open)
    deadline = time.monotonic() + _SECONDS_FOR_JOBS_TO_END
    while True:
        try:
            _lock(file)
            return file
        except OSError:
            if time.monotonic() >= deadline:
                file.close()
                raise HomeError(f"another server uses the folder {str(path.parent)!r}") from None
        time.sleep(_POLL_SECONDS)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
