"""The version of the database: what an earlier version wrote is taken over, what a newer one wrote is refused."""

from __future__ import annotations

import re
import sqlite3
import threading
from contextlib import closing

import pytest

from headless.protocol.scram import Keys
from headless.protocol.vocabulary import Job
from headless.server import database
from headless.server.account_limits import Limits
from headless.server.accounts import Account, Accounts, decoy_salt, keys_from_hash
from headless.server.errors import HomeError
from headless.server.journal import INDEX_OF_KEYS, Journal, digest_of
from support.credentials import HASH
from support.homes import make_home
from support.in_process import run_here
from support.job_server import QuickServer, journal, states
from support.process import manage
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
INSERT INTO accounts VALUES ('R40', 'jdoe', NULL, NULL, NULL), ('R42', NULL, 'salt', x'01', x'02'),
    ('Jürgen', 'jürgen', 'other salt', x'03', x'04');
INSERT INTO batches VALUES (3, 'done', 'R40', 1.0), (5, 'waiting', 'R40', 2.0), (6, 'torn', 'R42', 2.5),
    (8, 'running', 'gone', 3.0);
INSERT INTO jobs VALUES
    ('done', 1, 'module', '009ABC', 'ok', 3.0, 4.0, ''),
    ('done', 2, 'py_code', '

  import os

os.abort()', 'failed', 4.0, 9.0, 'no'),
    ('done', 3, 'py_file', 'a/b.py', 'skipped', NULL, NULL, ''),
    ('waiting', 1, 'py_code', 'print(42)', 'queued', NULL, NULL, ''),
    ('waiting', 2, 'py_code', '', 'queued', NULL, NULL, ''),
    ('torn', 1, 'py_code', 'pass', 'interrupted', 5.0, 6.0, 'the server stopped while the job was running'),
    ('torn', 2, 'py_code', 'pass', 'skipped', NULL, NULL, ''),
    ('running', 1, 'module', '009ABC', 'ok', 5.0, 6.0, ''),
    ('running', 2, 'py_code', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'running',
        6.0, NULL, '');
"""
# The same, and one table with another name.
VERSION_1 = VERSION_0.replace("made_up_salts", "decoy_salts") + "PRAGMA user_version = 1;"
# Accounts have limits, batches know when they were over, and jobs more of how they ended.
VERSION_2 = """
CREATE TABLE accounts (
    user TEXT PRIMARY KEY,
    os_user TEXT,
    salt TEXT,
    stored_key BLOB,
    server_key BLOB,
    limits TEXT
);
CREATE TABLE decoy_salts (
    key BLOB NOT NULL
);
CREATE TABLE batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL UNIQUE,
    user TEXT NOT NULL,
    accepted REAL NOT NULL,
    over REAL
);
CREATE TABLE jobs (
    session TEXT NOT NULL REFERENCES batches (session),
    job INTEGER NOT NULL,
    kind TEXT NOT NULL,
    title TEXT NOT NULL,
    state TEXT NOT NULL,
    started REAL,
    ended REAL,
    seconds REAL,
    exit_status INTEGER,
    signal INTEGER,
    message TEXT NOT NULL DEFAULT '',
    text TEXT NOT NULL,  -- the last one: it may be large, and is seldom read
    PRIMARY KEY (session, job)
);
CREATE TABLE cancellations (
    session TEXT NOT NULL,
    job INTEGER NOT NULL,
    requester TEXT NOT NULL,
    PRIMARY KEY (session, job)
);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE INDEX batches_over ON batches (over);
CREATE INDEX batches_of_user ON batches (user);
CREATE INDEX jobs_not_ok ON jobs (state) WHERE state NOT IN ('ok', 'skipped');
INSERT INTO decoy_salts VALUES (x'0123456789abcdef');
INSERT INTO accounts VALUES ('R40', 'jdoe', NULL, NULL, NULL, NULL), ('R42', NULL, 'salt', x'01', x'02', NULL),
    ('Jürgen', 'jürgen', 'other salt', x'03', x'04', NULL);
INSERT INTO batches VALUES (3, 'done', 'R40', 1.0, 9.0), (5, 'waiting', 'R40', 2.0, NULL), (6, 'torn', 'R42', 2.5, 6.0),
    (8, 'running', 'gone', 3.0, NULL);
