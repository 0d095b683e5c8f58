"""The table of rules: each one is used, and its texts are what people read."""

from __future__ import annotations

import re

import pytest

from headless.admin.files import File
from headless.admin.findings import Edit, corrected, finding
from headless.admin.rules import RULES
from support.process import ROOT

CODE = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "headless" / "admin").glob("*.py"))


@pytest.mark.parametrize("key", RULES)
def test_a_rule_is_used(key):
    assert CODE.count(f'"{key}"') > 1


def test_a_rule_is_named_by_its_key_without_the_case():
    found = finding("too-long/setting", File("tab", "A=b\n" * 9), 8, name="A", limit=998)
    assert (found.rule, found.position, found.text) == (
        "too-long", "tab:3", "A is longer than 998 bytes, and cron cuts it there",
    )  # fmt: skip


def test_what_is_written_in_braces_is_a_value_and_a_value_is_not_read_again():
    found = finding("options", File("tab", ""), None, problem="{name} %s {0}")
    assert (found.text, found.line, found.position) == ("{name} %s {0}", 0, "tab")


def test_the_texts_are_one_sentence_each_without_a_full_stop():
    for key, rule in RULES.items():
        for text in (rule.text, rule.consequence, rule.advice):
            assert not re.search(r"\.$|\n|  ", text.replace("sessions -s ...", "").replace("[ ... ]", "")), key
        assert rule.text and rule.consequence, key


def test_edits_that_are_equal_are_made_once_and_of_two_that_overlap_the_first():
    edits = [Edit(4, 5, "E"), Edit(1, 3, "x"), Edit(1, 3, "x"), Edit(2, 4, "y"), Edit(5, 5, "!")]
    assert corrected("abcdef", edits) == "axdE!f"
    assert corrected("abc", []) == "abc"
