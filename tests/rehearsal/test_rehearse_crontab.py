"""`rehearse --crontab`: whole lines as cron runs them, each call on a server of its own, and their results."""

from __future__ import annotations

import os
import re
import signal
import subprocess

import pytest

from support.job_processes import is_running
from support.process import PATIENCE, current_user
from support.rehearsal import notes
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no cron")

COMMAND = "/planta/jobs/python /planta/jobs/planta_headless.py -s planta.example:20000"


@pytest.fixture
def tab(rehearse):
    """Makes a crontab of these lines, whose home is a folder of the test."""
    (rehearse.folder / "home").mkdir()

    def make(*lines: str) -> str:
        settings = [f"HOME={rehearse.folder}/home", f"TMPDIR={rehearse.temporary}"]
        text = "\n".join([*settings, *(line.replace("COMMAND", COMMAND) for line in lines)]) + "\n"
        return str(rehearse.write("tab", text))

    return make


def rows(done: subprocess.CompletedProcess[str]) -> dict[int, list[str]]:
    """The columns of the table, by the number of the line."""
    table = done.stdout[done.stdout.index("line  schedule") :].splitlines()[1:-1]
    return {int(row.split()[0]): re.split(r"\s{2,}", row)[1:] for row in table}


@pytest.mark.slow
def test_each_line_is_run_and_the_results_of_its_jobs_are_shown(rehearse, tab):
    rehearse.write("modules/009ABC.py", "print('ran')")
    rehearse.write("nightly/close.py", "raise SystemExit('no such table')")
    path = tab(
        "# m h dom mon dow",
        "0 2 * * * COMMAND -t -1 -v -m 009ABC > log",
        "*/5 * * * 1-5 COMMAND -f /planta/py/nightly/close.py",
        "@daily COMMAND -t -1 -f nightly/close.py -c 1",
        "@reboot touch never",
    )
    done = rehearse("--modules-from", "modules", "--crontab", path)
    assert done.returncode == 1
    table = rows(done)
    assert [table[line][:2] for line in (4, 5, 6)] == [["0 2 * * *", "0"], ["*/5 * * * 1-5", "0"], ["@daily", "1"]]
    assert [table[line][3:] for line in (4, 5, 6)] == [
        ["009ABC", "0: job 1 ok"],
        ["/planta/py/nightly/close.py", "0: job 1 failed: no such table"],
        ["nightly/close.py py_code", "1: job 1 failed: no such table, job 2 skipped"],
    ]
    assert done.stdout.splitlines()[-1] == (
        "3 rehearsed, 1 of them not well; 0 not rehearsed; 1 without planta_headless.py"
    )
    assert "job 1 stdout: ran" in (rehearse.folder / "home" / "log").read_text()
    assert not (rehearse.folder / "home" / "never").exists()
    (said,) = notes(done)
    assert said.startswith("the lines really run, with their redirections, on this machine, as ")


@pytest.mark.slow
def test_a_line_needs_a_server_as_at_night_and_has_the_one_of_the_crontab(rehearse, tab):
    line = "0 2 * * * /planta/jobs/python /planta/jobs/planta_headless.py -t -1 -v -c 1 > log"
    rehearse.environment["PLANTA_SERVICE"] = "planta:20000"  # which cron does not have
    done = rehearse("--crontab", tab(line, "PLANTA_SERVICE=planta:20000", line))
    assert [row[1] for row in rows(done).values()] == ["2", "0"]
    assert "info from the environment: PLANTA_SERVICE\n" in (rehearse.folder / "home" / "log").read_text()


