"""headless check: what it finds in crontabs and scripts as real machines have them, and that it finds nothing else."""

from __future__ import annotations

import os
import sys

import pytest

from support import checks
from support.command_here import headless
from support.process import ROOT, SCRIPT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="files and users of cron")


def good(place, before="", after=""):
    """A line in which nothing is wrong."""
    call = f"{sys.executable} {SCRIPT} -s planta:20000 -u R41 -p {place}/secret -t -1 -v -m 009ABC"
    return f"{before}{call} > {place}/log 2>&1{after or ' || echo ended with $?'}"


def check(place, content, *argv, name="crontab"):
    """The exit status, and the findings."""
    (place / name).write_bytes(content.encode())
    return checks.check(*argv, place / name)


def rules(found):
    return checks.rules(found[1])


def test_a_good_line_has_no_finding(place):
    assert check(place, f"0 2 * * *  {good(place)}\n") == (0, [])


def test_readmes_line_for_cron_has_no_finding(place):
    import re

    (block,) = re.findall(r"## cron\n\n```\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    block = block.replace("/planta/jobs/headless/.venv/bin/python", sys.executable).replace(
        "/planta/jobs/log", str(place)
    )
    block = block.replace("/planta/jobs/headless/planta_headless.py", str(SCRIPT))
    assert check(place, block.replace("/planta/jobs/r41.secret", f"{place}/secret")) == (0, [])


def line(place, old, new, times="0 2 * * *"):
    changed = good(place).replace(old, new)
    assert changed != good(place) or times != "0 2 * * *"
    return f"{times} {changed}\n"


# What is in the line, what replaces it -> the rule that it breaks. PLACE is the folder of the case.
CALLS = {
    "no -t": ("-t -1 ", "", ["no-t"]),
    "a mistake in the options": ("-s planta:20000", "-s planta", ["options"]),
    "-t that is no number": ("-t -1", "-t 1h", ["options"]),
    "no job": (" -m 009ABC", "", ["options"]),
    "an option of no program": ("-m 009ABC", "-m 009ABC --wait", ["options"]),
    "-t longer than the interval": ("-t -1", "-t 86400", ["t-too-long"]),
    "Python 2": (sys.executable, "/usr/bin/python2", ["old-python"]),
    "no such Python": (sys.executable, "/opt/nothing/python3", ["no-program"]),
    "a Python that cron's PATH does not have": (sys.executable, "python3.99", ["no-program"]),
    "no such script": (str(SCRIPT), "/opt/nothing/planta_headless.py", ["no-script"]),
    "no password file": ("/secret", "/missing", ["password-file"]),
    "a password file of the home, which is elsewhere": ("-p PLACE/secret", "-p secret", ["password-file"]),
    "stderr that is not in the log": ("> PLACE/log 2>&1", "2>&1 > PLACE/log", ["redirection-order"]),
    "&> in sh": ("> PLACE/log 2>&1", "&> PLACE/log", ["ampersand-redirection", "code-lost"]),
    "a pipe": ("> PLACE/log 2>&1", "| tee PLACE/log", ["code-lost"]),
    "a failure that is not reported": (" || echo ended with $?", "", ["unreported"]),
    "true in the place of the code": ("echo ended with $?", "true", ["code-lost"]),
    "the background": (" || echo ended with $?", " &", ["code-lost"]),
    "something behind it": (" || echo ended with $?", "; echo done", ["code-lost"]),
    "timeout": (sys.executable, f"/usr/bin/timeout 60 {sys.executable}", ["timeout"]),
    "a wrapper that is not there": (sys.executable, f"/opt/nothing/flock -n l {sys.executable}", ["no-program"]),
    "no folder for the log": ("> PLACE/log", "> PLACE/missing/log", ["no-folder"]),
    "no folder to begin in": (sys.executable, f"cd /no/such/folder && {sys.executable}", ["no-folder"]),
    "-t 0": ("-t -1", "-t 0", ["no-t"]),
    "a quote without an end": ("-m 009ABC", "-m '009ABC", ["syntax"]),
    "a % in code": ("-m 009ABC", "-c \"print('%d' % 42)\"", ["percent"]),
    "a date in the name of the log": ("/log", "/log.$(date +%F)", ["percent"]),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), CALLS.values(), ids=CALLS)
