"""`headless user limit`: what its options change, and how the limits are printed."""

from __future__ import annotations

import shlex
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headless.server.accounts import UNLIMITED, Accounts, Limits
from headless.server.commands.user import words
from headless.server.home import Home
from support.command_here import headless
from support.hypothesis_settings import examples
from support.management import fails, prints
from support.process import current_user, manage

pytestmark = pytest.mark.slow

WARNING = "warning: the account 'R41' may run code"


def limit(home: str, *argv: str) -> str:
    """What the command, which succeeds, prints on stderr."""
    done = headless("user", "limit", "R41", *argv, "--home", home)
    assert (done.returncode, done.stdout) == (0, "")
    return done.stderr


def shown(home: str) -> str:
    (line,) = prints("user", "limit", "R41", "--home", home)
    return line


def stored(home: str) -> Limits:
    with closing(Home(home).database()) as database:
        account = Accounts(database).of_user("R41")
    assert account is not None
    return account.limits


LIMITS = (
    (["--no-code"], Limits(code=False), "no-code"),
    (["--module", "009ABC", "--no-code"], Limits(("009ABC",), code=False), "module=009ABC no-code"),
    (
        ["--module", "009A*", "--module", "00B", "--module", "00B", "--no-code"],
        Limits(("009A*", "00B"), code=False),
        "module=009A* module=00B no-code",
    ),
    (["--no-modules", "--no-code"], Limits((), code=False), "no-modules no-code"),
    (
        ["--folder", "nightly", "--folder", "month end", "--no-code"],
        Limits(None, ("nightly", "month end"), code=False),
        "folder=nightly folder='month end' no-code",
    ),
    (["--no-files", "--no-code"], Limits(None, (), code=False), "no-files no-code"),
    (["--no-modules", "--no-files"], Limits((), ()), "no-modules no-files"),
    (["--module", "*", "--module", "00B", "--folder", ".", "--folder", "a", "--code"], UNLIMITED, "no limits"),
)


def test_the_limits_are_what_the_options_say(home):
    for argv, limits, printed in LIMITS:
        limit(home, "--none")
        limit(home, *argv)
        assert (stored(home), shown(home)) == (limits, printed), argv
        tail = "" if limits == UNLIMITED else f" {printed}"
        assert prints("user", "list", "--home", home) == [f"R41 osuser={current_user()}{tail}"]


def test_an_account_has_no_limits_at_first(home):
    assert shown(home) == "no limits"


def test_what_is_not_given_stays_as_it_was(home):
    limit(home, "--module", "009A", "--module", "009B", "--folder", "nightly", "--no-code")
    limit(home, "--module", "009C")
    assert shown(home) == "module=009C folder=nightly no-code"
    limit(home, "--folder", "weekly")
    assert shown(home) == "module=009C folder=weekly no-code"
    limit(home, "--code", "--no-modules")
    assert shown(home) == "no-modules folder=weekly"
    limit(home, "--folder", ".", "--module", "*")
    assert shown(home) == "no limits"


def test_none_removes_all_limits(home):
    limit(home, "--module", "009A", "--folder", "nightly", "--no-code")
    assert limit(home, "--none") == ""
    assert (shown(home), stored(home)) == ("no limits", UNLIMITED)


def test_limits_end_with_their_account(home):
    limit(home, "--no-code")
    prints("user", "remove", "R41", "--home", home)
    prints("user", "add", "R41", "--os-user", current_user(), "--home", home)
    assert shown(home) == "no limits"


def test_a_limit_that_code_can_get_round_is_set_and_warned_of_in_one_line(home):
    for argv in (["--module", "009A"], ["--folder", "nightly"], ["--no-files", "--code"]):
        limit(home, "--none")
        (line,) = limit(home, *argv).splitlines()
        assert WARNING in line, argv
        assert stored(home) != UNLIMITED, argv


def test_a_limit_that_holds_is_not_warned_of(home):
    for argv in (["--no-code"], ["--module", "009A", "--no-code"], ["--code"], ["--module", "*"]):
        limit(home, "--none")
        assert limit(home, *argv) == "", argv


def test_a_folder_is_kept_as_resolved_paths_are_written(home):
    kept = {"nightly/": "nightly", "./a//b/.": "a/b", "a/x/../b": "a/b", "..a": "..a", "ü ü": "ü ü"}
    for given_, folder in kept.items():
        limit(home, "--folder", given_, "--no-code")
        assert stored(home) == Limits(None, (folder,), code=False)


def test_an_account_that_is_not_there_has_no_limits(home):
    for argv in ((), ("--none",), ("--no-code",)):
        fails("there is no account 'R99'", "user", "limit", "R99", *argv, "--home", home)


WRONG = (
    ("--module", ""),
    ("--module", "009-ABC"),
    ("--module", "../secret"),
    ("--module", "009?BC"),
    ("--module", "Ü"),
    ("--module", "x" * 65),
    ("--module",),
    ("--folder", ""),
    ("--folder", "/etc"),
    ("--folder", ".."),
    ("--folder", "a/../.."),
    ("--folder", "a\0b"),
    ("--folder", "x" * 4097),
    ("--module", "009A", "--no-modules"),
    ("--no-modules", "--module", "009A"),
    ("--folder", "a", "--no-files"),
    ("--code", "--no-code"),
    ("--none", "--code"),
    ("--none", "--no-code"),
    ("--none", "--no-modules"),
    ("--none", "--folder", "a"),
)


def test_options_that_must_be_corrected_are_a_2_and_change_nothing(home):
    limit(home, "--no-code")
    for argv in WRONG:
        done = headless("user", "limit", "R41", *argv, "--home", home)
        assert (done.returncode, done.stdout) == (2, ""), argv
        assert " error: " in done.stderr.splitlines()[-1], argv
        assert shown(home) == "no-code", argv


@examples
@given(st.lists(st.text("a ',\"\n\x1b\\*", min_size=1), min_size=1, max_size=4).map(tuple))
def test_folders_of_all_names_are_printed_so_that_a_shell_reads_them_again(folders):
    printed = words(Limits(None, folders))
    assert shlex.split(" ".join(printed)) == [f"folder={folder}" for folder in folders]


def test_a_folder_with_control_characters_is_printed_as_one_line_without_them(home):
    limit(home, "--folder", "a\n\x1b[2Jb", "--no-code")
    assert shown(home) == "folder='a\\n\\x1b[2Jb' no-code"
    assert len(prints("user", "list", "--home", home)) == 1


def test_two_commands_at_once_both_have_their_way(home):
    options = [("--module", "009A"), ("--folder", "nightly"), ("--no-code",)]
    for _ in range(2):
        manage("user", "limit", "R41", "--none", "--home", home)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda argv: manage("user", "limit", "R41", *argv, "--home", home), options))
        assert shown(home) == "module=009A folder=nightly no-code"


def test_a_command_that_waits_for_another_one_keeps_what_that_has_changed(home):
    with closing(Home(home).database()) as database:
        database.execute("BEGIN IMMEDIATE")
        Accounts(database).set_limits("R41", Limits(("009A",)))
        command = threading.Thread(target=limit, args=(home, "--no-code"))
        command.start()
        command.join(0.1)
        assert command.is_alive()
        database.commit()
        command.join()
    assert shown(home) == "module=009A no-code"
