"""Whether a folder can be the home of a server, or a folder of code that its jobs run: nobody else has made it, can
write to it, or can put another in its place.

Here is what is asked of the home, of what is in it, of folders and files of code, and of every folder above them. What
the home holds is in home.py.

Each folder is looked at after the one above it. Whoever cannot change the upper one cannot replace the lower one, so
what was seen stays true. Root is trusted everywhere. On Windows nothing is asked, for owners and modes mean little
there; but a home that is made is closed to others.
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
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class OfAnother(HomeError):
    """What belongs to this user is neither ours nor root's."""

    def __init__(self, text: str, owner: int) -> None:
        super().__init__(text)
        self.owner = owner


class Way(NamedTuple):
    """What a path leads to, for people, and the option that names another one. Nobody else comes to what is in `home`,
    which has been checked and has no links on its way."""

    goal: str
    option: str
    home: Path | None = None


_TO_HOME = Way("the home", "--home")


def make_home(folder: Path) -> None:
    """Makes this folder, with those above it that are missing. Raises HomeError unless it is ours alone then."""
    if sys.platform == "win32":
        from headless.windows import create_private_folder

        _run(folder, lambda: _make_folder(folder, create_private_folder))
    else:
        _run_on_home(folder, lambda: _check_home(_walk(folder, _TO_HOME, make=True)))


def check_home(folder: Path) -> None:
    """Raises HomeError unless this folder is ours alone. What others may read of it is closed to them."""
    if sys.platform != "win32":
        _run_on_home(folder, lambda: _check_home(_walk(folder, _TO_HOME)))


def check_folder_of_code(folder: Path, way: Way) -> None:
    """Raises HomeError if others can put code into this folder, or put another in its place."""
    if sys.platform != "win32":
        _run(folder, lambda: _check_code(folder, way))


def check_script(script: Path, home: Path) -> None:
    """Raises HomeError if others can change this file, put another in its place, or put code beside it, which it would
    import (the first entry of sys.path); OSError if that cannot be known."""
    if sys.platform != "win32":
        path = _check_code(script, Way("the script", "file", home))
        _check_end(path.parent, Way("the folder of the script", "file", home))


def _run(folder: Path, step: Callable[[], object]) -> None:
    try:
        step()
    except (OSError, ValueError) as error:  # ValueError: no path can have a NUL
        reason = getattr(error, "strerror", None) or error
        raise HomeError(f"the folder {str(folder)!r} cannot be used: {reason}") from None


def _run_on_home(home: Path, step: Callable[[], None]) -> None:
    """Whoever has the home itself can run this; the owner of a link on the way, or of a file in it, cannot."""
    try:
        _run(home, step)
    except OfAnother as error:
        try:
            is_theirs = os.stat(home).st_uid == error.owner
        except OSError:  # not there yet, or not for us to see
            is_theirs = True
        raise HomeError(f"{error}{_or_as(error.owner) if is_theirs else ''}") from None


