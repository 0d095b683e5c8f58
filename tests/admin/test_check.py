"""headless check: what it finds in crontabs and scripts as real machines have them, and that it finds nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from support import checks
from support.command_here import headless
from support.process import ROOT, SCRIPT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="files and users of cron")


def good(folder, before="", after=""):
    """A line in which nothing is wrong."""
    call = f"{sys.executable} {SCRIPT} -s planta:20000 -u R41 -p {folder}/secret -t -1 -v -m 009ABC"
    return f"{before}{call} > {folder}/log 2>&1{after or ' || echo ended with $?'}"


def check(folder, content, *argv, name="crontab"):
    """The exit status, and the findings."""
    (folder / name).write_bytes(content.encode())
    return checks.check(*argv, folder / name)


def rules(found):
    return checks.rules(found[1])


def test_a_good_line_has_no_finding(folder):
    assert check(folder, f"0 2 * * *  {good(folder)}\n") == (0, [])


def test_readmes_line_for_cron_has_no_finding(folder):
    (block,) = re.findall(r"## cron\n\n```\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    block = block.replace("/planta/jobs/headless/.venv/bin/python", sys.executable).replace(
        "/planta/jobs/log", str(folder)
    )
    block = block.replace("/planta/jobs/headless/planta_headless.py", str(SCRIPT))
    assert check(folder, block.replace("/planta/jobs/r41.secret", f"{folder}/secret")) == (0, [])


def line(folder, old, new, times="0 2 * * *"):
    changed = good(folder).replace(old, new)
    assert changed != good(folder) or times != "0 2 * * *"
    return f"{times} {changed}\n"


# What is in the line, what replaces it -> the rule that it breaks. FOLDER is the folder of the case.
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
    "a password file of the home, which is elsewhere": ("-p FOLDER/secret", "-p secret", ["password-file"]),
    "stderr that is not in the log": ("> FOLDER/log 2>&1", "2>&1 > FOLDER/log", ["redirection-order"]),
    "&> in sh": ("> FOLDER/log 2>&1", "&> FOLDER/log", ["ampersand-redirection", "code-lost"]),
    "&>> in sh": ("> FOLDER/log 2>&1", "&>>FOLDER/log", ["ampersand-redirection", "code-lost"]),
    "a pipe": ("> FOLDER/log 2>&1", "| tee FOLDER/log", ["code-lost"]),
    "a failure that is not reported": (" || echo ended with $?", "", ["unreported"]),
    "timeout": (sys.executable, f"/usr/bin/timeout 60 {sys.executable}", ["timeout"]),
    "a wrapper that is not there": (sys.executable, f"/opt/nothing/flock -n l {sys.executable}", ["no-program"]),
    "no folder for the log": ("> FOLDER/log", "> FOLDER/missing/log", ["no-folder"]),
    "no folder to begin in": (sys.executable, f"cd /no/such/folder && {sys.executable}", ["no-folder"]),
    "-t 0": ("-t -1", "-t 0", ["no-t"]),
    "a quote without an end": ("-m 009ABC", "-m '009ABC", ["syntax"]),
    "a % in code": ("-m 009ABC", "-c \"print('%d' % 42)\"", ["percent"]),
    "a % behind a backslash": ("-m 009ABC", "-c \"print('\\\\%d' % 42)\"", ["percent"]),
}  # fmt: skip


IS_CORRECTED = {"no-t", "old-python", "redirection-order", "ampersand-redirection", "percent"}
NEEDS_A_PERSON = {"syntax", "password-file"}  # their texts say what is to be done


@pytest.mark.parametrize(("old", "new", "expected"), CALLS.values(), ids=CALLS)
def test_what_is_wrong_with_a_call_is_found_and_nothing_else_and_the_corrected_line_is_right(
    folder, old, new, expected
):
    changed = line(folder, old.replace("FOLDER", str(folder)), new.replace("FOLDER", str(folder)))
    found = check(folder, f"PATH=/usr/bin:/bin\n{changed}")
    assert (found[0], rules(found)) == (1, expected)
    for each in found[1]:
        assert (each["line"], each["at_night"] != "") == (2, True)
        assert each["write"] or each["to_do"] or each["rule"] in NEEDS_A_PERSON
    written = {each["write"] for each in found[1] if each["write"]}
    is_corrected = new != "-t 0" and not IS_CORRECTED.isdisjoint(expected)
    assert len(written) == (is_corrected or "python3.99" in new)
    for each in written:
        assert check(folder, f"PATH=/usr/bin:/bin\n{each}\n") == (0, [])


@pytest.fixture
def installed(tmp_path):
    """A program as pip makes it for a Python that has all that is needed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "planta_headless"
    program.write_text(f"#!{sys.executable}\nimport headless.cli\nheadless.cli.run()\n", encoding="utf-8")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("name", ["FOLDER", "planta_headless"])
