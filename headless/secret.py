"""The password file: one line, the bcrypt hash of the password. It is read here, and checked before it is believed.

The file is opened once and everything is asked of the open file, so it cannot be another one by the time it is read.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import NamedTuple

from headless.outcome import ParameterError
from headless.protocol.login import is_hash

_SIZE_MAX = 4096  # bytes


class Secret(NamedTuple):
    """The hash in a password file, and what the administrator should know about the file ("" if nothing)."""

    hash: bytes
    remark: str


def read(path: str) -> Secret:
    """The secret in the password file. Raises ParameterError if there is no file, or one that cannot be trusted."""
    # O_NONBLOCK: a FIFO without a writer must not hang; O_NOCTTY: a terminal must not become ours.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise ParameterError(f"the password file {path!r} does not exist") from None
    except (OSError, ValueError) as error:
        raise ParameterError(f"the password file {path!r} cannot be opened: {_reason(error)}") from None
    try:
        remark = _check(path, os.fstat(descriptor))
        content = os.read(descriptor, _SIZE_MAX + 1)
    except OSError as error:
        raise ParameterError(f"the password file {path!r} cannot be read: {_reason(error)}") from None
    finally:
        os.close(descriptor)
    return Secret(_hash_in(path, content), remark)


def _check(path: str, status: os.stat_result) -> str:
    """What should be remarked about the file. Raises ParameterError if somebody else could read or have written it."""
    if not stat.S_ISREG(status.st_mode):
        raise ParameterError(f"the password file {path!r} is not a regular file")
    if status.st_size > _SIZE_MAX:
        raise ParameterError(f"the password file {path!r} has {status.st_size} bytes, a hash has 60")
    if sys.platform == "win32":  # modes and owners mean nothing there
        return ""
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in (os.geteuid(), 0):
        raise ParameterError(
            f"the password file {path!r} belongs to user number {status.st_uid}, neither to you "
            f"nor to root: chown {os.geteuid()} {path!r}"
        )
    if mode & 0o027:
        raise ParameterError(f"the password file {path!r} is open to others (mode {mode:04o}): chmod 0400 {path!r}")
    return f"the group can read the password file {path!r} (mode {mode:04o})" if mode & 0o040 else ""


def _hash_in(path: str, content: bytes) -> bytes:
    text = content.strip()
    if not is_hash(text.decode("ascii", "replace")):
        raise ParameterError(
            f"the password file {path!r} does not hold one bcrypt hash "
            "($2a$, $2b$ or $2y$, 60 characters) and nothing else"
        )
    return text


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
