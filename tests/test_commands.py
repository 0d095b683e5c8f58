"""headless COMMAND, however it is started: what it answers, and that nothing of the current folder is imported."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from contextlib import closing
from pathlib import Path

import pytest

from headless.commands import COMMANDS
from headless.server.journal import Journal
from headless.terminal import is_closed_pipe
from support.homes import R41, make_home
from support.in_process import run_here
from support.journals import over
from support.process import PATIENCE, ROOT, manage

# Modules that the commands, or Python itself, would find in the current folder if they looked there.
TRAPS = ("nt", "optparse", "argparse", "gettext", "sqlite3", "json", "socket", "headless", "lxml", "__future__", "cli")


@pytest.fixture
def trapped(tmp_path):
    """A folder in which every import leaves a trace."""
    for name in TRAPS:
        (tmp_path / f"{name}.py").write_text(f"import os; os.close(os.open({str(tmp_path / name)!r}, os.O_CREAT))")
    return tmp_path


def traces(folder):
    return sorted(path.name for path in folder.iterdir() if not path.suffix and path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "status"),
    [(("--help",), 0), (("jobs",), 1), (("serve", "--help"), 0), (("sessions", "-s", "127.0.0.1:1"), 1),
     (("rehearse", "-t", "-1", "-c", "pass"), 0)],
)  # fmt: skip
def test_nothing_of_the_current_folder_is_imported(trapped, argv, status):
    done = manage(*argv, check=False, cwd=trapped)
    assert (done.returncode, traces(trapped)) == (status, []), done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a link needs a privilege on Windows")
def test_nothing_of_the_current_folder_is_imported_when_the_package_stands_in_it(tmp_path, trapped):
    os.symlink(ROOT / "headless", trapped / "headless", target_is_directory=True)
    for program in (["headless"], ["./headless/"], ["-m", "headless"]):
        done = subprocess.run(
            [sys.executable, *program, "jobs"],
            cwd=trapped,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert (done.returncode, traces(tmp_path)) == (1, []), done.stderr
        assert done.stderr.startswith("headless jobs: error: no server has lived in 'planta-home'")


def console_script(name: str) -> Path:
    return Path(sysconfig.get_path("scripts")) / (f"{name}.exe" if os.name == "nt" else name)


installed = pytest.mark.skipif(not console_script("headless").exists(), reason="the package is not installed here")


@pytest.mark.slow
@installed
def test_the_console_script_is_the_same_command(trapped):
    argv = [str(console_script("headless")), "jobs"]
    done = subprocess.run(argv, cwd=trapped, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, traces(trapped)) == (1, [])
    assert done.stderr.startswith("headless jobs: error: no server has lived in 'planta-home'")


@pytest.mark.slow
@installed
def test_the_script_has_one_of_pip_beside_it(trapped):
    argv = [str(console_script("planta_headless")), "-s", "127.0.0.1:1"]
    done = subprocess.run(argv, cwd=trapped, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, traces(trapped)) == (2, [])
    assert done.stderr.startswith("planta_headless.py: error: there is no job")


def test_help_names_every_command_and_its_purpose():
    done = run_here("--help")
    assert (done.status, done.stderr) == (0, "")
    for name, (purpose, _) in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert purpose in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_of_its_own_under_its_own_name(name):
    done = run_here(name, "--help")
    assert (done.status, done.stderr) == (0, "")
    assert f"sage: headless {name}" in done.stdout
    assert len(max(done.stdout.splitlines(), key=len)) <= 100


@pytest.mark.parametrize(
    ("argv", "text"),
    [((), "the COMMAND is missing"), (("rehears",), "there is no command 'rehears'"),
     (("-v", "sessions"), "there is no command '-v'"), (("",), "the COMMAND is missing"),
     (("x" * 999,), f"there is no command '{'x' * 80}'")],
)  # fmt: skip
def test_what_is_no_command_is_one_line_and_a_2(argv, text):
    assert run_here(*argv) == (2, "", f"headless: error: {text} (see headless --help)\n")


OLD = [path for name in ("python2", "python2.7", "python3.6", "python3.8") if (path := shutil.which(name))]


@pytest.mark.slow
@pytest.mark.skipif(not OLD, reason="there is no old Python here")
@pytest.mark.parametrize("python", OLD)
def test_an_old_python_is_told_which_one_is_needed(tmp_path, python):
    probe = subprocess.run([python, "-c", ""], capture_output=True, check=False, timeout=PATIENCE)
    if probe.returncode:
        pytest.skip(f"{python} does not run")
    shutil.copytree(
        ROOT / "headless", tmp_path / "headless", ignore=lambda *_: ["__pycache__"]
    )  # which it would write to
    done = subprocess.run([python, "headless", "jobs"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"headless: error: this is Python \d\.\d, Python 3.9 or later is needed\n", done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["jobs", "user list"])
def test_whoever_has_seen_enough_of_a_list_is_told_nothing(tmp_path, command):
    home = make_home(tmp_path / "home", R41)
    with closing(home.database()) as database, database:
        over(Journal(database), "5e55104e55104000")
    argv = [sys.executable, "-u", str(ROOT / "headless"), *command.split(), "--home", str(home.folder)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(PATIENCE) == 1
    with process.stderr:
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("name", "error", "is_one"),
    [
        (os.name, BrokenPipeError(errno.EPIPE, "Broken pipe"), True),
        ("nt", BrokenPipeError(errno.EPIPE, "Broken pipe"), True),
        ("nt", OSError(errno.EINVAL, "Invalid argument"), True),
        ("nt", OSError(errno.EINVAL, "Invalid argument", "a:b:c"), False),  # the name of a file
        ("posix", OSError(errno.EINVAL, "Invalid argument"), False),
        ("nt", OSError(errno.ENOSPC, "No space left on device"), False),
        ("nt", ValueError("embedded null byte"), False),
    ],
)
def test_a_closed_pipe_has_another_name_on_windows(monkeypatch, name, error, is_one):
    monkeypatch.setattr("headless.terminal.os.name", name)
    assert is_closed_pipe(error) == is_one