def test_what_pip_has_installed_is_called_by_its_path_or_its_name(folder, installed, name):
    called = f"{sys.executable} {SCRIPT}"
    content = f"PATH={installed.parent}:/usr/bin:/bin\n" + line(folder, called, name.replace("FOLDER", str(installed)))
    assert check(folder, content) == (0, [])
    assert rules(check(folder, content.replace(" -t -1", ""))) == ["no-t"]
    installed.unlink()
    assert rules(check(folder, content)) == ["no-program"]


@pytest.mark.skipif(os.name == "nt", reason="there pip makes other folders")
def test_the_script_that_pip_has_installed_is_called_by_its_path(folder, tmp_path):
    script = tmp_path / "opt" / "bin" / "planta_headless.py"
    package = tmp_path / "opt" / "lib" / "python3.9" / "site-packages" / "headless"
    package.mkdir(parents=True)
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\n")
    script.chmod(0o755)
    content = line(folder, f"{sys.executable} {SCRIPT}", str(script))
    assert check(folder, content) == (0, [])
    package.rmdir()
    assert rules(check(folder, content)) == ["old-script"]


def test_a_folder_of_the_same_name_is_no_call(folder):
    assert rules(check(folder, "0 2 * * * /opt/planta_headless/clean --to 5%\n")) == ["no-call"]


VARIABLES = {
    "PLANTA_PATIENCE=ten": "variable",
    "PLANTA_PROTOCOL=/no/such/dialect.py": "variable",
    "PLANTA_RECEIPT=/no/such/folder/receipts": "variable",
    "MAILTO=''": "unreported",
}


@pytest.mark.parametrize(("setting", "rule"), VARIABLES.items())
def test_a_setting_that_spoils_calls_is_told_once_where_it_is_set(folder, setting, rule):
    found = check(folder, f"{setting}\n0 2 * * * {good(folder)}\n0 3 * * * {good(folder)}\n")
    assert [(each["line"], each["rule"]) for each in found[1]] == [(1, rule)]


def test_a_script_that_is_called_by_its_name_needs_a_python_with_libraries_too(folder):
    (folder / "headless").mkdir()
    (folder / "python3").symlink_to("/bin/sh")  # a Python without any
    script = folder / "planta_headless.py"
    for first, expected in ((f"#!{folder}/python3", ["no-library"]), (f"#!{sys.executable}", [])):
        script.write_text(first + "\n")
        script.chmod(0o755)
        called = good(folder).replace(f"{sys.executable} {SCRIPT}", str(script))
        assert rules(check(folder, f"0 2 * * * {called}\n")) == expected


HEAD = "PY=/usr/bin/python2 -3 -Qnew\nPH={}\nP={}/secret\n"
MANY = "".join(f'{minute} 2 * * * $PY ${{PH}} -s x:1 -u R41 -p "$P" -v -t -1 -m {minute}\n' for minute in range(13))


def test_what_a_variable_at_the_head_has_is_told_once_and_corrected_where_it_is_set(folder):
    content = HEAD.format(SCRIPT, folder) + MANY
    found = check(folder, content)[1]
    assert [(each["line"], each["rule"]) for each in found] == [(1, "old-python"), *[(1, "python-option")] * 2]
    python = found[0]["write"].partition("=")[2].partition(" ")[0]  # this one, or that beside the script
    assert found[0]["write"] == f"PY={python} -3 -Qnew"
    subprocess.run([python, "-c", "import bcrypt, lxml, sys; assert sys.version_info >= (3, 9)"], check=True)
    headless("check", "--fix", str(folder / "fixed"), str(folder / "crontab"))
    fixed = (folder / "fixed").joinpath(*(folder / "crontab").parts[1:]).read_text()
    assert fixed == content.replace("/usr/bin/python2 -3 -Qnew", python)
    assert check(folder, fixed) == (0, [])


