"""Homes of the package's server, and the commands of an administrator, called in this process."""

from __future__ import annotations

import atexit
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

import pytest

from headless.server.accounts import Account, Accounts
from headless.server.home import Home
from support.command_here import headless
from support.process import current_user

posix = pytest.mark.skipif(os.name == "nt", reason="owners and modes mean little on Windows")
by_root = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give something away")
HEAD = "session job state accepted started duration user kind title reason"  # of what `headless jobs` prints
OTHER = 54321  # no user has this number

R41 = Account("R41", current_user(), None, number=1)  # the first account of a home


def make_home(folder: Path, *accounts: Account) -> Home:
    """Makes a home with these accounts and a journal with a name of its own. A copy does not wait for the disk."""
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
    os.chown(path, OTHER, -1, follow_symlinks=False)


@contextmanager
def locked(home: Path, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Lets no other connection write to the journal of this home."""
    with closing(sqlite3.connect(home / "planta.sqlite", timeout=10, isolation_level=None)) as database:
        database.execute(f"BEGIN {kind}")
        yield
        database.execute("ROLLBACK")


def prints(*argv: str, stdin: bytes = b"") -> list[str]:
    """Returns the lines on stdout of a command that succeeds."""
    done = headless(*argv, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def prints_jobs(*argv: str) -> list[str]:
    """Returns the lines of `headless jobs` below their head. There is none where there are none."""
    head, *lines = prints("jobs", *argv) or [HEAD]
    assert head.split() == HEAD.split()
    return lines


def fails(word: str, *argv: str, stdin: bytes = b"") -> None:
    """Expects that the command ends with 1 and one line with this word on stderr."""
    done = headless(*argv, stdin=stdin)
    assert (done.returncode, done.stdout) == (1, "")
    (complaint,) = done.stderr.splitlines()
    assert " error: " in complaint
    assert word in complaint
