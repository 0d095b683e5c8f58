"""Whether a folder can be the home of a server, or a folder of code for its jobs: no other user made it, can write to
it, or can replace it.

Each folder is checked after the one above it. A user who cannot change the upper one cannot replace the lower one, so
what was seen stays true. Root is trusted everywhere. On Windows, where owners and modes mean little, nothing is
checked, but a new home is closed to others.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from headless import system
from headless.errors import HomeError

_OWN_FILES = ("planta.sqlite", "planta.sqlite-wal", "planta.sqlite-shm", "planta.sqlite-journal", "lock", "output")
_FOLDERS_OF_CODE = ("modules", "py")  # an administrator may put them elsewhere, by a link
_LINKS_MAX = 40
_MOUNTS = "/proc/self/mountinfo"
# Types of file systems that another machine may use at the same time.
_OF_THE_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "fuse.sshfs", "fuse.glusterfs"}
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class _Goal(NamedTuple):
    """Says what a path leads to, in the words of a message, and the option that names another one. What is in `home`, a
    path without links that was checked before, is closed to other users."""

    name: str
    option: str
    home: Path | None = None


_HOME = _Goal("the home", "--home")


def make_home(folder: Path) -> None:
    """Makes this folder, and those above it that are missing. Raises HomeError unless it is ours alone then."""
    if sys.platform == "win32":
        from headless.windows import create_private_folder

        def make() -> None:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # which stays as it was made
                create_private_folder(str(folder))

        _run(folder, make)
    else:
        _run(folder, lambda: _check_home(folder, make=True))


def check_home(folder: Path) -> None:
    """Raises HomeError unless this folder is ours alone. Removes the right of others to read it."""
    if sys.platform != "win32":
        _run(folder, lambda: _check_home(folder, make=False))


def check_file_system(folder: Path) -> None:
    """Raises HomeError if this folder is, or would be, on a file system that is known to be one of the network. "WAL
    does not work over a network filesystem" (sqlite.org/wal.html): on another machine a command would damage the
    journal. Linux alone tells the type (proc_pid_mountinfo(5))."""
    if not sys.platform.startswith("linux"):
        return
    here = next((each for each in (folder, *folder.parents) if os.path.exists(each)), folder)
    try:
        device = os.stat(here).st_dev
        with open(_MOUNTS, encoding="utf-8", errors="replace") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return
    number = f"{os.major(device)}:{os.minor(device)}"
    kind = next((words[words.index("-") + 1] for words in mounts if words[2] == number), "")
    if kind in _OF_THE_NETWORK:
        raise HomeError(
            f"the home {str(folder)!r} is on {kind}, where its journal is not safe: use a --home on a disk of this "
            "machine; or, if no other machine ever uses it, --trust-network-home"
        )


def check_folder_of_code(folder: Path, option: str, home: Path) -> None:
    """Raises HomeError if others can put code into this folder, which the option names, or replace it."""
    if sys.platform != "win32":
        goal = _Goal(f"the folder of {option}", option, home)
        _run(folder, lambda: _check_end(_walk(folder, goal), goal))


def check_script(script: Path, home: Path) -> None:
    """Raises HomeError if others can change or replace this file, or put code beside it, which it would import (the
    first entry of sys.path); OSError if that is not known now."""
    if sys.platform != "win32":
        path = _walk(script, _Goal("the script", "file", home))
        _check_end(path, _Goal("the script", "file", home))
        _check_end(path.parent, _Goal("the folder of the script", "file", home))


def _run(folder: Path, step: Callable[[], object]) -> None:
    try:
        step()
    except (OSError, ValueError) as error:  # ValueError: no path can have a NUL
        reason = getattr(error, "strerror", None) or error
        raise HomeError(f"the folder {str(folder)!r} cannot be used: {reason}") from None


# The way to a folder or file


def _walk(path: Path, goal: _Goal, make: bool = False) -> Path:
    """Returns the absolute path without links. Raises HomeError for what is not to be trusted on the way, OSError."""
    here = Path(path.anchor)
    rest = list(reversed(path.parts[1:]))
    links = 0
    _check_above(here, os.lstat(here), goal)
    while rest:
        name = rest.pop()
        if name == "..":
            here = here.parent  # of a path without links
            continue
        if make:
            _make(here / name, is_home=not rest)
        status = os.lstat(here / name)
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > _LINKS_MAX:
                raise HomeError(f"{goal.name} {str(path)!r} cannot be used: too many links")
            _check_owner(f"the link {str(here / name)!r} on the way to {goal.name}", status, goal)
            target = Path(os.readlink(here / name))
            here = Path(target.anchor) if target.anchor else here
            rest.extend(reversed(target.parts[1:] if target.anchor else target.parts))
        else:
            here /= name
            if rest:
                _check_above(here, status, goal)
    return here


def _make(folder: Path, is_home: bool) -> None:
    if not os.path.lexists(folder):
        with suppress(FileExistsError):  # another process was quicker; whose it is is checked next
            os.mkdir(folder, 0o700 if is_home else 0o755)


def _check_above(folder: Path, status: os.stat_result, goal: _Goal) -> None:
    """Raises HomeError if others could replace what is ours in this folder."""
    shown = f"the folder {str(folder)!r} above {goal.name}"
    _check_owner(shown, status, goal)
    if not status.st_mode & stat.S_ISVTX and _is_writable_by_others(folder, status, goal):
        mode = stat.S_IMODE(status.st_mode)
        raise HomeError(f"others can write to {shown} (mode {mode:04o}): use another {goal.option}")


def _check_end(path: Path, goal: _Goal) -> None:
    """Raises HomeError if others can write to what is at the end of this path, which has no links."""
    status = os.lstat(path)
    shown = f"{goal.name} {str(path)!r}"
    _check_owner(shown, status, goal)
    if _is_writable_by_others(path, status, goal):
        mode = stat.S_IMODE(status.st_mode)
        is_of_all = mode & stat.S_ISVTX or status.st_uid != os.geteuid()  # a folder such as /tmp has to stay as it is
        advice = "" if is_of_all else f"chmod go-w {shlex.quote(str(path))}, or "
        raise HomeError(
            f"others can write to {shown} (mode {mode:04o}), and so run code as you: {advice}use another {goal.option}"
        )


def _is_writable_by_others(path: Path, status: os.stat_result, goal: _Goal) -> bool:
    return bool(status.st_mode & _WRITABLE_BY_OTHERS) and goal.home not in path.parents


def _check_owner(shown: str, status: os.stat_result, goal: _Goal) -> None:
    if status.st_uid not in (0, os.geteuid()):
        others = "and you are root" if os.geteuid() == 0 else "neither to you nor to root"
        raise HomeError(f"{shown} belongs to {system.shown_user(status.st_uid)}, {others}: use another {goal.option}")


# The home itself


def _check_home(path: Path, make: bool) -> None:
    """Checks the open folder, which cannot become another one meanwhile."""
    with suppress(OSError):  # it is not there yet, or not for us to see
        _check_user(path, os.stat(path))  # first: a user who may not come there learns whose it is
    folder = _walk(path, _HOME, make)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        _check_user(folder, status)
        mode = stat.S_IMODE(status.st_mode)
        if mode & _WRITABLE_BY_OTHERS:
            raise HomeError(
                f"others can write to the home {str(folder)!r} (mode {mode:04o}): use another --home; or look for what "
                f"they have left there, then chmod 0700 {shlex.quote(str(folder))}"
            )
        if mode & 0o077:
            with suppress(OSError):  # of a file system that is mounted read-only, to which others cannot write either
                os.fchmod(descriptor, 0o700)
        for name in (*_OWN_FILES, *_FOLDERS_OF_CODE):
            _check_part(folder, name, descriptor)
    finally:
        os.close(descriptor)


def _check_user(home: Path, status: os.stat_result) -> None:
    """Raises HomeError if another user runs this than the one of the home."""
    if status.st_uid != os.geteuid():
        owner, you = system.shown_user(status.st_uid), system.shown_user(os.geteuid())
        raise HomeError(
            f"the home {str(home)!r} belongs to {owner}, and you are {you}: run this as {owner}"
            f"{'' if ' ' in owner else f' (sudo -u {owner} ...)'}, or use another --home"
        )


def _check_part(home: Path, name: str, descriptor: int) -> None:
    """Checks what is in the open home under this name, if anything is."""
    path = str(home / name)
    try:
        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return
    _check_owner(repr(path), status, _HOME)
    if stat.S_ISLNK(status.st_mode) and name in _OWN_FILES:
        raise HomeError(
            f"{path!r} is a link, which only modules and py of a home may be: replace it by what it leads to, or use "
            "another --home"
        )
