"""Locks that somebody else holds: on the journal of a server, on a file of receipts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def locked(home: Path, kind: str = "IMMEDIATE") -> Iterator[None]:
    """This connection alone may write to the journal of this home, and no other, whatever process that is of."""
    with closing(sqlite3.connect(home / "planta.sqlite", timeout=10, isolation_level=None)) as database:
        database.execute(f"BEGIN {kind}")
        yield
        database.execute("ROLLBACK")


@contextmanager
def locked_receipts(file: Path) -> Iterator[IO[str]]:
    """Inside it another call seems to write a receipt to this file (flock)."""
    import fcntl  # which Windows does not have

    with open(file, "a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        yield other
