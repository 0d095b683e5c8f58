"""`headless user`: what is printed, and the exit status. Then the command lines of all commands that must be
corrected."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headless.dialects.vocabulary import MAX_NAME_LENGTH, is_xml_text
from headless.server.accounts import Account, Accounts, Limits, keys_from_hash
from support.command_here import headless
from support.credentials import HASH, PASSWORD
from support.homes import R41, fails, make_home, prints
from support.hypothesis_settings import examples
from support.process import current_user, manage, other_user
from support.raw_client import connect, osuser_login
from support.sampling import EXHAUSTIVE

pytestmark = pytest.mark.slow


def listed(home: str) -> list[str]:
    return prints("user", "list", "--home", home)


def test_accounts_are_listed_by_name_with_the_ways_to_log_in_and_the_limits(home, monkeypatch):
    monkeypatch.setattr("headless.server.accounts.COST", 10)
    stdin = f"{PASSWORD}\nnot this\n".encode()
    prints("user", "add", "R43", "--os-user", other_user(), "--password-stdin", "--home", home, stdin=stdin)
    prints("user", "add", "R40", "--os-user", other_user(), "--home", home)
    prints("user", "limit", "R43", "--module", "009A*", "--no-code", "--home", home)
    assert listed(home) == [
        f"R40 osuser={other_user()}",
        f"R41 osuser={current_user()}",
        f"R43 challenge osuser={other_user()} module=009A* no-code",
    ]


def test_the_first_account_makes_the_home(tmp_path):
    home = str(tmp_path / "new" / "home")
    assert prints("user", "add", "R41", "--os-user", current_user(), "--home", home) == []
    assert listed(home) == [f"R41 osuser={current_user()}"]


def test_a_removed_account_is_gone_and_can_be_added_again(home):
    assert prints("user", "remove", "R41", "--home", home) == []
    assert listed(home) == []
    fails("R41", "user", "remove", "R41", "--home", home)
    prints("user", "add", "R41", "--os-user", other_user(), "--home", home)
    assert listed(home) == [f"R41 osuser={other_user()}"]


def test_a_user_has_one_account_and_the_second_changes_nothing(home):
    fails("R41", "user", "add", "R41", "--os-user", other_user(), "--home", home)
    assert listed(home) == [f"R41 osuser={current_user()}"]


def test_of_many_that_add_the_same_account_at_once_one_does(home):
    def add(_: int) -> tuple[int, str]:
        done = manage("user", "add", "R50", "--os-user", current_user(), "--home", home, check=False)
        return done.returncode, done.stderr

    with ThreadPoolExecutor(5) as pool:
        (status, stderr), *others = sorted(pool.map(add, range(5)))
    assert (status, stderr) == (0, "")
    assert [status for status, _ in others] == [1] * 4
    assert all("already" in stderr for _, stderr in others)
    assert listed(home) == [f"R41 osuser={current_user()}", f"R50 osuser={current_user()}"]


def test_many_that_add_the_first_accounts_at_once_all_do(tmp_path):
    home = str(tmp_path / "home")
    names = [f"R5{number}" for number in range(5)]
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda name: manage("user", "add", name, "--os-user", current_user(), "--home", home), names))
    assert listed(home) == [f"{name} osuser={current_user()}" for name in names]


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot be asked")
@pytest.mark.parametrize("os_user", ["no-such-user", "two\nlines", "ü" * 256])
def test_an_os_user_that_the_machine_does_not_know_is_warned_of_in_one_line_and_added(home, os_user):
    done = headless("user", "add", "R40", "--os-user", os_user, "--home", home)
    assert (done.returncode, done.stdout) == (0, "")
    (line,) = done.stderr.splitlines()
    assert "warning: this machine knows no user" in line
    assert listed(home)[0].startswith("R40 osuser=")


def test_an_account_that_is_not_added_is_not_warned_of(home):
    fails("already", "user", "add", "R41", "--os-user", "no-such-user", "--home", home)


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
    place = ("--home", str(home.folder))
    prints("user", "add", name, "--secret-file", "-", *place, stdin=HASH.encode())
    prints("user", "limit", name, "--no-code", *place)
    prints("user", "passwd", name, "--secret-file", "-", *place, stdin=HASH.encode())
    with closing(home.database()) as database:
        account = Accounts(database).of_user(name)
    assert account == Account(name, None, keys_from_hash(HASH.encode()), Limits(code=False), 2)
    assert len(listed(str(home.folder))) == 2
    prints("user", "remove", name, *place)
    assert listed(str(home.folder)) == [f"R41 osuser={current_user()}"]


def test_a_running_server_knows_a_change_at_once(server):
    def answer() -> str:
        with connect(server) as client:
            return client.ask(osuser_login(user="R60")).tag

    assert answer() == "refused"
    prints("user", "add", "R60", "--os-user", current_user(), "--home", str(server.home))
    assert answer() == "welcome"
    prints("user", "remove", "R60", "--home", str(server.home))
    assert answer() == "refused"


WRONG = (
    (),
    ("start",),
    ("user",),
    ("user", "change", "R41"),
    ("user", "add"),
    ("user", "add", ""),
    ("user", "add", "x" * 257),
    ("user", "add", "a\x1bb"),
    ("user", "add", "R42", "--os-user", ""),
    ("user", "add", "R42", "--password", "secret"),
    ("user", "remove"),
    ("user", "passwd"),
    ("user", "passwd", ""),
    ("user", "limit"),
    ("user", "limit", "a\x1bb"),
    ("user", "list", "R41"),
    ("jobs", "one", "two"),
    ("serve", "--listen", "nonsense"),
    ("serve", "--listen", "127.0.0.1:70000"),
    ("serve", "--listen", ":20000"),
    ("serve", "--workers", "0"),
    ("serve", "--grace", "-1"),
    ("serve", "--grace", "soon"),
    ("serve", "--log-level", "loud"),
    ("serve", "--daemon"),
    ("serve", "--tls-cert", "cert.pem"),
    ("serve", "--tls-key", "key.pem"),
)


@pytest.mark.version("how argparse words it")
def test_a_command_line_that_must_be_corrected_is_a_2(tmp_path):
    for argv in WRONG:
        done = headless(*argv, *(("--home", str(tmp_path / "home")) if len(argv) > 1 else ()))
        assert (done.returncode, done.stdout) == (2, ""), argv
        assert " error: " in done.stderr.splitlines()[-1], argv
        assert list(tmp_path.iterdir()) == []
