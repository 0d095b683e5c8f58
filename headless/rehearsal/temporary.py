"""The folder of a rehearsal, which goes with it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

_SECONDS_TO_LET_GO = 5.0  # for a console, or a scanner for viruses, that still has a file of it open on Windows
_SECONDS_BETWEEN_TRIES = 0.05


@contextmanager
def temporary_folder(parent: str | None = None) -> Iterator[str]:
    """A new folder for this user alone, inside this; below `parent`, if it is to go with that at the latest. Raises
    OSError, at the end if it cannot be removed."""
    folder = tempfile.TemporaryDirectory(prefix="planta-rehearsal-", dir=parent)
    try:
        yield folder.name
    finally:
        _remove(folder)


def _remove(folder: tempfile.TemporaryDirectory[str]) -> None:
    late = time.monotonic() + (_SECONDS_TO_LET_GO if os.name == "nt" else 0.0)
    while True:
        try:
            folder.cleanup()
            return
        except OSError:
            if time.monotonic() >= late:
                raise
        time.sleep(_SECONDS_BETWEEN_TRIES)
