"""The lock on the folder of a server: one server at a time uses it.

Here is how the lock is taken, how others see that it is, on each platform, and how its holder sees that it is worth
nothing any more. Which file is locked, home.py says. The jobs of a server do not hold it: they outlive their server.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from headless.errors import HomeError, HomeReplaced

log = logging.getLogger(__name__)

_SECONDS_TO_WAIT = 3.0  # for a server that is just ending, and for whoever looks at the lock
_POLL_SECONDS = 0.02


def acquire(path: Path) -> IO[bytes]:
    """The open and locked file. The lock lasts as long as this file, or a copy of its descriptor, is open.

    Waits up to three seconds. Raises HomeError if somebody else still holds the lock then, OSError if the file cannot
    be opened.
    """
    deadline = time.monotonic() + _SECONDS_TO_WAIT
    while True:
        file = open(path, "ab")  # noqa: SIM115 (it stays open)
        with suppress(OSError):
            _lock(file)
            if _is_at(path, identity(os.fstat(file.fileno()))):  # else it was removed meanwhile
                return file
        file.close()
        if time.monotonic() >= deadline:
            raise HomeError(f"another server uses the folder {str(path.parent)!r}") from None
        time.sleep(_POLL_SECONDS)


def identity(status: os.stat_result) -> tuple[int, int]:
    """What tells a file or a folder from every other one, as long as it is there."""
    return status.st_dev, status.st_ino


def _is_at(path: Path, known: tuple[int, int]) -> bool:
    """Whether the path leads to this file. Windows lets nobody remove what is open. Raises OSError."""
    try:
        return sys.platform == "win32" or identity(os.stat(path)) == known
    except (FileNotFoundError, NotADirectoryError):
        return False


class HeldFiles:
    """The files that a server has open, and that have to stay at their paths: whoever comes by these paths must find
    the same ones. `check` may be called in any thread."""

    def __init__(self) -> None:
        self.replaced = ""  # what has been seen, for people
        self.on_replaced: Callable[[], None] = lambda: None  # called once, in the thread that sees it
        self._identities: dict[Path, tuple[int, int]] = {}

    def add(self, path: Path) -> None:
        """This one was opened just now, if it is there. Raises OSError."""
        with suppress(FileNotFoundError):
            self._identities.setdefault(path, identity(os.stat(path)))

    def check(self, *paths: Path) -> None:
        """Raises HomeReplaced if another file, or none, is at one of these paths, or was when it was looked before.
        Raises OSError if that cannot be known now."""
        for path in paths:
            if not self.replaced and path in self._identities and not _is_at(path, self._identities[path]):
                self.replaced = f"{str(path)!r} was removed or replaced while this server ran, which ends at once"
                log.error("%s: nothing is accepted or started any more, jobs go on without it", self.replaced)
                self.on_replaced()
        if self.replaced:
            raise HomeReplaced(self.replaced)


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
