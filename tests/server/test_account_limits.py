"""What an account may run: `headless user limit`, what limits mean, and how they are stored."""

from __future__ import annotations

import fnmatch
import shlex
import threading
import time
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headless.dialects.vocabulary import MODULE, PY_CODE, PY_FILE, Job
from headless.server.accounts import NOTHING, UNLIMITED, Account, Accounts, Limits, limits_from_json, limits_to_json
from headless.server.commands.user import words
from headless.server.home import Home
from support.command_here import headless
from support.homes import fails, prints
from support.hypothesis_settings import examples
from support.process import current_user

pytestmark = pytest.mark.slow


def limit(home_path: str, *argv: str) -> str:
    """What the command, which succeeds, prints on stderr."""
    done = headless("user", "limit", "R41", *argv, "--home", home_path)
    assert (done.returncode, done.stdout) == (0, "")
    return done.stderr


def shown(home_path: str) -> str:
    (line,) = prints("user", "limit", "R41", "--home", home_path)
    return line


def stored(home_path: str) -> Limits:
    with closing(Home(home_path).database()) as database:
        account = Accounts(database).of_user("R41")
    assert account is not None
    return account.limits


LIMITS = {
    "--no-code": (Limits(code=False), "no-code"),
    "--one-at-a-time": (Limits(one_at_a_time=True), "one-at-a-time"),
    "--one-at-a-time --no-code": (Limits(code=False, one_at_a_time=True), "no-code one-at-a-time"),
    "--many-at-a-time": (UNLIMITED, "no limits"),
    "--module 009ABC --no-code": (Limits(("009ABC",), code=False), "module=009ABC no-code"),
    "--module 009A* --module 00B --module 00B --no-code": (
        Limits(("009A*", "00B"), code=False),
        "module=009A* module=00B no-code",
    ),
    "--no-modules --no-code": (Limits((), code=False), "no-modules no-code"),
    "--folder nightly --folder 'month end' --no-code": (
        Limits(None, ("nightly", "month end"), code=False),
        "folder=nightly folder='month end' no-code",
    ),
    "--no-files --no-code": (Limits(None, (), code=False), "no-files no-code"),
    "--no-modules --no-files": (Limits((), ()), "no-modules no-files"),
    "--module * --module 00B --folder . --folder a --code": (UNLIMITED, "no limits"),
    "--folder nightly/ --no-code": (Limits(None, ("nightly",), code=False), "folder=nightly no-code"),
    "--folder ./a//b/. --folder a/x/../b --no-code": (Limits(None, ("a/b",), code=False), "folder=a/b no-code"),
    "--folder ..a --no-code": (Limits(None, ("..a",), code=False), "folder=..a no-code"),
    "--folder 'ü ü' --no-code": (Limits(None, ("ü ü",), code=False), "folder='ü ü' no-code"),
}


def test_the_limits_are_what_the_options_say_until_none_removes_them(home_path):
    assert shown(home_path) == "no limits"
    for options, (limits, printed) in LIMITS.items():
        limit(home_path, *shlex.split(options))
        assert (stored(home_path), shown(home_path)) == (limits, printed), options
        tail = "" if limits == UNLIMITED else f" {printed}"
        assert prints("user", "list", "--home", home_path) == [f"R41 osuser={current_user()}{tail}"]
        assert limit(home_path, "--none") == ""
        assert (stored(home_path), shown(home_path)) == (UNLIMITED, "no limits")


def test_a_limit_that_code_can_get_round_is_set_and_warned_of_in_one_line_and_no_other_is(home_path):
    for options, is_warned_of in {
        "--module 009A": True, "--folder nightly": True, "--no-files --code": True,
        "--no-code": False, "--module 009A --no-code": False, "--code": False, "--module *": False,
    }.items():  # fmt: skip
        limit(home_path, "--none")
        warnings = limit(home_path, *options.split()).splitlines()
        assert len(warnings) == is_warned_of, options
        assert all("warning: the account 'R41' may run code" in line for line in warnings)
        assert (stored(home_path) == UNLIMITED) == (options in ("--code", "--module *"))


