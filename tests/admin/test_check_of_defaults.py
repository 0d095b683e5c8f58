"""headless check: PLANTA_SERVICE, PLANTA_LOGIN_USER and PLANTA_SECRET_FILE, wherever a variable can be set."""

from __future__ import annotations

import os
import sys

import pytest

from support import checks
from support.credentials import HASH
from support.process import SCRIPT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="files and users of cron")
CALL = f"{sys.executable} {SCRIPT} -t -1 -v -m 009ABC"
LOGS = " > FOLDER/log 2>&1 || echo ended with $?\n"
HEAD = "PLANTA_SERVICE=planta:20000\nPLANTA_LOGIN_USER=R41\nPLANTA_SECRET_FILE=FOLDER/secret\n"
LINE = f"0 2 * * * {CALL}{LOGS}"


def check(folder, content, name="crontab", *more):
    """The text of each finding, by its rule."""
    (folder / name).write_text(content.replace("FOLDER", str(folder)))
    return {each["rule"]: each["text"] for each in checks.check(folder / name, *more)[1]}


def test_a_line_has_the_defaults_of_its_crontab(folder):
    assert check(folder, HEAD + LINE) == {}
    assert check(folder, LINE)["options"] == "-s HOST:PORT is missing"
    assert check(folder, HEAD.replace("planta:20000", "'' ") + LINE)["options"] == "-s HOST:PORT is missing"
    text = check(folder, HEAD.replace("PLANTA_LOGIN_USER=R41", "") + LINE)["options"]
    assert text == "the challenge login needs both -u USER_NAME and -p SECRET_FILE (which PLANTA_SECRET_FILE gives)"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("planta:20000", "planta", {"variable": "PLANTA_SERVICE 'planta' is not [tls://]HOST:PORT"}),
        ("FOLDER/secret", "FOLDER/none", {"password-file": "the password file 'FOLDER/none' does not exist"}),
        ("FOLDER/secret", HASH, {"variable": "PLANTA_SECRET_FILE names a file, and this is a hash itself"}),
    ],
)
def test_a_wrong_default_is_found_by_its_name(folder, old, new, expected):
    found = check(folder, HEAD.replace(old, new) + LINE)
    assert {
        rule: text[: len(expected.get(rule, "").replace("FOLDER", str(folder)))] for rule, text in found.items()
    } == {rule: text.replace("FOLDER", str(folder)) for rule, text in expected.items()}
    assert HASH[7:20] not in str(found)


def test_two_lines_are_the_same_whether_an_option_or_a_variable_names_the_server(folder):
    second = LINE.replace("-t -1", "-s planta:20000 -t -1")
    assert list(check(folder, HEAD + LINE + second)) == ["twice"]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("PLANTA_SERVICE=planta:20000 CALL", []),
        ("export PLANTA_SERVICE=planta:20000\nCALL", []),
        ("env PLANTA_SERVICE=planta:20000 CALL", []),
        ("export PLANTA_SERVICE=planta\nCALL", ["variable"]),
        ("PLANTA_SERVICE=planta:20000\nCALL", ["options"]),  # of the shell alone
        ('export PLANTA_SERVICE="$1:20000"\nCALL', ["options"]),
        ('PLANTA_SERVICE="$1:20000" CALL', ["options"]),
        ("CALL", ["options"]),
    ],
)
def test_a_script_sets_a_default_for_what_it_starts(folder, before, expected):
    found = check(folder, f"#!/bin/sh\n{before.replace('CALL', CALL)}\n", "a.sh")
    assert list(found) == expected


def test_where_the_environment_is_not_known_a_missing_option_is_not_called_a_mistake(folder):
    """Of a script alone; behind a file that is sourced; with a file for systemd."""
    unseen = "-s HOST:PORT is missing, and whether PLANTA_SERVICE is set cannot be seen here"
    assert check(folder, f"#!/bin/sh\n{CALL}\n", "a.sh") == {"options": unseen}
    (folder / "env.sh").write_text("export PLANTA_SERVICE=planta:20000\n")
    assert check(folder, f"0 2 * * * . FOLDER/env.sh; {CALL}{LOGS}") == {"options": unseen}
    (folder / "env").write_text("")
    unit = f"[Unit]\nOnFailure=mail.service\n[Service]\nUser=root\nMORE\nExecStart={CALL}\n"
    assert check(folder, unit.replace("MORE", "EnvironmentFile=FOLDER/env"), "a.service") == {"options": unseen}
    assert check(folder, unit.replace("MORE", ""), "a.service") == {"options": "-s HOST:PORT is missing"}
    assert check(folder, unit.replace("MORE", "Environment=PLANTA_SERVICE=planta:20000"), "a.service") == {}


def test_a_script_has_the_defaults_of_the_crontab_that_starts_it(folder):
    script = folder / "a.sh"
    script.write_text(f"#!/bin/sh\n{CALL} > {folder}/log 2>&1\n")
    script.chmod(0o755)
    line = f"0 2 * * * {script} || echo ended with $?\n"
    assert check(folder, HEAD + line) == {}
    assert check(folder, line) == {"options": "-s HOST:PORT is missing"}


def test_a_batch_script_sets_a_default(folder):
    call = r"C:\py\python.exe C:\planta\planta_headless.py -t -1 -m 009ABC"
    assert check(folder, f"set PLANTA_SERVICE=planta:20000\n{call}\n", "a.bat") == {}
    assert list(check(folder, f"set PLANTA_SERVICE=planta\n{call}\n", "a.bat")) == ["variable"]
    assert "cannot be seen here" in check(folder, f"set PLANTA_SERVICE=%1:20000\n{call}\n", "a.bat")["options"]
