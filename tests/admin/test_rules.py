"""The table of rules: each one is used, its examples have what they should, and its texts are what people read."""

from __future__ import annotations

import os
import re
import sys

import pytest

from headless.admin import rules
from headless.admin.files import File
from headless.admin.findings import Edit, corrected, finding
from headless.admin.rules import RULES
from support import checks
from support.process import ROOT, SCRIPT

CODE = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "headless" / "admin").glob("*.py"))
CALL = "PYTHON SCRIPT -s planta:20000 -u R41 -p DIR/secret -t -1 -v -m 009ABC"
TASK = """<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
%s
<Actions><Exec><Command>C:\\Python\\python.exe</Command><Arguments>C:\\planta_headless.py -s planta:20000 -m 009ABC -t -1</Arguments></Exec></Actions>
</Task>
"""  # noqa: E501
# A text cannot show them alone: they need another file, user or server, or a size.
SHOWN_ELSEWHERE = {
    "too-long/setting", "too-long/command", "too-many-lines", "file-mode", "run-parts", "no-newline",
    "user-unknown/here", "unreadable", "unreadable/deep", "no-library", "old-script", "not-executable",
    "not-executable/script",
    "not-looked-at", "cannot-write", "login/refused", "login", "not-tried", "no-task", "no-xml",
}  # fmt: skip


@pytest.mark.parametrize("key", RULES)
def test_a_rule_is_used(key):
    assert CODE.count(f'"{key}"') > 1


def found(folder, example):
    """The rules that `check` finds in an example. Its first line may be `# file: NAME`; what is in an XML file is put
    into a task."""
    named = re.match(r"# file: (\S+)\n", example)
    path = folder / (named[1] if named else "crontab")
    content = example[named.end() :] if named else example
    if path.suffix == ".xml":
        content = TASK % content
    path.parent.mkdir(exist_ok=True)
    for name, value in (("CALL", CALL), ("PYTHON", sys.executable), ("SCRIPT", str(SCRIPT)), ("DIR", str(folder))):
        content = content.replace(name, value)
    path.write_text(content + "\n", encoding="utf-8")
    return checks.rules(checks.check(path)[1])


@pytest.mark.skipif(os.name == "nt", reason="files and users of cron")
@pytest.mark.parametrize("key", [key for key, rule in RULES.items() if rule.bad])
def test_a_rule_is_found_in_its_bad_example_and_not_in_its_good_one(folder, key):
    rule = RULES[key]
    name = key.partition("/")[0]
    assert name in found(folder, rule.bad)
    if rule.good:
        assert name not in found(folder, rule.good)


def test_a_rule_of_which_a_text_can_have_the_mistake_has_an_example():
    others = {*rules._OF_UNITS, *rules._OF_TASKS}  # their own tests show them
    assert {key for key, rule in RULES.items() if not rule.bad} - others == SHOWN_ELSEWHERE - others


def test_a_rule_is_named_by_its_key_without_the_case():
    made = finding("too-long/setting", File("tab", "A=b\n" * 9), 8, name="A", limit=998)
    assert (made.rule, made.position, made.text) == (
        "too-long", "tab:3", "A is longer than 998 bytes, and cron cuts it there",
    )  # fmt: skip


def test_what_is_written_in_braces_is_a_value_and_a_value_is_not_read_again():
    made = finding("options", File("tab", ""), None, problem="{name} %s {0}")
    assert (made.text, made.line, made.position) == ("{name} %s {0}", 0, "tab")


def test_the_texts_are_one_sentence_each_without_a_full_stop():
    for key, rule in RULES.items():
        for text in (rule.text, rule.consequence, rule.advice):
            assert not re.search(r"\.$|\n|  ", text.replace("sessions -s ...", "").replace("[ ... ]", "")), key
        assert rule.text and rule.consequence, key


def test_edits_that_are_equal_are_made_once_and_of_two_that_overlap_the_first():
    edits = [Edit(4, 5, "E"), Edit(1, 3, "x"), Edit(1, 3, "x"), Edit(2, 4, "y"), Edit(5, 5, "!")]
    assert corrected("abcdef", edits) == "axdE!f"
    assert corrected("abc", []) == "abc"