WRONG = """\
--module ''
--module 009-ABC
--module ../secret
--module 009?BC
--module Ü
--module {long_id}
--module
--folder ''
--folder /etc
--folder ..
--folder a/../..
--folder a{nul}b
--folder {long_folder}
--module 009A --no-modules
--no-modules --module 009A
--folder a --no-files
--code --no-code
--one-at-a-time --many-at-a-time
--none --code
--none --no-code
--none --no-modules
--none --folder a""".format(long_id="x" * 65, long_folder="x" * 4097, nul="\0")


def test_options_that_must_be_corrected_are_a_2_and_change_nothing(home_path):
    limit(home_path, "--no-code")
    for options in WRONG.splitlines():
        done = headless("user", "limit", "R41", *shlex.split(options), "--home", home_path)
        assert (done.returncode, done.stdout) == (2, ""), options
        assert " error: " in done.stderr.splitlines()[-1], options
        assert shown(home_path) == "no-code", options


CODE = Job(PY_CODE, "print(42)")
FILE = Job(PY_FILE, "link.py")
TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
SOME = st.none() | st.lists(TEXTS, max_size=4).map(tuple)
ANY_LIMITS = st.builds(Limits, SOME, SOME, st.booleans())


def refusal(limits: Limits, job: Job, path: str = "") -> str:
    return Account("R41", None, None, limits).refuses(job, path)


def module(text: str) -> Job:
    return Job(MODULE, text)


CASES = (
    (UNLIMITED, CODE, "", ""),
    (UNLIMITED, module("009ABC"), "", ""),
    (UNLIMITED, FILE, "a.py", ""),
    (UNLIMITED, FILE, "", ""),
    (Limits(code=False), CODE, "", "run code"),
    (Limits(modules=("009XYZ", "00A*")), module("009ABC"), "", "run the module '009ABC'"),
    (Limits(modules=("009abc",)), module("009ABC"), "", "run the module '009ABC'"),
    (Limits(modules=("009XYZ", "009ABC")), module("009ABC"), "", ""),
    (Limits(modules=("009A*",)), module("009ABC"), "", ""),
    (Limits(modules=()), module("009ABC"), "", "run modules"),
    (Limits(modules=(), folders=()), CODE, "", ""),
    (Limits(modules=(), code=False), FILE, "a.py", ""),
    (Limits(folders=(), code=False), module("009ABC"), "", ""),
    (Limits(folders=()), FILE, "nightly/a.py", "run files"),
    (Limits(folders=("nightly",)), FILE, "weekly/a.py", "run files outside of 'nightly'"),
    (Limits(folders=("nightly",)), FILE, "", "run files outside of 'nightly'"),  # not resolved
    (Limits(folders=("nightly",)), FILE, "nightly", "run files outside of 'nightly'"),
    (Limits(folders=("nightly",)), FILE, "nightly2/a.py", "run files outside of 'nightly'"),
    (Limits(folders=("nightly",)), FILE, "a/nightly/a.py", "run files outside of 'nightly'"),
    (Limits(folders=("a", "b c")), FILE, "a.py", "run files outside of 'a', 'b c'"),
    (Limits(folders=("a/b",)), FILE, "a/b/c/d.py", ""),
    (Limits(folders=("x", "a")), FILE, "a/b.py", ""),
)


def test_what_is_over_the_limits_is_refused_in_one_sentence_and_nothing_else():
    for limits, job, path, forbidden in CASES:
        expected = f"the account R41 may not {forbidden}" if forbidden else ""
        assert refusal(limits, job, path) == expected, (limits, job, path)


