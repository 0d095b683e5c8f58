"""A password from which a file is to be made: of somebody at the terminal or, where the caller has said so, of standard
input. The first call of the command with a file that does not exist asks at the terminal alone: what comes out of a
pipe is not taken for a password there.

The file is made in password_creation.py, when the server has let us in.
"""

from __future__ import annotations

import os
import signal
import sys

from headless.client.password_creation import NewFile, Taken
from headless.client.waiting import DeadlinePassed
from headless.outcome import Interrupted, ParameterError
from headless.protocol import bcrypt_hash
from headless.protocol.errors import RemoteProtocolError
from headless.terminal import escape_control_chars, is_at_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from headless.client.waiting import Waiter
_MAX_STDIN = 4096  # bytes
_SECONDS_TO_ANSWER = 300.0


class NewSecret:
    """A password from which a file is to be made, as soon as the server has let us in with it."""

    def __init__(self, password: bytes, file: NewFile, waiter: Waiter) -> None:
        self._password = password
        self._file = file
        self._waiter = waiter
        self._hash = b""

    def hash_for(self, salt: str | None) -> bytes:
        """The hash of the password with this salt. Takes up to seconds, which count against the deadline. Raises
        ParameterError without a salt, RemoteProtocolError for one that a proof must not be made for."""
        if salt is None:
            raise ParameterError("this wire gives no salt, so no password file can be made: copy one that there is")
        try:
            bcrypt_hash.check_salt(salt)
        except ValueError as error:
            raise RemoteProtocolError(str(error)) from None
        self._hash = self._waiter.run_in_thread(_bcrypt_hash, self._password, salt.encode("ascii"))
        return self._hash

    def save(self) -> str:
        """Makes the file, and says so; or that somebody else has. Raises ParameterError if that is not possible."""
        try:
            return self.make()
        except Taken as error:
            return str(error)

    def make(self) -> str:
        """Makes the file, and says so. Raises ParameterError if that is not possible."""
        return self._file.write(self._hash + b"\n")


def ask(path: str, user: str, waiter: Waiter) -> NewSecret:
    """The secret that somebody at the terminal gives, for a password file that does not exist. Raises ParameterError if
    there is nobody, no place for the file or no allowed password, ImportError without bcrypt, Interrupted."""
    file = _new_file(path)
    try:
        return NewSecret(
            bcrypt_hash.password_bytes(_ask(f"Password for {escape_control_chars(user)}: ", waiter)), file, waiter
        )
    except UnicodeError:  # whose text would show a byte of the password
        raise ParameterError(
            f"the password is not text in the terminal's encoding; the password file {path!r} was not made"
        ) from None
    except ValueError as error:
        raise ParameterError(f"{error}; the password file {path!r} was not made") from None


def take_from_stdin(path: str, waiter: Waiter) -> NewSecret:
    """The secret that is the one line of standard input. Raises the same as `ask`."""
    file = _new_file(path)
    if is_at_terminal():
        raise ParameterError("standard input is a terminal: without --password-stdin the password is asked for there")
    try:
        return NewSecret(bcrypt_hash.password_bytes(_one_line(_read_stdin(waiter))), file, waiter)
    except ValueError as error:
        raise ParameterError(f"standard input: {error}; the password file {path!r} was not made") from None


def _new_file(path: str) -> NewFile:
    file = NewFile(path)
    import bcrypt  # noqa: F401 (it is missing before the password is asked for, or not at all)

    return file


def _read_stdin(waiter: Waiter) -> bytes:
    """All of it, or more than a line may have. Raises ValueError, Interrupted."""
    try:
        with waiter.interruptible():
            return sys.stdin.buffer.read(_MAX_STDIN)
    except (AttributeError, OSError) as error:  # it is closed, or cannot be read
        raise ValueError(f"it cannot be read ({getattr(error, 'strerror', None) or 'it is closed'})") from None


def _one_line(content: bytes) -> str:
    """Raises ValueError, whose text shows nothing of the content."""
    line, newline, rest = content.partition(b"\n")
    if rest:
        raise ValueError("it has more than one line")
    try:
        text = line.removesuffix(b"\r").decode("utf-8") if newline else line.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("the password is not text in UTF-8") from None
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark")
    return text


def _ask(prompt: str, waiter: Waiter) -> str:
    import getpass
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)  # it would go on with an echo
            return _getpass(prompt, waiter)
    except (EOFError, getpass.GetPassWarning):
        raise ParameterError("no password was given, or the terminal cannot hide it") from None
    except Interrupted as interrupted:
        if interrupted.signum == signal.SIGINT:
            raise ParameterError("no password was given") from None
        raise


def _getpass(prompt: str, waiter: Waiter) -> str:
    """Raises EOFError, ParameterError, Interrupted."""
    if os.name == "nt":
        return _getpass_within_time(prompt, waiter)
    import getpass

    with waiter.interruptible():
        return getpass.getpass(prompt)


def _getpass_within_time(prompt: str, waiter: Waiter) -> str:
    """The same for Windows, where it can only be guessed whether somebody sees the console."""
    try:
        with waiter.at_most(_SECONDS_TO_ANSWER):
            return waiter.run_in_thread(_getpass_or_eof, prompt)
    except DeadlinePassed:
        raise ParameterError(f"no password was given within {_SECONDS_TO_ANSWER:.0f} s") from None


def _getpass_or_eof(prompt: str) -> str:
    """Ctrl-C is a character while a console of Windows is read for a password."""
    import getpass

    try:
        return getpass.getpass(prompt)
    except KeyboardInterrupt:
        raise EOFError from None


def _bcrypt_hash(password: bytes, salt: bytes) -> bytes:
    import bcrypt

    return bcrypt.hashpw(password, salt)
