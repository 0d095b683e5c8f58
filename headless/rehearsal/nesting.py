"""A rehearsal inside a rehearsal: under the variable PLANTA_REHEARSAL each call of the command is one.

The variable names the folder of the rehearsal around. A file in it has the own options for those inside.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass

from headless.errors import ParameterError, SessionError
from headless.options import REHEARSAL as VARIABLE
from headless.rehearsal.arguments import Arguments
from headless.system import is_final

_FILE = "rehearsal.json"
_MAX_DEPTH = 5  # of jobs that call the command, whose jobs call the command


@dataclass(frozen=True)
class Around:
    """The rehearsal around this process: its folder, the own options for the rehearsals inside, and how many there are
    around that."""

    folder: str
    options: tuple[str, ...]
    depth: int


def around() -> Around | None:
    """None if there is none. Raises ParameterError if the variable cannot be used, SessionError if that cannot be found
    out now."""
    folder = os.environ.get(VARIABLE)
    if folder is None:
        return None
    try:
        found = _read(folder)
    except OSError as error:
        if not is_final(error):
            raise SessionError(f"{VARIABLE}={folder!r} cannot be read now: {error.strerror}") from None
        raise ParameterError(f"this is a rehearsal ({VARIABLE}={folder!r}), which is over: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise ParameterError(f"{VARIABLE}={folder!r} is no folder of a rehearsal") from None
    if found.depth > _MAX_DEPTH:
        raise ParameterError(f"a job calls the command, whose job calls it again, more than {_MAX_DEPTH} times")
    return found


def _read(folder: str) -> Around:
    """Raises OSError, ValueError, TypeError, KeyError."""
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode) or not os.path.isabs(folder):
        raise ValueError
    if os.name != "nt" and (status.st_uid != os.geteuid() or status.st_mode & 0o077):
        raise ValueError  # somebody else could say what is run here
    with open(os.path.join(folder, _FILE), encoding="ascii") as file:
        content = json.load(file)
    return Around(folder, tuple(map(str, content["options"])), int(content["depth"]))


def environment(folder: str, own: Arguments, report: str, outer: Around | None) -> dict[str, str]:
    """The environment of what is to rehearse inside of the rehearsal with this folder. `report` is a file that gets a
    line for each call. Raises OSError."""
    content = {"options": [*own_options(own), "--report", report], "depth": outer.depth + 1 if outer else 1}
    with open(os.path.join(folder, _FILE), "w", encoding="ascii") as file:
        json.dump(content, file)
    return {VARIABLE: folder}


def own_options(own: Arguments) -> list[str]:
    """For the rehearsal of a call, wherever that has its working directory."""
    options = ["--files-from", own.files_from or os.getcwd()]
    options += ["--modules-from", own.modules_from] if own.modules_from else []
    options += ["--stand-in", own.stand_in] if own.stand_in else []
    options += ["--accept-modules"] if own.accept_modules else []
    return options + (["--dry-run"] if own.dry_run else [])