def test_what_is_not_given_stays_as_it_was(home_path):
    limit(home_path, "--module", "009A", "--module", "009B", "--folder", "nightly", "--no-code")
    limit(home_path, "--module", "009C")
    assert shown(home_path) == "module=009C folder=nightly no-code"
    limit(home_path, "--folder", "weekly")
    assert shown(home_path) == "module=009C folder=weekly no-code"
    limit(home_path, "--code", "--no-modules", "--one-at-a-time")
    assert shown(home_path) == "no-modules folder=weekly one-at-a-time"
    limit(home_path, "--many-at-a-time")
    assert shown(home_path) == "no-modules folder=weekly"
    limit(home_path, "--folder", ".", "--module", "*")
    assert shown(home_path) == "no limits"


def test_an_account_that_is_not_there_has_no_limits(home_path):
    for argv in ((), ("--none",), ("--no-code",)):
        fails("there is no account 'R99'", "user", "limit", "R99", *argv, "--home", home_path)


@examples
@given(st.lists(st.text("a ',\"\n\x1b\\*", min_size=1), min_size=1, max_size=4).map(tuple))
def test_folders_of_all_names_are_printed_so_that_a_shell_reads_them_again(folders):
    printed = words(Limits(None, folders))
    assert shlex.split(" ".join(printed)) == [f"folder={folder}" for folder in folders]


def test_a_folder_with_control_characters_is_printed_as_one_line_without_them(home_path):
    limit(home_path, "--folder", "a\n\x1b[2Jb", "--no-code")
    assert shown(home_path) == "folder='a\\n\\x1b[2Jb' no-code"
    assert len(prints("user", "list", "--home", home_path)) == 1


def test_a_command_that_waits_for_another_one_keeps_what_that_has_changed(home_path):
    with closing(Home(home_path).database()) as database:
        database.execute("BEGIN IMMEDIATE")
        Accounts(database).set_limits("R41", Limits(("009A",)))
        command = threading.Thread(target=limit, args=(home_path, "--no-code"))
        command.start()
        command.join(0.1)
        assert command.is_alive()
        database.commit()
        command.join()
    assert shown(home_path) == "module=009A no-code"


@examples
@given(st.text("aB0_*", max_size=8), st.text("aB0_", max_size=12))
@example("a*a", "a")
@example("*aB*aB*", "aBa_B")
@example("a**", "a")
def test_a_star_matches_any_characters_and_all_else_itself(pattern, text):
    assert (refusal(Limits(modules=(pattern,)), module(text)) == "") == fnmatch.fnmatchcase(text, pattern)


def test_a_long_id_costs_no_time_and_neither_it_nor_all_folders_are_quoted():
    assert len(refusal(Limits(folders=tuple(map(str, range(1000)))), FILE, "a.py")) < 400
    begin = time.thread_time()
    said = refusal(Limits(modules=("*a" * 31 + "*b",)), module("a" * 1_000_000 + "c"))
    assert time.thread_time() - begin < 1  # of the processor, which others may have meanwhile
    assert len(said) < 400
    assert "1000001 characters" in said


@examples
@given(ANY_LIMITS)
def test_limits_are_read_as_they_were_stored(limits):
    text = limits_to_json(limits)
    assert limits_from_json(text) == limits
    assert text.isascii() if text else limits == UNLIMITED


UNREADABLE = (
    "",
    "{",
    "[" * 100_000,
    "null",
    "[]",
    "{}",
    '{"modules": null, "folders": null}',
    *(
        f'{{"modules": {modules}, "folders": null, "code": {code}, "one_at_a_time": {one}{tail}}}'
        for modules, code, one, tail in [
            ('"009ABC"', "true", "false", ""), ("[1]", "true", "false", ""), ("null", "1", "false", ""),
            ("null", "null", "false", ""), ("null", "true", "0", ""), ("null", "true", "false", ', "hours": []'),
        ]
    ),
)  # fmt: skip


def test_limits_that_cannot_be_read_forbid_everything():
    for text in UNREADABLE:
        assert limits_from_json(text) == NOTHING, text
        assert all(refusal(NOTHING, job, "a.py") for job in (CODE, FILE, module("009ABC")))