def test_a_line_runs_with_crons_environment_shell_home_and_input_alone(rehearse, tab):
    rehearse.use_stub()
    rehearse.environment["SECRET"] = "hunter2"
    path = tab(
        "SHELL=/bin/bash",
        'X="1 2"',
        "0 2 * * * COMMAND -t -1 -c 1 && env | sort > env; pwd > folder; cat > input; echo \\%$BASH > shell%a%b",
    )
    assert rehearse("--crontab", path).returncode == 0
    home = rehearse.folder / "home"
    environment = dict(line.split("=", 1) for line in (home / "env").read_text().splitlines())
    assert {name: environment.pop(name) for name in ("PATH", "HOME", "SHELL", "LOGNAME", "X", "TMPDIR")} == {
        "PATH": "/usr/bin:/bin", "HOME": str(home), "SHELL": "/bin/bash", "LOGNAME": current_user(), "X": "1 2",
        "TMPDIR": str(rehearse.temporary),
    }  # fmt: skip
    assert set(environment) <= {"PWD", "SHLVL", "_", "OLDPWD", "PLANTA_REHEARSAL"}  # which keeps it in the rehearsal
    assert (home / "folder").read_text() == f"{home}\n"
    assert (home / "input").read_text() == "a\nb\n"
    assert (home / "shell").read_text() == "%/bin/bash\n"


# Lines that call the command, and the options of the call.
CALLED = {
    "COMMAND -t -1 -c 'print(42)' -v > log": "-s planta.example:20000 -t -1 -c print(42) -v",
    "/planta/jobs/planta_headless.py -v -c 'print(42)' -s x:1 > log 2>&1": "-v -c print(42) -s x:1",
    "python3 -u '/planta/jobs/planta_headless.py' -s x:1 -v -c 'print(42)' > log": "-s x:1 -v -c print(42)",
    "sh -c 'COMMAND -c \"print(42)\" > log'": "-s planta.example:20000 -c print(42)",
    "$PYTHON $HEADLESS $OPTIONS -c 'print(42)' > log": "-s planta:20000 -t -1 -v -c print(42)",
    "true && { COMMAND -c 1 || echo failed; } | cat > log": "-s planta.example:20000 -c 1",
    "COMMAND -t -1 -v -c 'print(42)' > log &": "-s planta.example:20000 -t -1 -v -c print(42)",
    "COMMAND --py_code='print(4\\%5*10+2)' > log": "-s planta.example:20000 --py_code=print(4%5*10+2)",
}


def test_a_call_is_rehearsed_wherever_it_stands_in_a_line(rehearse, tab):
    rehearse.use_stub()
    variables = ("PYTHON=/planta/python3", "HEADLESS=/planta/planta_headless.py", "OPTIONS=-s planta:20000 -t -1 -v")
    lines = [f"0 2 * * * {line.replace('log', f'log{number}')}" for number, line in enumerate(CALLED)]
    done = rehearse("--dry-run", "--crontab", tab(*variables, *lines))
    assert done.returncode == 0, done.stdout
    for number, (row, call, options) in enumerate(zip(rows(done).values(), rehearse.calls(), CALLED.values())):
        assert row[3:] == ["py_code", "0: job 1 ok"]
        assert call[1:5] == ["rehearse", "--files-from", str(rehearse.folder), "--dry-run"]
        assert call[call.index("--") + 1 :] == options.split()
        assert (rehearse.folder / "home" / f"log{number}").read_text() == "job 1 stdout: 42\n"
    assert len(rehearse.calls()) == len(CALLED)


# Lines that are not run: why not.
NOT_RUN = {
    "0 2 * * * COMMAND -c 'print(1)": "sh says: Syntax error",
    "# x\n61 2 * * * COMMAND -c 1": "cron does not know the minute",
    "0 2 * * * COMMAND -c 1; ./night.sh": "/planta/jobs/planta_headless.py is not here",
    "0 2 * * * $ALL -c 1": "planta_headless.py and its options come from one variable",
    "0 2 * * * COMMAND -c 1; touch planta_headless.py": "not each planta_headless.py in it could be replaced",
    "HOME=/absent\n0 2 * * * COMMAND -c 1": "there is no folder '/absent', where it begins",
}