@pytest.mark.parametrize(("right", "wrong", "line_number", "rule"), [
    (str(SCRIPT), "/absent/planta_headless.py", 2, "no-script"), ("/secret", "/absent", 3, "password-file"),
    ("/usr/bin/python2 -3 -Qnew", "/absent/python3", 1, "no-program"),
])  # fmt: skip
def test_a_variable_with_a_wrong_path_is_told_once(folder, right, wrong, line_number, rule):
    head = HEAD.format(SCRIPT, folder).replace(right, wrong).replace("/usr/bin/python2 -3 -Qnew", sys.executable)
    assert [(each["line"], each["rule"]) for each in check(folder, head + MANY)[1]] == [(line_number, rule)]


@pytest.mark.parametrize("other", ["0 3 * * * $PY /opt/other.py\n", "0 3 * * * /opt/run ${PY}\n"])
def test_a_variable_that_other_lines_need_is_not_changed(folder, other):
    found = check(folder, HEAD.format(SCRIPT, folder) + MANY + other)[1]
    assert [(each["line"], each["write"]) for each in found if each["rule"] == "old-python"] == [(1, None)]


def test_of_a_variable_that_is_set_twice_the_one_that_counts_is_told(folder):
    content = HEAD.format(SCRIPT, folder).replace("PY=", "PY=/bin/true\nPY=") + MANY.partition("\n")[0] + "\n"
    content += f"PY={sys.executable}\n"
    assert [each["line"] for each in check(folder, content)[1] if each["rule"] == "old-python"] == [2]


def test_no_setting_is_left_without_a_value(folder):
    call = good(folder).replace(str(SCRIPT), f"$OPTIONS {SCRIPT}")
    found = check(folder, f"OPTIONS=-3\n0 2 * * * {call}\n")[1]
    assert [(each["line"], each["rule"], each["write"]) for each in found] == [(1, "python-option", None)]


def test_the_options_that_only_python_2_knows_are_taken_away(folder):
    call = good(folder).replace(str(SCRIPT), f"-3 -u -Q new {SCRIPT}")
    found = check(folder, f"0 2 * * * {call}\n")[1]
    assert {each["rule"] for each in found} == {"python-option"}
    headless("check", "--fix", str(folder / "fixed"), str(folder / "crontab"))
    fixed = (folder / "fixed").joinpath(*(folder / "crontab").parts[1:]).read_text()
    assert fixed == f"0 2 * * * {good(folder).replace(str(SCRIPT), f'-u {SCRIPT}')}\n"


def test_an_option_of_python_2_stays_where_python_2_has_to_stay(folder):
    content = f"0 2 * * * docker exec planta /usr/bin/python2 -3 {SCRIPT} -s x:1 -t -1 -v -m X\n"
    assert "python-option" not in rules(check(folder, content))


@pytest.mark.parametrize("elsewhere", ["docker exec planta", "ssh planta"])
def test_no_path_of_this_machine_is_written_into_a_line_that_runs_on_another(folder, elsewhere):
    content = f"0 2 * * * {elsewhere} /usr/bin/python2 {SCRIPT} -s x:1 -t -1 -v -m X\n"
    assert [each["write"] for each in check(folder, content)[1] if each["write"]] == []


def test_fix_says_which_lines_it_has_changed_and_what_it_leaves_and_shows_no_other_line(folder):
    script = folder / "bare.sh"
    script.write_text(f"#!/bin/sh\n{good(folder).partition(' ||')[0]}\ntrue\n")
    script.chmod(0o755)
    content = "X=hunter2\r\n" + line(folder, "-t -1 ", "").replace("\n", "\r\n") + f"5 2 * * * {script} #\r\n"
    (folder / "crontab").write_bytes(content.encode())
    done = headless("check", "--fix", str(folder / "fixed"), str(folder / "crontab"))
    new = f"{folder}/fixed{folder}/crontab"
    was = line(folder, "-t -1 ", "").strip()
    assert done.stdout.partition("--fix: ")[2].splitlines() == [
        f"wrote {new}, changed: line 1-3",
        f"--- {folder}/crontab", f"+++ {new}", "@@ -2 +2 @@", f"-{was}", f"+{was.replace('.py', '.py -t -1')}",
        f"--fix: {script} stays as it is", "  left for a person: line 2 [code-lost]",
    ]  # fmt: skip


