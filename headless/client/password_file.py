"""The password file: one line, the bcrypt hash of the password. Here it is read and checked; it is made in
password_prompt.py.

The file is opened once and everything is asked of the open file, so it cannot be another one by the time it is
believed.
"""

from __future__ import annotations

import os
import stat
import sys

from headless.outcome import ParameterError
from headless.protocol import bcrypt_hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Secret(Protocol):
        """What proves that somebody knows the password."""

        def hash_for(self, salt: str | None) -> bytes:
            """The bcrypt hash with this salt, None if the wire has no salts. Raises ParameterError if it cannot be
            had."""

        def save(self) -> str:
            """The server has let us in. Does what is to be done then, and returns what is to be said of it, or ""."""


_MAX_SIZE = 4096  # bytes


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


def read(path: str) -> KnownSecret:
    """The secret in the password file. Raises Missing, or ParameterError for a file that cannot be trusted."""
    # O_NONBLOCK: a FIFO without a writer must not hang; O_NOCTTY: a terminal must not become ours.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise Missing(f"the password file {path!r} does not exist: call this once at a terminal to make it") from None
    except (OSError, ValueError) as error:
        raise ParameterError(f"the password file {path!r} cannot be opened: {reason_of(error)}") from None
    try:
        remark = _check(path, os.fstat(descriptor))
        content = os.read(descriptor, _MAX_SIZE + 1)
    except OSError as error:
        raise ParameterError(f"the password file {path!r} cannot be read: {reason_of(error)}") from None
    finally:
        os.close(descriptor)
    return KnownSecret(path, _hash_in(path, content), remark)


def _check(path: str, status: os.stat_result) -> str:
    """What should be remarked about the file. Raises ParameterError if somebody else could read or have written it."""
    if not stat.S_ISREG(status.st_mode):
        raise ParameterError(
            f"the password file {path!r} is not a regular file: give -p the name of one, or of none yet"
        )
    if status.st_size > _MAX_SIZE:
        raise ParameterError(f"the password file {path!r} has {status.st_size} bytes, a hash has 60")
    if sys.platform == "win32":  # modes and owners mean nothing there
        return ""
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in (os.geteuid(), 0):
        raise ParameterError(
            f"the password file {path!r} belongs to user number {status.st_uid}, neither to you nor to root: "
            f"chown {os.geteuid()} {path!r}"
        )
    if mode & 0o027:
        raise ParameterError(f"the password file {path!r} is open to others (mode {mode:04o}): chmod 0400 {path!r}")
    return f"the group can read the password file {path!r} (mode {mode:04o})" if mode & 0o040 else ""


def _hash_in(path: str, content: bytes) -> bytes:
    try:
        return bcrypt_hash.hash_in(content)
    except ValueError as error:
        raise ParameterError(
            f"the password file {path!r} {error}: rm {path!r}, and make a new one by calling this at a terminal"
        ) from None


def reason_of(error: Exception) -> str:
    """What the operating system says, without the number and the name of the file."""
    return getattr(error, "strerror", None) or str(error)