def test_what_is_wrong_with_a_call_is_found_and_nothing_else(place, old, new, expected):
    changed = line(place, old.replace("PLACE", str(place)), new.replace("PLACE", str(place)))
    found = check(place, f"PATH=/usr/bin:/bin\n{changed}")
    assert (found[0], rules(found)) == (1, expected)
    assert {each["line"] for each in found[1]} == {2}
    assert all(
        each["at_night"] and (each["write"] or each["to_do"] or each["rule"] in _NEEDS_A_PERSON) for each in found[1]
    )


_NEEDS_A_PERSON = {"syntax", "password-file"}  # their texts say what is to be done


@pytest.fixture
def installed(tmp_path):
    """A program as pip makes it for a Python that has all that is needed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "planta_headless"
    program.write_text(f"#!{sys.executable}\nimport headless.cli\nheadless.cli.run()\n", encoding="utf-8")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("name", ["PLACE", "planta_headless"])
def test_what_pip_has_installed_is_called_by_its_path_or_its_name(place, installed, name):
    called = f"{sys.executable} {SCRIPT}"
    content = f"PATH={installed.parent}:/usr/bin:/bin\n" + line(place, called, name.replace("PLACE", str(installed)))
    assert check(place, content) == (0, [])
    assert rules(check(place, content.replace(" -t -1", ""))) == ["no-t"]
    installed.unlink()
    assert rules(check(place, content)) == ["no-program"]


def test_a_folder_of_the_same_name_is_no_call(place):
    assert check(place, "0 2 * * * /opt/planta_headless/clean --to 5%\n") == (0, [])


VARIABLES = {
    "PLANTA_PATIENCE=ten": "variable",
    "PLANTA_PROTOCOL=/no/such/dialect.py": "variable",
    "PLANTA_RECEIPT=/no/such/folder/receipts": "variable",
    "MAILTO=''": "unreported",
}


@pytest.mark.parametrize(("setting", "rule"), VARIABLES.items())
def test_a_setting_that_spoils_a_call_is_found(place, setting, rule):
    found = check(place, f"{setting}\n0 2 * * * {good(place)}\n")
    assert [(each["line"], each["rule"]) for each in found[1]] == [(2, rule)]


def test_a_script_that_is_called_by_its_name_needs_a_python_with_libraries_too(place):
    (place / "headless").mkdir()
    (place / "python3").symlink_to("/bin/sh")  # a Python without any
    script = place / "planta_headless.py"
    for first, expected in ((f"#!{place}/python3", ["no-library"]), (f"#!{sys.executable}", [])):
        script.write_text(first + "\n")
        script.chmod(0o755)
        called = good(place).replace(f"{sys.executable} {SCRIPT}", str(script))
        assert rules(check(place, f"0 2 * * * {called}\n")) == expected


def test_two_calls_in_one_line_are_one_after_the_other(place):
    assert rules(check(place, f"0 2 * * * {good(place)}; {good(place)}\n")) == []


CORRECTED = {
    "no -t": ("-t -1 ", ""),
    "stderr that is not in the log": ("> PLACE/log 2>&1", "2>&1 > PLACE/log"),
    "&> in sh": ("> PLACE/log 2>&1", "&> PLACE/log"),
    "&>> in sh": ("> PLACE/log 2>&1", "&>>PLACE/log"),
    "Python 2": (sys.executable, "/usr/bin/python2"),
    "% in code": ("-m 009ABC", "-c \"print('%d' % 42)\""),
    "% behind a backslash": ("-m 009ABC", "-c \"print('\\\\%d' % 42)\""),
}


@pytest.mark.parametrize(("old", "new"), CORRECTED.values(), ids=CORRECTED)
def test_the_corrected_line_has_no_finding(place, old, new):
    changed = line(place, old.replace("PLACE", str(place)), new.replace("PLACE", str(place)))
    found = check(place, changed)
    (written,) = {each["write"] for each in found[1] if each["write"]}
    assert check(place, written + "\n") == (0, [])


def test_fix_writes_corrected_files_beside_and_changes_none(place):
    content = line(place, "-t -1 ", "") + line(place, "-m 009ABC", "-c \"print('%')\"", "5 3 * * *")[:-1]
    fixed = place / "fixed"
    check(place, content, "--fix", str(fixed))
    assert (place / "crontab").read_text() == content
    copy = fixed.joinpath(*(place / "crontab").parts[1:])
    assert check(place, copy.read_text()) == (0, [])
    done = headless("check", "--fix", str(fixed), str(place / "crontab"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"headless check: error: --fix: {str(fixed)!r} is there already: name a new folder\n"


@pytest.mark.parametrize(
    ("times", "other", "expected"),
    [("0 2 * * *", "0 2 * * *", ["twice"]), ("*/5 * * * *", "0 3 * * 1", ["not-locked", "twice"]),
     ("0 2 * * *", "1 2 * * *", []), ("0 2 * * 1", "0 2 * * 2", []), ("@daily", "0 0 1 * *", ["twice"])],
)  # fmt: skip
def test_two_lines_that_start_the_same_job_in_the_same_minute_are_found(place, times, other, expected):
    assert sorted(rules(check(place, f"{times} {good(place)}\n{other} {good(place)}\n"))) == expected


def test_a_date_that_never_comes_is_found(place):
    assert rules(check(place, f"0 2 31 2 * {good(place)}\n0 2 29 2 * {good(place)}\n")) == ["never"]


def test_a_line_that_cannot_be_checked_is_not_passed_over(place):
    assert rules(check(place, "0 2 * * * ssh other 'planta_headless.py -s planta:20000 -m X'\n")) == ["not-checked"]


def test_a_line_that_starts_often_needs_a_lock(place):
    locked = good(place, "/usr/bin/env flock -n l ")
    assert rules(check(place, f"*/10 * * * * {good(place)}\n")) == ["not-locked"]
    assert rules(check(place, f"PATH={os.environ['PATH']}\n*/10 * * * * {locked}\n")) in ([], ["no-program"])
    (place / "a.sh").write_text(f"#!/bin/sh\n{good(place)}\n")
    for front, expected in (("flock -n l ", []), ("", ["not-locked"])):
        content = f"PATH={os.environ['PATH']}\n# planta_headless.py\n*/10 * * * * {front}sh {place}/a.sh\n"
        assert [each for each in rules(check(place, content)) if each != "no-program"] == expected


def test_a_python_that_is_too_old_is_found_by_the_file_that_its_name_leads_to(place):
    for name, real, expected in (("python", "python2.7", "2.7"), ("python3", "python3.6", "3.6"), ("python3", "", "")):
        (place / "bin").mkdir(exist_ok=True)
        link = place / "bin" / name
        link.unlink(missing_ok=True)
        if real:
            (place / "bin" / real).touch(mode=0o755)
        link.symlink_to(place / "bin" / real if real else sys.executable)
        found = check(place, line(place, sys.executable, str(link)))
        assert [each["text"].partition(";")[0] for each in found[1] if each["rule"] == "old-python"] == (
            [f"{link} is Python {expected}"] if expected else []
        )


# The file


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        ("FOO=\n", "", ["setting"]),
        ("PATH=$PATH:/opt/bin\n", "", ["not-expanded", "no-program"]),
        ("export A=b\n", "", ["setting"]),
        ("A=b # of the night\n", "", ["comment-in-setting"]),
        ("60 2 * * * true\n", "", ["time"]),
        ("@every true\n", "", ["time"]),
        ("\ufeff", "", ["byte-order-mark", "time"]),
        ("# nothing wrong here\n\n \t\nA='b c'\nD = f\n", "", []),
    ],
)
def test_what_cron_would_ignore_is_found(place, begin, end, expected):
    line = good(place, "nice ") if "no-program" in expected else good(place)
    assert rules(check(place, f"{begin}0 2 * * * {line}\n{end}")) == expected


def test_a_last_line_without_newline_is_found(place):
    assert rules(check(place, f"0 2 * * * {good(place)}")) == ["no-newline"]


def test_line_ends_of_windows_are_found(place):
    assert "line-ends" in rules(check(place, f"0 2 * * * {good(place)}\r\n"))


def test_a_crontab_that_does_not_call_the_command_has_no_finding(place):
    assert check(place, "60 2 * * * true") == (0, [])


def test_a_line_of_cron_d_needs_a_user(place):
    (place / "cron.d").mkdir()
    assert rules(check(place, f"0 2 * * * root {good(place)}\n", name="cron.d/planta")) == []
    found = check(place, f"0 2 * * * {good(place)}\n", name="cron.d/planta")
    assert rules(found) == ["user-missing"]


def test_a_user_in_the_crontab_of_a_user_is_found(place):
    found = check(place, f"0 2 * * * root {good(place)}\n")
    assert rules(found) == ["user-in-command"]
    assert check(place, found[1][0]["write"] + "\n") == (0, [])


def test_a_user_who_does_not_exist_is_a_mistake(place):
    (place / "crontab").touch()
    assert headless("check", "--as", "no such user", str(place / "crontab")).returncode == 2


# Scripts


def test_a_script_that_a_line_starts_is_read_as_well(place):
    script = place / "nightly.sh"
    script.write_text(f"#!/bin/sh\ncd /tmp\n{good(place, after=' ')}\necho done\n")
    script.chmod(0o755)
    for command in (str(script), f"sh {script}", f"cd {place} && ./nightly.sh", f"nice sh -c '{script}'"):
        found = check(place, f"# planta_headless.py\n0 2 * * * {command}\n")
        assert [(each["file"], each["line"], each["rule"]) for each in found[1]] == [(str(script), 3, "code-lost")]


def test_a_script_that_is_started_by_its_name_has_to_be_executable(place):
    script = place / "nightly.sh"
    script.write_text(f"#!/bin/sh\n{good(place, after=' ')}\n")
    for front, mode, expected in (("", 0o644, ["not-executable"]), ("sh ", 0o644, []), ("", 0o755, [])):
        script.chmod(mode)
        assert rules(check(place, f"# planta_headless.py\n0 2 * * * {front}{script}\n")) == expected


def test_a_script_that_looks_at_the_code_is_good(place):
    for lines in (["set -e", good(place, after=" "), "echo done"], [good(place, after=" "), "exit $?"],
                  [good(place, "if ! ", "; then echo failed; exit 1; fi")], [good(place, after=" ")],
                  ["failed() { echo failed; }", good(place, after=" || failed"), "exit 0"],
                  ["for id in 1 2; do", good(place, after=" || exit 1").replace("009ABC", "$id"), "done"]):  # fmt: skip
        assert check(place, "#!/bin/sh\n" + "\n".join(lines) + "\n", name="nightly.sh") == (0, []), lines


def test_scripts_that_start_each_other_are_read_once(place):
    for one, other in (("a.sh", "b.sh"), ("b.sh", "a.sh")):
        (place / one).write_text(f"#!/bin/sh\n# planta_headless.py\n{place}/{other}\n")
        (place / one).chmod(0o755)
    assert check(place, f"# planta_headless.py\n0 2 * * * {place}/a.sh\n")[1] == []


# The command line


def test_the_text_names_the_place_what_happens_and_the_line_to_paste(place):
    (place / "crontab").write_text(line(place, "-t -1 ", ""))
    done = headless("check", str(place / "crontab"))
    assert done.returncode == 1
    first, warning, night, write, count = done.stdout.splitlines()
    assert first == f"{place}/crontab:1"
    assert warning == "  warning: without -t the command ends as soon as the jobs are accepted [no-t]"
    assert night == "    at night: how they end is not reported to anyone, and the next start is 1 day later"
    assert write.startswith(f"  write: 0 2 * * * {sys.executable} {SCRIPT} -t -1 -s planta:20000")
    assert count == "1 call of planta_headless.py in 1 file: 0 errors, 1 warning"


@pytest.mark.parametrize("argv", [("missing",), (".",), ("--as",), ("--as", "nobody"), ("--no-such-option",)])
def test_misuse_is_a_2(place, argv, monkeypatch):
    monkeypatch.chdir(place)
    done = headless("check", *argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: " in done.stderr


def test_without_files_this_machine_is_read():
    done = headless("check")
    assert done.returncode in (0, 1)
    assert "planta_headless.py in " in done.stdout


LXML = pytest.mark.version("lxml parses the tasks")
HOSTILE = [
    b"\xff\xfe\x00",
    b"\0" * 99,
    b"0 2 * * * \xff planta_headless.py '\n",
    b"<Task planta_headless",
    b"a=" * 5000 + b"planta_headless\n",
    b"0 2 * * * " + b"(" * 3000 + b"planta_headless.py\n",
    b"[Service]\nExecStart=-\nExecStart=\\\n\nExecStart=$X planta_headless.py\nRestart=\n",
    b'start planta_headless.py ^\n%a %% %~1 "\n|||&&\n',
]


@pytest.mark.parametrize("name", ["crontab", "a.sh", "a.bat", "a.service", pytest.param("a.xml", marks=LXML)])
def test_whatever_is_in_a_file_there_is_no_traceback(place, name):
    for content in HOSTILE:
        (place / name).write_bytes(content)
        done = headless("check", str(place / name))
        assert (done.returncode in (0, 1), done.stderr) == (True, ""), content
