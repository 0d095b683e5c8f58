"""`rehearse` in front of a cron line: the same return code, on a server of its own, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from headless.dialects import bcrypt_hash
from headless.errors import ParameterError
from headless.rehearsal import server
from headless.rehearsal.server import temporary_folder
from support.command_here import headless
from support.credentials import HASH
from support.fork_server import start
from support.impostor import impose
from support.process import PATIENCE, ROOT, current_user, other_user
from support.raw_client import RawClient, osuser_login
from support.rehearsal import notes
from support.waiting import wait_until

no_modes = pytest.mark.skipif(os.name == "nt", reason="modes mean nothing on Windows")
no_signals = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
NOTE = f"headless rehearse: the jobs really run, on this machine, as {current_user()} (--dry-run does not run them)\n"
# Command lines: the return code, and what stderr begins with, which is all of it but for a 2.
RETURNED = [
    (("-s", "tls://planta.example:20000", "-u", "R41", "-t", "30", "-c", "print(1)", "-c", "print(2)"), 0, NOTE),
    (("-t", "-1", "-c", "1/0"), 1, NOTE),
    (("-t", "-1", "-f", "../outside.py"), 2, "planta_headless.py: error: the server refused the jobs"),
    (("-u", "x" * 257, "-c", "pass"), 2, "planta_headless.py: error: -u has 257 characters"),
    (("--accept-modules", "-t", "-1", "-m", "009ABC", "-c", "pass"), 0, NOTE),
    (("--accept-modules", "-t", "-1", "-m", "009ABC"), 0, ""),
    (
        ("--accept-modules", "-t", "-1", "-m", "009ABC", "-m", "../x"),
        2,
        "planta_headless.py: error: the server refused",
    ),
    (("--dry-run", "--", "-t", "-1", "-c", "1/0"), 0, ""),
]


@pytest.mark.slow
@pytest.mark.version("asyncio, sqlite3 and the job's interpreter, in a whole rehearsal")
@pytest.mark.parametrize(("argv", "code", "said"), RETURNED)
def test_the_return_code_is_that_of_the_command_and_that_code_is_really_run_is_said_once(rehearse, argv, code, said):
    done = rehearse(*argv)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", int(said != ""))
    assert done.stderr.startswith(said) if code == 2 else done.stderr == said


# Own options

MISTAKES = [
    (("-s", "nonsense", "-c", "pass"), ""),
    (("-t", "x", "-c", "pass"), "-t 'x' is not a whole number"),
    ((), "there is no job"),
    (("-u", "R41", "-p", "missing", "-c", "pass"), "the password file 'missing'"),
    (("--modules-from",), "argument --modules-from: expected one argument"),
    (("--modules-from=",), "--modules-from has an empty value"),
    (("--files-from", "missing", "-c", "pass"), "--files-from: 'missing' cannot be used: "),
    (("--stand-in", "missing", "-c", "pass"), "--stand-in: 'missing' cannot be used: "),
    (("--stand-in", "bad.py", "-c", "pass"), "--stand-in: 'bad.py' cannot be used: "),
    (("--stand-in", ".", "-c", "pass"), "--stand-in: '.' cannot be used: it is no regular file"),
    (("--accept-modules", "--modules-from", ".", "-m", "x"), "--modules-from and --accept-modules exclude each other"),
    (("--dry", "-c", "pass"), "no such option: --dry"),
    (("-c", "pass", "--dry-run"), "--dry-run must come before the options of the command"),
    (("-c", "pass", "--files-from=x"), "--files-from must come before the options of the command"),
    (("--dry-run", "-t", "x", "-c", "--dry-run"), "-t 'x' is not a whole number"),
    (("--dry-run=1", "-c", "pass"), "no such option: --dry-run"),
    (("--dry-run",), "there is no job"),
]


def test_a_mistake_is_one_line_and_a_2(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text("def")
    for argv, text in MISTAKES:
        done = headless("rehearse", *argv)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), argv
        assert done.stderr.startswith(f"headless rehearse: error: {text}"), argv


def test_help_and_version_are_answers():
    for option in ("--help", "--version"):
        done = headless("rehearse", option)
        assert (done.returncode, done.stdout != "", done.stderr) == (0, True, "")


@no_modes
def test_a_password_file_that_others_can_read_is_a_2(command):
    done = headless("rehearse", "-t", "-1", "-u", "R41", "-p", command.secret_file(mode=0o644), "-c", "pass")
    assert (done.returncode, "chmod" in done.stderr) == (2, True)


@pytest.fixture
def modules(tmp_path):
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "009ABC.py").write_text("import beside; print('the real one')")
    (folder / "beside.py").touch()
    return str(folder)


@pytest.mark.slow
def test_modules_are_those_of_a_folder_or_print_their_name_or_are_refused(rehearse, modules):
    done = rehearse("--modules-from", modules, "-v", "-t", "-1", "-m", "009ABC")
    assert (done.returncode, "job 1 stdout: the real one" in done.stdout) == (0, True)
    done = rehearse("--accept-modules", "-v", "-t", "-1", "-m", "009ABC", "-m", "x_1")
    assert done.returncode == 0
    for job, name in ((1, "009ABC"), (2, "x_1")):
        assert f"job {job} stdout: module {name}" in done.stdout
    done = rehearse(f"--modules-from={modules}", "-t", "-1", "-m", "009ABD")
    assert (done.returncode, "there is no module '009ABD'" in done.stderr) == (2, True)
    assert rehearse("-t", "-1", "-m", "009ABC").returncode == 2


@pytest.mark.slow
def test_a_dry_run_does_everything_but_the_jobs_own_code(rehearse, modules, tmp_path):
    code = f"open({str(tmp_path / 'trace')!r}, 'w')"
    rehearse.write("close.py", code)
    Path(modules, "009ABC.py").write_text(code)
    jobs = ("-c", code, "-f", "close.py", "-m", "009ABC")
    done = rehearse("--dry-run", "--modules-from", modules, "-v", "-t", "-1", *jobs)
    assert done.returncode == 0
    for job in (1, 2, 3):
        assert f"job {job} stdout: not run, but compiled: " in done.stdout
    assert not (tmp_path / "trace").exists()
    assert rehearse("--dry-run", "-t", "-1", "-f", "missing.py").returncode == 2
    done = rehearse("--dry-run", "-v", "-t", "-1", "-c", "print(42")
    assert (done.returncode, "SyntaxError" in done.stdout) == (1, True)


# A line that does not wait


@pytest.mark.slow
def test_a_line_without_t_is_followed_to_the_end_of_its_jobs_and_keeps_its_return_code(rehearse):
    first = "import time; time.sleep(0.2); open('done', 'w').close()"
    done = rehearse("-c", first, "-c", "raise SystemExit('no such table')", "-c", "pass")
    assert (done.returncode, done.stdout) == (0, "")
    assert notes(done)[1:] == [
        "the command returned 0 when the jobs were accepted; they ended like this: job 1 ok, "
        "job 2 failed: no such table, job 3 skipped"
    ]
    (rehearse.folder / "done").unlink()  # it was run, though the command did not wait for it
    done = rehearse("-c", first, "-f", "absent.py")
    assert (done.returncode, (rehearse.folder / "done").exists()) == (2, False)  # refused as a whole


# Logins

LOGINS = [(), ("-u", "R41"), ("-a", "osuser", "-u", "R41", "-p", "missing"), ("-u", "R41", "-p", "SECRET")]


@pytest.mark.slow
def test_every_login_is_by_a_secret_of_its_own_that_is_shown_nowhere(rehearse, command):
    secret = command.secret_file(mode=0o440)  # of which something is to be said
    made = set()
    for login in LOGINS:
        user = "R41" if login else current_user()
        code = (
            "import glob, os, sys\n"
            "home = max(glob.glob(os.environ['TMPDIR'] + '/planta-rehearsal-*'))\n"
            "secret = open(home + '/secret').read().strip()\n"
            "assert os.name == 'nt' or os.stat(home + '/secret').st_mode & 0o777 == 0o400\n"
            "assert os.environ['PLANTA_USER'] == " + repr(user) + "\n"
            "print(secret[:29], secret[29:][::-1])\n"  # backwards, so that it is found where it should not be alone
        )
        argv = [secret if argument == "SECRET" else argument for argument in login]
        done = rehearse("-vvv", "-t", "-1", *argv, "-c", code)
        assert (done.returncode, ' auth_type="challenge"' in done.stdout) == (0, True), (login, done.stdout)
        ((salt, digest),) = set(re.findall(r"job 1 stdout: (\S{29}) (\S{31})", done.stdout))
        made.add((salt, digest))
        assert bcrypt_hash.is_hash(HASH[:29] + digest[::-1])
        assert digest[::-1] not in done.stdout
        assert HASH[29:] not in done.stdout
        is_said = os.name != "nt" and "SECRET" in login
        assert done.stdout.count("the group can read the password file") == is_said
    assert len(made) == len(LOGINS)


REHEARSED = "import os, time\nprint('.', flush=True)\nwhile not os.path.exists('gate'): time.sleep(0.01)"


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere osuser is refused anyway")
def test_no_other_user_runs_jobs_on_the_server_of_a_rehearsal(rehearse, tmp_path):
    """Not even one that is the same user for the kernel, and so none for which the kernel says nothing."""
    with rehearse.start("-v", "-t", "-1", "-c", REHEARSED, stdout=subprocess.PIPE) as process:
        try:
            port = re.search(r" port (\d+)$", process.stdout.readline().strip())
            assert port
            while "job 1 stdout" not in process.stdout.readline():
                pass
            for os_user in (current_user(), other_user()):
                answers = impose(f"127.0.0.1:{port[1]}", os_user, f"open({str(tmp_path / 'trace')!r}, 'w')", 20)
                assert [answer for answer in answers if b"<welcome" in answer or b"<accepted" in answer] == []
            with RawClient(f"127.0.0.1:{port[1]}") as client:
                client.send(osuser_login())
                client.expect_refusal("login")
            (rehearse.folder / "gate").touch()
            process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0
    assert not (tmp_path / "trace").exists()
    rehearse.assert_nothing_left()


@pytest.mark.slow
def test_a_server_that_cannot_be_had_is_a_1_that_says_why(rehearse, tmp_path):
    (tmp_path / "asyncio.py").write_text("raise RuntimeError('no asyncio here')")
    rehearse.environment["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
    done = rehearse("-c", "pass")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("headless rehearse: error: the server for the rehearsal cannot be started: ")
    assert "no asyncio here" in done.stderr
    assert done.stderr.count("\n") == 1


# Signals


@no_signals
@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "timeout"),
    [(signal.SIGTERM, ["-t", "-1"]), (signal.SIGINT, [])],
    ids=["while the command waits", "when it has left"],
)
def test_a_signal_ends_the_rehearsal_and_its_jobs(rehearse, signum, timeout):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with rehearse.start(*timeout, "-c", code) as process:
        try:
            wait_until(lambda: any(file.read_text().endswith("\n") for file in _outputs(rehearse)))
            (output,) = _outputs(rehearse)
            job = int(output.read_text())
            process.send_signal(signum)
            assert process.wait(PATIENCE) == -signum
        finally:
            process.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(job, 0)
    rehearse.assert_nothing_left()


def _outputs(rehearse):
    return list(rehearse.temporary.glob("*/output/*/1.stdout"))


# What a module in C does that looks for another one, and takes every exception for its absence.
SIGNALLED_IMPORT = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
except BaseException:
    pass
raise ImportError("Ctrl-C was not noticed")
"""


