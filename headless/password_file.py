"""The password file: one line, the bcrypt hash of the password. Here it is read, checked and made.

To read it, it is opened once and everything is asked of the open file, so it cannot be another one by the time it is
believed. A new file gets its name when it is complete, in one step that fails if the name is taken: so there is never
half a file, nor one that another user could read, nor another file that is lost.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress

from headless.dialects import bcrypt_hash
from headless.errors import ParameterError, fault_of_file
from headless.system import open_at_once, shown_user

MAX_SIZE = 4096  # bytes
_MODE = 0o400

OTHERS_FIRST = "other users who need it make one first; then: "
_MAKE_ANOTHER = "make a file of your own: headless password-file -s ... -u ... -p NEW_FILE"

# linux/posix_acl.h and posix_acl_xattr.h
_USER, _GROUP_OBJ, _GROUP, _MASK = 0x02, 0x04, 0x08, 0x10
_READ = 4


class PasswordFileError(ParameterError):
    """Says that the password file cannot be used. `problem` is the reason, without what the user of the command can
    do."""

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__(f"{problem}: {advice}" if advice else problem)
        self.problem = problem


class Missing(PasswordFileError):
    """Says that the password file does not exist."""


class NotPrivate(PasswordFileError):
    """Says that another user can read the password file, or could have written it. `command` are the words with which
    its owner, who calls, closes it; none if it is another one's, or lets others in by name: their calls may need it as
    it is. `before` is what else can be done."""

    def __init__(self, problem: str, command: tuple[str, ...] = (), before: str = "") -> None:
        from shlex import join

        super().__init__(problem, OTHERS_FIRST + join(command) if command else before + _MAKE_ANOTHER)
        self.command = command


class Taken(ParameterError):
    """Says that another process has made the file meanwhile. It was left as it is."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the password file {path!r} was made by somebody else meanwhile, and left as it is")


class KnownSecret:
    """Holds the hash of a password file. `remark` is what the administrator should know about the file, or ""."""

    def __init__(self, path: str, hash_: bytes, remark: str, user: str = "the user") -> None:
        self.hash = hash_
        self.remark = remark
        self._path = path
        self._user = user

    def hash_for(self, salt: str | None) -> bytes:
        """Returns the hash. Raises ParameterError if it belongs to another salt than this, if there is one."""
        if salt not in (None, bcrypt_hash.salt_of(self.hash)):
            raise ParameterError(
                f"the password of {self._user} was changed since {self._path!r} was made, or there is no such user; "
                f"make a new file: headless password-file ..."
            )
        return self.hash

    def save(self) -> str:
        """Does nothing: it is there."""
        return ""


# Reading


def read(path: str, user: str = "the user") -> KnownSecret:
    """Returns the secret in the password file of this user. Raises PasswordFileError for a file that cannot be used,
    SessionError for one that cannot be read now."""
    try:
        descriptor = open_at_once(path)
    except FileNotFoundError:
        raise Missing(f"the password file {path!r} does not exist", "call this once at a terminal to make it") from None
    except ValueError as error:
        raise PasswordFileError(f"the password file {path!r} cannot be opened: {error}") from None
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise _not_regular(path) from None
        raise fault_of_file(f"the password file {path!r} cannot be opened", error) from None
    try:
        remark = _check(path, descriptor)
        content = os.read(descriptor, MAX_SIZE + 1)
    except OSError as error:
        raise fault_of_file(f"the password file {path!r} cannot be read", error) from None
    finally:
        os.close(descriptor)
    return KnownSecret(path, hash_in(content, f"the password file {path!r}"), remark, user)


