"""Whether a folder can be the home of a server: nobody else has made it, can write to it, or can put another in its
place.

Here is what is asked of the home, of what is in it, and of every folder above it. What the home holds is in home.py.

Each folder is looked at after the one above it. Whoever cannot change the upper one cannot replace the lower one, so
what was seen stays true. Root is trusted everywhere. On Windows nothing is asked, for owners and modes mean little
there; but a home that is made is closed to others.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from headless.server.errors import HomeError

_OWN_FILES = ("planta.sqlite", "planta.sqlite-wal", "planta.sqlite-shm", "planta.sqlite-journal", "lock", "output")
_FOLDERS_OF_CODE = ("modules", "py")  # an administrator may put them elsewhere, by a link
_LINKS_MAX = 40
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def make_home(folder: Path) -> None:
    """Makes this folder, with those above it that are missing. Raises HomeError unless it is ours alone then."""
    if sys.platform == "win32":
        from headless.windows.access_list import create_private_folder

        _run(folder, lambda: _make_folder(folder, create_private_folder))
    else:
        _run(folder, lambda: _check_home(_walk(folder, make=True)))


def check_home(folder: Path) -> None:
    """Raises HomeError unless this folder is ours alone. What others may read of it is closed to them."""
    if sys.platform != "win32":
        _run(folder, lambda: _check_home(_walk(folder, make=False)))


def _run(folder: Path, step: Callable[[], None]) -> None:
    try:
        step()
    except (OSError, ValueError) as error:  # ValueError: no path can have a NUL
        reason = getattr(error, "strerror", None) or error
        raise HomeError(f"the folder {str(folder)!r} cannot be used: {reason}") from None


def _make_folder(folder: Path, create: Callable[[str], None]) -> None:
    """Unless it is there: what others have made stays as they have opened it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        create(str(folder))


def _walk(folder: Path, make: bool) -> Path:
    """Where this absolute path leads, without any link. Raises HomeError for what is not to be trusted on the way."""
    here = Path(folder.anchor)
    rest = list(reversed(folder.parts[1:]))
    links = 0
    _check_above(here, os.lstat(here))
    while rest:
        name = rest.pop()
        status = _status_of(here / name, make, is_home=not rest)
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > _LINKS_MAX:
                raise HomeError(f"the folder {str(folder)!r} cannot be used: too many links")
            target = _target_of(here / name, status)
            here = Path(target.anchor) if target.anchor else here
            rest.extend(reversed(target.parts[1:] if target.anchor else target.parts))
        else:
            here /= name
            if rest:
                _check_above(here, status)
    return here


def _status_of(path: Path, make: bool, is_home: bool) -> os.stat_result:
    """What is at this path, without following a link."""
    if make and not os.path.lexists(path):
        with suppress(FileExistsError):  # somebody was quicker; whether that was one of us is seen next
            os.mkdir(path, 0o700 if is_home else 0o755)
    return os.lstat(path)


def _target_of(link: Path, status: os.stat_result) -> Path:
    if status.st_uid not in _trusted_users():
        raise HomeError(
            f"the link {str(link)!r} on the way to the home belongs to user number {status.st_uid}, neither to you nor "
            "to root: use another --home"
        )
    return Path(os.readlink(link))


def _check_above(folder: Path, status: os.stat_result) -> None:
    """Raises HomeError if others could put something else in the place of what is in this folder and is ours."""
    shown = f"the folder {str(folder)!r} above the home"
    if status.st_uid not in _trusted_users():
        raise HomeError(
            f"{shown} belongs to user number {status.st_uid}, neither to you nor to root: chown root {str(folder)!r}, "
            "or use another --home"
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & _WRITABLE_BY_OTHERS and not mode & stat.S_ISVTX:
        raise HomeError(f"others can write to {shown} (mode {mode:04o}): chmod go-w {str(folder)!r}")


def _check_home(folder: Path) -> None:
    """Asks the open folder, which cannot become another one meanwhile."""
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
        raise HomeError(
            f"the home {home!r} belongs to user number {status.st_uid}, not to you: run this as that user or, if "
            f"nobody else has left anything there, chown -R {os.geteuid()} {home!r}"
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & _WRITABLE_BY_OTHERS:
        raise HomeError(
            f"others can write to the home {home!r} (mode {mode:04o}): look for what they have left there, then "
            f"chmod 0700 {home!r}"
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
    _check_part_owner(path, status)
    if not stat.S_ISLNK(status.st_mode):
        return
    if name in _OWN_FILES:
        raise HomeError(f"{path!r} is a link, which only modules and py of a home may be: rm {path!r}")
    try:
        status = os.stat(name, dir_fd=descriptor)
    except FileNotFoundError:
        return
    _check_part_owner(path, status)
    if status.st_mode & stat.S_IWOTH:
        raise HomeError(f"everybody can write to the folder behind the link {path!r}: chmod o-w {path!r}")


def _check_part_owner(path: str, status: os.stat_result) -> None:
    if status.st_uid not in _trusted_users():
        raise HomeError(
            f"{path!r} belongs to user number {status.st_uid}, neither to you nor to root: remove it, or "
            f"chown -R {os.geteuid()} {path!r}"
        )


def _trusted_users() -> tuple[int, ...]:
    return (0, os.geteuid())
