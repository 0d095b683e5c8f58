"""What an account may run: the options of `headless user limit`, what limits mean, and what is stored of them."""

from __future__ import annotations

import fnmatch
import json
import shlex
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import PurePosixPath

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


CODE = Job(PY_CODE, "print(42)")
FILE = Job(PY_FILE, "link.py")

TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
SOME = st.none() | st.lists(TEXTS, max_size=4).map(tuple)
ANY_LIMITS = st.builds(Limits, SOME, SOME, st.booleans())
NAMES = st.sampled_from(["a", "b", "nightly", "month end"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


def refusal(limits: Limits, job: Job, path: str = "") -> str:
    return Account("R41", None, None, limits).refuses(job, path)


def module(text: str) -> Job:
    return Job(MODULE, text)


def test_an_account_without_limits_may_run_everything():
    for job, path in ((CODE, ""), (module("009ABC"), ""), (FILE, "a.py"), (FILE, "")):
        assert refusal(UNLIMITED, job, path) == ""


OVER = (
    (Limits(code=False), CODE, "", "run code"),
    (Limits(modules=("009XYZ", "00A*")), module("009ABC"), "", "run the module '009ABC'"),
    (Limits(modules=("009abc",)), module("009ABC"), "", "run the module '009ABC'"),
    (Limits(modules=()), module("009ABC"), "", "run modules"),
    (Limits(folders=("nightly",)), FILE, "weekly/a.py", "run files outside of 'nightly'"),
    (Limits(folders=("a", "b c")), FILE, "a.py", "run files outside of 'a', 'b c'"),
    (Limits(folders=("nightly",)), FILE, "nightly", "run files outside of 'nightly'"),
    (Limits(folders=("nightly",)), FILE, "nightly2/a.py", "run files outside of 'nightly'"),
    (Limits(folders=("nightly",)), FILE, "a/nightly/a.py", "run files outside of 'nightly'"),
    (Limits(folders=()), FILE, "nightly/a.py", "run files"),
)


def test_what_is_over_the_limits_is_refused_in_one_sentence():
    for limits, job, path, said in OVER:
        assert refusal(limits, job, path) == f"the account R41 may not {said}"


WITHIN = (
    (Limits(modules=("009XYZ", "009ABC")), module("009ABC"), ""),
    (Limits(modules=("009A*",)), module("009ABC"), ""),
    (Limits(folders=("a/b",)), FILE, "a/b/c/d.py"),
    (Limits(folders=("x", "a")), FILE, "a/b.py"),
    (Limits(modules=(), folders=()), CODE, ""),
    (Limits(modules=(), code=False), FILE, "a.py"),
    (Limits(folders=(), code=False), module("009ABC"), ""),
)


def test_what_keeps_to_the_limits_is_not_refused():
    for limits, job, path in WITHIN:
        assert refusal(limits, job, path) == "", (limits, job, path)


def test_a_file_without_its_resolved_path_is_refused_whatever_its_name():
    assert refusal(Limits(folders=("nightly",)), Job(PY_FILE, "nightly/close.py")) != ""


@examples
@given(st.lists(PATHS, max_size=3), PATHS)
def test_a_file_is_allowed_below_a_folder_and_nowhere_else(folders, path):
    is_below = any(PurePosixPath(folder) in PurePosixPath(path).parents for folder in folders)
    assert (refusal(Limits(folders=tuple(folders)), FILE, path) == "") == is_below


@examples
@given(st.text("aB0_*", max_size=8), st.text("aB0_", max_size=12))
@example("a*a", "a")
@example("*aB*aB*", "aBa_B")
@example("a**", "a")
def test_a_star_matches_any_characters_and_all_else_itself(pattern, text):
    assert (refusal(Limits(modules=(pattern,)), module(text)) == "") == fnmatch.fnmatchcase(text, pattern)


def test_a_long_id_costs_no_time_and_is_not_quoted_whole():
    begin = time.thread_time()
    said = refusal(Limits(modules=("*a" * 31 + "*b",)), module("a" * 1_000_000 + "c"))
    assert time.thread_time() - begin < 1  # of the processor, which others may have meanwhile
    assert len(said) < 400
    assert "1000001 characters" in said


def test_many_folders_make_no_endless_sentence():
    assert len(refusal(Limits(folders=tuple(map(str, range(1000)))), FILE, "a.py")) < 400


@examples
@given(ANY_LIMITS)
def test_limits_are_read_as_they_were_stored(limits):
    text = limits_to_json(limits)
    assert limits_from_json(text) == limits
    assert text is None or text.isascii()


def test_what_forbids_nothing_is_not_stored():
    assert limits_to_json(UNLIMITED) is None
    assert limits_from_json(None) == UNLIMITED


UNREADABLE = (
    "",
    "{",
    "[" * 100_000,
    "null",
    "[]",
    "{}",
    '{"modules": null, "folders": null}',
    '{"modules": "009ABC", "folders": null, "code": true, "one_at_a_time": false}',
    '{"modules": [1], "folders": null, "code": true, "one_at_a_time": false}',
    '{"modules": null, "folders": null, "code": 1, "one_at_a_time": false}',
    '{"modules": null, "folders": null, "code": null, "one_at_a_time": false}',
    '{"modules": null, "folders": null, "code": true, "one_at_a_time": 0}',
    '{"modules": null, "folders": null, "code": true, "one_at_a_time": false, "hours": []}',
)


def test_limits_that_cannot_be_read_forbid_everything():
    for text in UNREADABLE:
        assert limits_from_json(text) == NOTHING, text
        assert all(refusal(limits_from_json(text), job, "a.py") for job in (CODE, FILE, module("009ABC"))), text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*Limits._fields, "x"]), inner),
)


@examples
@given(JSON.map(json.dumps) | TEXTS)
def test_whatever_is_stored_is_limits_or_forbids_everything(text):
    limits = limits_from_json(text)
    assert isinstance(limits, Limits)
    assert limits == NOTHING or json.loads(text) == json.loads(json.dumps(limits._asdict()))
