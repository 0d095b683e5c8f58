"""What stands between cron and a call: wrappers, users, scripts, folders of scripts; and who may write what."""

from __future__ import annotations

import os
import sys
import tempfile

import pytest

from support import checks
from support.command_here import headless
from support.process import SCRIPT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="files and users of cron")


def call(folder):
    return f"{sys.executable} {SCRIPT} -s planta:20000 -u R41 -p {folder}/secret -t -1 -v -m 009ABC"


def check(folder, content, *options, name="crontab"):
    (folder / name).write_text(f"PATH={os.environ['PATH']}\n{content}\n")
    return checks.check(*options, folder / name)[1]


def rules(found):
    """Without the programs that this machine does not have."""
    return [each["rule"] for each in found if each["rule"] != "no-program"]


@pytest.mark.parametrize(
    "front", ["run-one", "flock -n DIR/l", "lckdo DIR/l", "setlock -n DIR/l", "with-lock-ex -q DIR/l"]
)
def test_a_lock_is_one_by_whatever_name(folder, front):
    line = f"*/5 * * * * {front} {call(folder)}".replace("DIR", str(folder))
    assert rules(check(folder, line)) == []
    assert rules(check(folder, line.replace(f"{folder}/l", "/no/folder/l"))) == ["no-folder"] * ("/l" in front)


def test_a_lock_by_a_descriptor_is_one_for_what_follows_in_the_same_shell(folder):
    assert rules(check(folder, f"*/5 * * * * (flock -n 9 || exit 1; {call(folder)}) 9>{folder}/l")) == []
    assert rules(check(folder, f"*/5 * * * * (flock -n 9) 9>{folder}/l; {call(folder)}")) == ["not-locked"]


KEEP = ["", "env A=b", "sudo -E", "sudo --preserve-env=PLANTA_RECEIPT", "sudo PLANTA_RECEIPT=DIR/r", "nice", "env -u A"]
LOSE = ["env -i", "env -", "sudo", "sudo -u root", "doas", "systemd-run --wait", "setpriv --reset-env"]


@pytest.mark.parametrize("front", KEEP + LOSE)
def test_a_receipt_is_written_only_if_its_variable_gets_through(folder, front):
    line = f"PLANTA_RECEIPT={folder}/r\n0 2 * * * {front} {call(folder)} > {folder}/log 2>&1"
    assert rules(check(folder, line.replace("DIR", str(folder)))) == ["unreported"] * (front in LOSE)


def test_a_login_shell_loses_the_receipt(folder):
    for su, expected in (("su -", ["unreported"]), ("su", []), ("su -l", ["unreported"]), ("runuser -u", [])):
        line = f"PLANTA_RECEIPT={folder}/r\n0 2 * * * {su} root -c '{call(folder)}' > {folder}/log"
        assert rules(check(folder, line)) == expected, su


@pytest.mark.parametrize(
    ("line", "is_heard"),
    [("CALL", False), ("chronic CALL", False), ("CALL || echo bad", False), ("CALL || cat DIR/log", False),
     ("CALL || mail -s bad root < /dev/null", True), ("CALL > DIR/log || logger bad", True),
     ("CALL > DIR/log || tail DIR/log", False), ("if ! CALL; then tail DIR/log; fi", False),
     ("CALL > DIR/log || cat DIR/log | mail -s bad root", True), ("CALL || echo bad | mail -s bad root", True)],
)  # fmt: skip
def test_without_mail_a_failure_is_heard_of_only_if_something_else_tells_it(folder, line, is_heard):
    line = line.replace("CALL", call(folder)).replace("DIR", str(folder))
    for nobody in ("", "/dev/null"):
        assert rules(check(folder, f'MAILTO="{nobody}"\n0 2 * * * {line}')) == ["unreported"] * (not is_heard)