def test_a_crontab_that_names_only_a_script_is_judged_if_the_script_calls_the_command(folder):
    script = folder / "job.sh"
    script.write_text(f"#!/bin/sh\n{good(folder)}\n")
    script.chmod(0o755)
    (folder / "crontab").write_bytes(f"X=1\r\n5 2 * * * {script} #\r\n".encode())
    assert rules(checks.check(folder / "crontab")) == ["line-ends"]
    script.write_text("#!/bin/sh\ntrue\n")
    assert rules(checks.check(folder / "crontab")) == ["no-call"]


def test_fix_says_that_nothing_is_to_correct(folder):
    (folder / "crontab").write_text(f"0 2 * * * {good(folder)}\n")
    done = headless("check", "--fix", str(folder / "fixed"), str(folder / "crontab"))
    assert done.stdout.endswith(f"\n--fix: there is nothing to correct: {folder}/fixed is empty\n")


def test_each_of_several_lines_with_the_same_jobs_names_all_before_it(folder):
    found = check(folder, f"0 2 * * * {good(folder)}\n" * 23)[1]
    assert [each["line"] for each in found] == [*range(2, 24)]
    assert found[1]["text"] == "the same jobs are started in the same minute by line 1, line 2"
    assert found[-1]["text"].endswith("line 20, and 2 more")


