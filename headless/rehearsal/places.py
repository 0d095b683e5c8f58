"""Where the files of a command line are on this machine: names of another machine become names of files here. What may
run is the server's to say."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from headless.protocol.vocabulary import PY_FILE, Job


def find(jobs: Iterable[Job], folder: str) -> tuple[tuple[Job, ...], list[str]]:
    """The jobs with the names that their files have below the folder, and a sentence for each name that is another
    one."""
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
    """Whether a file of this name is below the folder."""
    try:
        path = (Path(folder) / name).resolve()
        return path.is_file() and path.is_relative_to(Path(folder).resolve())
    except (OSError, ValueError, RuntimeError):  # a name that no file can have; links in a circle
        return False
