"""Holds what client, server and checks need alike: users, addresses, durations, files, locks.

`pwd` raises KeyError for a user that does not exist, and also where the service could not be asked: no descriptor was
left, the directory of the site is down. Here these are two cases. Windows has no `pwd`.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    import ssl

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
    """Returns whether the error says of a file that it is not there, or not allowed, which only a person changes. Any
    other one is a fault that may have passed a moment later."""
    return error.errno in FINAL


# O_NONBLOCK: a FIFO whose other end is not open must not hang. O_NOCTTY: a terminal must not become ours.
_OPEN_FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY"))


def open_at_once(path: str, flags: int = os.O_RDONLY) -> int:
    """Opens any file without waiting, a new one for this user alone. Returns its descriptor. Raises OSError,
    ValueError."""
    return os.open(path, flags | _OPEN_FLAGS, 0o600)


def open_regular(path: str, flags: int = os.O_RDONLY) -> int:
    """Does the same for a regular file, and raises OSError for any other kind."""
    descriptor = open_at_once(path, flags)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(None, "it is not a regular file")


def replace_file(path: str, content: bytes) -> None:
    """Puts a new file with this content in the place of this one: who reads it meanwhile finds one of both, whole.
    Raises OSError, ValueError."""
    temporary = f"{path}.{os.getpid()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with open(os.open(temporary, flags, 0o666), "wb") as file:  # as far as the umask allows
        try:
            file.write(content)
            file.close()
            os.replace(temporary, path)
        except BaseException:
            file.close()
            os.unlink(temporary)
            raise


def load_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Loads certificate chain and key of a server. No passphrase is asked for, and no FIFO is waited for. Raises
    ValueError, whose text is a sentence, for what can never be used, OSError for the rest."""
    for path in (certificate, key):
        if os.path.exists(path) and not os.path.isfile(path):
            raise ValueError(f"{path!r} is not a regular file, as certificate and key must be")

    def refuse_passphrase() -> str:
        raise ValueError(f"the key {key!r} needs a passphrase, which a server cannot ask for: use a key without one")

    context.load_cert_chain(certificate, key, refuse_passphrase)


if sys.platform == "win32":
    import msvcrt

    _LOCKED_BYTE = 2**31 - 2  # beyond the content: a byte that is locked can be read by its holder alone

    def try_lock(descriptor: int, shared: bool = False) -> bool:
        """Locks an open file until it is closed. Returns False if another process has it. A shared lock, which Windows
        does not have, is released at once."""
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            if shared:
                msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        except OSError:  # EACCES; under Wine without a number
            return False
        finally:
            os.lseek(descriptor, position, os.SEEK_SET)
        return True

else:

    def try_lock(descriptor: int, shared: bool = False) -> bool:
        """Locks an open file until it and all copies of its descriptor are closed. Returns False if another process
        has it; a lock that is shared lets others share it. Raises OSError."""
        import fcntl

        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def strerror_of(error: Exception) -> str:
    """Returns what is wrong, without the name of a file: that is in the sentence already."""
    return getattr(error, "strerror", None) or str(error)


_DURATION = re.compile("0*([1-9][0-9]{0,4})([mhd])")
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(duration: str) -> float:
    """Returns the seconds of a duration such as 90m, 26h or 8d: at least 1 and less than 100,000 of its unit. Raises
    ValueError with the end of a sentence."""
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError("is not a time such as 90m, 26h or 8d")
    return int(match[1]) * _SECONDS[match[2]]


def host_and_port(text: str, least_port: int = 1) -> tuple[str, int]:
    """Returns the host, without brackets, and the port. Raises ValueError with the end of a sentence."""
    match = re.fullmatch(r"(?:\[([^][]+)\]|([^][:/@\s]+)):([0-9]{1,5})", text)
    if match is None or not least_port <= int(match[3]) <= 65535:
        raise ValueError(f"is not HOST:PORT with a port from {least_port} to 65535, an IPv6 address in brackets")
    return _ipv6_address(match[1]) if match[1] else _host_name(match[2]), int(match[3])


def _ipv6_address(text: str) -> str:
    import socket

    address, percent, zone = text.partition("%")
    try:
        socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError):  # ValueError: not ASCII, or a NUL
        raise ValueError("has something else than an IPv6 address in its brackets") from None
    if percent and not re.fullmatch(r"[0-9A-Za-z_.-]+", zone):
        raise ValueError("names no network interface after the %")
    return text


def _host_name(text: str) -> str:
    try:
        name = text if text.isascii() else text.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    # RFC 1035, section 2.3.4: labels of 1 to 63 octets; names of 255, with the root's dot written or not.
    if len(name) > 254 or not name.isprintable() or not re.fullmatch(r"[^.]{1,63}(\.[^.]{1,63})*\.?", name):
        raise ValueError("has something else than a host name before its port")
    return name
