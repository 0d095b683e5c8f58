"""Holds what client, server and checks ask of the operating system alike: its users, and what an error of it means.

`pwd` raises KeyError for a user that does not exist, and also where the service could not be asked: no descriptor was
left, the directory of the site is down. Here the two are told apart. Windows has no `pwd`.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd

_BUFFER_BYTES, _BUFFER_BYTES_MAX = 4096, 1 << 20
_ENTRY_BYTES = 256  # no struct passwd is larger
# getpwnam(3), ERRORS: "The given name or uid was not found."
_NOT_FOUND = (0, errno.ENOENT, errno.ESRCH)


def user_by_name(name: str) -> pwd.struct_passwd | None:
    """None if there is no such user. Raises OSError if the name service does not answer now."""
    import pwd

    with suppress(ValueError):  # no user has a NUL in the name
        try:
            return pwd.getpwnam(name)
        except KeyError:
            confirm_missing_user(name)
    return None


def user_by_number(uid: int) -> pwd.struct_passwd | None:
    """None if no user has this number. Raises OSError if the name service does not answer now."""
    import pwd

    try:
        return pwd.getpwuid(uid)
    except KeyError:
        confirm_missing_user(uid)
        return None


def confirm_missing_user(user: str | int) -> None:
    """Returns if the name service says that there is no user of this name or number. Raises OSError, with EAGAIN, if it
    does not answer, or has found the user after all."""
    try:
        code, is_found = _ask(user)
    except ModuleNotFoundError:  # a Python without ctypes: there is nothing but the KeyError
        return
    except (ImportError, OSError) as error:
        raise _silence(str(error)) from None
    if is_found or code not in _NOT_FOUND:
        raise _silence(os.strerror(code) if code else "it has another answer now")
    if code == errno.ENOENT and os.path.exists("/etc/passwd"):  # then what is not there is a service
        raise _silence("a part of it is not there")


def _silence(reason: str) -> OSError:
    return OSError(errno.EAGAIN, f"the name service does not answer: {reason}")


def _ask(user: str | int) -> tuple[int, bool]:
    """What getpwnam_r or getpwuid_r returns, an errno or 0, and whether it has found the user."""
    import ctypes

    library = ctypes.CDLL(None)
    size = _BUFFER_BYTES
    while True:
        entry, buffer, found = (ctypes.create_string_buffer(each) for each in (_ENTRY_BYTES, size, 8))
        rest = entry, buffer, ctypes.c_size_t(size), found
        if isinstance(user, int):
            code = library.getpwuid_r(ctypes.c_uint32(user), *rest)
        else:
            code = library.getpwnam_r(ctypes.c_char_p(os.fsencode(user)), *rest)
        if code != errno.ERANGE or size >= _BUFFER_BYTES_MAX:
            return int(code), any(found.raw)
        size *= 4


def shown_user(uid: int) -> str:
    """The user with this number, for people: the name, or `user number N` where there is none."""
    with suppress(OSError):
        user = user_by_number(uid)
        if user is not None:
            return user.pw_name
    return f"user number {uid}"


# errno(3): what a person has to change.
FINAL = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}
if os.name == "nt":
    FINAL.add(errno.EINVAL)  # of a name that no file can have


def is_final(error: OSError) -> bool:
    """Whether the error says of a file that it is not there, or not allowed, which only a person changes. Any other one
    is a fault that may have passed a moment later."""
    return error.errno in FINAL
