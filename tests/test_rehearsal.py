"""`rehearse` in front of a cron line: the same return code, on a server of its own, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from headless.protocol import bcrypt_hash
from headless.rehearsal.temporary import temporary_folder
from support.credentials import HASH
from support.impostor import impose
from support.process import PATIENCE, ROOT, current_user, other_user
from support.raw_client import RawClient, osuser_login

no_modes = pytest.mark.skipif(os.name == "nt", reason="modes mean nothing on Windows")


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("-t", "-1", "-c", "print(42)"), 0),
        (("-t", "30", "-c", "print(1)", "-c", "print(2)"), 0),
        (("-s", "planta.example:20000", "-t", "-1", "-c", "print(42)"), 0),
        (("-s", "tls://planta.example:20000", "-u", "R41", "-t", "-1", "-c", "print(42)"), 0),
        (("-c", "print(42)"), 0),
        (("-t", "-1", "-c", "1/0"), 1),
        (("-t", "-1", "-m", "009ABC"), 2),
        (("-t", "-1", "-f", "../outside.py"), 2),
        (("-t", "1", "-c", "import time; time.sleep(600)"), 3),
        (("-s", "nonsense", "-c", "pass"), 2),
        (("-t", "x", "-c", "pass"), 2),
        ((), 2),
        (("-u", "R41", "-p", "missing", "-c", "pass"), 2),
        (("--help",), 0),
        (("--version",), 0),
    ],
)
def test_the_return_code_is_that_of_the_command(rehearse, argv, code):
    done = rehearse(*argv)
    assert done.returncode == code
    assert ("error: " in done.stderr) == (code == 2)
    assert code != 2 or done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "is_said"),
    [
        (("-t", "-1", "-c", "print(42)", "-c", "print(43)"), True),
        (("--accept-modules", "-t", "-1", "-m", "009ABC", "-c", "pass"), True),
        (("--accept-modules", "-t", "-1", "-m", "009ABC"), False),
        (("--dry-run", "-t", "-1", "-c", "print(42)"), False),
        (("--help",), False),
    ],
)
def test_that_code_is_really_run_is_said_once_on_stderr(rehearse, argv, is_said):
    done = rehearse(*argv)
    note = (
        f"headless rehearse: the jobs really run, on this machine, as {current_user()} (--dry-run does not run them)\n"
    )
    assert (done.returncode, done.stderr) == (0, note if is_said else "")


def test_output_is_shown_as_the_command_shows_it(rehearse):
    done = rehearse("-v", "-t", "-1", "-c", "print(42)")
    assert "job 1 stdout: 42" in done.stdout


# Own options


@pytest.fixture
def modules(tmp_path):
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "009ABC.py").write_text("import beside; print('the real one')")
    (folder / "beside.py").touch()
    return str(folder)


def test_modules_are_those_of_a_folder_that_is_given(rehearse, modules):
    done = rehearse("--modules-from", modules, "-v", "-t", "-1", "-m", "009ABC")
    assert (done.returncode, "job 1 stdout: the real one" in done.stdout) == (0, True)
    done = rehearse(f"--modules-from={modules}", "-t", "-1", "-m", "009ABD")
    assert (done.returncode, "there is no module '009ABD'" in done.stderr) == (2, True)


def test_each_well_formed_module_is_accepted_if_that_is_asked_for(rehearse):
    done = rehearse("--accept-modules", "-v", "-t", "-1", "-m", "009ABC", "-m", "x_1")
    assert done.returncode == 0
    assert [f"job {job} stdout: module {name}" in done.stdout for job, name in ((1, "009ABC"), (2, "x_1"))] == [
        True
    ] * 2
    assert rehearse("--accept-modules", "-t", "-1", "-m", "009-ABC").returncode == 2
    assert rehearse("--accept-modules", "-t", "-1", "-m", "../x").returncode == 2


def test_files_are_those_of_a_folder_that_is_given(rehearse, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "close.py").write_text("import os; print('closing ' + os.getcwd())")
    done = rehearse("--files-from", "../files", "-v", "-t", "-1", "-f", "close.py")
    assert (done.returncode, f"closing {tmp_path / 'files'}" in done.stdout) == (0, True)
    assert rehearse("--files-from", "../files", "-t", "-1", "-f", str(tmp_path / "files" / "close.py")).returncode == 0


@pytest.mark.parametrize("kind", ["-c", "-f", "-m"])
def test_a_dry_run_does_everything_but_the_jobs_own_code(rehearse, modules, tmp_path, kind):
    code = f"open({str(tmp_path / 'trace')!r}, 'w')"
    (rehearse.folder / "close.py").write_text(code)
    Path(modules, "009ABC.py").write_text(code)
    job = {"-c": code, "-f": "close.py", "-m": "009ABC"}[kind]
    done = rehearse("--dry-run", "--modules-from", modules, "-v", "-t", "-1", kind, job)
    assert (done.returncode, "job 1 stdout: not run, but compiled: " in done.stdout) == (0, True)
    assert not (tmp_path / "trace").exists()
    assert rehearse("--dry-run", "-t", "-1", "-f", "missing.py").returncode == 2


def test_a_dry_run_finds_code_that_is_none(rehearse):
    done = rehearse("--dry-run", "-v", "-t", "-1", "-c", "print(42")
    assert (done.returncode, "SyntaxError" in done.stdout) == (1, True)


CALLS = "ppms.uf_open('009ABC', mode=1)[0].close()\nimport ppms\nppms.user = 'R41'\nfor each in ppms.rows(): 1/0"
PRINTED = ["ppms.uf_open('009ABC', mode=1)", "ppms.uf_open('009ABC', mode=1)[0].close()", "ppms.user = 'R41'"]


def test_what_is_called_on_ppms_is_printed_whether_it_is_imported_or_not(rehearse):
    done = rehearse("-v", "-t", "-1", "-c", CALLS.replace("ppms.user = 'R41'", "ppms.x.user = 'R41'"))
    printed = [line.partition("job 1 stdout: ")[2] for line in done.stdout.splitlines() if "job 1 stdout" in line]
    assert (done.returncode, printed[:2], printed[2:]) == (0, PRINTED[:2], ["ppms.x.user = 'R41'", "ppms.rows()"])


def test_a_stand_in_of_the_site_is_the_module_ppms(rehearse, tmp_path):
    (tmp_path / "site").mkdir()
    stand_in = tmp_path / "site" / "planta_stand_in"
    stand_in.write_text("def hello():\n    print('hello from ' + __name__)\n")
    done = rehearse(
        "--stand-in", str(stand_in), "-v", "-t", "-1", "-c", "ppms.hello()\nfrom ppms import hello\nhello()"
    )
    assert (done.returncode, done.stdout.count("job 1 stdout: hello from ppms")) == (0, 2)
    assert list((tmp_path / "site").iterdir()) == [stand_in]


def test_the_machines_own_sitecustomize_is_run_all_the_same(rehearse):
    (rehearse.folder / "sitecustomize.py").write_text("import builtins; builtins.own = 'of this machine'")
    done = rehearse("-v", "-t", "-1", "-c", "print('%s %s' % (own, ppms.x))")
    assert (done.returncode, "stdout: of this machine ppms.x" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("--modules-from",), "--modules-from needs a folder"),
        (("--modules-from=",), "--modules-from needs a folder"),
        (("--files-from", "missing", "-c", "pass"), "--files-from: there is no folder 'missing'"),
        (("--stand-in", "missing", "-c", "pass"), "--stand-in: 'missing' cannot be used: No such file or directory"),
        (("--stand-in", "bad.py", "-c", "pass"), "--stand-in: 'bad.py' cannot be used: "),
        (
            ("--stand-in", ".", "-c", "pass"),
            f"--stand-in: '.' cannot be used: {'Permission denied' if os.name == 'nt' else 'Is a directory'}",
        ),
        (
            ("--accept-modules", "--modules-from", ".", "-m", "x"),
            "--modules-from and --accept-modules exclude each other",
        ),
        (("--dry", "-c", "pass"), "no such option: --dry"),
        (("-c", "pass", "--dry-run"), "--dry-run must stand before the options of the command"),
        (("-c", "pass", "--files-from=x"), "--files-from must stand before the options of the command"),
        (("--dry-run", "-t", "x", "-c", "--dry-run"), "-t 'x' is not a whole number"),
        (("--dry-run=1", "-c", "pass"), "no such option: --dry-run"),
        (("--dry-run",), "there is no job"),
    ],
)
def test_a_mistake_in_the_own_options_is_one_line_and_a_2(rehearse, argv, text):
    (rehearse.folder / "bad.py").write_text("def")
    done = rehearse(*argv)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"headless rehearse: error: {text}")


def test_own_options_end_where_two_dashes_stand(rehearse):
    assert rehearse("--dry-run", "--", "-t", "-1", "-c", "1/0").returncode == 0


# A line that does not wait


def test_a_line_without_t_is_followed_to_the_end_of_its_jobs_and_keeps_its_return_code(rehearse):
    done = rehearse("-c", "import time; time.sleep(0.3)", "-c", "raise SystemExit('no such table')", "-c", "pass")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines()[1:] == [
        "headless rehearse: the command has returned 0, when the jobs were accepted; after that: job 1 ok, "
        "job 2 failed: no such table, job 3 skipped"
    ]


def test_the_output_of_jobs_that_nobody_waits_for_is_shown_with_v(rehearse):
    done = rehearse("-v", "-c", "print(42)")
    assert (done.returncode, done.stdout.count("job 1 stdout: 42")) == (0, 1)


def test_files_are_found_below_the_current_folder(rehearse):
    (rehearse.folder / "nightly").mkdir()
    (rehearse.folder / "nightly" / "close.py").write_text("import os; print(f'closing {os.getcwd()}')")
    done = rehearse("-v", "-t", "-1", "-f", "nightly/close.py")
    assert done.returncode == 0
    assert f"closing {rehearse.folder}" in done.stdout


def test_an_existing_password_file_is_used_as_it_is(rehearse, command):
    done = rehearse("-v", "-t", "-1", "-u", "R41", "-p", command.secret_file(), "-c", "print(42)")
    assert done.returncode == 0


@no_modes
def test_a_password_file_that_others_can_read_is_a_2(rehearse, command):
    done = rehearse("-v", "-t", "-1", "-u", "R41", "-p", command.secret_file(mode=0o644, name="open"), "-c", "pass")
    assert (done.returncode, "chmod" in done.stderr) == (2, True)


@no_modes
def test_what_should_be_known_of_a_password_file_is_said(rehearse, command):
    done = rehearse("-v", "-t", "-1", "-u", "R41", "-p", command.secret_file(mode=0o440), "-c", "pass")
    assert (done.returncode, done.stdout.count("the group can read the password file")) == (0, 1)


LOGINS = {
    "osuser": (),
    "osuser with -u": ("-u", "R41"),
    "osuser, said": ("-a", "osuser", "-u", "R41", "-p", "missing"),
    "challenge": ("-u", "R41", "-p", "SECRET"),
}


@pytest.mark.parametrize("login", LOGINS.values(), ids=LOGINS)
def test_every_login_is_by_a_secret_of_its_own_that_is_shown_nowhere(rehearse, command, login):
    secret = command.secret_file()
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
    first, second = (rehearse("-vvv", "-t", "-1", *argv, "-c", code) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0)
    assert ' auth_type="challenge"' in first.stdout
    made = [re.findall(r"job 1 stdout: (\S{29}) (\S{31})", done.stdout)[0] for done in (first, second)]
    assert made[0] != made[1]
    for (_, digest), done in zip(made, (first, second)):
        assert bcrypt_hash.is_hash(HASH[:29] + digest[::-1])
        assert digest[::-1] not in done.stdout
        assert HASH[29:] not in done.stdout


REHEARSED = "import os, time\nprint('.', flush=True)\nwhile not os.path.exists('gate'): time.sleep(0.01)"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nobody gets in by osuser anyway")
def test_nobody_else_runs_jobs_on_the_server_of_a_rehearsal(rehearse, tmp_path):
    """Not even who is the same user for the kernel, and so nobody who makes the kernel say nothing."""
    argv = [sys.executable, "-m", "headless", "rehearse", "-v", "-t", "-1", "-c", REHEARSED]
    with subprocess.Popen(
        argv, cwd=rehearse.folder, env=rehearse.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = re.search(r" port (\d+)$", process.stdout.readline().strip())
            assert port
            while "job 1 stdout" not in process.stdout.readline():
                pass
            for os_user in (current_user(), other_user()):
                answers = impose(f"127.0.0.1:{port[1]}", os_user, f"open({str(tmp_path / 'trace')!r}, 'w')")
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


def test_a_job_that_nobody_waits_for_is_run_all_the_same(rehearse):
    assert rehearse("-c", "open('done', 'w').close()", "-f", "second.py").returncode == 2  # refused as a whole
    assert not (rehearse.folder / "done").exists()
    code = f"open({str(rehearse.folder / 'done')!r}, 'w').close()"
    assert rehearse("-c", "import time; time.sleep(0.2)", "-c", code).returncode == 0
    assert (rehearse.folder / "done").exists()


@pytest.mark.parametrize(
    ("argv", "beginning"),
    [
        (("-t", "x", "-c", "pass"), "headless rehearse: error: -t 'x' is not a whole number"),
        (
            ("-u", "R41", "-p", "missing", "-c", "pass"),
            "headless rehearse: error: the password file 'missing'",
        ),
        (("-u", "x" * 257, "-c", "pass"), "planta_headless.py: error: -u has 257 characters"),
        (("-m", "009ABC"), "planta_headless.py: error: the server refused the jobs"),
    ],
)
def test_an_error_begins_with_the_program_that_found_it(rehearse, argv, beginning):
    done = rehearse(*argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(beginning)
    assert done.stderr.count("\n") == 1


def test_a_server_that_cannot_be_had_is_a_1_that_says_why(rehearse, tmp_path):
    (tmp_path / "asyncio.py").write_text("raise RuntimeError('no asyncio here')")
    rehearse.environment["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
    done = rehearse("-c", "pass")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("headless rehearse: error: the server for the rehearsal cannot be had: ")
    assert "no asyncio here" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("timeout", [["-t", "-1"], []], ids=["while the command waits", "when it has left"])
def test_a_signal_ends_the_rehearsal_and_its_jobs(rehearse, signum, timeout):
    running = rehearse.folder / "running"
    code = f"import os, time; os.rename(open({str(running)!r} + '~', 'x').name, {str(running)!r}); time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-m", "headless", "rehearse", *timeout, "-c", f"import os; print(os.getpid())\n{code}"],
        cwd=rehearse.folder, env=rehearse.environment, stdin=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + PATIENCE
            while not running.exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            (output,) = rehearse.temporary.glob("*/output/*/1.stdout")
            while not (printed := output.read_text()).endswith("\n"):  # its shim is about to store it
                assert time.monotonic() < deadline
                time.sleep(0.01)
            job = int(printed)
            process.send_signal(signum)
            assert process.wait(PATIENCE) == -signum
        finally:
            process.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(job, 0)
    rehearse.assert_nothing_left()


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


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_ctrl_c_in_an_import_that_takes_every_exception_is_not_lost(rehearse):
    package = rehearse.folder / "libraries" / "lxml"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "etree.py").write_text(SIGNALLED_IMPORT)
    rehearse.environment["PYTHONPATH"] = os.pathsep.join([str(package.parent), str(ROOT)])
    done = rehearse("-t", "-1", "-c", "1")
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


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


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_signal_between_the_start_of_the_server_and_the_command_is_not_lost(rehearse):
    argv = [sys.executable, "-c", SIGNALLED_BEFORE_THE_COMMAND_BEGINS, "-t", "-1", "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(argv, cwd=rehearse.folder, env=rehearse.environment, stdin=subprocess.DEVNULL) as process:
        try:
            assert process.wait(PATIENCE) == -signal.SIGTERM
        finally:
            process.kill()
    rehearse.assert_nothing_left()


# The folder


@pytest.fixture
def in_use(monkeypatch):
    """Lets the removal of a folder fail so often, on this system. In the end it is removed."""
    folders = []

    def make(system, failures):
        cleanup, left = tempfile.TemporaryDirectory.cleanup, [PermissionError(13, "in use")] * failures

        def failing_cleanup(folder):
            if left:
                folders.append(folder)
                raise left.pop()
            cleanup(folder)

        monkeypatch.setattr("headless.rehearsal.temporary.os.name", system)
        monkeypatch.setattr(tempfile.TemporaryDirectory, "cleanup", failing_cleanup)

    yield make
    for folder in folders:
        folder.cleanup()


def test_on_windows_the_folder_may_be_in_use_for_a_while(in_use):
    in_use("nt", 3)
    with temporary_folder() as folder:
        assert os.path.isdir(folder)
    assert not os.path.exists(folder)


def test_elsewhere_a_folder_that_cannot_be_removed_is_an_error_at_once(in_use):
    in_use("posix", 1)
    folders = []
    with pytest.raises(PermissionError), temporary_folder() as folder:
        folders.append(folder)
    assert os.path.isdir(folders[0])