def _check(path: str, descriptor: int) -> str:
    """Returns what should be remarked about the file. Raises PasswordFileError if it is none, or if another user could
    read or have written it."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise _not_regular(path)
    if status.st_size > MAX_SIZE:
        raise PasswordFileError(f"the password file {path!r} has {status.st_size} bytes, a hash has 60")
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


def _not_regular(path: str) -> PasswordFileError:
    return PasswordFileError(
        f"the password file {path!r} is not a regular file", "give -p the name of one, or of none yet"
    )


def _of_another_user(path: str, owner: int, user: int) -> NotPrivate:
    name = shown_user(owner)
    if user == 0:
        problem = f"the password file {path!r} belongs to {name}, and you are root"
        has_name = " " not in name
        return NotPrivate(problem, before=f"call this as {name} (sudo -u {name} ...), or " if has_name else "")
    who = f"neither to root nor to {shown_user(user)}, who calls this"
    return NotPrivate(f"the password file {path!r} belongs to {name}, {who}")


def _group_name(gid: int) -> str:
    try:
        import grp

        return f"the group {grp.getgrgid(gid).gr_name}"
    except (ImportError, KeyError):
        return f"group number {gid}"


def _check_access_list(path: str, entries: list[tuple[int, int, int]], user: int) -> str:
    """Returns the same of the list. Nothing in it lets a group write: the mode would show that."""
    others = [number for tag, rights, number in entries if tag == _USER and rights and number not in (user, 0)]
    if others:
        names = ", ".join(map(shown_user, others))
        raise NotPrivate(f"the access control list of the password file {path!r} opens it to {names}")
    groups = [
        "the group" if tag == _GROUP_OBJ else _group_name(number)
        for tag, rights, number in entries
        if tag in (_GROUP_OBJ, _GROUP) and rights & _READ
    ]
    return f"{' and '.join(groups)} can read the password file {path!r} (access control list)" if groups else ""


def _access_list(file: int | str) -> list[tuple[int, int, int]]:
    """Returns of each entry of the file's access control list its tag, the rights that it gives, and the number of its
    user or group; none if there is no list. Raises OSError, ValueError."""
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


def hash_in(content: bytes, name: str) -> bytes:
    """Returns the hash in the content of a password file. `name` begins a sentence about it. Raises PasswordFileError,
    whose text does not show the content."""
    if len(content) > MAX_SIZE:
        raise PasswordFileError(f"{name} has more than {MAX_SIZE} bytes, a hash has 60")
    try:
        return bcrypt_hash.hash_in(content)
    except bcrypt_hash.WrongEncoding as error:
        raise PasswordFileError(f"{name} {error}") from None
    except ValueError as error:
        raise PasswordFileError(f"{name} {error}", "to make a new one call this at a terminal, with its name") from None


# Making


class NewFile:
    """Makes a password file. Raises ParameterError at once if its folder does not allow that, SessionError if that
    cannot be known now."""

    def __init__(self, path: str) -> None:
        self._path = path
        folder, name = os.path.split(path)
        if name in ("", ".", "..") or os.path.islink(path):
            raise ParameterError(f"{path!r} is not the name of a password file, or a link that leads nowhere")
        self._unfinished = os.path.join(folder, f".{os.urandom(8).hex()}")
        try:
            self._write(b"")
            os.unlink(self._unfinished)
        except OSError as error:
            raise fault_of_file(f"the password file {path!r} cannot be made in its folder", error) from None

    def write(self, content: bytes) -> str:
        """Makes the file, and says so. Raises Taken, ParameterError, SessionError."""
        try:
            self._write(content)
            if sys.platform == "win32":
                os.rename(self._unfinished, self._path)  # fails here if there is one
            else:
                os.link(self._unfinished, self._path)
        except FileExistsError:
            raise Taken(self._path) from None
        except OSError as error:
            raise fault_of_file(f"the password file {self._path!r} cannot be made", error) from None
        finally:
            with suppress(OSError):
                os.unlink(self._unfinished)
        return f"the password file {self._path!r} was made"

    def _write(self, content: bytes) -> None:
        if sys.platform == "win32":
            from headless.windows import create_secret_file

            descriptor = create_secret_file(self._unfinished)
        else:
            descriptor = os.open(self._unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        try:
            if sys.platform != "win32":
                os.fchmod(descriptor, _MODE)  # whatever the umask has made of it
            while content:
                content = content[os.write(descriptor, content) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