@pytest.mark.parametrize(
    ("redirection", "text", "is_heard"),
    [("> /dev/null 2>&1", "CALL || echo bad", False), ("> /dev/null", "CALL || echo bad", False),
     ("> /dev/null", "CALL || echo bad >&2", True), ("> /dev/null 2>&1", "CALL || echo bad >&2", False),
     ("", "CALL > DIR/log || echo bad >&2", True), ("> /dev/null 2>&1", "CALL || mail -s bad root", True),
     ("", "exec > DIR/log; CALL || echo bad >&2", True), ("", "exec > DIR/log 2>&1; CALL || echo bad >&2", False),
     ("", "exec 3>&1 > DIR/log 2>&1; CALL || echo bad >&3", True), ("", "CALL || echo bad | tee DIR/e", True),
     ("", "CALL > DIR/log || echo bad | tee DIR/e > /dev/null", False),
     ("", "CALL > DIR/log || echo bad > /dev/stderr", True),
     ("", "if CALL > DIR/log; then date > DIR/x; exit 0; fi; echo bad; exit 1", True),
     ("", "if CALL > DIR/log; then exit 0; fi; echo bad > DIR/x; exit 1", False),
     ("", "n=0; if ! CALL > DIR/log; then n=$((n + 1)); fi; [ $n = 0 ] || echo $n bad", True),
     ("", "n=0; if ! CALL > DIR/log; then n=$((n + 1)); fi; [ $n = 0 ] || echo $n bad > DIR/x", False),
     ("", "if ! CALL > DIR/log; then n=1; exit $n; fi; echo $n", False),
     ("", "CALL > DIR/log; [ ! $? -eq 0 ] && echo bad", True)],
)  # fmt: skip
def test_a_script_is_heard_only_where_the_line_that_starts_it_lets_its_output_through(
    folder, redirection, text, is_heard
):
    script = folder / "job.sh"
    script.write_text("#!/bin/sh\n" + text.replace("CALL", call(folder)).replace("DIR", str(folder)) + "\n")
    script.chmod(0o755)
    found = check(folder, f"# planta_headless.py\n0 2 * * * {script} {redirection}")
    assert rules(found) == ["unreported"] * (not is_heard)


def test_chronic_prints_only_what_the_call_has_printed(folder):
    silent = call(folder).replace(" -v", "")
    assert rules(check(folder, f"0 2 * * * chronic {call(folder)}")) == []
    assert rules(check(folder, f"0 2 * * * chronic {silent}")) == ["unreported"]
    assert rules(check(folder, f"0 2 * * * cronic {silent}")) == []


def test_a_script_gets_its_arguments_from_the_line_that_starts_it(folder):
    script = folder / "job.sh"
    script.write_text(f'#!/bin/sh\n{call(folder)[: -len(" -m 009ABC")]} "$@"\n')
    script.chmod(0o755)
    lines = {"-m 009ABC": [], "": ["options"], "-m 1 -m 2": [], '-m "$(cat x)"': [], "--no-such": ["options"]}
    for arguments, expected in lines.items():
        found = check(folder, f"# planta_headless.py\n0 2 * * * {script} {arguments}")
        assert rules(found) == expected, arguments
        assert all(each["file"] == str(script) for each in found)
    content = "# planta_headless.py\n" + "".join(f"0 {at} * * * {script} {each}\n" for at, each in enumerate(lines))
    assert rules(check(folder, content)) == ["options", "options"]


@pytest.mark.parametrize(
    ("first_line", "front", "expected"),
    [("#!/bin/bash", "", []), ("#!/bin/bash", "sh", ["double-bracket"]), ("#!/bin/bash", ".", ["double-bracket"]),
     ("#!/bin/sh", "", ["double-bracket"]), ("#!/bin/sh", "bash", []), ("", "nice /bin/bash -x", [])],
)  # fmt: skip
def test_the_shell_that_a_line_names_reads_the_script_whatever_its_first_line_says(folder, first_line, front, expected):
    script = folder / "job.sh"
    script.write_text(f"{first_line}\n[[ -d {folder} ]] && {call(folder)}\n")
    script.chmod(0o755)
    assert rules(check(folder, f"# planta_headless.py\n0 2 * * * {front} {script}")) == expected


def test_a_file_that_sh_cannot_read_ends_it_also_in_a_list(folder):
    for text in (". /no/env && CALL || echo bad", ". /no/env || true; CALL", "true && . /no/env && CALL"):
        assert rules(check(folder, f"0 2 * * * {text}".replace("CALL", call(folder)))) == ["no-script"], text
    for text in ("[ -f /no/env ] && . /no/env; CALL", "if [ -f /no/env ]; then . /no/env; fi; CALL"):
        assert rules(check(folder, f"0 2 * * * {text}".replace("CALL", call(folder)))) == [], text


