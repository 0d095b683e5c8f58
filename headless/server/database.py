"""The database file of a server: how it is opened, and which version its tables have.

The tables stand beside their queries, in accounts.py and journal.py. Here is what opens the file, creates the tables,
and brings a file that an earlier version wrote up to date. No query for data belongs here.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from headless.protocol.vocabulary import QUEUED, RUNNING, Job
from headless.server import accounts, journal
from headless.server.errors import HomeError

VERSION = 4  # of the tables; it is stored in the file as `PRAGMA user_version`
_BUSY_SECONDS = 10.0  # how long a command waits for another one that writes


def open_database(path: Path, may_convert: bool = True) -> sqlite3.Connection:
    """The database in this file, which is created if it is missing. What is committed there survives a crash. One that
    an earlier version has written is converted, if that may be.

    Raises HomeError if the file cannot be used, or if a newer version of this program has written it.
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
        if _version(database) < VERSION:
            if not may_convert and database.execute("SELECT 1 FROM sqlite_master").fetchone():
                raise HomeError(f"a server of an earlier version uses the database {str(path)!r}: stop that first")
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
    """Creates the tables, or brings those of an earlier version up to date, in one transaction."""
    with database:
        database.execute("BEGIN IMMEDIATE")
        version = _version(database)
        if version >= VERSION:  # another process was quicker
            return
        if version < 2:
            _make_tables(database)
        elif version == 2:
            _convert_version_2(database)
        accounts.initialize(database)
        journal.initialize(database)  # which version 3 had not
        database.execute(f"PRAGMA user_version = {VERSION}")


def _make_tables(database: sqlite3.Connection) -> None:
    """All tables, with what an earlier version than 2 has left in those of the same name."""
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "made_up_salts" in tables:  # version 0: as version 1, and one table with another name
        database.execute("ALTER TABLE made_up_salts RENAME TO decoy_salts")
    old = sorted({"accounts", "batches", "jobs"} & tables)
    for table in old:
        database.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    for statement in (*accounts.SCHEMA, *journal.SCHEMA):
        database.execute(statement)
    if old:
        _copy_version_1(database)
    for table in reversed(old):
        database.execute(f"DROP TABLE old_{table}")


def _copy_version_1(database: sqlite3.Connection) -> None:
    """Accounts had no limits; batches did not know when they were over, nor jobs their titles."""
    database.create_function("title_of", 2, journal.title_of, deterministic=True)
    database.execute("INSERT INTO accounts SELECT user, os_user, salt, stored_key, server_key, NULL FROM old_accounts")
    database.execute(
        "INSERT INTO batches SELECT number, session, user, accepted, (SELECT CASE WHEN max(state IN (?, ?)) THEN NULL"
        " ELSE coalesce(max(ended), accepted) END FROM old_jobs WHERE session = old_batches.session), NULL, NULL"
        " FROM old_batches",
        (QUEUED, RUNNING),
    )
    database.execute(
        "INSERT INTO jobs SELECT session, job, kind, title_of(kind, text), state, started, ended, NULL, NULL, NULL,"
        " message, text FROM old_jobs"
    )
    _add_digests(database)


def _convert_version_2(database: sqlite3.Connection) -> None:
    """Batches had neither keys nor digests."""
    database.execute("ALTER TABLE batches ADD COLUMN key TEXT")
    database.execute("ALTER TABLE batches ADD COLUMN digest BLOB")
    database.execute(journal.INDEX_OF_KEYS)
    _add_digests(database)


def _add_digests(database: sqlite3.Connection) -> None:
    """To the batches that are not over: nothing else is compared with a new one."""
    for (session,) in database.execute("SELECT session FROM batches WHERE over IS NULL").fetchall():
        jobs = database.execute("SELECT kind, text FROM jobs WHERE session = ? ORDER BY job", (session,))
        digest = journal.digest_of(tuple(Job(*row) for row in jobs))
        database.execute("UPDATE batches SET digest = ? WHERE session = ?", (digest, session))
