"""The version of the database: what an earlier version wrote is taken over, what a newer one wrote is refused."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest

from headless.server import database
from headless.server.accounts import Account, Accounts, keys_from_hash
from headless.server.errors import HomeError
from support.credentials import HASH
from support.homes import make_home
from support.in_process import run_here
from support.job_server import QuickServer, journal, states
from support.raw_client import py_code, run
from support.waiting import wait_until

# What the first version of the server wrote, which did not number its versions.
VERSION_0 = """
CREATE TABLE accounts (
    user TEXT PRIMARY KEY,
    os_user TEXT,
    salt TEXT,
    stored_key BLOB,
    server_key BLOB
);
CREATE TABLE made_up_salts (
    key BLOB NOT NULL
);
CREATE TABLE batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL UNIQUE,
    user TEXT NOT NULL,
    accepted REAL NOT NULL
);
CREATE TABLE jobs (
    session TEXT NOT NULL REFERENCES batches (session),
    job INTEGER NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    state TEXT NOT NULL,
    started REAL,
    ended REAL,
    message TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (session, job)
);
INSERT INTO made_up_salts VALUES (x'0123456789abcdef');
INSERT INTO accounts (user, os_user) VALUES ('R40', 'jdoe');
INSERT INTO batches (session, user, accepted) VALUES ('done', 'R40', 1.0), ('waiting', 'R40', 2.0);
INSERT INTO jobs VALUES ('done', 1, 'py_code', '1', 'failed', 3.0, 4.0, 'no'),
    ('waiting', 1, 'py_code', 'print(42)', 'queued', NULL, NULL, '');
"""


def version_of(path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "planta.sqlite"


def write_version_0(path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_0)


def tables(path) -> dict[str, list[tuple[object, ...]]]:
    """The names of all tables, and what is in them. A key of decoy salts is in one of another name in version 0."""
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in names}


def test_a_new_database_has_the_version_of_this_program(path):
    database.open_database(path).close()
    assert version_of(path) == database.VERSION


def test_a_database_of_version_0_is_taken_over_with_all_that_is_in_it(path):
    write_version_0(path)
    before = tables(path)
    database.open_database(path).close()
    after = tables(path)
    before["decoy_salts"] = before.pop("made_up_salts")
    assert after == before
    assert version_of(path) == database.VERSION


def test_an_unknown_user_has_the_same_decoy_salt_after_that(path):
    write_version_0(path)
    salts = []
    for _ in range(2):
        with closing(database.open_database(path)) as connection:
            salts.append(Accounts(connection).keys_of("nobody").salt)
            assert connection.execute("SELECT key FROM decoy_salts").fetchall() == [
                (b"\x01\x23\x45\x67\x89\xab\xcd\xef",)
            ]
    assert salts[0] == salts[1]


def test_a_server_goes_on_with_what_an_earlier_version_has_accepted(tmp_path):
    home = tmp_path / "home"
    server = QuickServer(home)
    (home / "output" / "waiting").mkdir(parents=True)
    write_version_0(home / "planta.sqlite")
    with server:
        assert run(server, py_code("1")).ended == "ok"
        wait_until(lambda: states(server, "waiting") == ["ok"])
        assert [entry["state"] for entry in journal(server, "done")] == ["failed"]


@pytest.mark.parametrize("argv", [("serve", "--listen", "127.0.0.1:0"), ("user", "list"), ("jobs",)], ids=" ".join)
def test_a_database_of_a_newer_version_is_refused_in_one_line_and_not_touched(tmp_path, argv):
    make_home(tmp_path)
    with closing(sqlite3.connect(tmp_path / "planta.sqlite")) as connection:
        connection.execute(f"PRAGMA user_version = {database.VERSION + 1}")
    before = (tmp_path / "planta.sqlite").read_bytes()
    done = run_here(*argv, "--home", str(tmp_path))
    assert (done.status, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert f"has version {database.VERSION + 1} and this program knows versions up to {database.VERSION}" in line
    assert (tmp_path / "planta.sqlite").read_bytes() == before


def test_the_refusal_is_a_home_error(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1000")
    with pytest.raises(HomeError, match="version 1000"):
        database.open_database(path)


def test_many_that_open_a_database_of_version_0_at_once_all_get_it(path):
    write_version_0(path)
    errors = []

    def open_and_add(number: int) -> None:
        try:
            with closing(database.open_database(path)) as connection:
                assert Accounts(connection).add(Account(f"R{number}", None, keys_from_hash(HASH.encode())))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=open_and_add, args=(number,)) for number in range(100, 108)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(tables(path)["accounts"]) == 9