def test_a_line_that_cannot_be_rehearsed_is_not_run_and_that_is_a_1(rehearse, tab):
    rehearse.use_stub()
    rehearse.write("home/night.sh", "/planta/jobs/planta_headless.py -c 1").chmod(0o755)
    done = rehearse("--crontab", tab(f"ALL={COMMAND}", "0 3 * * * COMMAND -t -1 -c 1", *NOT_RUN))
    assert done.returncode == 1
    good, *problems = (row[-1] for row in rows(done).values())
    assert (good, len(problems)) == ("0: job 1 ok", len(NOT_RUN))
    for result, (line, problem) in zip(problems, NOT_RUN.items()):
        assert result.startswith(f"not rehearsed: {problem}"), line
    assert len(rehearse.calls()) == 1
    assert [path.name for path in (rehearse.folder / "home").iterdir()] == ["night.sh"]
    assert done.stdout.endswith(
        f"1 rehearsed, 0 of them not well; {len(NOT_RUN)} not rehearsed; 0 without planta_headless.py\n"
    )


def test_a_call_that_the_line_does_not_come_to_is_no_success_of_its_jobs(rehearse, tab):
    rehearse.use_stub()
    done = rehearse("--crontab", tab("0 2 * * * false && COMMAND -c 1", "0 2 * * * true || COMMAND -c 1"))
    assert (done.returncode, [(row[1], row[3:]) for row in rows(done).values()]) == (
        1,
        [(code, ["-", "planta_headless.py was not called, or had a mistake"]) for code in ("1", "0")],
    )
    assert rehearse.calls() == []


def test_what_a_line_has_said_instead_of_a_call_is_shown_and_is_in_the_table(rehearse, tab):
    lines = ("0 2 * * * echo first >&2; cd /absent && COMMAND -c 1", "0 2 * * * COMMAND -t x -c 1")
    done = rehearse("--crontab", tab(*lines))
    assert [line for line in done.stderr.splitlines() if line.startswith("first") or "/absent" in line] == [
        "first", "/bin/sh: 1: cd: can't cd to /absent",
    ]  # fmt: skip
    assert [row[-1] for row in rows(done).values()] == [
        "planta_headless.py was not called, or had a mistake: /bin/sh: 1: cd: can't cd to /absent",
        "planta_headless.py was not called, or had a mistake: headless rehearse: error: -t 'x' is not a whole number"
        " of seconds, nor -1 for no time out",
    ]


@pytest.mark.parametrize(("front", "mode", "is_run"), [("", 0o755, True), ("bash ", 0o644, True), ("", 0o644, False)])
def test_the_calls_of_a_script_are_rehearsed_in_a_copy_of_it_that_leaves_it_as_it_is(
    rehearse, tab, front, mode, is_run
):
    rehearse.use_stub()
    path = tab(f"0 2 * * * {front}{rehearse.folder}/home/night.sh 42")
    text = f'#!/bin/bash -e\nset -o pipefail\n{COMMAND} -c "$1" 2>&1 | cat > log\necho $BASH > shell\n'
    script = rehearse.write("home/night.sh", text)
    script.chmod(mode)
    (row,) = rows(rehearse("--crontab", path)).values()
    assert (row[-1] == "0: job 1 ok") is is_run, row
    assert script.read_text() == text
    options = [call[call.index("--") + 1 :] for call in rehearse.calls()]
    assert options == ([["-s", "planta.example:20000", "-c", "42"]] if is_run else [])
    assert not is_run or (script.parent / "shell").read_text().endswith("bash\n")


def test_a_folder_for_temporary_files_whose_name_a_line_could_misread_is_refused(rehearse, tab):
    rehearse.temporary = rehearse.folder / "with blank"
    rehearse.temporary.mkdir()
    done = rehearse("--crontab", tab("0 2 * * * COMMAND -c 1"))
    assert (done.returncode, "needs a name without blanks and special characters: set TMPDIR" in done.stderr) == (
        1,
        True,
    )


