"""`headless user`, command lines that must be corrected, the table of the accounts, and the made-up salts of users
without a password."""

from __future__ import annotations

import os
import shlex
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headless.dialects.bcrypt_hash import check_salt
from headless.dialects.own import scram
from headless.dialects.vocabulary import MAX_NAME_LENGTH, is_xml_text
from headless.server.accounts import NOTHING, SCHEMA, UNLIMITED, Account, Accounts, Limits, initialize, keys_from_hash
from support.command_here import headless
from support.credentials import HASH, PASSWORD, SALT
from support.homes import R41, fails, make_home, prints
from support.hypothesis_settings import examples
from support.process import current_user, manage, other_user
from support.raw_client import connect, osuser_login
from support.sampling import EXHAUSTIVE

pytestmark = pytest.mark.slow


def listed(home_path: str) -> list[str]:
    return prints("user", "list", "--home", home_path)


def test_accounts_are_listed_by_name_with_the_ways_to_log_in_and_the_limits(home_path, monkeypatch):
    monkeypatch.setattr("headless.server.accounts.COST", 10)
    stdin = f"{PASSWORD}\nnot this\n".encode()
    prints("user", "add", "R43", "--os-user", other_user(), "--password-stdin", "--home", home_path, stdin=stdin)
    prints("user", "add", "R40", "--os-user", other_user(), "--home", home_path)
    prints("user", "limit", "R43", "--module", "009A*", "--no-code", "--home", home_path)
    assert listed(home_path) == [
        f"R40 osuser={other_user()}",
        f"R41 osuser={current_user()}",
        f"R43 challenge osuser={other_user()} module=009A* no-code",
    ]


def test_a_user_has_one_account_until_it_is_removed(home_path):
    fails("already", "user", "add", "R41", "--os-user", "no-such-user", "--home", home_path)  # which is not warned of
    assert listed(home_path) == [f"R41 osuser={current_user()}"]
    assert prints("user", "remove", "R41", "--home", home_path) == []
    assert listed(home_path) == []
    fails("R41", "user", "remove", "R41", "--home", home_path)
    prints("user", "add", "R41", "--os-user", other_user(), "--home", home_path)
    assert listed(home_path) == [f"R41 osuser={other_user()}"]


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=MAX_NAME_LENGTH).filter(
    lambda name: is_xml_text(name) and not name.startswith("-")
)


@settings(examples, max_examples=50 if EXHAUSTIVE else 5)
@given(NAMES)
@example("a b=c")
@example("R4%")
@example("'; DROP TABLE accounts; --")
@example("two\nlines")
@example("\u202e\u200b")
def test_an_account_of_any_name_can_be_added_changed_and_removed(tmp_path_factory, name):
    home = make_home(tmp_path_factory.mktemp("home"), R41)
    of_home = ("--home", str(home.folder))
    prints("user", "add", name, "--secret-file", "-", *of_home, stdin=HASH.encode())
    prints("user", "limit", name, "--no-code", *of_home)
    prints("user", "passwd", name, "--secret-file", "-", *of_home, stdin=HASH.encode())
    with closing(home.database()) as database:
        account = Accounts(database).of_user(name)
    assert account == Account(name, None, keys_from_hash(HASH.encode()), Limits(code=False), 2)
    assert len(listed(str(home.folder))) == 2
    prints("user", "remove", name, *of_home)
    assert listed(str(home.folder)) == [f"R41 osuser={current_user()}"]


def test_a_running_server_knows_a_new_account_at_once(server):
    prints("user", "add", "R60", "--os-user", current_user(), "--home", str(server.home))
    with connect(server) as client:
        assert client.ask(osuser_login(user="R60")).tag == "welcome"
    prints("user", "remove", "R60", "--home", str(server.home))


def test_of_commands_at_once_each_adds_its_account_and_one_of_those_that_add_the_same(tmp_path):
    """The first ones make the home."""
    home_path = str(tmp_path / "new" / "home")

    def add(name: str) -> tuple[int, str]:
        done = manage("user", "add", name, "--os-user", current_user(), "--home", home_path, check=False)
        return done.returncode, "already" if "already" in done.stderr else done.stderr

    names = ["R50", "R51", "R52", "R53"]
    with ThreadPoolExecutor(7) as pool:
        assert sorted(pool.map(add, [*names, *["R53"] * 3])) == [(0, "")] * 4 + [(1, "already")] * 3
    assert listed(home_path) == [f"{name} osuser={current_user()}" for name in names]


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot be asked")
def test_an_os_user_that_the_machine_does_not_know_is_warned_of_in_one_line_and_added(home_path):
    for number, os_user in enumerate(["no-such-user", "two\nlines", "ü" * 256]):
        done = headless("user", "add", f"R5{number}", "--os-user", os_user, "--home", home_path)
        assert (done.returncode, done.stdout) == (0, "")
        (line,) = done.stderr.splitlines()
        assert "warning: this machine knows no user" in line
    assert len(listed(home_path)) == 4


WRONG = """

start
user
user change R41
user add
user add ''
user add {long}
user add a{escape}b
user add R42 --os-user ''
user add R42 --password secret
user remove
user passwd
user passwd ''
user limit
user limit a{escape}b
user list R41
jobs one two
jobs cancel
jobs cancel a 0
jobs cancel a one
jobs cancel a 1 2
jobs cancel a --json
status --since soon
serve --listen nonsense
serve --listen 127.0.0.1:70000
serve --listen :20000
serve --workers 0
serve --grace -1
serve --grace soon
serve --log-level loud
serve --daemon
serve --tls-cert cert.pem
serve --tls-key key.pem
""".format(long="x" * 257, escape="\x1b")


