"""The table of rules: each one is used, its examples have what they should, and its texts are what people read."""

from __future__ import annotations

import os
import re
import sys

import pytest

from headless.admin import rules
from headless.admin.files import File
from headless.admin.rules import RULES, Edit, corrected, finding
from support import checks
from support.process import ROOT, SCRIPT

CODE = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "headless" / "admin").glob("*.py"))
CALL = "PYTHON SCRIPT -s planta:20000 -u R41 -p DIR/secret -t -1 -v -m 009ABC"
TASK = """<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
%s
<Actions><Exec><Command>C:\\Python\\python.exe</Command><Arguments>C:\\planta_headless.py -s planta:20000 -m 009ABC -t -1</Arguments></Exec></Actions>
</Task>
"""  # noqa: E501
SERVICE = "# file: x.service\n[Service]\nExecStart=CALL\n"
XML = "# file: x.xml\n"
GOOD = "0 2 * * * CALL || echo bad"
# Of each rule a text with the mistake, and one without it that looks alike: a crontab, or what the first line says.
EXAMPLES = {
    "time/nickname": ("@fortnightly CALL || echo bad", "@daily CALL || echo bad"),
    "time/every": ("@every 5m CALL || echo bad", "@hourly flock l CALL || echo bad"),
    "time/field": ("0 2 * * x CALL || echo bad", "0 2 * * mon CALL || echo bad"),
    "time/value": ("61 2 * * * CALL || echo bad", "59 2 * * * CALL || echo bad"),
    "time-cut": ("0 2 * * 1#1 CALL || echo bad", "0 2 * * 1 CALL || echo bad"),
    "six-fields": ("0 0 2 * * * CALL || echo bad", GOOD),
    "six-fields/user": ("# file: cron.d/planta\n0 0 2 * * * root CALL", "# file: cron.d/planta\n0 2 * * * root CALL"),
    "step": ("*/90 * * * * flock -n DIR/l CALL || echo bad", "*/30 * * * * flock -n DIR/l CALL || echo bad"),
    "each-minute": ("* 3 * * * flock -n DIR/l CALL || echo bad", "* * * * * flock -n DIR/l CALL || echo bad"),
    "either-day": ("0 4 1 * 1 CALL || echo bad", "0 4 1 * * CALL || echo bad"),
    "time-zone": ("CRON_TZ=Europe/Berlin\n0 2 * * * CALL || echo bad", "TZ=Europe/Berlin\n0 2 * * * CALL || echo bad"),
    "no-blank": ("0 2 * * *\N{NO-BREAK SPACE}CALL || echo bad", "0 2 * * *\tCALL || echo bad"),
    "time/missing": ("0 2 * *\n0 2 * * * CALL || echo bad", "@daily CALL || echo bad"),
    "setting/shell": ("export A=b\n0 2 * * * CALL || echo bad", "A=b\n0 2 * * * CALL || echo bad"),
    "setting/empty": ("A=\n0 2 * * * CALL || echo bad", 'A=""\n0 2 * * * CALL || echo bad'),
    "setting/comment": ("A='b' # c\n0 2 * * * CALL || echo bad", "A='b'\n0 2 * * * CALL || echo bad"),
    "setting/quotes": ("A='b'c\n0 2 * * * CALL || echo bad", "A='b c'\n0 2 * * * CALL || echo bad"),
    "setting-too-late": (
        "0 2 * * * $P SCRIPT -s h:1 -t -1 -v -m 1\nP=PYTHON",
        "P=PYTHON\n0 2 * * * $P SCRIPT -s h:1 -t -1 -v -m 1",
    ),
    "variable-name": ("A-B=c\n0 2 * * * CALL || echo bad", "A_B=c\n0 2 * * * CALL || echo bad"),
    "comment-in-setting": ("A=b # c\n0 2 * * * CALL || echo bad", "A=b#c\n0 2 * * * CALL || echo bad"),
    "not-expanded/command": (
        "PATH=$PATH:/x\n0 2 * * * CALL || echo bad",
        "PATH=/usr/bin:/bin:/x\n0 2 * * * CALL || echo bad",
    ),
    "not-expanded": ("A=$HOME/x\n0 2 * * * CALL || echo bad", "A=/var/x\n0 2 * * * CALL || echo bad"),
    "no-command": ("0 2 * * *\n0 2 * * * CALL || echo bad", GOOD),
    "no-command/user": (
        "# file: cron.d/planta\n0 2 * * * root\n0 2 * * * root CALL",
        "# file: cron.d/planta\n0 2 * * * root CALL",
    ),
    "user-missing": ("# file: cron.d/planta\n0 2 * * * CALL", "# file: cron.d/planta\n0 2 * * * root CALL"),
    "user-unknown": ("# file: cron.d/planta\n0 2 * * * nosuchuser CALL", "# file: cron.d/planta\n0 2 * * * root CALL"),
    "user-in-command": ("0 2 * * * root CALL || echo bad", GOOD),
    "percent": ("0 2 * * * CALL > DIR/$(date +%F) || echo bad", "0 2 * * * CALL > DIR/$(date +\\%F) || echo bad"),
    "never/fields": ("0 22-2 * * * CALL || echo bad", "0 2-22 * * * CALL || echo bad"),
    "byte-order-mark": ("\N{ZERO WIDTH NO-BREAK SPACE}0 2 * * * CALL || echo bad", GOOD),
    "byte-order-mark/setting": (
        "\N{ZERO WIDTH NO-BREAK SPACE}A=b\n0 2 * * * CALL || echo bad",
        "A=b\n0 2 * * * CALL || echo bad",
    ),
    "line-ends": ("0 2 * * * CALL || echo bad\r", GOOD),
    "line-ends/blank": ("\r\n0 2 * * * CALL || echo bad", "\n0 2 * * * CALL || echo bad"),
    "file-name": ("# file: cron.d/planta.cron\n0 2 * * * root CALL", "# file: cron.d/planta-cron\n0 2 * * * root CALL"),
    "syntax": ("0 2 * * * CALL || { echo bad", "0 2 * * * CALL || { echo bad; }"),
    "pipe-ampersand": ("0 2 * * * CALL |& tee DIR/log", "SHELL=/bin/bash\n0 2 * * * CALL |& tee DIR/log"),
    "here-string": ("0 2 * * * CALL <<< x", "SHELL=/bin/bash\n0 2 * * * CALL <<< x"),
    "double-bracket": ("0 2 * * * [[ -d DIR ]] && CALL || echo bad", "0 2 * * * [ -d DIR ] && CALL || echo bad"),
    "bad-substitution": ("0 2 * * * sleep ${X:0:1}; CALL || echo bad", "0 2 * * * sleep ${X:-1}; CALL || echo bad"),
    "test-equals": (
        '0 2 * * * [ "$(uname)" == Linux ] && CALL || echo bad',
        '0 2 * * * [ "$(uname)" = Linux ] && CALL || echo bad',
    ),
    "unknown-to-sh": (
        "0 2 * * * shopt -s nullglob && CALL || echo bad",
        "SHELL=/bin/bash\n0 2 * * * shopt -s nullglob && CALL || echo bad",
    ),
    "not-reached": ("0 2 * * * exec CALL; CALL -m 2", "0 2 * * * exec 9> DIR/l; CALL"),
    "pipefail": (
        "0 2 * * * set -o pipefail; CALL | tee DIR/log",
        "SHELL=/bin/bash\n0 2 * * * set -o pipefail; CALL | tee DIR/log",
    ),
    "ampersand-redirection": ("0 2 * * * CALL &> DIR/log || echo bad", "0 2 * * * CALL > DIR/log 2>&1 || echo bad"),
    "source": ("0 2 * * * source DIR/env; CALL || echo bad", "0 2 * * * . DIR/env; CALL || echo bad"),
    "source/path": ("0 2 * * * . env.sh; CALL || echo bad", "0 2 * * * . ./env.sh; CALL || echo bad"),
    "line-ends/script": ("# file: a.sh\n#!/bin/sh\r\nCALL\r", "# file: a.sh\n#!/bin/sh\nCALL"),
    "ampersand-redirection/descriptor": (
        "0 2 * * * CALL >& DIR/log || echo bad",
        "SHELL=/bin/bash\n0 2 * * * CALL >& DIR/log || echo bad",
    ),
    "redirection-order": ("0 2 * * * CALL 2>&1 > DIR/log || echo bad", "0 2 * * * CALL > DIR/log 2>&1 || echo bad"),
    "code-ignored": (SERVICE.replace("=CALL", "=-CALL"), SERVICE),
    "code-ignored/status": (SERVICE + "SuccessExitStatus=1", SERVICE + "SuccessExitStatus=75"),
    "no-shell": (SERVICE.replace("CALL", "CALL | cat"), SERVICE),
    "restart": (SERVICE + "Restart=always", SERVICE + "Restart=no"),
    "timeout/unit": (SERVICE + "TimeoutStartSec=60", SERVICE + "TimeoutStartSec=infinity"),
    "unreported/unit": (SERVICE, "# file: x.service\n[Unit]\nOnFailure=y.service\n[Service]\nExecStart=CALL"),
    "restart/status": (SERVICE + "RestartForceExitStatus=1", SERVICE),
    "variable-program": (SERVICE.replace("CALL", "$PY CALL"), SERVICE),
    "type": (SERVICE + "Type=notify", SERVICE + "Type=oneshot"),
    "remain-after-exit": (SERVICE + "RemainAfterExit=yes", SERVICE + "RemainAfterExit=no"),
    "one-command": (SERVICE + "ExecStart=CALL -m 2", SERVICE + "ExecStart=CALL -m 2\nType=oneshot"),
    "no-file": (SERVICE + "EnvironmentFile=/no/file", SERVICE + "EnvironmentFile=-/no/file"),
    "dynamic-user": (SERVICE + "DynamicUser=yes", SERVICE + "User=root"),
    "user-unknown/unit": (SERVICE + "User=nobody-here", SERVICE + "User=root"),
    "wrong-section": (SERVICE + "OnFailure=y.service", SERVICE),
    "not-checked/setting": (SERVICE + "ExecStopPost=CALL", SERVICE),
    "ExecutionTimeLimit": (
        XML + "<Settings/>",
        XML + "<Settings><ExecutionTimeLimit>PT0S</ExecutionTimeLimit></Settings>",
    ),
    "RunOnlyIfIdle": (XML + "<Settings><RunOnlyIfIdle>true</RunOnlyIfIdle></Settings>", XML + "<Settings/>"),
    "trigger": (
        XML + "<Triggers><BootTrigger/><BootTrigger><Enabled>false</Enabled></BootTrigger></Triggers>",
        XML + "<Triggers><BootTrigger/></Triggers>",
    ),
    "trigger/limit": (
        XML + "<Triggers><BootTrigger><ExecutionTimeLimit>PT30M</ExecutionTimeLimit></BootTrigger></Triggers>",
        XML + "<Triggers><BootTrigger><ExecutionTimeLimit>PT0S</ExecutionTimeLimit></BootTrigger></Triggers>",
    ),
    "no-trigger": (XML + "<Triggers/>", XML + "<Triggers><BootTrigger/></Triggers>"),
    "percent/batch": (
        "# file: x.bat\npy C:\\planta_headless.py -s h:1 -t -1 -c \"print(5 % 3)\"",
        "# file: x.bat\npy C:\\planta_headless.py -s h:1 -t -1 -c \"print(5 %% 3)\"",
    ),
    "options": ("0 2 * * * PYTHON SCRIPT -s planta -t -1 -v -m 1 || echo bad", GOOD),
    "options/unseen": ("0 2 * * * . /etc/environment; PYTHON SCRIPT -t -1 -v -m 1", GOOD),
    "old-python": ("0 2 * * * /usr/bin/python2 SCRIPT -s h:1 -t -1 -v -m 1", GOOD),
    "python-option": ("0 2 * * * PYTHON -3 SCRIPT -s h:1 -t -1 -v -m 1", GOOD),
    "no-program": ("0 2 * * * /no/python3 SCRIPT -s h:1 -t -1 -v -m 1", GOOD),
    "no-program/path": ("0 2 * * * python3.99 SCRIPT -s h:1 -t -1 -v -m 1", GOOD),
    "no-program/shell": ("SHELL=/no/sh\n0 2 * * * CALL", "SHELL=/bin/bash\n0 2 * * * CALL"),
    "no-script": ("0 2 * * * PYTHON /no/planta_headless.py -s h:1 -t -1 -v -m 1", GOOD),
    "no-folder": ("0 2 * * * cd /no/folder && CALL || echo bad", "0 2 * * * cd DIR && CALL || echo bad"),
    "no-folder/output": ("0 2 * * * CALL > /no/folder/log || echo bad", "0 2 * * * CALL > DIR/log || echo bad"),
    "no-script/module": ("0 2 * * * cd DIR && PYTHON -m planta_headless -s h:1 -t -1 -v -m 1", "0 2 * * * CALL"),
    "no-script/sourced": (
        "0 2 * * * . /no/env; CALL || echo bad",
        "0 2 * * * [ -f /no/env ] && . /no/env; CALL || echo bad",
    ),
    "finds-itself": ("0 2 * * * pgrep -f planta_headless.py || CALL", "0 2 * * * pgrep -x planta_headless || CALL"),
    "unset": ("0 2 * * * PYTHON SCRIPT -s $UNSET -t -1 -v -m 1", "S=h:1\n0 2 * * * PYTHON SCRIPT -s $S -t -1 -v -m 1"),
    "look-alike": (
        "0 2 * * * PYTHON SCRIPT -s h:1 \N{EN DASH}t -1 -v -m 1",
        "0 2 * * * PYTHON SCRIPT -s h:1 -t -1 -v -c 'print(\"\N{EN DASH}\")'",
    ),
    "variable/patience": (
        "PLANTA_PATIENCE=ten\n0 2 * * * CALL || echo bad",
        "PLANTA_PATIENCE=10\n0 2 * * * CALL || echo bad",
    ),
    "variable/default": (
        "PLANTA_SERVICE=planta\n0 2 * * * PYTHON SCRIPT -t -1 -v -m 1",
        "PLANTA_SERVICE=planta:20000\n0 2 * * * PYTHON SCRIPT -t -1 -v -m 1 || echo bad",
    ),
    "variable/dialect": ("PLANTA_PROTOCOL=/no/file.py\n0 2 * * * CALL || echo bad", GOOD),
    "variable/receipt": ("PLANTA_RECEIPT=/no/folder/x\n0 2 * * * CALL", "PLANTA_RECEIPT=DIR/x\n0 2 * * * CALL"),
    "password-file": ("0 2 * * * PYTHON SCRIPT -s h:1 -u R -p /no/file -t -1 -v -m 1", GOOD),
    "password-file/relative": (
        "0 2 * * * PYTHON SCRIPT -s h:1 -u R -p no-file -t -1 -v -m 1",
        GOOD,
    ),
    "code-lost": ("0 2 * * * CALL; true", "0 2 * * * true; CALL"),
    "unreported": ("0 2 * * * CALL > DIR/log 2>&1", "PLANTA_RECEIPT=DIR/x\n0 2 * * * CALL > DIR/log 2>&1"),
    "unreported/mail": ('MAILTO=""\n0 2 * * * CALL || echo bad', "MAILTO=root\n0 2 * * * CALL || echo bad"),
    "timeout": ("0 2 * * * timeout 60 CALL || echo bad", GOOD),
    "never": ("0 2 31 2 * CALL || echo bad", "0 2 29 2 * CALL || echo bad"),
    "t-too-long": (
        "*/5 * * * * flock l PYTHON SCRIPT -s h:1 -t 900 -v -m 1",
        "*/5 * * * * flock l PYTHON SCRIPT -s h:1 -t 200 -v -m 1",
    ),
    "no-t": ("0 2 * * * PYTHON SCRIPT -s h:1 -v -m 1", GOOD),
    "again": ("0 2 * * * CALL || { sleep 60; CALL; }", "0 2 * * * CALL && CALL -m 009DEF || echo bad"),
    "not-locked": ("*/5 * * * * CALL || echo bad", "*/5 * * * * flock -n DIR/l CALL || echo bad"),
    "twice": (
        "0 2 * * * CALL || echo bad\n0 2 * * * CALL || echo bad",
        "0 2 * * * CALL || echo bad\n5 2 * * * CALL || echo bad",
    ),
    "not-checked": ("0 2 * * * ssh host CALL || echo bad", "0 2 * * * test -f SCRIPT && CALL || echo bad"),
    "no-call": ("0 2 * * * true", GOOD),
    "one-word": ('0 2 * * * "CALL" || echo bad', '0 2 * * * "PYTHON" SCRIPT -s h:1 -t -1 -v -m 1'),
}  # fmt: skip
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
@pytest.mark.parametrize("key", EXAMPLES)
def test_a_rule_is_found_in_its_bad_example_and_not_in_its_good_one(folder, key):
    name, (bad, good) = key.partition("/")[0], EXAMPLES[key]
    assert name in found(folder, bad)
    assert name not in found(folder, good)


def test_a_rule_of_which_a_text_can_have_the_mistake_has_an_example():
    others = {*rules._OF_UNITS, *rules._OF_TASKS}  # their own tests show them
    assert RULES.keys() - EXAMPLES.keys() - others == SHOWN_ELSEWHERE - others


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
