"""The folder that a server lives in: what is where, and who may read it.

Here are the names of files and folders. What is in the database is in accounts.py and journal.py, how the database is
opened in database.py, how the folder is locked in home_lock.py, who else must not have a hand in
it in home_trust.py, and what is removed with time in retention.py.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from pathlib import Path
from typing import IO

from headless.errors import HomeError
from headless.server import home_lock, home_trust
from headless.server.database import open_database
from headless.server.home_lock import HeldFiles
from headless.system import is_final

MODULE_ID = re.compile(r"[0-9A-Za-z_]{1,64}")  # the module 009ABC is the file 009ABC.py


class Home:
    """The folder of one server. `py` is where the files of py_file jobs are, `modules` where the modules are: HOME/py
    and HOME/modules if they are not given. With `trusts_folders` code may be where others can change it."""

    def __init__(
        self, folder: str, py: str | None = None, modules: str | None = None, trusts_folders: bool = False
    ) -> None:
        self._trusts_folders = trusts_folders
        self.folder = Path(folder).absolute()
        self.py = Path(py).absolute() if py else self.folder / "py"
        self.modules = Path(modules).absolute() if modules else self.folder / "modules"
        self._database = self.folder / "planta.sqlite"
        self._beside_database = [self.folder / f"planta.sqlite-{name}" for name in ("wal", "shm")]
        self._lock = self.folder / "lock"
        self._is_locked = False
        self.held = HeldFiles()

    def create(self) -> None:
        """Makes what is missing, readable for this user alone. Raises HomeError if that cannot be done, or if others
        could write to the home."""
        home_trust.make_home(self.folder)
        try:
            for part in ("py", "modules", "output"):
                (self.folder / part).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise HomeError(f"the folder {str(self.folder)!r} cannot be used: {error.strerror}") from None
        for folder in (self.py, self.modules):
            if not folder.is_dir():
                raise HomeError(f"there is no folder {str(folder)!r}")

    def check_code(self, import_from: str = "") -> None:
        """Raises HomeError if others can put code into a folder that jobs take theirs from, or replace it."""
        folders = {"--py": str(self.py), "--modules": str(self.modules), "--import-from": import_from}
        for option, folder in () if self._trusts_folders else folders.items():
            if folder:
                way = home_trust.Way(f"the folder of {option}", option, self._real_folder)
                home_trust.check_folder_of_code(Path(folder), way)

    def check_script(self, script: Path) -> None:
        """Raises HomeError if others can change this file or replace it, OSError if that cannot be known."""
        if not self._trusts_folders:
            home_trust.check_script(script, self._real_folder)

    @property
    def _real_folder(self) -> Path:
        return Path(os.path.realpath(self.folder))

    def check_trust(self) -> None:
        """Raises HomeError if others could have made the home or can write to it."""
        home_trust.check_home(self.folder)

    @property
    def identity(self) -> str:
        """What tells this folder from every other one, a copy of it included, wherever it is moved to on its disk.
        Raises OSError."""
        status = os.stat(self.folder)
        return f"{status.st_dev}-{status.st_ino}"

    def output(self, session_id: str, job: int, suffix: str) -> Path:
        """Where a job's `stdout`, `stderr` or `py` (its code) is stored. The first job has the number 1."""
        return self.folder / "output" / session_id / f"{job}.{suffix}"

    def outputs(self) -> list[Path]:
        """The folders with stored output, each of one session. What no session can be called is none. Raises
        OSError."""
        return [path for path in (self.folder / "output").iterdir() if path.name.isascii()]

    @property
    def is_used(self) -> bool:
        """Whether a server has lived here, or may have: somebody else's folder may not be looked into. Raises
        OSError."""
        try:
            return stat.S_ISREG(os.stat(self._database).st_mode)
        except PermissionError:
            return True
        except OSError as error:
            if not is_final(error):
                raise
            return False

    def database(self) -> sqlite3.Connection:
        """The database with accounts and journal. Whoever calls this closes it. Raises HomeError."""
        database = open_database(self._database)
        if self._is_locked:
            for path in (self._database, *self._beside_database):
                self.held.add(path)
        return database

    def lock(self) -> IO[bytes]:
        """What the one server of this home holds as long as it lives. Raises HomeError if another server holds it,
        OSError if the file of the lock cannot be opened."""
        file = home_lock.acquire(self._lock)
        self._is_locked = True  # by us
        self.held.add(self._lock)
        return file

    def check_held(self) -> None:
        """Raises HomeReplaced if the folder, its lock or its database is not what was locked and opened here, OSError
        if that cannot be known now."""
        self.held.check(self._lock, self._database)

    def check_journal(self) -> None:
        """The same, as long as the database is open, for what SQLite has beside it: what is committed is in the -wal
        until it is copied, and others look for it with the -shm."""
        self.held.check(self._lock, self._database, *self._beside_database)

    @property
    def is_served(self) -> bool:
        """Whether a server lives here now. Raises OSError."""
        return home_lock.is_held(self._lock)
