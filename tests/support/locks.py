"""Locks that somebody else holds: on the journal of a server, on a file of receipts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from support.process import PATIENCE

_HOLD = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
database.execute("BEGIN " + sys.argv[2])
print("locked", flush=True)
sys.stdin.read()
database.execute("ROLLBACK")
"""


@contextmanager
def locked(home: Path, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Another process may write to the journal of this home, and nobody else."""
    command = [sys.executable, "-c", _HOLD, str(home / "planta.sqlite"), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline().strip() == b"locked"
        yield
        process.stdin.close()
        process.wait(PATIENCE)


@contextmanager
def locked_receipts(file: Path) -> Iterator[IO[str]]:
    """Inside it another call seems to write a receipt to this file (flock)."""
    import fcntl  # which Windows does not have

    with open(file, "a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        yield other
