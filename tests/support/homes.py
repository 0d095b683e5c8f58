"""Homes of the package's server, made in this process, which is quick."""

from __future__ import annotations

import atexit
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest

from headless.server.accounts import Account, Accounts
from headless.server.home import Home
from support.process import current_user

posix = pytest.mark.skipif(os.name == "nt", reason="owners and modes mean little on Windows")
by_root = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give something away")
OTHER = 54321  # the number of a user that there is not

R41 = Account("R41", current_user(), None, number=1)  # the first account of a home


def make_home(folder: Path, *accounts: Account) -> Home:
    """A home with these accounts, and a journal with a name of its own: a copy, since a database that is made waits for
    the disk many times."""
    if folder.exists():
        return _new_home(folder, accounts)
    shutil.copytree(_template(accounts), folder)
    with closing(sqlite3.connect(folder / "planta.sqlite")) as database, database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("UPDATE facts SET value = hex(randomblob(16)) WHERE name = 'journal'")
    return Home(str(folder))


@cache
def _template(accounts: tuple[Account, ...]) -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _new_home(folder / "home", accounts)
    return folder / "home"


def _new_home(folder: Path, accounts: tuple[Account, ...]) -> Home:
    home = Home(str(folder))
    home.create()
    with closing(home.database()) as database, database:
        for account in accounts:
            Accounts(database).add(account)
    return home


def give_away(path: Path) -> None:
    """To another user."""
    os.chown(path, OTHER, -1, follow_symlinks=False)
