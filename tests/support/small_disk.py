"""A small disk, which a test can fill."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MIB = 1024 * 1024


class SmallDisk:
    """A file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filling = folder / "filling"

    @property
    def free(self) -> int:
        """Bytes."""
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize

    def fill(self, leaving: int = 0) -> None:
        """Fills it until so many bytes are left."""
        with open(self._filling, "ab") as file:
            while self.free > leaving:
                try:
                    os.write(file.fileno(), bytes(min(65536, self.free - leaving)))
                except OSError:
                    return

    def make_room(self) -> None:
        self._filling.unlink()


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[SmallDisk]:
    """Mounts a disk of so many bytes. Skips the test where that cannot be done: only root can, on Linux."""
    folder.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root can make a small disk, and on Linux")
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(folder)]
    mounted = subprocess.run(mounting, capture_output=True, text=True, timeout=10, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk can be made here: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], timeout=10, check=True)
