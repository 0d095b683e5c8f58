"""The password file: one line, the bcrypt hash of the password. Here it is read and checked; it is made in
password_prompt.py.

The file is opened once and everything is asked of the open file, so it cannot be another one by the time it is
believed. Only whether another user could open it is asked of the path.
"""

from __future__ import annotations

import errno
import os
import stat
import sys

from headless.outcome import ParameterError, fault_of_file
from headless.protocol import bcrypt_hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Protocol

    class Secret(Protocol):
        """What proves that somebody knows the password."""

        def hash_for(self, salt: str | None) -> bytes:
            """The bcrypt hash with this salt, None if the wire has no salts. Raises ParameterError if it cannot be
            had."""

        def save(self) -> str:
            """The server has let us in. Does what is to be done then, and returns what is to be said of it, or ""."""


_MAX_SIZE = 4096  # bytes

# linux/posix_acl.h and posix_acl_xattr.h
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_READ, _ENTER = 4, 1


class Missing(ParameterError):
    """The password file does not exist."""


class KnownSecret:
    """The hash that a password file holds. `remark` is what the administrator should know about the file, or ""."""

    def __init__(self, path: str, hash_: bytes, remark: str) -> None:
        self.hash = hash_
        self.remark = remark
        self._path = path

    def hash_for(self, salt: str | None) -> bytes:
        """The hash. Raises ParameterError if it belongs to another salt."""
        if salt not in (None, bcrypt_hash.salt_of(self.hash)):
            raise ParameterError(
                f"the server has another salt for the user than the password file {self._path!r}: the password was "
                "changed since the file was made, or there is no such user with a password"
            )
        return self.hash

    def save(self) -> str:
        """Nothing: it is there."""
        return ""


def read(path: str, uid: int | None = None) -> KnownSecret:
    """The secret in the password file, for the user with this number or, without one, for the one who runs this. Raises
    Missing, ParameterError for a file that cannot be trusted, SessionError for one that cannot be read now."""
    # O_NONBLOCK: a FIFO without a writer must not hang; O_NOCTTY: a terminal must not become ours.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise Missing(f"the password file {path!r} does not exist: call this once at a terminal to make it") from None
    except ValueError as error:
        raise ParameterError(f"the password file {path!r} cannot be opened: {error}") from None
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise _not_regular(path) from None
        raise fault_of_file(f"the password file {path!r} cannot be opened", error) from None
    try:
        remark = _check(path, descriptor, uid)
        content = os.read(descriptor, _MAX_SIZE + 1)
    except OSError as error:
        raise fault_of_file(f"the password file {path!r} cannot be read", error) from None
    finally:
        os.close(descriptor)
    return KnownSecret(path, _hash_in(path, content), remark)


def check_readable_by(path: str, uid: int, gids: Collection[int]) -> None:
    """Raises Missing, or ParameterError if the user with this number, in these groups, cannot open the password file.

    Modes and access control lists are asked, of the file and of the folders above it, also where a link leads. What
    else may stand in the way is not: SELinux and its kin, a server of NFS that does not trust root, folders that only a
    link between two links leads through. On Windows nothing is asked.
    """
    if sys.platform == "win32" or uid == 0:
        return
    try:
        for folder in _folders_above(path):
            if not _may(_ENTER, folder, uid, gids):
                raise ParameterError(
                    f"user number {uid} cannot enter the folder {folder!r} of the password file: chmod a+x {folder!r}"
                )
        if not _may(_READ, path, uid, gids):
            raise ParameterError(
                f"user number {uid} cannot read the password file {path!r}: chown {uid} {path!r}, and then "
                f"chmod 0400 {path!r}"
            )
    except FileNotFoundError:
        raise Missing(f"the password file {path!r} does not exist") from None
    except (OSError, ValueError) as error:
        raise ParameterError(f"the password file {path!r} cannot be looked at: {reason_of(error)}") from None


def _folders_above(path: str) -> list[str]:
    """The uppermost first."""
    from pathlib import Path  # only when it is asked for: a call should not pay for it

    places = (os.path.abspath(path), os.path.realpath(path))
    return [str(folder) for place in places for folder in reversed(Path(place).parents)]


