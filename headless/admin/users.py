"""Answers who the users of this machine are and what they may open, and builds commands that run as one of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from headless import system

if TYPE_CHECKING:
    from pwd import struct_passwd

NO_USER = ""  # a user without any rights of its own
_NO_RIGHTS_ID = 65534  # a number without rights of its own, as the kernel uses it


def find(name: str) -> struct_passwd | None:
    """Returns None for a user that this machine does not have; on Windows for each. Raises OSError if the name service
    does not answer now."""
    return None if os.name == "nt" else system.user_by_name(name)


def is_caller(name: str | None) -> bool:
    """Returns whether the user who runs this has this name. None is an unknown user, so it is not."""
    if name is None:
        return False
    if os.name == "nt":
        return name.rpartition("\\")[2].lower() == os.getlogin().lower()
    user = find(name)
    return user is not None and user.pw_uid == os.getuid()  # the real one: the effective one may be another meanwhile


@contextmanager
def rights_of(name: str | None) -> Iterator[None]:
    """Opens what is opened within with the rights of this user, if root runs this: a link of theirs leads no further
    than they may go. None means the caller. A user whom this machine does not know has no rights of its own. Raises
    OSError."""
    if sys.platform == "win32" or name is None or os.geteuid() != 0 or is_caller(name):
        yield
        return
    user = find(name)
    uid, gid = (user.pw_uid, user.pw_gid) if user is not None else (_NO_RIGHTS_ID, _NO_RIGHTS_ID)
    groups = os.getgrouplist(user.pw_name, user.pw_gid) if user is not None else []
    own_groups, own_group = os.getgroups(), os.getegid()
    try:
        os.setgroups(groups)
        os.setegid(gid)
        os.seteuid(uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(own_group)
        os.setgroups(own_groups)


def typed_as(name: str | None, words: Sequence[str]) -> str:
    """Returns the command as the caller types it at a shell so that it runs as this user."""
    is_own = name is None or is_caller(name)
    if os.name == "nt":
        from subprocess import list2cmdline

        return list2cmdline(words if is_own else ["runas", f"/user:{name}", list2cmdline(words)])
    from shlex import join

    return join(words if is_own else ["sudo", "-u", str(name), *words])


def headless(*words: str) -> tuple[str, ...]:
    """Returns the words that start a command of `headless`, in any folder."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return (sys.executable or "python3", package, *words)
