"""The folder that a server lives in: where things are, who may read them, and that one server at a time uses them."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import IO

_SECONDS_FOR_JOBS_TO_END = 3.0  # longer than the fork server of a killed server lives

_SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
    user TEXT PRIMARY KEY,
    os_user TEXT,
    salt TEXT,
    stored_key BLOB,
    server_key BLOB
);
CREATE TABLE IF NOT EXISTS made_up_salts (
    key BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL UNIQUE,
    user TEXT NOT NULL,
    accepted REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS jobs (
    session TEXT NOT NULL REFERENCES batches (session),
    job INTEGER NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    state TEXT NOT NULL,
    started REAL,
    ended REAL,
    message TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (session, job)
);
"""


class HomeError(Exception):
    """The folder cannot be used. The text is for the administrator."""


class Home:
    """The folder of one server. `py` is where py_file jobs are, HOME/py if not given."""

    def __init__(self, folder: str, py: str | None = None) -> None:
        self.folder = Path(folder).absolute()
        self.py = Path(py).absolute() if py else self.folder / "py"
        self.modules = self.folder / "modules"
        self._database = self.folder / "planta.sqlite"

    def create(self) -> None:
        """Makes what is missing, for this user alone. Raises HomeError."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for part in ("py", "modules", "output"):
                (self.folder / part).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise HomeError(f"the folder {str(self.folder)!r} cannot be used: {error.strerror}") from None
        if not self.py.is_dir():
            raise HomeError(f"there is no folder {str(self.py)!r}")

    def output(self, session: str, job: int, suffix: str) -> Path:
        """Where a job's `stdout`, `stderr` or `py` (its code) is stored."""
        return self.folder / "output" / session / f"{job}.{suffix}"

    def outputs_but(self, sessions: set[str]) -> list[Path]:
        """The folders with stored output of other sessions than these."""
        return [folder for folder in (self.folder / "output").iterdir() if folder.name not in sessions]

    @property
    def is_used(self) -> bool:
        """Whether a server has lived here."""
        return self._database.is_file()

    def database(self) -> sqlite3.Connection:
        """The database with accounts and journal. What is committed there survives a crash. Raises HomeError."""
        path = self._database
        try:
            # SQLite gives its further files the mode of this one.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            database = sqlite3.connect(path, timeout=10)
        except (OSError, sqlite3.Error) as error:
            raise HomeError(f"the database {str(path)!r} cannot be opened: {error}") from None
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            database.close()
            raise HomeError(f"the database {str(path)!r} cannot be used: {error}") from None
        return database

    def lock(self) -> IO[bytes]:
        """What the one server of this home holds as long as it or a job of it lives. Raises HomeError if another one
        does; the jobs of a server that was killed get the time to end."""
        file = open(self.folder / "lock", "ab")  # noqa: SIM115 (it stays open)
        end = time.monotonic() + _SECONDS_FOR_JOBS_TO_END
        while True:
            try:
                _lock(file)
                return file
            except OSError:
                if time.monotonic() >= end:
                    file.close()
                    raise HomeError(f"another server uses the folder {str(self.folder)!r}") from None
            time.sleep(0.02)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
