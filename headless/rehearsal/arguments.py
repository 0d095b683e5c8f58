"""What the rehearsal itself is told: its options, which stand before those of planta_headless.py."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from headless.errors import ParameterError, SessionError
from headless.options import PACKAGE, Answer
from headless.rehearsal.places import read_regular
from headless.system import is_final

PROGRAM = f"{PACKAGE} rehearse"

HELP = f"""Usage: {PROGRAM} [own options] <options of planta_headless.py>
       {PROGRAM} [own options] --crontab FILE [--line N]

Runs the command line against a job server that lives as long as this call,
and returns what the command returns. The jobs really run, on this machine and
with your rights.

Own options, which come first:
  --modules-from DIR  the modules of -m: 009ABC is DIR/009ABC.py
  --accept-modules    each well-formed ID of -m is a job that prints its name
  --files-from DIR    the files of -f, and the working directory of the jobs
                      (default: the current folder). A path of the server's, as
                      /planta/py/close.py or C:\\py\\close.py, is the file in DIR
                      that has most of its last parts: DIR/planta/py/close.py,
                      DIR/py/close.py or DIR/close.py
  --stand-in FILE     Python code that is the module ppms of the jobs; without
                      it that is a ppms.py in the folder of the files, or else
                      one that prints what is called
  --dry-run           jobs are checked, accepted and compiled, but not run
  --crontab FILE      instead of a command line: the lines of this crontab that
                      call planta_headless.py, one after the other, as cron
                      runs them; all else in them really runs, scripts, too. A
                      line that may reach a real server is not run. - is stdin
  --line N            of them the one in this line of the file
  -h, --help          shows this

A line without -t is followed to the end of its jobs. What became of them is
said after the return code of the command, which stays what it is.

The exit status is the return code of the command; for a mistake in the own
options it is 2. Of a crontab it is 0 if each of the lines has returned 0, else 1.
"""


@dataclass(frozen=True)
class Arguments:
    """`command` is the command line of planta_headless.py. Folders and files are absolute, but for the crontab, which
    may be -; "" is what was not given, and 0 for `line`.

    `report` is for the rehearsal of a whole crontab: a file that gets a line of JSON, instead of notes on stderr.
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


_PLACES = ("--modules-from", "--files-from", "--stand-in", "--crontab", "--line", "--report")
_FLAGS = ("--accept-modules", "--dry-run")
_KINDS = {"--modules-from": "folder", "--files-from": "folder", "--line": "number"}


def misplaced(argv: Sequence[str]) -> str:
    """The first own option among those of the command, "" if there is none."""
    found = (name for name in argv if name in _FLAGS or name.partition("=")[0] in _PLACES)
    return next(found, "").partition("=")[0]


def parse(argv: Sequence[str]) -> Arguments:
    """Raises ParameterError, or Answer for --help."""
    places = dict.fromkeys(_PLACES, "")
    flags = dict.fromkeys(_FLAGS, False)
    rest = list(argv)
    while rest:
        option, equals, value = rest[0].partition("=")
        if option in ("-h", "--help"):
            raise Answer(HELP)
        if option in flags and not equals:
            flags[option] = True
        elif option in places:
            if not equals:
                value = rest.pop(1) if len(rest) > 1 else ""
            if places[option]:
                raise ParameterError(f"{option} is given twice")
            places[option] = _checked(option, value)
        else:
            break
        del rest[0]
    command = tuple(rest[1:] if rest[:1] == ["--"] else rest)
    if places["--crontab"] and command:
        raise ParameterError("with --crontab there are no options of the command: each line has its own")
    if places["--line"] and not places["--crontab"]:
        raise ParameterError("--line needs --crontab")
    if places["--modules-from"] and flags["--accept-modules"]:
        raise ParameterError("--modules-from and --accept-modules exclude each other")
    return Arguments(
        command,
        places["--modules-from"],
        places["--files-from"],
        places["--stand-in"],
        flags["--accept-modules"],
        flags["--dry-run"],
        places["--crontab"],
        int(places["--line"] or 0),
        places["--report"],
    )


def _checked(option: str, value: str) -> str:
    """Raises ParameterError."""
    if not value:
        raise ParameterError(f"{option} needs a {_KINDS.get(option, 'file')}")
    if option == "--line" and not re.fullmatch("[1-9][0-9]{0,8}", value):
        raise ParameterError(f"--line {value[:80]!r} is not the number of a line")
    return _existing(option, value) if option in ("--modules-from", "--files-from", "--stand-in") else value


def _existing(option: str, value: str) -> str:
    """Raises ParameterError, SessionError if that cannot be found out now."""
    path = os.path.abspath(value)
    if option != "--stand-in":
        _check_folder(option, value, path)
        return path
    try:
        compile(read_regular(path), path, "exec", dont_inherit=True)
    except OSError as error:
        kind = ParameterError if is_final(error) else SessionError
        raise kind(f"{option}: {value!r} cannot be used: {error.strerror or error}") from None
    except (ParameterError, SyntaxError, ValueError) as error:
        raise ParameterError(f"{option}: {value!r} cannot be used: {error}") from None
    return path


def _check_folder(option: str, value: str, path: str) -> None:
    """Raises ParameterError, SessionError if that cannot be found out now."""
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            return
    except ValueError:  # a NUL
        pass
    except OSError as error:
        if not is_final(error):
            raise SessionError(f"{option}: {value!r} cannot be used now: {error.strerror}") from None
    raise ParameterError(f"{option}: there is no folder {value!r}")