def test_one_line_can_be_chosen(rehearse, tab):
    rehearse.use_stub()
    path = tab("0 2 * * * COMMAND -c 1 && touch first", "0 3 * * * COMMAND -c 1 && touch second")
    assert rehearse("--crontab", path, "--line", "4").returncode == 0
    assert [each.name for each in (rehearse.folder / "home").iterdir()] == ["second"]
    done = rehearse("--crontab", path, "--line", "2")
    assert (done.returncode, done.stderr.count("\n"), "line 2 of " in done.stderr) == (2, 1, True)


def test_a_crontab_without_a_call_is_no_success(rehearse, tab):
    done = rehearse("--crontab", tab("0 2 * * * touch never"))
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert not list((rehearse.folder / "home").iterdir())


def test_the_own_options_hold_for_the_calls_of_each_line(rehearse, tab):
    rehearse.use_stub()
    rehearse.write("stand_in.py", "")
    own = ("--stand-in", "stand_in.py", "--accept-modules")
    assert rehearse(*own, "--crontab", tab("0 2 * * * COMMAND -m 009ABC")).returncode == 0
    ((_, _, *options),) = rehearse.calls()
    wanted = ["--files-from", str(rehearse.folder), "--stand-in", str(rehearse.folder / "stand_in.py")]
    assert options[: options.index("--report")] == [*wanted, "--accept-modules"]


@pytest.mark.slow
def test_a_dry_run_runs_the_lines_but_not_the_code_of_their_jobs(rehearse, tab):
    path = tab('0 2 * * * COMMAND -t -1 -m 009ABC -c \'open("trace", "w")\' && touch line')
    done = rehearse("--dry-run", "--accept-modules", "--crontab", path)
    assert (done.returncode, "their jobs are not run" in done.stderr) == (0, True)
    assert [each.name for each in (rehearse.folder / "home").iterdir()] == ["line"]
    assert not (rehearse.folder / "trace").exists()


MISTAKES = [
    (("--crontab", "absent"), "--crontab: 'absent' cannot be read: No such file or directory"),
    (("--crontab", "."), "--crontab: '.' cannot be read: Is a directory"),
    (("--crontab", "night.sh"), "--crontab: 'night.sh' is no crontab"),
    (("--crontab", "tab", "-m", "X"), "with --crontab there are no options of the command"),
    (("--crontab", "tab", "--line", "0"), "--line '0' is not the number of a line"),
    (("--crontab", "tab", "--line", "9" * 5000), "--line '999"),
    (("--crontab", "tab", "--line"), "argument --line: expected one argument"),
    (("--line", "1", "-c", "1"), "--line needs --crontab"),
    (("--crontab=",), "--crontab has an empty value"),
]


def test_a_mistake_is_one_line_and_a_2(rehearse, tab):
    tab("0 2 * * * COMMAND -c 1")
    rehearse.write("night.sh", "#!/bin/sh\n")
    for argv, problem in MISTAKES:
        done = rehearse(*argv)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), argv
        assert done.stderr.startswith(f"headless rehearse: error: {problem}"), argv


@pytest.mark.slow
def test_a_signal_ends_the_line_that_runs_and_all_that_it_has_started(rehearse, tab):
    pids = rehearse.folder / "pids"
    code = f"import os, time; open(r'{pids}', 'a').write(f'{{os.getpid()}}\\n'); time.sleep(600)"
    path = tab(
        f'0 2 * * * (sleep 601; touch never) & echo $! >> {pids}; COMMAND -t -1 -c "{code}"', "0 3 * * * COMMAND -c 1"
    )
    with rehearse.start("--crontab", path, stdout=subprocess.PIPE) as process:
        try:
            wait_until(lambda: pids.exists() and pids.read_text().count("\n") == 2)
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == -signal.SIGINT
        finally:
            process.kill()
    for pid in map(int, pids.read_text().split()):
        assert not is_running(pid)
    rehearse.assert_nothing_left()
