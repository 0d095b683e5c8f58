"""The folder that a server lives in: what is where, and who may read it.

Here are the names of files and folders. What is in the database is in accounts.py and journal.py, how the database is
opened in database.py, how the folder is locked in home_lock.py, who else must not have a hand in
it in home_trust.py, and what is removed with time in retention.py.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import IO

from headless.server import home_lock, home_trust
from headless.server.database import open_database
from headless.server.errors import HomeError

MODULE_ID = re.compile(r"[0-9A-Za-z_]{1,64}")  # the module 009ABC is the file 009ABC.py


class Home:
    """The folder of one server. `py` is where the files of py_file jobs are, `modules` where the modules are: HOME/py
    and HOME/modules if they are not given."""

    def __init__(self, folder: str, py: str | None = None, modules: str | None = None) -> None:
        self.folder = Path(folder).absolute()
        self.py = Path(py).absolute() if py else self.folder / "py"
        self.modules = Path(modules).absolute() if modules else self.folder / "modules"
        self._database = self.folder / "planta.sqlite"
        self._lock = self.folder / "lock"

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

    def check_trust(self) -> None:
        """Raises HomeError if others could have made the home or can write to it."""
        home_trust.check_home(self.folder)

    def output(self, session: str, job: int, suffix: str) -> Path:
        """Where a job's `stdout`, `stderr` or `py` (its code) is stored. The first job has the number 1."""
        return self.folder / "output" / session / f"{job}.{suffix}"

    def outputs(self) -> list[Path]:
        """The folders with stored output, each of one session. Raises OSError."""
        return list((self.folder / "output").iterdir())

    @property
    def is_used(self) -> bool:
        """Whether a server has lived here."""
        return self._database.is_file()

    def database(self) -> sqlite3.Connection:
        """The database with accounts and journal. Whoever calls this closes it. Raises HomeError."""
        return open_database(self._database)

    def lock(self) -> IO[bytes]:
        """What the one server of this home holds as long as it lives. Raises HomeError if another server holds it,
        OSError if the file of the lock cannot be opened."""
        return home_lock.acquire(self._lock)

    @property
    def is_served(self) -> bool:
        """Whether a server lives here now. Raises OSError."""
        return home_lock.is_held(self._lock)
