"""Where the files of a command line are on this machine: names of another machine become names of files here. What may
run is the server's to say."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import PurePosixPath, PureWindowsPath

from headless.dialects.vocabulary import PY_FILE, Job
from headless.errors import ParameterError, SessionError
from headless.system import is_final


def read_regular(path: str, limit: int = -1) -> bytes:
    """The content of a file, at most so many bytes of it. Raises OSError, ParameterError for what is no regular file:
    a FIFO would wait for a writer."""
    with open(path, "rb", opener=_open_regular) as file:
        return file.read(limit)


def _open_regular(path: str, flags: int) -> int:
    """Raises OSError, ParameterError."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise ParameterError("Is a directory" if stat.S_ISDIR(mode) else "it is no regular file")
    return descriptor


def find(jobs: Iterable[Job], folder: str) -> tuple[tuple[Job, ...], list[str]]:
    """The jobs with the names that their files have below the folder, and a sentence for each name that is another
    one. Raises SessionError if that cannot be found out now."""
    found, remarks = [], []
    for job in jobs:
        name = _name_here(job.text, folder) if job.kind == PY_FILE else job.text
        if name != job.text:
            remarks.append(f"-f {job.text!r} is {os.path.join(folder, name)!r}")
        found.append(job.replace(text=name))
    return tuple(found), remarks


def _name_here(name: str, folder: str) -> str:
    """What a path of another machine is below this folder: the file that has most of its last parts, or else the name
    as it is."""
    if _is_file(folder, name):
        return name
    is_windows = "\\" in name
    path = PureWindowsPath(name) if is_windows else PurePosixPath(name)
    if not (path.is_absolute() or is_windows) or ".." in path.parts:
        return name
    parts = path.relative_to(path.anchor).parts
    # Without its beginning a relative path would be another one.
    beginnings = range(len(parts)) if path.anchor else range(1)
    tails = ("/".join(parts[begin:]) for begin in beginnings)
    return next((tail for tail in tails if _is_file(folder, tail)), name)


def _is_file(folder: str, name: str) -> bool:
    """Whether a file of this name is below the folder. Raises SessionError."""
    path = os.path.join(folder, name)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        place = os.path.realpath(folder)
        return os.path.commonpath([place, os.path.realpath(path)]) == place
    except ValueError:  # a name that no file can have; another drive of Windows
        return False
    except OSError as error:
        if is_final(error):
            return False
        raise SessionError(f"whether there is a file {path!r} cannot be found out now: {error.strerror}") from None