INSERT INTO jobs VALUES
    ('done', 1, 'module', '009ABC', 'ok', 3.0, 4.0, NULL, NULL, NULL, '', '009ABC'),
    ('done', 2, 'py_code', 'import os', 'failed', 4.0, 9.0, NULL, NULL, NULL, 'no', '

  import os

os.abort()'),
    ('done', 3, 'py_file', 'a/b.py', 'skipped', NULL, NULL, NULL, NULL, NULL, '', 'a/b.py'),
    ('waiting', 1, 'py_code', 'print(42)', 'queued', NULL, NULL, NULL, NULL, NULL, '', 'print(42)'),
    ('waiting', 2, 'py_code', '', 'queued', NULL, NULL, NULL, NULL, NULL, '', ''),
    ('torn', 1, 'py_code', 'pass', 'interrupted', 5.0, 6.0, NULL, NULL, NULL,
        'the server stopped while the job was running', 'pass'),
    ('torn', 2, 'py_code', 'pass', 'skipped', NULL, NULL, NULL, NULL, NULL, '', 'pass'),
    ('running', 1, 'module', '009ABC', 'ok', 5.0, 6.0, NULL, NULL, NULL, '', '009ABC'),
    ('running', 2, 'py_code', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'running', 6.0, NULL,
        NULL, NULL, NULL, '', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx');
PRAGMA user_version = 2;
"""
# An earlier version made this key when it first looked at accounts.
VERSION_1_WITHOUT_ACCOUNTS = VERSION_1.partition("INSERT INTO")[0] + "PRAGMA user_version = 1;"

WAITING_DIGEST = digest_of((Job("py_code", "print(42)"), Job("py_code", "")))
RUNNING_DIGEST = digest_of((Job("module", "009ABC"), Job("py_code", "x" * 70)))
TAKEN_OVER = {
    "accounts": [
        ("Jürgen", "jürgen", "other salt", b"\x03", b"\x04", None),
        ("R40", "jdoe", None, None, None, None),
        ("R42", None, "salt", b"\x01", b"\x02", None),
    ],
    "decoy_salts": [(b"\x01\x23\x45\x67\x89\xab\xcd\xef",)],
    # Number, session, user, when it was accepted and over, the key, and the digest of what is not over.
    "batches": [
        (3, "done", "R40", 1.0, 9.0, None, None),
        (5, "waiting", "R40", 2.0, None, None, WAITING_DIGEST),
        (6, "torn", "R42", 2.5, 6.0, None, None),
        (8, "running", "gone", 3.0, None, None, RUNNING_DIGEST),
    ],
}
# Title, state, start, end and reason of each job. Nobody knows more of it.
TAKEN_OVER_JOBS = {
    ("done", 1): ("009ABC", "ok", 3.0, 4.0, ""),
    ("done", 2): ("import os", "failed", 4.0, 9.0, "no"),
    ("done", 3): ("a/b.py", "skipped", None, None, ""),
    ("running", 1): ("009ABC", "ok", 5.0, 6.0, ""),
    ("running", 2): ("x" * 60, "running", 6.0, None, ""),
    ("torn", 1): ("pass", "interrupted", 5.0, 6.0, "the server stopped while the job was running"),
    ("torn", 2): ("pass", "skipped", None, None, ""),
    ("waiting", 1): ("print(42)", "queued", None, None, ""),
    ("waiting", 2): ("", "queued", None, None, ""),
}
# Batches have keys and digests; the journal had no name.
VERSION_3 = (
    VERSION_2
    + f"""
ALTER TABLE batches ADD COLUMN key TEXT;
ALTER TABLE batches ADD COLUMN digest BLOB;
{INDEX_OF_KEYS};
UPDATE batches SET digest = x'{WAITING_DIGEST.hex()}' WHERE session = 'waiting';
UPDATE batches SET digest = x'{RUNNING_DIGEST.hex()}' WHERE session = 'running';
PRAGMA user_version = 3;
"""
)
versions = pytest.mark.parametrize(
    "old",
    [VERSION_0, VERSION_1, VERSION_2, VERSION_3],
    ids=["version 0", "version 1", "version 2", "version 3"],
)


def version_of(path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "planta.sqlite"


def write(path, old: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(old)


def tables(path) -> dict[str, list[tuple[object, ...]]]:
    """The names of all tables, and what is in them."""
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in names}


def layout(path) -> set[tuple[object, ...]]:
    """The tables and indexes, and how they were made."""
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


def test_a_new_database_has_the_version_of_this_program(path):
    database.open_database(path).close()
    assert version_of(path) == database.VERSION


@versions
def test_an_old_database_is_taken_over_with_all_accounts_and_batches(path, old):
    write(path, old)
    database.open_database(path).close()
    after = tables(path)
    assert {name: after[name] for name in TAKEN_OVER} == TAKEN_OVER
    assert version_of(path) == database.VERSION


@versions
def test_the_journal_of_an_old_database_gets_a_name_and_keeps_it(path, old):
    write(path, old)
    names = []
    for _ in range(2):
        with closing(database.open_database(path)) as connection:
            names.append(Journal(connection).name)
    assert names[0] == names[1] != ""


@versions
def test_an_old_database_is_taken_over_with_all_jobs(path, old):
    write(path, old)
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT session, job, kind, text FROM jobs").fetchall()
        before = {row[:2]: row[2:] for row in rows}
    with closing(database.open_database(path)) as connection:
        rows = connection.execute(
            "SELECT session, job, title, state, started, ended, message, kind, text FROM jobs"
        ).fetchall()
        unknown = connection.execute("SELECT DISTINCT seconds, exit_status, signal FROM jobs").fetchall()
    assert {row[:2]: row[2:7] for row in rows} == TAKEN_OVER_JOBS
    assert {row[:2]: row[7:] for row in rows} == before
    assert unknown == [(None, None, None)]


@versions
def test_an_old_database_becomes_what_a_new_one_is(path, tmp_path, old):
    write(path, old)
    database.open_database(path).close()
    new = tmp_path / "new.sqlite"
    database.open_database(new).close()
    assert names_in(layout(path)) == names_in(layout(new))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def names_in(entries: set[tuple[object, ...]]) -> set[tuple[object, ...]]:
    """Without the spaces and quotes that SQLite puts where it renames a table."""
    return {(*names, re.sub(r'[\s"]+', "", str(sql)).replace("IFNOTEXISTS", "")) for *names, sql in entries}


@versions
def test_an_old_database_that_is_open_again_is_not_changed(path, old):
    write(path, old)
    database.open_database(path).close()
    before = tables(path)
    database.open_database(path).close()
    assert tables(path) == before


def test_a_database_that_cannot_be_taken_over_stays_as_it_is(path):
    write(path, VERSION_1 + "UPDATE jobs SET kind = x'00'; CREATE TABLE facts (x); INSERT INTO facts VALUES (1);")
    before = tables(path), layout(path)
    with pytest.raises(HomeError):
        database.open_database(path)
    assert (tables(path), layout(path)) == before
    assert version_of(path) == 1


@versions
def test_the_accounts_of_an_old_database_have_no_limits_and_can_get_some(path, old):
    write(path, old)
    with closing(database.open_database(path)) as connection, connection:
        accounts = Accounts(connection)
        assert [account.limits for account in accounts.all()] == [None] * 3
        assert accounts.set_limits("R40", Limits(code=False))
        assert accounts.of_user("R40") == Account("R40", "jdoe", None, Limits(code=False))
        assert accounts.keys_of("R42") == Keys("salt", b"\x01", b"\x02")


@versions
def test_an_unknown_user_has_the_same_decoy_salt_after_that(path, old):
    write(path, old)
    expected = decoy_salt(b"\x01\x23\x45\x67\x89\xab\xcd\xef", "nobody")
    for _ in range(2):
        with closing(database.open_database(path)) as connection:
            assert Accounts(connection).keys_of("nobody").salt == expected


def test_an_old_database_without_a_key_of_decoy_salts_gets_one(path):
    write(path, VERSION_1_WITHOUT_ACCOUNTS)
    salts = set()
    for _ in range(2):
        with closing(database.open_database(path)) as connection:
            salts.add(Accounts(connection).keys_of("nobody").salt)
    assert len(salts) == 1


@versions
def test_a_server_goes_on_with_what_an_earlier_version_has_accepted(tmp_path, old):
    home = tmp_path / "home"
    server = QuickServer(home)
    (home / "output" / "waiting").mkdir(parents=True)
    write(home / "planta.sqlite", old)
    with server:
        assert run(server, py_code("1")).ended == "ok"
        wait_until(lambda: states(server, "waiting") == ["ok", "ok"])
        assert [entry["state"] for entry in journal(server, "done")] == ["ok", "failed", "skipped"]


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


def test_two_connections_of_one_process_go_on_after_a_command_of_another_one(tmp_path):
    home = make_home(tmp_path / "home")
    place = ("--home", str(home.folder))
    with closing(home.database()) as first, closing(home.database()) as second:
        for number in range(3):
            manage("user", "add", f"R{number}", "--secret-file", "-", *place, input=HASH)
            with first:
                assert Accounts(first).remove(f"R{number}")
            assert Accounts(second).all() == []
            assert manage("user", "list", *place).stdout == ""


@versions
def test_many_that_open_an_old_database_at_once_all_get_it(path, old):
    write(path, old)
    errors = []

    def open_and_add(number: int) -> None:
        try:
            with closing(database.open_database(path)) as connection, connection:
                assert Accounts(connection).add(Account(f"R{number}", None, keys_from_hash(HASH.encode())))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=open_and_add, args=(number,)) for number in range(100, 108)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(tables(path)["accounts"]) == 3 + 8
