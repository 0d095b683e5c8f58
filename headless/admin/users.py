"""The users of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass

from headless import users

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd


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
    """None if no name is given. Raises NotKnown for a name that this machine does not know, OSError if that
    cannot be known now."""
    if name is None:
        return None
    entry = None if os.name == "nt" else users.by_name(name)
    if entry is None:
        raise NotKnown
    return _user(entry)


def of_number(uid: int) -> User | None:
    """None if nobody here has this number, or on Windows. Raises OSError if that cannot be known now."""
    entry = None if os.name == "nt" else users.by_number(uid)
    return None if entry is None else _user(entry)


def _user(entry: pwd.struct_passwd) -> User:
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return User(entry.pw_name, entry.pw_uid, groups, entry.pw_dir)