def _check(path: str, descriptor: int, uid: int | None) -> str:
    """What should be remarked about the file. Raises ParameterError if somebody else could read or have written it."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise _not_regular(path)
    if status.st_size > _MAX_SIZE:
        raise ParameterError(f"the password file {path!r} has {status.st_size} bytes, a hash has 60")
    if sys.platform == "win32":  # modes and owners mean nothing there
        return ""
    user = os.geteuid() if uid is None else uid
    if status.st_uid not in (user, 0):
        raise ParameterError(
            f"the password file {path!r} belongs to user number {status.st_uid}, neither to root nor to number {user}, "
            f"who calls this: chown {user} {path!r}"
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o027:
        raise ParameterError(f"the password file {path!r} is open to others (mode {mode:04o}): chmod 0400 {path!r}")
    if not mode & 0o040:  # which are the rights of groups, or the most that a list gives to those whom it names
        return ""
    try:
        entries = _access_list(descriptor)
    except ValueError:
        raise ParameterError(
            f"the password file {path!r} has an access control list that is not understood: setfacl -b {path!r}"
        ) from None
    if entries:
        return _check_access_list(path, entries, user)
    return f"the group can read the password file {path!r} (mode {mode:04o})"


def _not_regular(path: str) -> ParameterError:
    return ParameterError(f"the password file {path!r} is not a regular file: give -p the name of one, or of none yet")


def _check_access_list(path: str, entries: list[tuple[int, int, int]], user: int) -> str:
    """The same of the list. Nothing in it lets a group write: the mode would show that."""
    others = [number for tag, rights, number in entries if tag == _USER and rights and number not in (user, 0)]
    if others:
        raise ParameterError(
            f"the access control list of the password file {path!r} opens it to user number "
            f"{', '.join(map(str, others))}: setfacl -x {','.join(f'u:{number}' for number in others)} {path!r}"
        )
    groups = [
        "the group" if tag == _GROUP_OBJ else f"group number {number}"
        for tag, rights, number in entries
        if tag in (_GROUP_OBJ, _GROUP) and rights & _READ
    ]
    return f"{' and '.join(groups)} can read the password file {path!r} (access control list)" if groups else ""


def _access_list(file: int | str) -> list[tuple[int, int, int]]:
    """Of each entry of the file's access control list its tag, the rights that it gives, and the number of its user or
    group; none if there is no list. Raises OSError, ValueError."""
    if sys.platform != "linux":
        return []
    try:
        data = os.getxattr(file, "system.posix_acl_access")
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP, errno.ENOSYS):
            return []
        raise
    words = [int.from_bytes(data[i : i + 2], "little") for i in range(0, len(data), 2)]
    if words[:2] != [2, 0] or len(data) % 8 != 4:
        raise ValueError("an unknown version of access control lists")
    entries = [(words[i], words[i + 1], words[i + 2] | words[i + 3] << 16) for i in range(2, len(words), 4)]
    mask = next((rights for tag, rights, _ in entries if tag == _MASK), 7)
    return [
        (tag, rights & mask if tag in (_USER, _GROUP_OBJ, _GROUP) else rights, number)
        for tag, rights, number in entries
    ]


def _may(right: int, path: str, uid: int, gids: Collection[int]) -> bool:
    """Whether this user, in these groups, has this right to the file or folder: acl(5), "Access Check Algorithm".
    Raises OSError, ValueError."""
    status = os.stat(path)
    mode = status.st_mode
    if uid == status.st_uid:
        return bool(mode >> 6 & right)
    has_list = mode & 0o070  # else Linux does not look at it
    entries = (_access_list(path) if has_list else []) or [(_GROUP_OBJ, mode >> 3, 0)]
    of_user = [rights for tag, rights, number in entries if tag == _USER and number == uid]
    of_groups = [
        rights
        for tag, rights, number in entries
        if (tag == _GROUP_OBJ and status.st_gid in gids) or (tag == _GROUP and number in gids)
    ]
    return any(rights & right for rights in of_user or of_groups or [mode])


def _hash_in(path: str, content: bytes) -> bytes:
    try:
        return bcrypt_hash.hash_in(content)
    except bcrypt_hash.WrongEncoding as error:
        raise ParameterError(f"the password file {path!r} {error}") from None
    except ValueError as error:
        raise ParameterError(
            f"the password file {path!r} {error}: delete it, and make a new one by calling this at a terminal"
        ) from None


def reason_of(error: Exception) -> str:
    """What the operating system says, without the number and the name of the file."""
    return getattr(error, "strerror", None) or str(error)
