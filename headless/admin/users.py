"""The users of this machine: who they are, what they may open, and what is typed to run a command as one of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from headless import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd

ANYBODY = ""  # who has no name here
_NOBODY = 65534  # a number without rights of its own, as the kernel itself uses it


class NotKnown(Exception):
    """There is no such user here, or no way to ask."""


@dataclass(frozen=True)
class User:
    """A user of this machine."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def find(name: str | None) -> User | None:
    """None if no name is given. Raises NotKnown for a name that this machine does not know, OSError if that
    cannot be known now."""
    if name is None:
        return None
    entry = None if os.name == "nt" else system.user_by_name(name)
    if entry is None:
        raise NotKnown
    return _user(entry)


def of_number(uid: int) -> User | None:
    """None if nobody here has this number, or on Windows. Raises OSError if that cannot be known now."""
    entry = None if os.name == "nt" else system.user_by_number(uid)
    return None if entry is None else _user(entry)


def _user(entry: pwd.struct_passwd) -> User:
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, groups)


def is_caller(name: str | None) -> bool:
    """Whether whoever runs this is this user; None is somebody who is not known, and so is not."""
    if os.name == "nt":
        return name is not None and name.rpartition("\\")[2].lower() == os.getlogin().lower()
    try:
        user = find(name)
    except NotKnown:
        return False
    return user is not None and user.uid == os.getuid()  # also where the rights are those of another one meanwhile


@contextmanager
def rights_of(name: str | None) -> Iterator[None]:
    """Lets what is opened within be opened as this user, if root runs this: a link of theirs leads no further than they
    may go. None is whoever runs this. A user whom this machine does not know may open what everybody may. Raises
    OSError."""
    if sys.platform == "win32" or name is None or os.geteuid() != 0 or is_caller(name):
        yield
        return
    try:
        user = find(name)
    except NotKnown:
        user = None
    own_groups, own_group = os.getgroups(), os.getegid()
    try:
        os.setgroups(user.groups if user else ())
        os.setegid(user.gid if user else _NOBODY)
        os.seteuid(user.uid if user else _NOBODY)
        yield
    finally:
        os.seteuid(0)
        os.setegid(own_group)
        os.setgroups(own_groups)


def typed_as(name: str | None, words: Sequence[str]) -> str:
    """The command as it is typed at a shell of whoever runs this, so that it runs as this user."""
    is_own = name is None or is_caller(name)
    if os.name == "nt":
        from subprocess import list2cmdline

        return list2cmdline(words if is_own else ["runas", f"/user:{name}", list2cmdline(words)])
    from shlex import join

    return join(words if is_own else ["sudo", "-u", str(name), *words])


def headless(*words: str) -> tuple[str, ...]:
    """The words that start a command of `headless`, in whatever folder."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return (sys.executable or "python3", package, *words)
