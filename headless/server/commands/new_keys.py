"""Where the keys of an account come from: a password at the terminal, one on standard input, or a password file.

Neither a password nor a hash is ever printed, or part of an error. What is stored of it, accounts.py says. The
command's own reading of a password file, which checks the same, is in client/password_file.py.
"""

from __future__ import annotations

import argparse
import getpass
import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from headless import system
from headless.dialects import bcrypt_hash
from headless.dialects.own import scram
from headless.errors import CommandFailed, Interrupted
from headless.server.accounts import keys_from_hash, keys_from_password
from headless.terminal import is_at_terminal

_STDIN = "-"
_MAX_SIZE = 4096  # bytes of a password file, as for the client
# The file stays as it is: calls of others may need it so.
_IF_TRUSTED = f"if nobody else has read it, give it to standard input: --secret-file {_STDIN} < FILE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say where the keys come from."""
    sources = parser.add_mutually_exclusive_group()
    sources.add_argument(
        "--password-stdin",
        action="store_true",
        help="read the password from the first line of standard input, instead of asking for it",
    )
    sources.add_argument(
        "--secret-file",
        metavar="FILE",
        help="take the password from this password file of planta_headless.py, which stays valid; - is standard input",
    )


def are_given(arguments: argparse.Namespace) -> bool:
    """Whether an option says where the keys come from."""
    return arguments.password_stdin or arguments.secret_file is not None


def read(arguments: argparse.Namespace) -> scram.Keys:
    """The keys from where the options say; without one from the terminal. Raises CommandFailed."""
    if arguments.secret_file is not None:
        return keys_from_hash(_read_secret(arguments.secret_file))
    password = _read_password() if arguments.password_stdin else _ask_for_password()
    try:
        return keys_from_password(password)
    except ValueError as error:
        raise CommandFailed(str(error)) from None


def _read_password() -> str:
    """The first line of standard input. Raises CommandFailed."""
    try:
        return _stdin().readline().decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise CommandFailed("the password on standard input is not text in UTF-8") from None


def _stdin() -> BinaryIO:
    """Raises CommandFailed if whoever has started this has closed it."""
    if sys.stdin is None:
        raise CommandFailed("standard input is closed")
    return sys.stdin.buffer


def _ask_for_password() -> str:
    """What is typed at the terminal, twice. Raises CommandFailed."""
    if not is_at_terminal():
        raise CommandFailed(
            "there is no terminal to ask for the password at; give --password-stdin or --secret-file, or for an "
            "account without a password --os-user"
        )
    try:
        with _interrupted_by_signals():
            password = getpass.getpass("Password: ")
            again = getpass.getpass("The same again: ")
    except EOFError:
        raise CommandFailed("no password was given") from None
    if again != password:
        raise CommandFailed("these were two different passwords")
    return password


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Lets a signal that ends the process raise Interrupted first, so that getpass gives the terminal its echo back."""

    def interrupt(signum: int, _frame: object) -> None:
        raise Interrupted(signum)

    signals = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {each: signal.signal(each, interrupt) for each in signals if signal.getsignal(each) != signal.SIG_IGN}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _read_secret(path: str) -> bytes:
    """The hash in this password file. Raises CommandFailed."""
    if path == _STDIN:
        name, content = "the password file on standard input", _stdin().read(_MAX_SIZE + 1)
    else:
        name, content = f"the password file {path!r}", _content(path)
    if len(content) > _MAX_SIZE:
        raise CommandFailed(f"{name} has more than {_MAX_SIZE} bytes, a hash has 60")
    try:
        return bcrypt_hash.hash_in(content)
    except ValueError as error:
        raise CommandFailed(f"{name} {error}") from None


def _content(path: str) -> bytes:
    """The file is opened once and everything is asked of the open file, so it cannot be another one by then."""
    # O_NONBLOCK: a FIFO without a writer must not hang; O_NOCTTY: a terminal must not become ours.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
        try:
            _check(path, os.fstat(descriptor))
            _check_access_list(path, descriptor)
            return os.read(descriptor, _MAX_SIZE + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise CommandFailed(f"the password file {path!r} does not exist") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CommandFailed(f"the password file {path!r} cannot be read: {reason}") from None


def _check(path: str, status: os.stat_result) -> None:
    """Raises CommandFailed if this is no password file, or if somebody else could read or have written it."""
    if not stat.S_ISREG(status.st_mode):
        raise CommandFailed(f"the password file {path!r} is not a regular file")
    if status.st_size > _MAX_SIZE:
        raise CommandFailed(f"the password file {path!r} has {status.st_size} bytes, a hash has 60")
    if sys.platform == "win32":  # modes and owners mean nothing there
        return
    if status.st_uid not in (os.geteuid(), 0):
        owner = system.shown_user(status.st_uid)
        raise CommandFailed(f"the password file {path!r} belongs to {owner}, neither to you nor to root: {_IF_TRUSTED}")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o027:
        raise CommandFailed(f"the password file {path!r} is open to others (mode {mode:04o}): {_IF_TRUSTED}")


def _check_access_list(path: str, descriptor: int) -> None:
    """Raises CommandFailed if the file has an access control list, which may open it to anybody."""
    if sys.platform != "linux":
        return
    try:
        os.getxattr(descriptor, "system.posix_acl_access")
    except OSError:  # there is none, as nearly everywhere
        return
    raise CommandFailed(f"the password file {path!r} has an access control list: {_IF_TRUSTED}")
