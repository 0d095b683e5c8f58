"""headless COMMAND, however it is started: what it answers, and that nothing of the current folder is imported."""

from __future__ import annotations

import argparse
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

from headless.arguments import Parser
from headless.cli import COMMANDS
from headless.options import PURPOSES
from headless.rehearsal import options as rehearsal
from headless.terminal import is_closed_pipe
from support.command_here import headless
from support.homes import R41, make_home
from support.journals import Record, over
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
@pytest.mark.version("what an interpreter imports")
@pytest.mark.parametrize(
    ("argv", "status"),
    [(("--help",), 0), (("serve", "--help"), 0), (("sessions", "-s", "127.0.0.1:1"), 1),
     (("rehearse", "-t", "-1", "-c", "pass"), 0)],
)  # fmt: skip
def test_nothing_of_the_current_folder_is_imported(trapped, argv, status):
    done = manage(*argv, check=False, cwd=trapped, executed=True)
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


@pytest.mark.slow
@pytest.mark.skipif(not console_script("headless").exists(), reason="the package is not installed here")
@pytest.mark.parametrize(
    ("name", "argv", "code", "text"),
    [
        ("headless", ["jobs"], 1, "headless jobs: error: no server has lived in 'planta-home'"),
        ("planta_headless", ["-s", "127.0.0.1:1"], 2, "planta_headless.py: error: there is no job"),
    ],
)
def test_the_scripts_of_pip_are_the_same_commands(trapped, name, argv, code, text):
    line = [str(console_script(name)), *argv]
    done = subprocess.run(line, cwd=trapped, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, traces(trapped)) == (code, [])
    assert done.stderr.startswith(text)


@pytest.mark.version("how argparse words it")
def test_help_names_every_command_and_each_has_help_of_its_own():
    done = headless("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for name, (purpose, _) in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert purpose in done.stdout
        own = headless(name, "--help")
        assert (own.returncode, own.stderr, f"sage: headless {name}" in own.stdout) == (0, "", True), name
        assert len(max(own.stdout.splitlines(), key=len)) <= 100, name


def test_version_names_revision_files_python_libraries_and_protocol():
    done = headless("--version", env=dict(os.environ))
    assert (done.returncode, done.stderr) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert (rows["version"], rows["package"]) == ("planta_headless.py 39 Mars", str(ROOT / "headless"))
    assert rows["python"] == f"{sys.version.split()[0]} {sys.executable}"
    assert re.fullmatch(r"bcrypt \d\S+, lxml \d\S+", rows["libraries"])
    assert rows["protocol"] == "this project's own, version 1"
    if (ROOT / ".git" / "HEAD").is_file() and shutil.which("git"):
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        assert rows["revision"].startswith(f"{commit.strip()}, of the checkout in ")
    other = headless("--version", env={**os.environ, "PLANTA_PROTOCOL": "planta\x1b[2J"})
    assert "protocol   PLANTA_PROTOCOL=planta\\x1b[2J\n" in other.stdout


def test_version_knows_two_copies_as_the_same_files_and_no_revision_of_them(tmp_path):
    def rows(folder):
        done = subprocess.run(
            [sys.executable, str(folder / "headless"), "--version"], capture_output=True, text=True, check=True
        )
        return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())

    for name in ("a", "b"):
        shutil.copytree(ROOT / "headless", tmp_path / name / "headless", ignore=shutil.ignore_patterns("__pycache__"))
    first, second = rows(tmp_path / "a"), rows(tmp_path / "b")
    assert (first["revision"], first["files"]) == ("not known", second["files"])
    changed = tmp_path / "b" / "headless" / "cli.py"
    changed.write_bytes(changed.read_bytes() + b"\n")
    assert rows(tmp_path / "b")["files"] != first["files"]


def test_version_says_which_library_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    done = headless("--version")
    assert done.returncode == 0
    assert "libraries  the library bcrypt cannot be loaded" in done.stdout


def test_what_is_no_command_is_one_line_and_a_2():
    for argv, text in (
        ((), "the COMMAND is missing"),
        (("",), "the COMMAND is missing"),
        (("rehears",), "there is no command 'rehears'"),
        (("-v", "sessions"), "there is no command '-v'"),
        (("x" * 999,), f"there is no command '{'x' * 80}'"),
    ):
        done = headless(*argv)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"headless: error: {text} (see headless --help)\n"


# What is given twice, or not whole


class _Caught(BaseException):
    """The parser of a command, which the monitor must not take for a mistake."""


