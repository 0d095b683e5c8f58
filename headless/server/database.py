"""The database file of a server: how it is opened, and which version its tables have.

The tables stand beside their queries, in accounts.py and journal.py. Here is what opens the file, creates the tables,
and brings a file that an earlier version wrote up to date. No query for data belongs here.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from headless.server import accounts, journal
from headless.server.errors import HomeError

VERSION = 1  # of the tables; it is stored in the file as `PRAGMA user_version`
_BUSY_SECONDS = 10.0  # how long a command waits for another one that writes


def open_database(path: Path) -> sqlite3.Connection:
    """The database in this file, which is created if it is missing. What is committed there survives a crash.

    Raises HomeError if the file cannot be used, or if a newer version of this program has written it.
    """
    try:
        # SQLite gives its further files the mode of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(path, timeout=_BUSY_SECONDS)
    except (OSError, sqlite3.Error) as error:
        raise HomeError(f"the database {str(path)!r} cannot be opened: {error}") from None
    try:
        _check_version(database, path)
        _use_write_ahead_log(database)
        database.execute("PRAGMA synchronous = FULL")
        if _version(database) < VERSION:
            _migrate(database)
    except sqlite3.Error as error:
        database.close()
        raise HomeError(f"the database {str(path)!r} cannot be used: {error}") from None
    except HomeError:
        database.close()
        raise
    return database


def _use_write_ahead_log(database: sqlite3.Connection) -> None:
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:  # here, unlike elsewhere, SQLite does not wait for others itself
            if time.monotonic() >= end:
                raise
        time.sleep(0.01)


def _version(database: sqlite3.Connection) -> int:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return int(version)


def _check_version(database: sqlite3.Connection, path: Path) -> None:
    version = _version(database)
    if version > VERSION:
        raise HomeError(
            f"the database {str(path)!r} has version {version} and this program knows versions up to {VERSION}: "
            "use the newer program that wrote it"
        )


def _migrate(database: sqlite3.Connection) -> None:
    """Creates the tables, or brings those of version 0 up to date, in one transaction."""
    with database:
        database.execute("BEGIN IMMEDIATE")
        if _version(database) >= VERSION:  # another process was quicker
            return
        # Version 0: the same tables, and one of them with another name.
        if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'made_up_salts'").fetchone():
            database.execute("ALTER TABLE made_up_salts RENAME TO decoy_salts")
        for statement in (*accounts.SCHEMA, *journal.SCHEMA):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {VERSION}")
