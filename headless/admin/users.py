"""The users of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass


class NotKnown(Exception):
    """There is no such user here, or no way to ask."""


@dataclass(frozen=True)
class User:
    """A user of this machine."""

    name: str
    uid: int
    groups: tuple[int, ...]
    home: str


def find(name: str | None) -> User | None:
    """None if no name is given. Raises NotKnown for a name that this machine does not know."""
    if name is None:
        return None
    try:
        import pwd
    except ImportError:  # Windows
        raise NotKnown from None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise NotKnown from None
    return User(name, entry.pw_uid, tuple(os.getgrouplist(name, entry.pw_gid)), entry.pw_dir)


def of_number(uid: int) -> User | None:
    """None if nobody here has this number, or on Windows."""
    try:
        import pwd

        return find(pwd.getpwuid(uid).pw_name)
    except (ImportError, KeyError, NotKnown):
        return None
