"""The password file: one line, the bcrypt hash of the password. Here it is read and checked, and, where there is none
yet and somebody sits at a terminal, made.

Reading: the file is opened once and everything is asked of the open file, so it cannot be another one by the time it is
believed. Making: the file has no name until it is complete, and gets it in one step that fails if the name is taken; so
there is never half a file, nor one that somebody else could read, nor another file that is lost.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from typing import Union

from headless.outcome import Interrupted, ParameterError, ProtocolError
from headless.protocol import login
from headless.protocol.characters import on_one_line
from headless.waiting import Waiter

_SIZE_MAX = 4096  # bytes
_MODE = 0o400


class Missing(ParameterError):
    """The password file does not exist."""


class KnownSecret:
    """The hash that a password file holds. `remark` is what the administrator should know about the file, or ""."""

    def __init__(self, path: str, hash_: bytes, remark: str) -> None:
        self.hash = hash_
        self.remark = remark
        self._path = path

    def hash_for(self, salt: str) -> bytes:
        """The hash. Raises ParameterError if it belongs to another salt."""
        if salt != login.salt_of(self.hash):
            raise ParameterError(
                f"the server has another salt for the user than the password file {self._path!r}: the password was "
                "changed since the file was made, or there is no such user with a password"
            )
        return self.hash

    def keep(self) -> str:
        """Nothing: it is there."""
        return ""


class NewSecret:
    """A password from which a file is to be made, as soon as the server has shown that it is the right one."""

    def __init__(self, password: bytes, file: _NewFile, waiter: Waiter) -> None:
        self._password = password
        self._file = file
        self._waiter = waiter
        self._hash = b""

    def hash_for(self, salt: str) -> bytes:
        """The hash of the password with this salt. Takes up to seconds, which count against the deadline."""
        self._hash = self._waiter.in_thread(_bcrypt_hash, self._password, salt.encode("ascii"))
        return self._hash

    def keep(self) -> str:
        """Makes the file, and says so. Raises ParameterError if that is not possible."""
        return self._file.write(self._hash + b"\n")


Secret = Union[KnownSecret, NewSecret]


# Reading


def read(path: str) -> KnownSecret:
    """The secret in the password file. Raises Missing, or ParameterError for a file that cannot be trusted."""
    # O_NONBLOCK: a FIFO without a writer must not hang; O_NOCTTY: a terminal must not become ours.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise Missing(f"the password file {path!r} does not exist: call this once at a terminal to make it") from None
    except (OSError, ValueError) as error:
        raise ParameterError(f"the password file {path!r} cannot be opened: {_reason(error)}") from None
    try:
        remark = _check(path, os.fstat(descriptor))
        content = os.read(descriptor, _SIZE_MAX + 1)
    except OSError as error:
        raise ParameterError(f"the password file {path!r} cannot be read: {_reason(error)}") from None
    finally:
        os.close(descriptor)
    return KnownSecret(path, _hash_in(path, content), remark)


def _check(path: str, status: os.stat_result) -> str:
    """What should be remarked about the file. Raises ParameterError if somebody else could read or have written it."""
    if not stat.S_ISREG(status.st_mode):
        raise ParameterError(
            f"the password file {path!r} is not a regular file: give -p the name of one, or of none yet"
        )
    if status.st_size > _SIZE_MAX:
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
    text = content.strip()
    if not login.is_hash(text.decode("ascii", "replace")):
        raise ParameterError(
            f"the password file {path!r} does not hold one bcrypt hash ($2a$, $2b$ or $2y$, 60 characters) "
            f"and nothing else: rm {path!r}, and make a new one by calling this at a terminal"
        )
    try:
        login.check_salt(login.salt_of(text))
    except ProtocolError as error:
        raise ParameterError(f"the hash in the password file {path!r} cannot be used: {error}") from None
    return text


# Making


def ask(path: str, user: str, waiter: Waiter) -> NewSecret:
    """The secret that somebody at the terminal gives, for a password file that does not exist. Raises ParameterError if
    there is nobody, no place for the file or no allowed password, Interrupted."""
    file = _NewFile(path)
    try:
        import bcrypt  # noqa: F401 (before the password is asked for)
    except ImportError as error:
        raise ParameterError(
            f"the library bcrypt, which makes the password file {path!r}, cannot be loaded ({error}); install it with: "
            f"{sys.executable} -m pip install --force-reinstall bcrypt"
        ) from None
    try:
        return NewSecret(login.password_bytes(_ask(f"Password for {on_one_line(user)}: ", waiter)), file, waiter)
    except UnicodeError:  # whose text would show a byte of the password
        raise ParameterError(
            f"the password is not text in the terminal's encoding; the password file {path!r} was not made"
        ) from None
    except ValueError as error:
        raise ParameterError(f"{error}; the password file {path!r} was not made") from None


def is_at_terminal() -> bool:
    """Whether standard input is one. What comes out of a pipe is never taken for a password."""
    try:
        return sys.stdin is not None and sys.stdin.isatty()
    except ValueError:  # closed
        return False


def _ask(prompt: str, waiter: Waiter) -> str:
    import getpass
    import warnings

    try:
        with warnings.catch_warnings(), waiter.interruptible():
            warnings.simplefilter("error", getpass.GetPassWarning)  # it would go on with an echo
            return getpass.getpass(prompt)
    except (EOFError, getpass.GetPassWarning):
        raise ParameterError("no password was given, or the terminal cannot hide it") from None
    except Interrupted as interrupted:
        if interrupted.signum == signal.SIGINT:
            raise ParameterError("no password was given") from None
        raise


def _bcrypt_hash(password: bytes, salt: bytes) -> bytes:
    import bcrypt

    return bcrypt.hashpw(password, salt)


if sys.platform == "win32":

    class _NewFile:
        """The password file to be made. Here it is guarded by an access control list for this user alone."""

        def __init__(self, path: str) -> None:
            if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
                raise ParameterError(f"there is no folder for the password file {path!r}")
            self._path = path

        def write(self, content: bytes) -> str:
            """Makes the file, and says so. Raises ParameterError if that is not possible."""
            unfinished = f"{self._path}.{os.urandom(8).hex()}"
            try:
                with open(unfinished, "xb") as file:
                    grant = f"{os.getlogin()}:(R,D)"
                    subprocess.run(
                        ["icacls", unfinished, "/inheritance:r", "/grant:r", grant], check=True, capture_output=True
                    )
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(unfinished, self._path)  # fails here if there is one
            except FileExistsError:
                return f"the password file {self._path!r} was made by somebody else meanwhile, and left as it is"
            except (OSError, subprocess.CalledProcessError) as error:
                raise ParameterError(f"the password file {self._path!r} cannot be made: {error}") from None
            finally:
                with suppress(OSError):
                    os.unlink(unfinished)
            return f"the password file {self._path!r} was made"

else:

    class _NewFile:
        """The password file to be made. Raises ParameterError at once if its folder does not allow that."""

        def __init__(self, path: str) -> None:
            self._path = path
            folder, self._name = os.path.split(path)
            if self._name in ("", ".", "..") or os.path.islink(path):
                raise ParameterError(f"{path!r} is not the name of a password file, or a link that leads nowhere")
            try:
                self._folder = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY)
                self._file = self._without_name(folder or ".")
                if self._file is None and not os.access(folder or ".", os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            except OSError as error:
                raise ParameterError(
                    f"the password file {path!r} cannot be made in its folder: {_reason(error)}"
                ) from None

        @staticmethod
        def _without_name(folder: str) -> int | None:
            """A file in this folder that goes with this process, None where there is no such thing. Raises OSError."""
            if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
                return None
            try:
                return os.open(folder, os.O_TMPFILE | os.O_WRONLY, _MODE)
            except OSError as error:
                if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
                    return None
                raise

        def write(self, content: bytes) -> str:
            """Makes the file, and says so. Raises ParameterError if that is not possible."""
            try:
                if self._file is None:
                    self._write_under_other_name(content)
                else:
                    _write_for_good(self._file, content)
                    self._link(f"/proc/self/fd/{self._file}")
                os.fsync(self._folder)
            except FileExistsError:
                return f"the password file {self._path!r} was made by somebody else meanwhile, and left as it is"
            except OSError as error:
                raise ParameterError(f"the password file {self._path!r} cannot be made: {_reason(error)}") from None
            return f"the password file {self._path!r} was made"

        def _write_under_other_name(self, content: bytes) -> None:
            unfinished = f".{self._name[:200]}.{os.urandom(8).hex()}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            descriptor = os.open(unfinished, flags, _MODE, dir_fd=self._folder)
            try:
                _write_for_good(descriptor, content)
                self._link(unfinished)
            finally:
                os.close(descriptor)
                os.unlink(unfinished, dir_fd=self._folder)

        def _link(self, source: str) -> None:
            os.link(source, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=True)


def _write_for_good(descriptor: int, content: bytes) -> None:
    if sys.platform != "win32":
        os.fchmod(descriptor, _MODE)  # whatever the umask has made of it
    while content:
        content = content[os.write(descriptor, content) :]
    os.fsync(descriptor)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
