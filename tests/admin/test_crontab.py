"""What is wrong with the format of a crontab, and how it is corrected. That the rest is read as cron reads it, is asked
of a real cron in test_real_cron.py."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from headless.admin import crontab
from headless.admin.files import File, Kind
from headless.admin.rules import Severity, corrected

CALL = "python /p/planta_headless.py -m 1"
needs_users = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no users that cron knows")


def read_user(content):
    parsed = crontab.read(File("crontab", content, Kind.CRONTAB, "root"))
    return parsed.entries, parsed.findings


def read_system(content, path="/x/cron.d/planta"):
    parsed = crontab.read(File(path, content, Kind.CRONTAB, None, names_users=True))
    return parsed.entries, parsed.findings


def rules(findings):
    return [each.rule for each in findings]


def test_an_entry_has_all_that_cron_gives_it():
    content = f"# comment\nMAILTO=admin\nPATH = '/x:/y'\n*/5 2 * * mon\t{CALL}\n"
    (entry,), findings = read_user(content)
    assert findings == []
    assert entry.position == "crontab:4"
    assert (entry.command.text, entry.stdin, entry.shell) == (CALL, "", "/bin/sh")
    assert entry.schedule.text == "*/5 2 * * mon"
    assert entry.environment["PATH"] == "/x:/y"
    assert entry.environment["MAILTO"] == "admin"
    assert entry.environment["LOGNAME"] == "root"


def test_a_setting_is_for_the_lines_that_follow():
    first, second = read_user("A=1\n@daily x\nA=2\nSHELL=/bin/bash\n@daily x\n")[0]
    assert (first.environment["A"], first.shell) == ("1", "/bin/sh")
    assert (second.environment["A"], second.shell) == ("2", "/bin/bash")


@needs_users
def test_each_character_of_a_command_has_its_offset():
    content = "A=1\n@daily root echo \\% \\\\ ü%in\n"
    (entry,), _ = read_system(content)
    assert entry.command.text == "echo % \\ ü"
    assert [content[at] for at in entry.command.offsets] == list("echo \\ \\ ü%")
    assert entry.stdin == "in\n"


@pytest.mark.parametrize(
    ("before", "rule", "after"),
    [
        (f"@daily {CALL} >$(date +%F-%H)\n", "percent", f"@daily {CALL} >$(date +\\%F-\\%H)\n"),
        (f"@daily {CALL} -c a\\%b%c\\%d%\n", "percent", f"@daily {CALL} -c a\\%b\\%c\\%d\\%\n"),
        ("H=/p/planta_headless.py\n@daily $H %x\n", "percent", "H=/p/planta_headless.py\n@daily $H \\%x\n"),
        (f"@daily {CALL}", "no-newline", f"@daily {CALL}\n"),
        (f"A=b\r\n@daily {CALL}\r\n", "line-ends", f"A=b\n@daily {CALL}\n"),
        (f"\ufeff# A\n@daily {CALL}\n", "byte-order-mark", f"# A\n@daily {CALL}\n"),
        (f"PATH=$PATH:/x\n@daily {CALL}\n", "not-expanded", f"PATH=/usr/bin:/bin:/x\n@daily {CALL}\n"),
        ('D=/p\nH="${D}/planta_headless.py"\n', "not-expanded", 'D=/p\nH="/p/planta_headless.py"\n'),
        ("A=b c # d\n", "comment-in-setting", "A=b c\n"),
        ('A="b" # d\n', "setting", 'A="b"\n'),
        ("A=\n", "setting", 'A=""\n'),
        ("  export A=b\n", "setting", "  A=b\n"),
        (f"0 2 * * * root {CALL}\n", "user-in-command", f"0 2 * * * {CALL}\n"),
    ],
)
def test_what_is_wrong_is_corrected(before, rule, after):
    _, findings = read_user(before)
    assert rule in rules(findings)
    assert corrected(before, [edit for each in findings for edit in each.edits]) == after
    assert read_user(after)[1] == []


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("60 2 * * * x", "time"),
        ("0 2 * * x", "time"),
        ("0 2 * *", "time"),
        ("@every 5m x", "time"),
        ("@Daily x", "time"),
        ("0 2 * * 1-fri,8 x", "time"),
        ("0 2 * * *", "no-command"),
        ("@daily", "no-command"),
        ("A='b", "setting"),
        ("x", "time"),
        ("@daily " + "x" * 999, "too-long"),
    ],
)
def test_a_line_that_cron_does_not_take_costs_the_whole_file(line, rule):
    entries, findings = read_user(f"{line}\n@daily {CALL}\n")
    assert [entry.command.text for entry in entries] == [CALL]
    assert [(each.rule, each.severity, each.line) for each in findings] == [(rule, Severity.ERROR, 1)]
    assert "none of its jobs run" in findings[0].consequence


@needs_users
@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (f"0 2 * * * {CALL}", "user-missing"),
        ("0 2 * * * /usr/bin/python /p/planta_headless.py", "user-missing"),
        ("0 2 * * * planta_headless.py -m 1", "user-missing"),
        ("0 2 * * * cd /x && y", "user-missing"),
        (f"0 2 * * * nosuchuser {CALL}", "user-unknown"),
        ("0 2 * * * root", "no-command"),
    ],
)
def test_a_system_crontab_needs_a_user(line, rule):
    assert rules(read_system(line + "\n")[1]) == [rule]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("* 22-2 * * * x\n", "never"),
        ("0 2 * * fri-sun x\n", "never"),
        (f"@daily $PY {CALL}\nPY=planta_headless.py\n", "setting-too-late"),
        ("A-B=c\n", "variable-name"),
        ("A=" + "b" * 1100 + "\n", "too-long"),
        ("A=~/x\n", "not-expanded"),
        ("A=$(date)\n", "not-expanded"),
        ("# x\n" * 10001, "too-many-lines"),
    ],
)
def test_what_does_not_do_what_it_says_is_found(content, rule):
    assert rules(read_user(content)[1]) == [rule]


USES = [
    ("$HOME/log", "{} > $LOG/x", "line 2 uses it: the file cannot be opened, no job runs"),
    ("~/log", '{} >> "$LOG"', "line 2 uses it: the file cannot be opened, no job runs"),
    ("log-$(date)", "{} > ${LOG}/x", "line 2 uses it: the file cannot be opened, no job runs"),
    ("log-$(date)", "{} > $LOG", "line 2 uses it, and gets this text"),
    ("$HOME", "{} -m $LOG", "line 2 uses it, and gets this text"),
    ("$HOME", "{}", "programs get this text"),
]


@pytest.mark.parametrize(("value", "command", "use"), USES)
def test_what_a_setting_that_is_not_expanded_does_to_the_lines_is_said_as_sh_does_it(tmp_path, value, command, use):
    content = f"LOG={value}\n@daily {command.replace('{}', CALL)}\n"
    ((entry,), (found,)) = read_user(content)
    assert (found.rule, found.line, found.consequence) == ("not-expanded", 1, use)
    if os.path.exists("/bin/sh"):
        argv = ["/bin/sh", "-c", entry.command.text.replace(CALL, "echo it runs")]
        done = subprocess.run(argv, env={"LOG": value}, cwd=tmp_path, capture_output=True, check=False, timeout=20)
        assert bool(done.returncode) is ("cannot be opened" in use)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n",
        "# x",
        " \t",
        f"@daily {CALL} -c '100\\%'\n",
        "@daily date +%F\n",
        "A = b\n",
        'A="b # c"\n',
        "0 2 * * Sun x\n",
        "0 2 1 * 7 x\n",
        "0 2 * jan-mar/2 * x\n",
        "5-10/2,20 0-23 */2 * 1,3 x\n",
        "* * 9-8 * 1 x\n",
        "@reboot x\n",
    ],
)
def test_what_is_right_is_no_finding(content):
    assert read_user(content)[1] == []


@pytest.mark.parametrize(
    ("name", "is_read"), [("planta", True), ("a_B-9", True), ("planta.cron", False), ("x~", False)]
)
def test_a_name_that_cron_ignores_is_found(name, is_read):
    assert rules(read_system("", f"/x/cron.d/{name}")[1]) == ([] if is_read else ["file-name"])


@needs_users
@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can make a file of root")
@pytest.mark.parametrize(("mode", "is_read"), [(0o644, True), (0o600, True), (0o664, False), (0o646, False)])
def test_a_file_that_others_can_write_to_is_found(tmp_path, mode, is_read):
    path = tmp_path / "cron.d" / "planta"
    path.parent.mkdir()
    path.touch()
    path.chmod(mode)
    assert rules(read_system("", str(path))[1]) == ([] if is_read else ["file-mode"])
    os.chown(path, 1, 1)
    assert rules(read_system("", str(path))[1]) == ["file-mode"]