def parsers():
    """Of each command that has argparse's: the words that lead to it, and its parser."""

    def catch(parser, *_):
        raise _Caught(parser)

    def walk(parser, words):
        yield words, parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, below in action.choices.items():
                    yield from walk(below, (*words, *name.split()))

    roots = {}
    for name in COMMANDS.keys() - PURPOSES.keys() - {"rehearse"}:  # which have the page's options, or their own
        with pytest.MonkeyPatch.context() as patch, pytest.raises(_Caught) as caught:
            patch.setattr(argparse.ArgumentParser, "parse_known_args", catch)
            COMMANDS[name][1]([])
        root = caught.value.args[0]
        roots[root.prog] = root, tuple(root.prog.split()[1:])
    return sorted((each for root, words in roots.values() for each in walk(root, words)), key=lambda each: each[0])


def options():
    """Those that have one value: the words that lead to each, and what it does."""
    return [
        ((*words, action.option_strings[-1]), action)
        for words, parser in parsers()
        for action in parser._actions
        if action.option_strings and action.nargs != 0 and not isinstance(action, argparse._AppendAction)
    ]


def value_of(action):
    """One that the option takes."""
    for value in (*(action.choices or ()), "5", "5h", "127.0.0.1:1"):
        try:
            if action.type:
                action.type(value)
            return value
        except (argparse.ArgumentTypeError, ValueError):
            pass
    raise AssertionError(action)


@pytest.mark.slow
@pytest.mark.version("how argparse words it")
def test_an_option_that_has_one_value_takes_no_second_one_and_no_empty_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = options()
    assert len(found) > 30
    for words, action in found:
        *_, option = words
        value, status = str(value_of(action)), 3 if "monitor" in words else 2
        done = headless(*words, value, f"{option}={value}")
        assert (done.returncode, f"{option} is given twice" in done.stdout + done.stderr) == (status, True), words
        done = headless(*words, "")
        assert (done.returncode, option in (done.stdout + done.stderr).splitlines()[-1]) == (status, True), words


def test_an_own_option_of_the_rehearsal_takes_no_second_value(tmp_path):
    (tmp_path / "one.py").write_text("")
    for option in rehearsal.WITH_VALUE:
        value = {"--line": "1", "--stand-in": str(tmp_path / "one.py")}.get(option, str(tmp_path))
        done = headless("rehearse", option, value, f"{option}={value}")
        assert (done.returncode, done.stderr) == (2, f"headless rehearse: error: {option} is given twice\n")


@pytest.mark.version("how argparse words it")
def test_each_parser_is_ours_to_which_the_beginning_of_an_option_s_name_is_no_option():
    found = parsers()
    assert len(found) > 12
    assert all(isinstance(parser, Parser) for _, parser in found)
    for argv in (("jobs", "--al"), ("check", "--js"), ("user", "list", "--ho=x")):
        done = headless(*argv)
        assert (done.returncode, f"unrecognized arguments: {argv[-1]}\n" in done.stderr) == (2, True), argv


# The oldest and the newest that is too old.
OLD = [path for name in ("python2", "python3.8") if (path := shutil.which(name))]


@pytest.mark.slow
@pytest.mark.skipif(not OLD, reason="there is no old Python here")
@pytest.mark.parametrize("python", OLD)
@pytest.mark.parametrize(
    ("argv", "name"), [(("headless", "jobs"), "headless"), (("planta_headless.py", "--version"), "planta_headless.py")]
)
def test_an_old_python_gets_a_line_that_says_which_one_is_needed(python, argv, name):
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [python, *argv], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    if done.returncode == 127:  # as pyenv says that there is none
        pytest.skip(f"{python} does not run")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        rf"{re.escape(name)}: error: this is Python \d\.\d, Python 3.9 or later is needed\n", done.stderr
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", ["jobs", "user list"])
def test_a_reader_who_closes_the_list_early_sees_no_error(tmp_path, command):
    home = make_home(tmp_path / "home", R41)
    with closing(home.database()) as database, database:
        over(Record(database), "5e55104e55104000")
    argv = [sys.executable, "-u", str(ROOT / "headless"), *command.split(), "--home", str(home.folder)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(PATIENCE) == 1
    with process.stderr:
        assert process.stderr.read() == ""


CLOSED_PIPES = [
    (os.name, BrokenPipeError(errno.EPIPE, "Broken pipe"), True),
    ("nt", BrokenPipeError(errno.EPIPE, "Broken pipe"), True),
    ("nt", OSError(errno.EINVAL, "Invalid argument"), True),
    ("nt", OSError(errno.EINVAL, "Invalid argument", "a:b:c"), False),  # the name of a file
    ("posix", OSError(errno.EINVAL, "Invalid argument"), False),
    ("nt", OSError(errno.ENOSPC, "No space left on device"), False),
    ("nt", ValueError("embedded null byte"), False),
]


def test_a_closed_pipe_has_another_name_on_windows(monkeypatch):
    for name, error, is_one in CLOSED_PIPES:
        with monkeypatch.context() as patch:
            patch.setattr("headless.terminal.os.name", name)
            assert is_closed_pipe(error) == is_one, (name, error)