def test_fix_writes_corrected_files_beside_and_changes_none(folder):
    content = line(folder, "-t -1 ", "") + line(folder, "-m 009ABC", "-c \"print('%')\"", "5 3 * * *")[:-1]
    fixed = folder / "fixed"
    check(folder, content, "--fix", str(fixed))
    assert (folder / "crontab").read_text() == content
    copy = fixed.joinpath(*(folder / "crontab").parts[1:])
    assert check(folder, copy.read_text()) == (0, [])
    done = headless("check", "--fix", str(fixed), str(folder / "crontab"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"headless check: error: --fix: {str(fixed)!r} is there already: name a new folder\n"


@pytest.mark.parametrize(
    ("times", "other", "expected"),
    [("0 2 * * *", "0 2 * * *", ["twice"]), ("*/5 * * * *", "0 3 * * 1", ["not-locked", "twice"]),
     ("0 2 * * *", "1 2 * * *", []), ("@daily", "0 0 1 * *", ["twice"])],
)  # fmt: skip
def test_two_lines_that_start_the_same_job_in_the_same_minute_are_found(folder, times, other, expected):
    assert sorted(rules(check(folder, f"{times} {good(folder)}\n{other} {good(folder)}\n"))) == expected
    assert rules(check(folder, f"0 2 * * * {good(folder)}; {good(folder)}\n")) == []  # one after the other


def test_a_date_that_never_comes_is_found(folder):
    assert rules(check(folder, f"0 2 31 2 * {good(folder)}\n0 2 29 2 * {good(folder)}\n")) == ["never"]


def test_a_line_that_cannot_be_checked_is_not_passed_over(folder):
    call = "planta_headless.py -s planta:20000 -m X -t -1 -v"
    assert rules(check(folder, f"0 2 * * * ssh other '{call}'\n")) == ["not-checked"]
    found = rules(check(folder, f"0 2 * * * ssh other '{call.replace('-m X', '')}; true'\n"))
    assert found == ["code-lost", "options", "not-checked"]


def test_a_line_that_starts_often_needs_a_lock(folder):
    locked = good(folder, "/usr/bin/env flock -n l ")
    assert rules(check(folder, f"*/10 * * * * {good(folder)}\n")) == ["not-locked"]
    assert rules(check(folder, f"PATH={os.environ['PATH']}\n*/10 * * * * {locked}\n")) in ([], ["no-program"])
    (folder / "a.sh").write_text(f"#!/bin/sh\n{good(folder)}\n")
    for front, expected in (("flock -n l ", []), ("", ["not-locked"])):
        content = f"PATH={os.environ['PATH']}\n# planta_headless.py\n*/10 * * * * {front}sh {folder}/a.sh\n"
        assert [each for each in rules(check(folder, content)) if each != "no-program"] == expected


def test_a_python_that_is_too_old_is_found_by_the_file_that_its_name_leads_to(folder):
    for name, real, expected in (("python", "python2.7", "2.7"), ("python3", "python3.6", "3.6"), ("python3", "", "")):
        (folder / "bin").mkdir(exist_ok=True)
        link = folder / "bin" / name
        link.unlink(missing_ok=True)
        if real:
            (folder / "bin" / real).touch(mode=0o755)
        link.symlink_to(folder / "bin" / real if real else sys.executable)
        found = check(folder, line(folder, sys.executable, str(link)))
        assert [each["text"].partition(";")[0] for each in found[1] if each["rule"] == "old-python"] == (
            [f"{link} is Python {expected}"] if expected else []
        )


# The file


def test_a_file_that_does_not_call_the_command_is_said_to_and_nothing_else(folder):
    for name, content in (("crontab", "60 2 * * * true"), ("a.sh", "#!/bin/sh\n# planta_headless.py\n")):
        assert [(each["line"], each["rule"]) for each in check(folder, content, name=name)[1]] == [(0, "no-call")]


def test_a_line_of_cron_d_needs_a_user(folder):
    (folder / "cron.d").mkdir()
    assert rules(check(folder, f"0 2 * * * root {good(folder)}\n", name="cron.d/planta")) == []
    found = check(folder, f"0 2 * * * {good(folder)}\n", name="cron.d/planta")
    assert rules(found) == ["user-missing"]


# Scripts


def test_a_script_that_a_line_starts_is_read_as_well(folder):
    script = folder / "nightly.sh"
    script.write_text(f"#!/bin/sh\ncd /tmp\n{good(folder, after=' ')}\necho done\n")
    script.chmod(0o755)
    for command in (str(script), f"sh {script}", f"cd {folder} && ./nightly.sh", f"nice sh -c '{script}'"):
        found = check(folder, f"# planta_headless.py\n0 2 * * * {command}\n")
        assert [(each["file"], each["line"], each["rule"]) for each in found[1]] == [(str(script), 3, "code-lost")]


def test_a_script_that_is_started_by_its_name_has_to_be_executable(folder):
    script = folder / "nightly.sh"
    script.write_text(f"#!/bin/sh\n{good(folder, after=' ')}\n")
    for front, mode, expected in (("", 0o644, ["not-executable"]), ("sh ", 0o644, []), ("", 0o755, [])):
        script.chmod(mode)
        assert rules(check(folder, f"# planta_headless.py\n0 2 * * * {front}{script} || echo bad\n")) == expected


def test_a_script_that_looks_at_the_code_is_good(folder):
    for lines in (["set -e", good(folder, after=" "), "echo done"], [good(folder, after=" "), "exit $?"],
                  [good(folder, "if ! ", "; then echo failed; exit 1; fi")], [good(folder, after=" ")],
                  ["failed() { echo failed; }", good(folder, after=" || failed"), "exit 0"],
                  ["for id in 1 2; do", good(folder, after=" || exit 1").replace("ABC", "$id"), "done"]):  # fmt: skip
        assert check(folder, "#!/bin/sh\n" + "\n".join(lines) + "\n", name="nightly.sh") == (0, []), lines


def test_scripts_that_start_each_other_are_read_once(folder):
    for one, other in (("a.sh", "b.sh"), ("b.sh", "a.sh")):
        (folder / one).write_text(f"#!/bin/sh\n# planta_headless.py\n{folder}/{other}\n")
        (folder / one).chmod(0o755)
    assert rules(check(folder, f"# planta_headless.py\n0 2 * * * {folder}/a.sh\n")) == ["no-call"]


# The command line


def test_the_text_names_the_place_what_happens_and_the_line_to_paste(folder):
    (folder / "crontab").write_text(line(folder, "-t -1 ", ""))
    done = headless("check", str(folder / "crontab"))
    assert done.returncode == 1
    first, warning, night, write, count = done.stdout.splitlines()
    assert first == f"{folder}/crontab:1"
    assert warning == "  warning: without -t the command ends as soon as the jobs are accepted [no-t]"
    assert night == "    at night: how they end is not reported to anyone, and the next start is 1 day later"
    assert write.startswith(f"  write: 0 2 * * * {sys.executable} {SCRIPT} -t -1 -s planta:20000")
    assert count == "1 call of planta_headless.py in 1 file: 0 errors, 1 warning"


@pytest.mark.parametrize(
    "argv",
    [("missing",), (".",), ("--as",), ("--as", "nobody"), ("--as", "no such user", "secret"), ("--no-such-option",)],
)
def test_misuse_is_a_2(folder, argv, monkeypatch):
    monkeypatch.chdir(folder)
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
def test_whatever_is_in_a_file_there_is_no_traceback(folder, name):
    for content in HOSTILE:
        (folder / name).write_bytes(content)
        done = headless("check", str(folder / name))
        assert (done.returncode in (0, 1), done.stderr) == (True, ""), content
