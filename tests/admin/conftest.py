"""What several tests of the check start from."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing

import pytest

from support.credentials import HASH
from support.homes import R41, make_home
from support.journals import Record


@pytest.fixture
def folder(tmp_path):
    """A folder with a password file, in which everything else of a case is written."""
    secret = tmp_path / "secret"
    secret.write_text(HASH + "\n")
    secret.chmod(0o400)
    return tmp_path


@pytest.fixture
def running_call():
    """The number of a process that could be a call of the command, and ends with the test."""
    code = "print(flush=True); input()  # planta_headless.py"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # earlier the kernel may not have its command line
        yield process.pid
        process.communicate(b"\n")


@pytest.fixture
def home(tmp_path):
    return make_home(tmp_path / "home", R41)


@pytest.fixture
def record(home):
    """The journal. Each change is on disk at once, as another process has to see it."""
    with closing(home.database()) as database:
        database.isolation_level = None
        yield Record(database)
