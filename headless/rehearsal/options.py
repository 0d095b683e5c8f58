"""The options of `headless rehearse` itself, from the command line or from the rehearsal around this process.

PLANTA_REHEARSAL names the folder of the rehearsal around. A file in it holds the options of the rehearsals inside.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from headless.arguments import Parser
from headless.errors import ParameterError, SessionError
from headless.options import PACKAGE, REHEARSAL, Answer
from headless.system import is_final

PROGRAM = f"{PACKAGE} rehearse"

_FILE = "rehearsal.json"
_MAX_DEPTH = 5  # of jobs that call the command, whose jobs call the command
_USAGE = """%(prog)s [own options] <options of planta_headless.py>
       %(prog)s [own options] --crontab FILE [--line N]"""
_DESCRIPTION = """Runs the command line against a job server that lives as long as this call, and returns what the
command returns. The jobs really run, on this machine and with your rights. The own options come first."""
_EPILOG = """A line without -t is followed to the end of its jobs; a note after that says how they ended. The exit
status is the return code of the command; for a mistake in the own options it is 2. Of a crontab it is 0 if each of the
lines has returned 0, else 1."""
WITH_VALUE = {
    "--modules-from": ("DIR", "the modules of -m: 009ABC is DIR/009ABC.py"),
    "--files-from": (
        "DIR",
        "the files of -f, and the working directory of the jobs (default: the current folder). A path of the server's, "
        r"as /planta/py/close.py or C:\py\close.py, is the file in DIR that has most of its last parts: "
        "DIR/planta/py/close.py, DIR/py/close.py or DIR/close.py",
    ),
    "--stand-in": (
        "FILE",
        "Python code that is the module ppms of the jobs; without it that is a ppms.py in the folder of the files, or "
        "else one that prints what is called",
    ),
    "--crontab": (
        "FILE",
        "instead of a command line: the lines of this crontab that call planta_headless.py, one after the other, as "
        "cron runs them; all else in them really runs, scripts, too. A line that may reach a real server is not run. "
        "- is stdin",
    ),
    "--line": ("N", "of them the one in this line of the file"),
    "--report": ("FILE", argparse.SUPPRESS),
}
FLAGS = {
    "--accept-modules": "each well-formed ID of -m is a job that prints its name",
    "--dry-run": "jobs are checked, accepted and compiled, but not run",
}


@dataclass(frozen=True)
class OwnOptions:
    """Holds the options of a rehearsal, and in `command` those of planta_headless.py. "" and 0 are not given.

    Folders and files are absolute, except `crontab`, which may be -. `report` is a file that gets a line of JSON for
    each call, instead of notes on stderr.
    """

    command: tuple[str, ...]
    modules_from: str = ""
    files_from: str = ""
    stand_in: str = ""
    accept_modules: bool = False
    dry_run: bool = False
    crontab: str = ""
    line: int = 0
    report: str = ""

    def for_calls(self) -> list[str]:
        """Returns the options for the rehearsal of a call, whatever its working directory is."""
        options = ["--files-from", self.files_from or os.getcwd()]
        options += ["--modules-from", self.modules_from] if self.modules_from else []
        options += ["--stand-in", self.stand_in] if self.stand_in else []
        options += ["--accept-modules"] if self.accept_modules else []
        return options + (["--dry-run"] if self.dry_run else [])


@dataclass(frozen=True)
class OuterRehearsal:
    """Holds the rehearsal around this process: its folder, the options of rehearsals inside, and their depth."""

    folder: str
    options: tuple[str, ...]
    depth: int


class _Parser(Parser):
    def error(self, message: str) -> NoReturn:
        raise ParameterError(message)

    def print_help(self, file: object = None) -> NoReturn:  # noqa: ARG002
        raise Answer(self.format_help())


def parse(argv: Sequence[str]) -> OwnOptions:
    """Raises ParameterError, SessionError if a file cannot be looked at now, or Answer for --help."""
    end = _end_of_own(argv)
    own = _parser().parse_args(argv[:end])
    command = tuple(argv[end + 1 :] if argv[end : end + 1] == ["--"] else argv[end:])
    if own.crontab and command:
        raise ParameterError("with --crontab there are no options of the command: each line has its own")
    if own.line and not own.crontab:
        raise ParameterError("--line needs --crontab")
    if own.line and not re.fullmatch("[1-9][0-9]{0,8}", own.line):
        raise ParameterError(f"--line {own.line[:80]!r} is not the number of a line")
    if own.modules_from and own.accept_modules:
        raise ParameterError("--modules-from and --accept-modules exclude each other")
    return OwnOptions(
        command,
        _existing("--modules-from", own.modules_from),
        _existing("--files-from", own.files_from),
        _existing("--stand-in", own.stand_in),
        own.accept_modules,
        own.dry_run,
        own.crontab,
        int(own.line or 0),
        own.report,
    )


def outer_rehearsal() -> OuterRehearsal | None:
    """Returns the rehearsal that this process belongs to, if any. Raises ParameterError if PLANTA_REHEARSAL cannot be
    used, or SessionError if that cannot be found out now."""
    folder = os.environ.get(REHEARSAL)
    if folder is None:
        return None
    try:
        found = _read(folder)
    except OSError as error:
        if not is_final(error):
            raise SessionError(f"{REHEARSAL}={folder!r} cannot be read now: {error.strerror}") from None
        raise ParameterError(f"this is a rehearsal ({REHEARSAL}={folder!r}), which is over: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise ParameterError(f"{REHEARSAL}={folder!r} is no folder of a rehearsal") from None
    if found.depth > _MAX_DEPTH:
        raise ParameterError(f"a job calls the command, whose job calls it again, more than {_MAX_DEPTH} times")
    return found


def environment(folder: str, own: OwnOptions, report: str, outer: OuterRehearsal | None) -> dict[str, str]:
    """Makes each call of the command a rehearsal inside of the one with this folder, and returns the variables for
    that. `report` is a file that gets a line for each call. Raises OSError."""
    content = {"options": [*own.for_calls(), "--report", report], "depth": outer.depth + 1 if outer else 1}
    with open(os.path.join(folder, _FILE), "w", encoding="ascii") as file:
        json.dump(content, file)
    return {REHEARSAL: folder}


def _parser() -> _Parser:
    parser = _Parser(prog=PROGRAM, usage=_USAGE, description=_DESCRIPTION, epilog=_EPILOG)
    for name, (value, text) in WITH_VALUE.items():
        parser.add_argument(name, metavar=value, default="", help=text)
    for name, text in FLAGS.items():
        parser.add_argument(name, action="store_true", help=text)
    return parser


def _end_of_own(argv: Sequence[str]) -> int:
    """Returns where the options of the command begin."""
    at = 0
    while at < len(argv):
        name, equals, _ = argv[at].partition("=")
        if argv[at] in (*FLAGS, "-h", "--help"):
            at += 1
        elif name in WITH_VALUE:
            at += 1 if equals else 2
        else:
            break
    return at


def _existing(option: str, value: str) -> str:
    """Returns the absolute path of a folder, or for --stand-in of a file. Raises ParameterError, SessionError."""
    if not value:
        return ""
    path = os.path.abspath(value)
    try:
        mode = os.stat(path).st_mode
        if option == "--stand-in" and stat.S_ISREG(mode):
            compile(Path(path).read_bytes(), path, "exec", dont_inherit=True)
            return path
        if option != "--stand-in" and stat.S_ISDIR(mode):
            return path
        problem = "it is no regular file" if option == "--stand-in" else "it is no folder"
    except OSError as error:
        if not is_final(error):
            raise SessionError(f"{option}: {value!r} cannot be used now: {error.strerror or error}") from None
        problem = error.strerror or str(error)
    except (SyntaxError, ValueError) as error:  # a NUL in the name
        problem = str(error)
    raise ParameterError(f"{option}: {value!r} cannot be used: {problem}")


def _read(folder: str) -> OuterRehearsal:
    """Raises OSError, ValueError, TypeError, KeyError."""
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode) or not os.path.isabs(folder):
        raise ValueError
    if os.name != "nt" and (status.st_uid != os.geteuid() or status.st_mode & 0o077):
        raise ValueError  # somebody else could choose what is run here
    with open(os.path.join(folder, _FILE), encoding="ascii") as file:
        content = json.load(file)
    return OuterRehearsal(folder, tuple(map(str, content["options"])), int(content["depth"]))
