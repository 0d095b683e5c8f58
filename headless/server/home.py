"""The folder of a server: what is where, the lock that one server at a time holds, and the database."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from headless.errors import HomeError, HomeReplaced
from headless.server import accounts, history, home_trust, journal
from headless.system import is_final, try_lock

log = logging.getLogger(__name__)

MODULE_ID = re.compile(r"[0-9A-Za-z_]{1,64}")  # the module 009ABC is the file 009ABC.py
VERSION = 1  # of the tables, as the database stores it (PRAGMA user_version)
_LOCK_SECONDS = 3.0  # for a server that is just ending
_POLL_SECONDS = 0.02
_BUSY_SECONDS = 10.0  # how long a command waits for another one that writes


class Home:
    """Is the folder of one server. `py` is the folder for the files of py_file jobs, `modules` that for the modules:
    HOME/py and HOME/modules if they are not given. With `trusts_folders` others may be able to change the code there.

    While a server holds the lock, `replaced` says which file of the home was replaced, "" for none. `on_replaced` is
    called once, in the thread that finds that out.
    """

    def __init__(
        self, folder: str, py: str | None = None, modules: str | None = None, trusts_folders: bool = False
    ) -> None:
        self._trusts_folders = trusts_folders
        self.folder = Path(folder).absolute()
        self.py = Path(py).absolute() if py else self.folder / "py"
        self.modules = Path(modules).absolute() if modules else self.folder / "modules"
        self._lock = self.folder / "lock"
        self._database = self.folder / "planta.sqlite"
        # What is committed is in the -wal until it is copied. Other connections find it by the -shm.
        self._beside_database = [self.folder / f"planta.sqlite-{name}" for name in ("wal", "shm")]
        self._held: dict[Path, tuple[int, int]] | None = None  # what a server has open
        self.replaced = ""
        self._replacing = threading.Lock()
        self.on_replaced: Callable[[], None] = lambda: None

    def create(self) -> None:
        """Makes what is missing, readable for this user alone. Raises HomeError if that is not possible, or if others
        can write to the home."""
        home_trust.make_home(self.folder)
        try:
            for part in ("py", "modules", "output"):
                (self.folder / part).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise HomeError(f"the folder {str(self.folder)!r} cannot be used: {error.strerror}") from None
        for folder in (self.py, self.modules):
            if not folder.is_dir():
                raise HomeError(f"there is no folder {str(folder)!r}")

    @property
    def is_used(self) -> bool:
        """Returns whether a server has lived here, or may have: another user's folder may be closed to us. Raises
        OSError."""
        try:
            return stat.S_ISREG(os.stat(self._database).st_mode)
        except PermissionError:
            return True
        except OSError as error:
            if not is_final(error):
                raise
            return False

    @property
    def identity(self) -> str:
        """Returns what differs from every other folder, also from a copy, and stays when the folder is moved on its
        disk. Raises OSError."""
        device, inode = _identity(os.stat(self.folder))
        return f"{device}-{inode}"

    def output(self, session_id: str, job: int, suffix: str) -> Path:
        """Returns the file for a job's `stdout`, `stderr` or `py` (its code). The first job has the number 1."""
        return self.folder / "output" / session_id / f"{job}.{suffix}"

    def outputs(self) -> list[Path]:
        """Returns the folders with stored output, each of one session. Raises OSError."""
        # A name that is not ASCII is not that of a session.
        return [path for path in (self.folder / "output").iterdir() if path.name.isascii()]

    # Trust

    def check_trust(self) -> None:
        """Raises HomeError if others could have made the home or can write to it."""
        home_trust.check_home(self.folder)

    def check_code(self, import_from: str = "") -> None:
        """Raises HomeError if others can put code into a folder that jobs take theirs from, or replace the folder."""
        folders = {"--py": str(self.py), "--modules": str(self.modules), "--import-from": import_from}
        for option, folder in folders.items():
            if folder and not self._trusts_folders:
                home_trust.check_folder_of_code(Path(folder), option, self._real_folder)

    def check_script(self, script: Path) -> None:
        """Raises HomeError if others can change or replace this file, OSError if that is not known now."""
        if not self._trusts_folders:
            home_trust.check_script(script, self._real_folder)

    @property
    def _real_folder(self) -> Path:
        return Path(os.path.realpath(self.folder))

    # The lock

    def lock(self) -> IO[bytes]:
        """Returns the open file that is the lock: the home belongs to this server until it is closed. Waits up to three
        seconds. Raises HomeError if another server holds it then, OSError if it cannot be opened."""
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            file = open(self._lock, "ab")  # noqa: SIM115 (it stays open)
            with suppress(OSError):
                identity = _identity(os.fstat(file.fileno()))
                if try_lock(file.fileno()) and _is_at(self._lock, identity):  # else it was removed meanwhile
                    self._held = {self._lock: identity}
                    return file
            file.close()
            if time.monotonic() >= deadline:
                raise HomeError(f"another server uses the folder {str(self.folder)!r}")
            time.sleep(_POLL_SECONDS)

    @property
    def is_served(self) -> bool:
        """Returns whether a server uses the home now. Raises OSError."""
        # The lock is ours for some microseconds. A server that starts meanwhile tries again.
        try:
            with open(self._lock, "rb") as file:
                return not try_lock(file.fileno(), shared=True)
        except FileNotFoundError:
            return False

    def check_held(self) -> None:
        """Raises HomeReplaced if another file, or none, is in the place of the lock or the database that this server
        has open, or was at an earlier check; OSError if that is not known now. May be called in any thread."""
        self._check_held(self._lock, self._database)

    def check_journal(self) -> None:
        """Does the same for all files of the database, as long as it is open."""
        self._check_held(self._lock, self._database, *self._beside_database)

    def _check_held(self, *paths: Path) -> None:
        held = self._held or {}
        moved = None
        if not self.replaced:
            moved = next((path for path in paths if path in held and not _is_at(path, held[path])), None)
        with self._replacing:  # two threads may see it at the same time
            if moved is not None and not self.replaced:
                self.replaced = f"{str(moved)!r} was removed or replaced while this server ran, which ends at once"
                log.error("%s: nothing is accepted or started any more, jobs go on without it", self.replaced)
                self.on_replaced()
        if self.replaced:
            raise HomeReplaced(self.replaced)

    # The database

    def database(self) -> sqlite3.Connection:
        """Opens the database with accounts and journal. Raises HomeError."""
        database = open_database(self._database)
        if self._held is not None:
            for path in (self._database, *self._beside_database):
                with suppress(FileNotFoundError):
                    self._held.setdefault(path, _identity(os.stat(path)))
        return database


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_at(path: Path, identity: tuple[int, int]) -> bool:
    """Returns whether the path leads to this file. Windows lets no process remove what is open. Raises OSError."""
    try:
        return sys.platform == "win32" or _identity(os.stat(path)) == identity
    except (FileNotFoundError, NotADirectoryError):
        return False


def open_database(path: Path) -> sqlite3.Connection:
    """Opens the database in this file, and creates it if it is missing. What is committed there survives a crash. The
    connection may be used by one thread at a time.

    Raises HomeError if the file cannot be used, or if another version of this program has written it.
    """
    try:
        # SQLite gives its further files the mode of this one. A file that exists is not opened here: to close it again
        # would drop the locks of every other connection of this process.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        database = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise HomeError(f"the database {str(path)!r} cannot be opened: {error}") from None
    try:
        _check_version(database, path)
        _use_write_ahead_log(database)
        database.execute("PRAGMA synchronous = FULL")
        _make_tables(database)
        _add_history(database)
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


def _add_history(database: sqlite3.Connection) -> None:
    """Creates what a database of an earlier program lacks, in one transaction. The version stays the same: that program
    can use the database again."""
    if _has_history(database):
        return
    with database:
        database.execute("BEGIN IMMEDIATE")
        if not _has_history(database):  # another process was quicker
            for statement in history.ADDITIONS:
                database.execute(statement)


def _has_history(database: sqlite3.Connection) -> bool:
    return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = 'refusals'").fetchone())