@no_signals
@pytest.mark.slow
@pytest.mark.version("how imports meet a signal")
def test_ctrl_c_in_an_import_that_takes_every_exception_is_not_lost(rehearse):
    package = rehearse.folder / "libraries" / "lxml"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "etree.py").write_text(SIGNALLED_IMPORT)
    rehearse.environment["PYTHONPATH"] = os.pathsep.join([str(package.parent), str(ROOT)])
    with rehearse.start("-t", "-1", "-c", "1", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (-signal.SIGINT, ("", ""))
    rehearse.assert_nothing_left()


SIGNALLED_BEFORE_THE_COMMAND_BEGINS = """
import os, signal, sys
from headless import cli
from headless.rehearsal import command
from headless.client import call

begin = call._Call

def signalled(*arguments, **named):
    os.kill(os.getpid(), signal.SIGTERM)
    return begin(*arguments, **named)

call._Call = signalled
cli.end_process(command.main(sys.argv[1:]))
"""


@no_signals
@pytest.mark.slow
def test_a_signal_between_the_start_of_the_server_and_the_command_is_not_lost(rehearse):
    program = rehearse.write("program.py", SIGNALLED_BEFORE_THE_COMMAND_BEGINS)
    argv = [str(program), "-t", "-1", "-c", "import time; time.sleep(600)"]
    with start(argv, cwd=rehearse.folder, env=rehearse.environment, stdin=subprocess.DEVNULL) as process:
        try:
            assert process.wait(PATIENCE) == -signal.SIGTERM
        finally:
            process.kill()
    rehearse.assert_nothing_left()


# The folder


@pytest.mark.parametrize(("system", "failures", "is_removed"), [("nt", 3, True), ("posix", 1, False)])
def test_the_folder_may_be_in_use_for_a_while_on_windows_and_elsewhere_that_is_an_error(
    monkeypatch, tmp_path, system, failures, is_removed
):
    cleanup, folders = tempfile.TemporaryDirectory.cleanup, []
    left = [PermissionError(13, "in use")] * failures

    def failing_cleanup(folder):
        if left:
            folders.append(folder)  # which would be removed with the object
            raise left.pop()
        cleanup(folder)

    monkeypatch.setattr("headless.rehearsal.server.os.name", system)
    monkeypatch.setattr(tempfile.TemporaryDirectory, "cleanup", failing_cleanup)
    with nullcontext() if is_removed else pytest.raises(PermissionError), temporary_folder(str(tmp_path)):
        pass
    assert (list(tmp_path.iterdir()) == []) is is_removed
    cleanup(folders[0])


# A user without a name


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no user of Windows is without a name")
def test_a_user_without_a_name_can_rehearse(rehearse, monkeypatch):
    def nameless() -> str:
        raise ParameterError("no name")

    monkeypatch.setattr(server, "effective_user", nameless)
    number = os.geteuid()
    done = rehearse("-t", "-1", "-c", f"import os; assert os.environ['PLANTA_USER'] == '{number}'")
    assert done.returncode == 0
    of_tab = rehearse("--crontab", str(rehearse.write("tab", "# x\n")))
    for said in (done.stderr, of_tab.stderr):
        assert f"the user number {number} has no name here: an osuser login of the command itself is a 2" in said


# A console of Windows: Ctrl-C comes to every process there, and must reach the command alone

on_windows = pytest.mark.skipif(os.name != "nt", reason="only Windows has such consoles")
STATUS_CONTROL_C_EXIT = 0xC000013A


def at_console(rehearse, code):
    from support.windows_console import WindowsConsole

    argv, program = ("-v", "-t", "-1", "-c", code), (str(ROOT / "headless"), "rehearse")
    temporary = str(rehearse.temporary)
    environment = {**rehearse.environment, "TEMP": temporary, "TMP": temporary}
    return WindowsConsole(rehearse.folder, *argv, program=program, env=environment)


@on_windows
@pytest.mark.slow
def test_a_rehearsal_at_a_console_runs_its_job_and_leaves_nothing(rehearse):
    with at_console(rehearse, "print(6 * 7)") as console:
        assert console.end() == 0
    assert "job 1 stdout: 42" in console.shown
    rehearse.assert_nothing_left()


@on_windows
@pytest.mark.slow
def test_ctrl_c_ends_a_rehearsal_with_its_jobs_and_leaves_nothing(rehearse):
    with at_console(rehearse, "import time; print('runs', flush=True); time.sleep(600)") as console:
        console.wait_for("job 1 stdout: runs")
        console.press_ctrl_c()
        assert console.end() % 2**32 == STATUS_CONTROL_C_EXIT
    assert console.shown.endswith("ended by signal 2; jobs: submitted")
    rehearse.assert_nothing_left()