def _make_folder(folder: Path, create: Callable[[str], None]) -> None:
    """Unless it is there: what others have made stays as they have opened it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        create(str(folder))


def _walk(path: Path, way: Way, make: bool = False) -> Path:
    """Where this absolute path leads, without any link. Raises HomeError for what is not to be trusted on the way."""
    here = Path(path.anchor)
    rest = list(reversed(path.parts[1:]))
    links = 0
    _check_above(here, os.lstat(here), way)
    while rest:
        name = rest.pop()
        if name == "..":
            here = here.parent  # of a path without links
            continue
        status = _status_of(here / name, make, is_home=not rest)
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > _LINKS_MAX:
                raise HomeError(f"{way.goal} {str(path)!r} cannot be used: too many links")
            target = _target_of(here / name, status, way)
            here = Path(target.anchor) if target.anchor else here
            rest.extend(reversed(target.parts[1:] if target.anchor else target.parts))
        else:
            here /= name
            if rest:
                _check_above(here, status, way)
    return here


def _status_of(path: Path, make: bool, is_home: bool) -> os.stat_result:
    """What is at this path, without following a link."""
    if make and not os.path.lexists(path):
        with suppress(FileExistsError):  # somebody was quicker; whether that was one of us is seen next
            os.mkdir(path, 0o700 if is_home else 0o755)
    return os.lstat(path)


def _target_of(link: Path, status: os.stat_result, way: Way) -> Path:
    _check_owner(f"the link {str(link)!r} on the way to {way.goal}", status, way)
    return Path(os.readlink(link))


def _check_above(folder: Path, status: os.stat_result, way: Way) -> None:
    """Raises HomeError if others could put something else in the place of what is in this folder and is ours."""
    shown = f"the folder {str(folder)!r} above {way.goal}"
    _check_owner(shown, status, way)
    if not status.st_mode & stat.S_ISVTX and _is_writable_by_others(folder, status, way):
        mode = stat.S_IMODE(status.st_mode)
        raise HomeError(f"others can write to {shown} (mode {mode:04o}): use another {way.option}")


def _check_code(path: Path, way: Way) -> Path:
    """What is at the end of the path, and the way to it. Returns the path without links."""
    path = _walk(path, way)
    _check_end(path, way)
    return path


def _check_end(path: Path, way: Way) -> None:
    """What is at the end of a path without links."""
    status = os.lstat(path)
    shown = f"{way.goal} {str(path)!r}"
    _check_owner(shown, status, way)
    if _is_writable_by_others(path, status, way):
        mode = stat.S_IMODE(status.st_mode)
        is_of_all = mode & stat.S_ISVTX or status.st_uid != os.geteuid()  # a folder such as /tmp has to stay as it is
        advice = "" if is_of_all else f"chmod go-w {shlex.quote(str(path))}, or "
        raise HomeError(
            f"others can write to {shown} (mode {mode:04o}), and so run code as you: {advice}use another {way.option}"
        )


def _is_writable_by_others(path: Path, status: os.stat_result, way: Way) -> bool:
    return bool(status.st_mode & _WRITABLE_BY_OTHERS) and way.home not in path.parents


def _check_owner(shown: str, status: os.stat_result, way: Way) -> None:
    if status.st_uid not in _trusted_users():
        others = "and you are root" if os.geteuid() == 0 else "neither to you nor to root"
        text = f"{shown} belongs to {system.shown_user(status.st_uid)}, {others}: use another {way.option}"
        raise OfAnother(text, status.st_uid)


def _or_as(uid: int) -> str:
    """What runs this command again as the user with this number, to be pasted."""
    user = system.shown_user(uid)
    if " " in user:  # who has no name
        return ""
    program = os.path.abspath(sys.argv[0])
    is_program = os.path.isfile(program) and os.access(program, os.X_OK)
    words = [*(() if is_program else (sys.executable,)), program, *sys.argv[1:]]
    return f"; or as {user}: {shlex.join(['sudo', '-u', user, *words])}"


def _check_home(folder: Path) -> None:
    """Asks the open folder, which cannot become another one meanwhile."""
    _check_is_ours_alone(str(folder), os.lstat(folder))  # first: who may not open it learns whose it is
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        _check_is_ours_alone(str(folder), status)
        if status.st_mode & 0o077:
            _close_to_others(descriptor)
        for name in (*_OWN_FILES, *_FOLDERS_OF_CODE):
            _check_part(folder, name, descriptor)
    finally:
        os.close(descriptor)


def _check_is_ours_alone(home: str, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        owner, you = system.shown_user(status.st_uid), system.shown_user(os.geteuid())
        raise OfAnother(f"the home {home!r} belongs to {owner}, and you are {you}: use another --home", status.st_uid)
    mode = stat.S_IMODE(status.st_mode)
    if mode & _WRITABLE_BY_OTHERS:
        raise HomeError(
            f"others can write to the home {home!r} (mode {mode:04o}): use another --home; or look for what they have "
            f"left there, then chmod 0700 {shlex.quote(home)}"
        )


def _close_to_others(descriptor: int) -> None:
    with suppress(OSError):  # a file system that is mounted to be read alone, say; nobody can write to it either
        os.fchmod(descriptor, 0o700)


def _check_part(home: Path, name: str, descriptor: int) -> None:
    """Looks at what is in the open home under this name, if anything is."""
    path = str(home / name)
    try:
        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return
    _check_owner(repr(path), status, _TO_HOME)
    if stat.S_ISLNK(status.st_mode) and name in _OWN_FILES:
        raise HomeError(
            f"{path!r} is a link, which only modules and py of a home may be: put what it leads to in its place, or "
            "use another --home"
        )


def _trusted_users() -> tuple[int, ...]:
    return (0, os.geteuid())
