"""Where the keys of an account come from: a password at the terminal, one on standard input, or a password file.

Neither a password nor a hash is ever printed, or part of an error.
"""

from __future__ import annotations

import argparse
import getpass
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from headless import password_file
from headless.dialects.own import scram
from headless.errors import CommandFailed, Interrupted, ParameterError, SessionError
from headless.server.accounts import keys_from_hash, keys_from_password
from headless.terminal import is_at_terminal

_STDIN = "-"
# The file stays as it is: calls of others may need it so.
_IF_TRUSTED = f"if no other user has read it, give it to standard input: --secret-file {_STDIN} < FILE"


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
    """Raises CommandFailed if it is closed."""
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
    """Returns the hash in this password file. Raises CommandFailed."""
    try:
        if path == _STDIN:
            content = _stdin().read(password_file.MAX_SIZE + 1)
            return password_file.hash_in(content, "the password file on standard input")
        return password_file.read(path).hash
    except password_file.NotPrivate as error:
        raise CommandFailed(f"{error.problem}: {_IF_TRUSTED}") from None
    except password_file.PasswordFileError as error:
        raise CommandFailed(error.problem) from None
    except (ParameterError, SessionError) as error:
        raise CommandFailed(str(error)) from None
