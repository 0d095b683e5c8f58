"""The database file of a server: how it is opened, and which version its tables have.

The tables stand beside their queries, in accounts.py and journal.py. Here is what opens the file, creates the tables,
and refuses a file that another version wrote. No query for data belongs here.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from headless.errors import HomeError
from headless.server import accounts, journal

VERSION = 1  # of the tables; it is stored in the file as `PRAGMA user_version`
_BUSY_SECONDS = 10.0  # how long a command waits for another one that writes


def open_database(path: Path) -> sqlite3.Connection:
    """The database in this file, which is created if it is missing. What is committed there survives a crash.

    Raises HomeError if the file cannot be used, or if another version of this program has written it.
    """
    try:
        # SQLite gives its further files the mode of this one. A file that exists must not be opened here: to close it
        # again would drop the locks of every other connection of this process.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        # Whoever opens it may give it to one other thread, to be used there alone.
        database = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise HomeError(f"the database {str(path)!r} cannot be opened: {error}") from None
    try:
        _check_version(database, path)
        _use_write_ahead_log(database)
        database.execute("PRAGMA synchronous = FULL")
        _make_tables(database)
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
    """Raises HomeError, with nothing written."""
    database.execute("BEGIN")  # both are of one moment
    version = _version(database)
    is_empty = not database.execute("SELECT 1 FROM sqlite_master").fetchone()
    database.rollback()
    if version != VERSION and (version or not is_empty):
        raise HomeError(
            f"the database {str(path)!r} has version {version} and this program knows version {VERSION} alone: use the "
            "program that wrote it, or begin with a new --home"
        )


def _make_tables(database: sqlite3.Connection) -> None:
    """Creates the tables, in one transaction, unless they are there."""
    if _version(database) == VERSION:
        return
    with database:
        database.execute("BEGIN IMMEDIATE")
        if _version(database) == VERSION:  # another process was quicker
            return
        for statement in (*accounts.SCHEMA, *journal.SCHEMA):
            database.execute(statement)
        accounts.initialize(database)
        journal.initialize(database)
        database.execute(f"PRAGMA user_version = {VERSION}")
