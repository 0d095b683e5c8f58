"""Answers who the users of this machine are, what they may open and what they can have written, and builds commands
that run as one of them."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from headless import system

if TYPE_CHECKING:
    from pwd import struct_passwd

_MAX_LINKS = 40  # that a kernel follows
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


def is_own(path: str, descriptor: int) -> bool:
    """Returns whether only root and the caller can have written the file, or put it there. Windows is not asked: the
    caller has named the file."""
    if os.name == "nt":
        return True
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    try:
        folders, links = _way_to(path)
        are_own = all(os.lstat(link).st_uid in (0, os.getuid()) for link in links)
        return are_own and _is_closed(descriptor) and all(map(_is_closed, folders))
    except OSError:
        return False


def _way_to(path: str) -> tuple[set[str], list[str]]:
    """Returns the folders and the links that lead to a path, step by step, as the kernel follows them. Raises
    OSError."""
    here, rest = "/", list(reversed(os.path.join(os.getcwd(), path).split("/")))
    folders, links = {"/"}, list[str]()
    while rest and len(links) <= _MAX_LINKS:
        name = rest.pop()
        each = os.path.dirname(here) if name == ".." else os.path.join(here, name) if name not in ("", ".") else here
        if os.path.islink(each):
            links.append(each)
            target = os.readlink(each)
            here = "/" if target.startswith("/") else here
            rest.extend(reversed(target.split("/")))
        else:
            here = each
            folders |= {here} if rest else set()
    return folders, links


def _is_closed(file: int | str) -> bool:
    """Returns whether this file or folder is root's or the caller's, and no other user may write to it. Others may add
    to a sticky folder (/tmp), but not change what is in it. Raises OSError."""
    try:
        status = os.stat(file)
    except PermissionError:  # another process has opened what is below, and passed it on
        return True
    mode = status.st_mode
    if status.st_uid not in (0, os.getuid()):
        return False
    if not mode & (stat.S_IWGRP | stat.S_IWOTH) or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
        return True
    return not mode & stat.S_IWOTH and _is_private_group(status.st_gid) and not _has_access_list(file)


def _is_private_group(gid: int) -> bool:
    """Returns whether this group was made for the caller, as useradd does, and has no other member."""
    import grp

    user = system.user_by_number(os.getuid())
    if user is None or user.pw_uid == 0 or user.pw_gid != gid:
        return False
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _has_access_list(file: int | str) -> bool:
    """Returns whether an access control list may give others a right that the mode shows as the group's."""
    if sys.platform != "linux":
        return False
    try:
        return bool(os.getxattr(file, "system.posix_acl_access"))
    except OSError as error:
        return error.errno not in (errno.ENODATA, errno.ENOTSUP)


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