def test_a_log_whose_name_only_the_shell_knows_is_looked_for_nowhere(folder):
    for target in ("DIR/`date +\\%F`-`hostname`.log", "DIR/no/$(date +\\%F)", ">(tee /no/log > /dev/null)"):
        line = f"SHELL=/bin/bash\n0 2 * * * {call(folder)} > {target} || echo bad".replace("DIR", str(folder))
        assert rules(check(folder, line)) == [], target


def test_what_run_parts_starts_is_read_and_what_it_skips_is_found(folder):
    parts = folder / "parts"
    parts.mkdir()
    for name, mode in (("good", 0o755), ("planta.sh", 0o755), ("other.txt", 0o644)):
        text = "true" if name == "other.txt" else f"{call(folder)}{name[0]}; true"
        (parts / name).write_text(f"#!/bin/sh\n{text}\n")
        (parts / name).chmod(mode)
    found = check(folder, f"# planta_headless.py\n0 2 * * * run-parts {parts}")
    assert [(each["file"], each["rule"]) for each in found if each["rule"] != "no-program"] == [
        (f"{parts}/good", "code-lost"), (f"{parts}/planta.sh", "run-parts"), (f"{parts}/planta.sh", "code-lost"),
    ]  # fmt: skip


def test_python_m_looks_into_the_folder_in_which_it_begins(folder):
    module = f"{sys.executable} -m planta_headless -s h:1 -t -1 -v -m 1"
    assert rules(check(folder, f"0 2 * * * cd {SCRIPT.parent} && {module}")) == []
    assert rules(check(folder, f"0 2 * * * cd {folder} && {module}")) == ["no-script"]
    assert rules(check(folder, f"PYTHONPATH=/x\n0 2 * * * cd {folder} && {module}")) == []


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can be another user")
def test_what_the_user_of_a_line_may_not_write_is_found(folder):
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        own, log = f"{place}/own", f"{place}/log"
        os.mkdir(own)
        os.chown(own, 65534, 65534)
        os.close(os.open(log, os.O_CREAT, 0o644))
        for target, expected in ((f"{own}/log", 0), (log, 1), (f"{place}/new", 1), ("/dev/null", 0)):
            for line in (f"CALL > {target} 2>&1 || echo bad", f"flock {target} CALL || echo bad"):
                found = check(folder, f"0 2 * * * {line.replace('CALL', call(folder))}", "--as", "nobody")
                assert rules(found).count("cannot-write") == expected, (target, line)


def test_a_copy_of_a_file_of_cron_d_is_read_as_one_and_that_is_said(folder):
    content = f"0 2 * * * root {call(folder)} || echo bad\n5 2 * * * root true\n"
    (folder / "planta.old").write_text(content)
    done = headless("check", str(folder / "planta.old"))
    assert (done.returncode, done.stdout) == (0, "1 call of planta_headless.py in 1 file: 0 errors, 0 warnings\n")
    assert done.stderr == (
        f"headless check: {folder}/planta.old: each line is taken to name a user; if not: --user-column no\n"
    )
    found = checks.check("--user-column", "no", folder / "planta.old")[1]
    assert checks.rules(found) == ["user-in-command"]
    (folder / "one").write_text(content.splitlines()[0] + "\n")
    assert checks.rules(checks.check(folder / "one")[1]) == ["user-in-command"]
    assert checks.check("--user-column", "yes", folder / "one") == (0, [])


@pytest.mark.large  # as coverage slows it down
def test_three_hundred_lines_take_less_than_two_seconds_of_processor_time(folder):
    lines = "".join(
        f"{at % 60} {at % 24} * * * cd /tmp && flock -n l{at} sh -c '{call(folder)}{at} > {at}.log 2>&1' || echo bad\n"
        for at in range(300)
    )
    taken = []
    for _ in range(3):  # the best one: other work on the machine takes time from all of them
        before = os.times()
        assert rules(check(folder, lines)) == []
        taken.append(sum(os.times()[:4]) - sum(before[:4]))
    assert min(taken) < 2
