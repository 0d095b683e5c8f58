"""What limits mean: which job they refuse, how patterns are read, and what is stored of them."""

from __future__ import annotations

import fnmatch
import json
import time
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headless.dialects.vocabulary import MODULE, PY_CODE, PY_FILE, Job
from headless.server.accounts import NOTHING, UNLIMITED, Account, Limits, limits_from_json, limits_to_json
from support.hypothesis_settings import examples

pytestmark = pytest.mark.slow

CODE = Job(PY_CODE, "print(42)")
FILE = Job(PY_FILE, "link.py")

TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
SOME = st.none() | st.lists(TEXTS, max_size=4).map(tuple)
LIMITS = st.builds(Limits, SOME, SOME, st.booleans())
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
def test_a_star_stands_for_any_characters_and_all_else_for_itself(pattern, text):
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
@given(LIMITS)
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