@pytest.mark.version("how argparse words it")
def test_a_command_line_that_must_be_corrected_is_a_2(tmp_path):
    for line in WRONG.splitlines()[1:]:
        argv = shlex.split(line)
        done = headless(*argv, *(("--home", str(tmp_path / "home")) if len(argv) > 1 else ()))
        assert (done.returncode, done.stdout) == (2, ""), argv
        assert " error: " in done.stderr.splitlines()[-1], argv
        assert list(tmp_path.iterdir()) == []


# The table

KEYS = keys_from_hash(HASH.encode())
OTHER_KEYS = scram.Keys(f"$2b$12${SALT[7:]}", b"stored", b"server")
FIRST = Account("R41", "jdoe", None, number=1)
SECOND = Account("R42", None, KEYS, Limits(("009A*",), ("nightly", "month end"), code=False), 2)


@pytest.fixture
def database():
    """A database in memory, which has no account."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        for statement in SCHEMA:
            database.execute(statement)
        initialize(database)
        yield database


@pytest.fixture
def accounts(database):
    """The accounts FIRST and SECOND."""
    accounts = Accounts(database)
    assert accounts.add(FIRST) and accounts.add(SECOND)
    return accounts


@pytest.mark.parametrize(("system", "found"), [("posix", []), ("nt", [FIRST])])
def test_the_case_of_an_os_user_means_nothing_on_windows_alone(accounts, monkeypatch, system, found):
    monkeypatch.setattr("headless.server.accounts.os.name", system)
    assert accounts.of_os_user("JDoe") == found


def test_what_is_changed_of_one_account_is_not_changed_of_others_nor_else(accounts):
    assert accounts.set_keys("R42", OTHER_KEYS)
    assert accounts.set_limits("R41", NOTHING)
    assert accounts.all() == [FIRST._replace(limits=NOTHING), SECOND._replace(keys=OTHER_KEYS)]
    assert accounts.keys_of("R42") == OTHER_KEYS
    assert accounts.set_limits("R42", UNLIMITED)
    assert accounts.of_user("R42") == SECOND._replace(keys=OTHER_KEYS, limits=UNLIMITED)


def test_an_account_is_not_added_again_and_none_is_changed_that_is_not_there(accounts):
    assert not accounts.add(Account("R42", "mallory", OTHER_KEYS))
    assert not accounts.set_keys("r42", KEYS)
    assert not accounts.set_limits("R4%", UNLIMITED)
    assert not accounts.remove("R4")
    assert accounts.of_user("") is None
    assert accounts.all() == [FIRST, SECOND]


def test_a_number_is_never_used_again(accounts):
    for number in (3, 4, 5):
        assert accounts.remove("R42" if number == 3 else "R43")
        assert accounts.of_number(number - 1) is None
        assert accounts.add(Account("R43", None, None))
        assert accounts.all() == [FIRST, Account("R43", None, None, number=number)]


def test_limits_that_cannot_be_read_concern_their_account_alone(database, accounts):
    database.execute("UPDATE accounts SET limits = '{' WHERE user = 'R42'")
    assert accounts.all() == [FIRST, SECOND._replace(limits=NOTHING)]


# Decoys

USERS = [f"R{number}" for number in range(100, 1100)]
OLD, NEW = keys_from_hash(f"$2a$10${HASH[7:]}".encode()), keys_from_hash(f"$2b$12${HASH[7:]}".encode())


def salts(accounts: Accounts) -> list[str]:
    return [accounts.keys_of(user).salt for user in USERS]


def share(salts: list[str], keys: scram.Keys) -> float:
    return sum(salt.startswith(keys.salt[:7]) for salt in salts) / len(salts)


def test_a_user_without_a_password_has_decoy_keys_whose_salt_stays_and_is_that_of_no_other(home):
    with closing(home.database()) as database, closing(home.database()) as connection:
        found = set()
        for user in ("R99", "R41", "r42", "R4_", "%", "", "ü" * 256):
            decoys = [Accounts(each).keys_of(user) for each in (database, database, connection)]
            assert len({decoy.salt for decoy in decoys}) == 1, user
            assert len({decoy.stored_key for decoy in decoys}) == 3, user
            check_salt(decoys[0].salt)
            found.add(decoys[0].salt)
    assert len(found) == 7


@pytest.mark.parametrize(("old", "new"), [(8, 0), (0, 8), (8, 8), (8, 2), (1, 32)])
def test_decoys_have_about_the_kinds_of_salt_that_accounts_have(database, old, new):
    accounts = Accounts(database)
    for number in range(old + new):
        accounts.add(Account(str(number), None, OLD if number < old else NEW))
    found = salts(accounts)
    assert share(found, OLD) == pytest.approx(old / (old + new), abs=0.06)
    assert share(found, OLD) + share(found, NEW) == 1
    for salt in found:
        check_salt(salt)


def test_a_decoy_stays_unless_the_passwords_of_a_kind_double_and_then_changes_as_a_whole(database):
    accounts = Accounts(database)
    for number in range(24):
        accounts.add(Account(str(number), None, OLD if number < 8 else NEW))
    before = salts(accounts)
    for number in range(24, 39):
        accounts.add(Account(str(number), None, NEW))
        accounts.add(Account(f"osuser {number}", "jdoe", None))
        accounts.remove(str(number - 24))
    assert salts(accounts) == before
    accounts.set_keys("20", NEW)
    after = salts(accounts)
    changed = [(one, other) for one, other in zip(before, after) if one != other]
    assert 0 < len(changed) < 0.25 * len(USERS)  # 2 of 3 decoys were of this kind, now it is 4 of 5
    assert all(other.startswith("$2b$12$") and one[7:] != other[7:] for one, other in changed)
    accounts.remove("20")
    assert salts(accounts) == after
