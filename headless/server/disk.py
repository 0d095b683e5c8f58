"""The disk that the home is on: how much of it is left, and what is set aside so that the journal can go on.

Jobs and whoever else uses the disk can fill it. Then no more sessions are accepted, output is no longer stored, and
the journal uses what was set aside: the ends of the jobs that run have to be recorded.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from headless.errors import Busy

_SET_ASIDE_BYTES = 4 * 1024 * 1024
_KNOWN_SECONDS = 0.1  # for which a look counts, where there is plenty: more than can be written in that time
_PLENTY_BYTES = 512 * 1024 * 1024
_JOURNAL_FACTOR = 2  # what is accepted is written to the log of the database, and then to the database


class Disk:
    """The disk of one home. `floor` is what accepted sessions leave free, in bytes."""

    def __init__(self, folder: Path, floor: int) -> None:
        self._folder = folder
        self._reserve = folder / "reserve"
        self._floor = floor
        self._known_room = 0  # above the floor, when that was looked at
        self._looked = float("-inf")

    def check_room(self, size: int) -> None:
        """Raises Busy if a session of so many bytes has no room, OSError if nobody knows."""
        self._known_room = self.free() - self._floor
        self._looked = time.monotonic()
        if self._known_room < _JOURNAL_FACTOR * size:
            raise Busy("the disk of the server is full")
        self._known_room -= _JOURNAL_FACTOR * size

    def is_known_to_have_room(self, size: int) -> bool:
        """Whether a look a moment ago has shown so much room that so many bytes have a place in any case, besides what
        was checked since. It does not look again."""
        is_old = time.monotonic() - self._looked > _KNOWN_SECONDS
        if is_old or self._known_room < _PLENTY_BYTES + _JOURNAL_FACTOR * size:
            return False
        self._known_room -= _JOURNAL_FACTOR * size
        return True

    def free(self) -> int:
        """Bytes that this user could write. Raises OSError."""
        return shutil.disk_usage(self._folder).free

    def set_aside(self) -> None:
        """Takes what the journal may need one day, unless there is no more room than that. Never raises."""
        with suppress(OSError):
            if self.free() < self._floor + _SET_ASIDE_BYTES:
                return
            descriptor = os.open(self._reserve, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                for start in range(os.fstat(descriptor).st_size, _SET_ASIDE_BYTES, 65536):
                    os.lseek(descriptor, start, os.SEEK_SET)
                    os.write(descriptor, bytes(65536))
            finally:
                os.close(descriptor)

    def make_room(self) -> None:
        """Gives what was set aside to the journal. Never raises."""
        with suppress(OSError):
            os.truncate(self._reserve, 0)
