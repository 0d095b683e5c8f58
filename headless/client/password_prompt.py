"""Asks for the password from which a password file is to be made: at the terminal or, where the caller has said so, on
standard input. The first call of the command with a file that does not exist asks at the terminal alone: what comes out
of a pipe is not taken for a password there.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import contextmanager, suppress

from headless.client.waiting import READ, WRITE, DeadlinePassed
from headless.dialects import bcrypt_hash
from headless.errors import Interrupted, ParameterError, RemoteProtocolError, fault_of_file
from headless.password_file import NewFile, Taken
from headless.system import is_final
from headless.terminal import escape_control_chars, is_at_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from headless.client.waiting import Waiter

_MAX_STDIN = 4096  # bytes
_UNREADABLE = (errno.EBADF, errno.EISDIR, None)  # what standard input is then: closed, for output, a folder
_SECONDS_TO_ANSWER = 300.0


class NewSecret:
    """Holds a password from which a file is to be made, as soon as the server has let us in with it."""

    def __init__(self, password: bytes, file: NewFile, waiter: Waiter) -> None:
        self._password = password
        self._file = file
        self._waiter = waiter
        self._hash = b""

    def hash_for(self, salt: str | None) -> bytes:
        """Returns the hash of the password with this salt. Takes up to seconds, which count against the deadline.
        Raises ParameterError without a salt, RemoteProtocolError for one that a proof must not be made for."""
        if salt is None:
            raise ParameterError("this dialect gives no salt, so no password file can be made: copy one that there is")
        try:
            bcrypt_hash.check_salt(salt)
        except ValueError as error:
            raise RemoteProtocolError(str(error)) from None
        self._hash = self._waiter.run_in_thread(_bcrypt_hash, self._password, salt.encode("ascii"))
        return self._hash

    def save(self) -> str:
        """Makes the file, or leaves that of another process as it is, and says so. Raises ParameterError,
        SessionError."""
        try:
            return self.make()
        except Taken as error:
            return str(error)

    def make(self) -> str:
        """Makes the file, and says so. Raises Taken, ParameterError, SessionError."""
        return self._file.write(self._hash + b"\n")


def ask(path: str, user: str, waiter: Waiter) -> NewSecret:
    """Returns the secret that is typed at the terminal, for a password file that does not exist. Raises ParameterError
    if there is none, no allowed password, or no folder for the file, ImportError without bcrypt, Interrupted."""
    file = _new_file(path)
    try:
        password = _ask(f"Password for {escape_control_chars(user)}: ", waiter)
        return NewSecret(bcrypt_hash.password_bytes(password), file, waiter)
    except UnicodeError:  # whose text would show a byte of the password
        raise ParameterError(
            f"the password is not text in the terminal's encoding; the password file {path!r} was not made"
        ) from None
    except ValueError as error:
        raise ParameterError(f"{error}; the password file {path!r} was not made") from None


def take_from_stdin(path: str, waiter: Waiter) -> NewSecret:
    """Returns the secret that is the one line of standard input. Raises the same as `ask`."""
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
    """Returns all of it, or more than a line may have. Raises ValueError, SessionError, Interrupted."""
    try:
        with waiter.at_most(_SECONDS_TO_ANSWER):
            return waiter.run_in_thread(lambda: sys.stdin.buffer.read(_MAX_STDIN))
    except DeadlinePassed:
        raise ValueError(f"it has not come to its end within {_SECONDS_TO_ANSWER:.0f} s") from None
    except AttributeError:
        raise ValueError("it cannot be read (it is closed)") from None
    except OSError as error:
        if is_final(error) or error.errno in _UNREADABLE:
            raise ValueError(f"it cannot be read ({error.strerror or error})") from None
        raise fault_of_file("standard input cannot be read", error) from None


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
    try:
        with waiter.at_most(_SECONDS_TO_ANSWER):
            if os.name == "nt":
                return waiter.run_in_thread(_getpass, prompt)
            return _read_hidden(prompt, waiter)
    except EOFError:
        raise ParameterError("no password was given, or the terminal cannot hide it") from None
    except DeadlinePassed:
        raise ParameterError(f"no password was given within {_SECONDS_TO_ANSWER:.0f} s") from None
    except Interrupted as interrupted:
        if interrupted.signum == signal.SIGINT:
            raise ParameterError("no password was given") from None
        raise


def _getpass(prompt: str) -> str:
    """Raises EOFError, also for Ctrl-C, which is a character while a console of Windows is read for a password."""
    import getpass
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)  # it would go on with an echo
            return getpass.getpass(prompt)
    except (KeyboardInterrupt, getpass.GetPassWarning):
        raise EOFError from None


def _read_hidden(prompt: str, waiter: Waiter) -> str:
    """Returns a line that is typed at the terminal, without an echo. Nothing blocks but the waiter, so that signals and
    its deadline end it. Raises EOFError, UnicodeError, DeadlinePassed, Interrupted."""
    import locale
    import termios

    encoding = locale.getpreferredencoding(do_setlocale=False)
    try:
        with _terminal() as terminal, _hidden(terminal, waiter):
            waiter.wait(terminal, WRITE)
            os.write(terminal, prompt.encode(encoding, "backslashreplace"))
            return _read_line(terminal, waiter).decode(encoding)
    except (OSError, termios.error):
        raise EOFError from None


@contextmanager
def _terminal() -> Iterator[int]:
    """Yields a descriptor of the one that controls the process or, without that, of standard input. Raises OSError."""
    try:
        # O_NONBLOCK: what another process has read in the meantime is not waited for.
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        yield sys.stdin.fileno()
        return
    try:
        yield terminal
    finally:
        os.close(terminal)


@contextmanager
def _hidden(terminal: int, waiter: Waiter) -> Iterator[None]:
    """Holds the terminal without an echo (termios(3)), also after a stop. Ctrl-Z does nothing inside of it, or the
    shell would get a terminal without an echo. Raises OSError, termios.error, Interrupted."""
    import termios

    before = termios.tcgetattr(terminal)
    hidden = [*before]
    hidden[3] &= ~termios.ECHO

    def hide(*_: object) -> None:
        while True:
            waiter.check()  # what ends the process needs no terminal
            try:
                return termios.tcsetattr(terminal, termios.TCSANOW, hidden)
            except termios.error as error:
                if error.args[0] != errno.EINTR:  # in the background it has stopped the process (SIGTTOU)
                    raise

    handlers = {signal.SIGTSTP: signal.signal(signal.SIGTSTP, signal.SIG_IGN)}
    handlers[signal.SIGCONT] = signal.signal(signal.SIGCONT, hide)
    try:
        hide()
        termios.tcflush(terminal, termios.TCIFLUSH)  # typed for what was before
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        with suppress(OSError, termios.error):
            if _is_in_foreground(terminal):
                termios.tcsetattr(terminal, termios.TCSANOW, before)
                termios.tcflush(terminal, termios.TCIFLUSH)
                os.write(terminal, b"\n")


def _is_in_foreground(terminal: int) -> bool:
    """Returns whether no other process has got the terminal. Where it does not control us, it is given to none."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return True


def _read_line(terminal: int, waiter: Waiter) -> bytes:
    """Returns what is typed, without the end of the line. Raises EOFError, DeadlinePassed, Interrupted, OSError."""
    line = b""
    while not line.endswith(b"\n") and len(line) <= _MAX_STDIN:
        waiter.wait(terminal, READ)
        with suppress(BlockingIOError):
            data = os.read(terminal, _MAX_STDIN)
            if not data:  # Ctrl-D
                raise EOFError
            line += data
    return line.removesuffix(b"\n")


def _bcrypt_hash(password: bytes, salt: bytes) -> bytes:
    import bcrypt

    return bcrypt.hashpw(password, salt)
