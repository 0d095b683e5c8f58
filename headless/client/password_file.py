"""The password file: one line, the bcrypt hash of the password. Here it is read and checked; it is made in
password_prompt.py.

The file is opened once and everything is asked of the open file, so it cannot be another one by the time it is
believed.
"""

from __future__ import annotations

import errno
import os
import stat
import sys

from headless.dialects import bcrypt_hash
from headless.errors import ParameterError, fault_of_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Secret(Protocol):
        """What proves that somebody knows the password."""

        def hash_for(self, salt: str | None) -> bytes:
            """The bcrypt hash with this salt, None if the dialect has no salts. Raises ParameterError if it cannot be
            had."""

        def save(self) -> str:
            """The server has let us in. Does what is to be done then, and returns what is to be said of it, or ""."""


_MAX_SIZE = 4096  # bytes

OTHERS_FIRST = "other users who need it make one first; then: "
_MAKE_ANOTHER = "make a file of your own: headless password-file -s ... -u ... -p NEW_FILE"

# linux/posix_acl.h and posix_acl_xattr.h
_USER, _GROUP_OBJ, _GROUP, _MASK = 0x02, 0x04, 0x08, 0x10
_READ = 4


class Missing(ParameterError):
    """The password file does not exist."""


class NotPrivate(ParameterError):
    """Somebody else can read the password file, or could have written it. `problem` says how. `command` are the words
    with which its owner, who calls, closes it; none if it is another one's, or lets others in by name: their calls may
    need it as it is. `before` is what else can be done."""

    def __init__(self, problem: str, command: tuple[str, ...] = (), before: str = "") -> None:
        from shlex import join

        super().__init__(f"{problem}: {OTHERS_FIRST + join(command) if command else before + _MAKE_ANOTHER}")
        self.problem = problem
        self.command = command


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


def read(path: str) -> KnownSecret:
    """The secret in the password file. Raises Missing, ParameterError for a file that cannot be trusted, SessionError
    for one that cannot be read now."""
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
        remark = _check(path, descriptor)
        content = os.read(descriptor, _MAX_SIZE + 1)
    except OSError as error:
        raise fault_of_file(f"the password file {path!r} cannot be read", error) from None
    finally:
        os.close(descriptor)
    return KnownSecret(path, _hash_in(path, content), remark)


def _check(path: str, descriptor: int) -> str:
    """What should be remarked about the file. Raises ParameterError if somebody else could read or have written it."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise _not_regular(path)
    if status.st_size > _MAX_SIZE:
        raise ParameterError(f"the password file {path!r} has {status.st_size} bytes, a hash has 60")
    if sys.platform == "win32":  # modes and owners mean nothing there
        return ""
    user = os.geteuid()
    if status.st_uid not in (user, 0):
        raise _of_another_user(path, status.st_uid, user)
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o027:
        command = ("chmod", "g-wx,o=", f"./{path}" if path.startswith("-") else path) if status.st_uid == user else ()
        raise NotPrivate(f"the password file {path!r} is open to others (mode {mode:04o})", command)
    if not mode & 0o040:  # which are the rights of groups, or the most that a list gives to those whom it names
        return ""
    try:
        entries = _access_list(descriptor)
    except ValueError:
        raise NotPrivate(f"the password file {path!r} has an access control list that is not understood") from None
    if entries:
        return _check_access_list(path, entries, user)
    return f"the group can read the password file {path!r} (mode {mode:04o})"


def _not_regular(path: str) -> ParameterError:
    return ParameterError(f"the password file {path!r} is not a regular file: give -p the name of one, or of none yet")


def _of_another_user(path: str, owner: int, user: int) -> NotPrivate:
    name = _user_name(owner)
    if user == 0:
        problem = f"the password file {path!r} belongs to {name}, and you are root"
        has_name = " " not in name
        return NotPrivate(problem, before=f"call this as {name} (sudo -u {name} ...), or " if has_name else "")
    who = f"neither to root nor to {_user_name(user)}, who calls this"
    return NotPrivate(f"the password file {path!r} belongs to {name}, {who}")


def _user_name(uid: int) -> str:
    from headless import system  # which nearly no call needs

    return system.shown_user(uid)


def _group_name(gid: int) -> str:
    try:
        import grp

        return f"the group {grp.getgrgid(gid).gr_name}"
    except (ImportError, KeyError):
        return f"group number {gid}"


def _check_access_list(path: str, entries: list[tuple[int, int, int]], user: int) -> str:
    """The same of the list. Nothing in it lets a group write: the mode would show that."""
    others = [number for tag, rights, number in entries if tag == _USER and rights and number not in (user, 0)]
    if others:
        names = ", ".join(map(_user_name, others))
        raise NotPrivate(f"the access control list of the password file {path!r} opens it to {names}")
    groups = [
        "the group" if tag == _GROUP_OBJ else _group_name(number)
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


def _hash_in(path: str, content: bytes) -> bytes:
    try:
        return bcrypt_hash.hash_in(content)
    except bcrypt_hash.WrongEncoding as error:
        raise ParameterError(f"the password file {path!r} {error}") from None
    except ValueError as error:
        raise ParameterError(
            f"the password file {path!r} {error}: to make a new one call this at a terminal, with its name"
        ) from None


def reason_of(error: Exception) -> str:
    """What the operating system says, without the number and the name of the file."""
    return getattr(error, "strerror", None) or str(error)
