"""What a shim stores of the output of its job, and what it does not.

Here are the limit, the disk that is full, and the line that tells what is missing. How the output comes from the job is
the platform's: shim.py, windows_shim.py. Shims import this, and so it imports little.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as typing has it, which is not imported: it is large
if TYPE_CHECKING or sys.platform == "win32":
    import os
else:  # what is below the module of this name, and takes a tenth of its time and memory
    import posix as os

if sys.platform == "win32":
    import shutil

    _FLAGS = os.O_BINARY | os.O_NOINHERIT

    def _free_bytes(path: str, descriptor: int) -> int:  # noqa: ARG001
        return shutil.disk_usage(os.path.dirname(path)).free

else:
    _FLAGS = 0

    def _free_bytes(path: str, descriptor: int) -> int:  # noqa: ARG001
        disk = os.fstatvfs(descriptor)
        return disk.f_bavail * disk.f_frsize


class StoredOutput:
    """The file that stores one stream of the job.

    What is over the limit, or what the disk does not take, is dropped: the job does not notice. Where bytes are
    missing, the file has a line that says so.
    """

    def __init__(self, path: str, limit: int, disk_floor: int) -> None:
        self._path = path
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_TRUNC | _FLAGS, 0o600)
        self._limit = limit
        self._disk_floor = disk_floor
        self._room = limit
        self._is_in_line = False
        self.lost = 0
        self._missing = 0  # bytes that no line tells yet
        self._reason = ""

    def store(self, data: bytes) -> None:
        """Stores what there is room for."""
        kept = data[: max(0, self._room)]
        written = self._write(kept) if kept and self._has_place(len(kept)) else 0
        self._room -= written
        if written < len(data):
            if written == len(kept):
                self._reason = f"the limit is {self._limit} bytes"
            self.lost += len(data) - written
            self._missing += len(data) - written

    def complete(self) -> None:
        """Nothing more comes. Returns when all is on the disk."""
        if self._missing:
            self._write_line()
        try:
            if os.fstat(self._file).st_size:
                os.fsync(self._file)
        except OSError:
            pass  # nobody could do anything about it

    def _has_place(self, count: int) -> bool:
        """Whether the disk has, also for the line that tells what is missing so far."""
        try:
            if _free_bytes(self._path, self._file) - count < self._disk_floor:
                self._reason = "the disk is full"
                return False
        except OSError:
            pass  # then the next write tells
        return not self._missing or self._write_line()

    def _write_line(self) -> bool:
        line = f"[planta-headless: {self._missing} bytes of output were not stored: {self._reason}]\n"
        if self._is_in_line:
            line = "\n" + line
        written = self._write(line.encode("ascii", "replace"))
        self._room -= written
        if written < len(line):
            return False
        self._missing = 0
        return True

    def _write(self, data: bytes) -> int:
        """How many bytes the disk has taken."""
        written = 0
        while written < len(data):
            try:
                written += os.write(self._file, data[written:] if written else data)
            except OSError as error:
                self._reason = os.strerror(error.errno or 0)
                break
        if written:
            self._is_in_line = data[written - 1 : written] != b"\n"
        return written
