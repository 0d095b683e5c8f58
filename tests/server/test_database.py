"""The version of the database: what another version wrote is refused, and stays as it is."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest

from headless.errors import HomeError
from headless.server import home as home_module
from headless.server.accounts import Account, Accounts, keys_from_hash
from support.command_here import headless
from support.credentials import HASH
from support.homes import make_home
from support.process import manage


def version_of(path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "planta.sqlite"


def all_accounts(path) -> list[str]:
    with closing(home_module.open_database(path)) as connection:
        return [account.user for account in Accounts(connection).all()]


def test_a_new_database_has_the_version_of_this_program(path):
    home_module.open_database(path).close()
    assert version_of(path) == home_module.VERSION


COMMANDS = [("serve", "--listen", "127.0.0.1:0"), ("user", "list"), ("jobs",)]


@pytest.mark.parametrize("version", [0, home_module.VERSION + 1, 1000])
def test_a_database_of_another_version_is_refused_in_one_line_and_not_touched(tmp_path, version):
    make_home(tmp_path)
    with closing(sqlite3.connect(tmp_path / "planta.sqlite")) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    before = (tmp_path / "planta.sqlite").read_bytes()
    for command in COMMANDS:
        done = headless(*command, "--home", str(tmp_path))
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert f"has version {version} and this program knows version {home_module.VERSION} alone" in line
        assert line.endswith("use the program that wrote it, or begin with a new --home")
        assert (tmp_path / "planta.sqlite").read_bytes() == before


def test_the_refusal_is_a_home_error(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1000")
    with pytest.raises(HomeError, match="version 1000"):
        home_module.open_database(path)


@pytest.mark.slow
@pytest.mark.version("sqlite3 transactions")
def test_two_connections_of_one_process_go_on_after_a_command_of_another_one(tmp_path):
    home = make_home(tmp_path / "home")
    place = ("--home", str(home.folder))
    with closing(home.database()) as first, closing(home.database()) as second:
        for number in range(2):
            manage("user", "add", f"R{number}", "--secret-file", "-", *place, input=HASH)
            with first:
                assert Accounts(first).remove(f"R{number}")
            assert Accounts(second).all() == []
            assert manage("user", "list", *place).stdout == ""


@pytest.mark.slow
def test_many_that_open_a_new_database_at_once_all_get_it(path):
    errors = []

    def open_and_add(number: int) -> None:
        try:
            with closing(home_module.open_database(path)) as connection, connection:
                assert Accounts(connection).add(Account(f"R{number}", None, keys_from_hash(HASH.encode())))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=open_and_add, args=(number,)) for number in range(100, 108)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert all_accounts(path) == [f"R{number}" for number in range(100, 108)]
