"""What the rehearsal itself is told: its options, which stand before those of planta_headless.py."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from headless.options import PACKAGE, Answer
from headless.outcome import ParameterError

PROGRAM = f"{PACKAGE} rehearse"

HELP = f"""Usage: {PROGRAM} [own options] <options of planta_headless.py>

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
  -h, --help          shows this

A line without -t is followed to the end of its jobs. What became of them is
said after the return code of the command, which stays what it is.

The exit status is the return code of the command; for a mistake in the own
options it is 2.
"""


@dataclass(frozen=True)
class Arguments:
    """`command` is the command line of planta_headless.py. Folders and files are absolute; "" is what was not given."""

    command: tuple[str, ...]
    modules_from: str = ""
    files_from: str = ""
    stand_in: str = ""
    accept_modules: bool = False
    dry_run: bool = False


_PLACES = ("--modules-from", "--files-from", "--stand-in")
_FLAGS = ("--accept-modules", "--dry-run")


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
            places[option] = _existing(option, value)
        else:
            break
        del rest[0]
    if places["--modules-from"] and flags["--accept-modules"]:
        raise ParameterError("--modules-from and --accept-modules exclude each other")
    return Arguments(
        tuple(rest[1:] if rest[:1] == ["--"] else rest),
        places["--modules-from"],
        places["--files-from"],
        places["--stand-in"],
        flags["--accept-modules"],
        flags["--dry-run"],
    )


def _existing(option: str, value: str) -> str:
    if not value:
        raise ParameterError(f"{option} needs a {'file' if option == '--stand-in' else 'folder'}")
    path = os.path.abspath(value)
    if option != "--stand-in":
        if not os.path.isdir(path):
            raise ParameterError(f"{option}: there is no folder {value!r}")
        return path
    try:
        with open(path, "rb") as file:
            compile(file.read(), path, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError) as error:
        raise ParameterError(
            f"{option}: {value!r} cannot be used: {getattr(error, 'strerror', None) or error}"
        ) from None
    return path
