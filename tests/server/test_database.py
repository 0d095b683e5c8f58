"""The database: its version, and what it stores of accounts. What another version wrote is refused, and stays as it
is."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headless.dialects.bcrypt_hash import check_salt
from headless.dialects.own import scram
from headless.errors import HomeError
from headless.server import home as home_module
from headless.server.accounts import NOTHING, UNLIMITED, Account, Accounts, Limits, initialize, keys_from_hash
from headless.server.home import open_database
from support.command_here import headless
from support.credentials import HASH, SALT
from support.homes import make_home
from support.hypothesis_settings import examples
from support.process import manage

pytestmark = [pytest.mark.slow, pytest.mark.version("sqlite3 transactions")]


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


KEYS = keys_from_hash(HASH.encode())
OTHER_KEYS = scram.Keys(f"$2b$12${SALT[7:]}", b"stored", b"server")
LIMITS = Limits(("009A*",), ("nightly", "month end"), code=False)
R41 = Account("R41", "jdoe", None, number=1)
R42 = Account("R42", None, KEYS, LIMITS, 2)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
SOME = st.none() | st.lists(TEXTS, max_size=3).map(tuple)
ACCOUNTS = st.builds(
    Account,
    TEXTS,
    st.none() | TEXTS,
    st.none() | st.builds(scram.Keys, TEXTS, st.binary(), st.binary()),
    st.builds(Limits, SOME, SOME, st.booleans()),
)


@pytest.fixture
def database(path):
    """A database with the accounts R41 and R42."""
    with closing(open_database(path)) as database:
        with database:
            for account in (R41, R42):
                assert Accounts(database).add(account)
        yield database


CHANGES = [
    pytest.param(lambda accounts: accounts.add(Account("R43", "jdoe", KEYS)), id="add"),
    pytest.param(lambda accounts: accounts.remove("R41"), id="remove"),
    pytest.param(lambda accounts: accounts.set_keys("R41", KEYS), id="set_keys"),
    pytest.param(lambda accounts: accounts.set_limits("R41", NOTHING), id="set_limits"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_neither_begins_nor_ends_the_transaction_of_its_caller(path, database, change):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        accounts = Accounts(connection)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE accounts SET os_user = 'other' WHERE user = 'R42'")
        assert change(accounts)
        assert connection.in_transaction
        assert accounts.all() != [R41, R42]
        assert Accounts(database).all() == [R41, R42]  # others do not see it yet
        connection.execute("ROLLBACK")
    assert Accounts(database).all() == [R41, R42]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_there_once_its_caller_has_committed(path, database, change):
    with closing(open_database(path)) as connection:
        with connection:
            change(Accounts(connection))
        after = Accounts(connection).all()
    assert Accounts(database).all() == after != [R41, R42]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_may_come_from_another_thread(path, database, change):
    errors = []
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        accounts = Accounts(connection)

        def run() -> None:
            try:
                assert change(accounts)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert errors == []
    assert Accounts(database).all() != [R41, R42]


def test_to_read_nothing_is_written(path, database):
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)) as connection:
        database.execute("BEGIN IMMEDIATE")  # nor is a lock waited for
        accounts = Accounts(connection)
        assert accounts.all() == [R41, R42]
        assert accounts.of_user("R42") == R42
        assert accounts.of_os_user("jdoe") == [R41]
        assert accounts.keys_of("R42") == KEYS
        assert accounts.keys_of("nobody").salt == Accounts(database).keys_of("nobody").salt
        assert not connection.in_transaction
        database.rollback()


@pytest.mark.parametrize(("system", "found"), [("posix", []), ("nt", [R41])])
def test_the_case_of_an_os_user_means_nothing_on_windows_alone(database, monkeypatch, system, found):
    monkeypatch.setattr("headless.server.accounts.os.name", system)
    assert Accounts(database).of_os_user("JDoe") == found


def test_an_account_that_is_there_is_not_added_again_nor_changed(database):
    assert not Accounts(database).add(Account("R42", "mallory", OTHER_KEYS))
    assert Accounts(database).of_user("R42") == R42


def test_what_is_changed_of_one_account_is_not_changed_of_others_nor_else(database):
    accounts = Accounts(database)
    assert accounts.set_keys("R42", OTHER_KEYS)
    assert accounts.set_limits("R41", NOTHING)
    assert accounts.all() == [R41._replace(limits=NOTHING), R42._replace(keys=OTHER_KEYS)]
    assert accounts.keys_of("R42") == OTHER_KEYS
    assert accounts.set_limits("R42", UNLIMITED)
    assert accounts.of_user("R42") == R42._replace(keys=OTHER_KEYS, limits=UNLIMITED)


def test_a_user_without_an_account_cannot_be_changed(database):
    accounts = Accounts(database)
    assert not accounts.set_keys("r42", KEYS)
    assert not accounts.set_limits("R4%", UNLIMITED)
    assert not accounts.remove("R4")
    assert accounts.of_user("") is None
    assert accounts.all() == [R41, R42]


@examples
@given(st.lists(ACCOUNTS, max_size=4, unique_by=lambda account: account.user))
def test_accounts_of_all_names_are_read_as_they_were_added(accounts):
    with closing(open_in_memory()) as database:
        table = Accounts(database)
        assert all(table.add(account) for account in accounts)
        accounts = [account._replace(number=number) for number, account in enumerate(accounts, 1)]
        assert sorted(table.all()) == sorted(accounts)
        for account in accounts:
            assert table.of_user(account.user) == table.of_number(account.number) == account
            assert table.keys_of(account.user) == account.keys or account.keys is None
            assert table.remove(account.user)
            assert table.of_number(account.number) is None
        assert table.all() == []


def open_in_memory() -> sqlite3.Connection:
    from headless.server.accounts import SCHEMA

    database = sqlite3.connect(":memory:", isolation_level=None)
    for statement in SCHEMA:
        database.execute(statement)
    initialize(database)
    return database


def test_a_user_without_a_password_has_decoy_keys_whose_salt_stays(path, database):
    with closing(open_database(path)) as connection:
        for user in ("nobody", "R41", "r42", "R4_", "%", "", "ü" * 256):
            decoys = [Accounts(each).keys_of(user) for each in (database, database, connection)]
            assert len({decoy.salt for decoy in decoys}) == 1, user
            assert len({decoy.stored_key for decoy in decoys}) == 3, user
            check_salt(decoys[0].salt)


def test_the_key_of_the_decoy_salts_is_made_once(database):
    (key,) = database.execute("SELECT key FROM decoy_salts")
    assert len(key[0]) == 32
    initialize(database)
    assert database.execute("SELECT key FROM decoy_salts").fetchall() == [key]


def test_a_number_is_never_used_again(database):
    accounts = Accounts(database)
    for number in (3, 4, 5):
        with database:
            assert accounts.remove("R42" if number == 3 else "R43")
            assert accounts.add(Account("R43", None, None))
        assert accounts.all() == [R41, Account("R43", None, None, number=number)]


USERS = [f"R{number}" for number in range(100, 1100)]
OLD, NEW = keys_from_hash(f"$2a$10${HASH[7:]}".encode()), keys_from_hash(f"$2b$12${HASH[7:]}".encode())


def salts(database: sqlite3.Connection) -> list[str]:
    return [Accounts(database).keys_of(user).salt for user in USERS]


def share(salts: list[str], keys: scram.Keys) -> float:
    return sum(salt.startswith(keys.salt[:7]) for salt in salts) / len(salts)


@pytest.mark.parametrize(("old", "new"), [(8, 0), (0, 8), (8, 8), (8, 2), (1, 32)])
def test_decoys_have_about_the_kinds_of_salt_that_accounts_have(old, new):
    with closing(open_in_memory()) as database:
        for number in range(old + new):
            Accounts(database).add(Account(str(number), None, OLD if number < old else NEW))
        found = salts(database)
        assert share(found, OLD) == pytest.approx(old / (old + new), abs=0.06)
        assert share(found, OLD) + share(found, NEW) == 1
        for salt in found:
            check_salt(salt)


def test_decoys_of_a_mix_stay_until_the_passwords_of_a_kind_double():
    with closing(open_in_memory()) as database:
        accounts = Accounts(database)
        for number in range(24):
            accounts.add(Account(str(number), None, OLD if number < 8 else NEW))
        before = salts(database)
        for number in range(24, 39):
            accounts.add(Account(str(number), None, NEW))
        assert salts(database) == before
        accounts.set_keys("0", NEW)
        assert salts(database) != before


def test_a_decoy_stays_unless_the_passwords_of_a_kind_double_and_then_changes_as_a_whole():
    with closing(open_in_memory()) as database:
        accounts = Accounts(database)
        for number in range(8):
            accounts.add(Account(str(number), None, NEW))
        before = salts(database)
        for number in range(8, 40):
            accounts.add(Account(str(number), None, NEW))
            accounts.set_keys(str(number), NEW)
            accounts.add(Account(f"osuser {number}", "jdoe", None))
            accounts.remove(str(number - 8))
        assert salts(database) == before
        accounts.add(Account("old", None, OLD))
        after = salts(database)
        changed = [(one, other) for one, other in zip(before, after) if one != other]
        assert 0 < len(changed) < 0.1 * len(USERS)
        assert all(other.startswith("$2a$10$") and one[7:] != other[7:] for one, other in changed)
        accounts.remove("old")
        assert salts(database) == after


def test_limits_that_cannot_be_read_concern_their_account_alone(database):
    database.execute("UPDATE accounts SET limits = '{' WHERE user = 'R42'")
    assert Accounts(database).all() == [R41, R42._replace(limits=NOTHING)]
