"""user add, passwd, limit, list, remove: the accounts of a server."""

from __future__ import annotations

import argparse
import getpass
import os
import posixpath
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, BinaryIO

from headless import password_file, system
from headless.dialects.own import scram
from headless.dialects.vocabulary import MAX_NAME_LENGTH, is_xml_text
from headless.errors import CommandFailed, Interrupted, ParameterError, SessionError
from headless.server.accounts import UNLIMITED, Account, Accounts, Limits, keys_from_hash, keys_from_password
from headless.server.commands.arguments import add_command, existing_home
from headless.server.home import Home
from headless.server.journal import Journal
from headless.terminal import escape_control_chars, is_at_terminal, print_warning

_MODULE = re.compile(r"[0-9A-Za-z_*]{1,64}")
_MAX_FOLDER_LENGTH = 4096  # characters
_EVERY_MODULE = "*"
_EVERY_FOLDER = "."
_STDIN = "-"
# The file stays as it is: calls of others may need it so.
_IF_TRUSTED = f"if no other user has read it, give it to standard input: --secret-file {_STDIN} < FILE"


def add(commands: Any) -> None:
    """Adds the commands to these."""
    user = commands.add_parser("user", help="the accounts").add_subparsers(
        required=True, metavar="add | passwd | limit | list | remove"
    )
    add = add_command(user, "add", _add, "add an account, for a password, an operating system's user, or both")
    add.add_argument("user", type=_name, metavar="NAME")
    add.add_argument("--os-user", type=_name, metavar="NAME", help="who may log in as this user with osuser")
    _add_passwords(add)
    passwd = add_command(user, "passwd", _passwd, "give an account a password, or another one")
    passwd.add_argument("user", type=_name, metavar="NAME")
    _add_passwords(passwd)
    limit = add_command(user, "limit", _limit, "limit what an account may run; without options print its limits")
    limit.add_argument("user", type=_name, metavar="NAME")
    _add_limits(limit)
    add_command(user, "list", _list, "list the accounts")
    remove = add_command(
        user, "remove", _remove, "remove an account: its running jobs go on, and no further job of it starts"
    )
    remove.add_argument("user", type=_name, metavar="NAME")


def _name(text: str) -> str:
    """Takes the name of a user, of an account or of the operating system."""
    if not 1 <= len(text) <= MAX_NAME_LENGTH or not is_xml_text(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a name of 1 to {MAX_NAME_LENGTH} characters that XML can carry"
        )
    return text


def _existing(accounts: Accounts, user: str) -> Account:
    """Raises CommandFailed if there is no such account, sqlite3.Error."""
    account = accounts.of_user(user)
    if account is None:
        raise CommandFailed(f"there is no account {user!r}")
    return account


def _add(arguments: argparse.Namespace) -> None:
    has_password = arguments.password_stdin or arguments.secret_file is not None or not arguments.os_user
    keys = read_keys(arguments) if has_password else None
    home = Home(arguments.home)
    home.create()
    with closing(home.database()) as database, database:
        is_added = Accounts(database).add(Account(arguments.user, arguments.os_user, keys))
    if not is_added:
        raise CommandFailed(f"there is an account {arguments.user!r} already; user passwd and user limit change it")
    if arguments.os_user and not _may_exist(arguments.os_user):
        print_warning(arguments.program, f"this machine knows no user {arguments.os_user!r}; the account was added")


def _may_exist(os_user: str) -> bool:
    """Returns whether the operating system knows the user, or cannot be asked."""
    try:
        return os.name == "nt" or system.user_by_name(os_user) is not None
    except OSError:
        return True


def _passwd(arguments: argparse.Namespace) -> None:
    with closing(existing_home(arguments).database()) as database:
        accounts = Accounts(database)
        _existing(accounts, arguments.user)  # before a password is typed
        keys = read_keys(arguments)
        with database:
            is_set = accounts.set_keys(arguments.user, keys)
    if not is_set:
        raise CommandFailed(f"the account {arguments.user!r} has been removed meanwhile")


def _list(arguments: argparse.Namespace) -> None:
    with closing(existing_home(arguments).database()) as database:
        accounts = Accounts(database).all()
    for account in accounts:
        ways = (["challenge"] if account.keys else []) + ([f"osuser={account.os_user}"] if account.os_user else [])
        print(escape_control_chars(account.user), escape_control_chars(" ".join(ways + words(account.limits))))


def _remove(arguments: argparse.Namespace) -> None:
    with closing(existing_home(arguments).database()) as database, database:
        database.execute("BEGIN IMMEDIATE")
        accounts = Accounts(database)
        count = Journal(database).unfinished_count(_existing(accounts, arguments.user).number)
        accounts.remove(arguments.user)
    if count:
        sessions = "1 session of this account is" if count == 1 else f"{count} sessions of this account are"
        print(f"{sessions} not over: running jobs go on, and no further job of it starts")


# Limits


def _add_limits(limit: argparse.ArgumentParser) -> None:
    modules, folders, code, times = (limit.add_mutually_exclusive_group() for _ in range(4))
    modules.add_argument(
        "--module", dest="modules", action="append", type=_module, metavar="ID",
        help="allow this module, and no others but those of further --module; * stands for any characters",
    )  # fmt: skip
    modules.add_argument("--no-modules", dest="modules", action="store_const", const=[], help="allow no module")
    folders.add_argument(
        "--folder", dest="folders", action="append", type=_folder, metavar="DIR",
        help="allow the files below this folder of the server's files, and no others but those of further --folder; "
        ". is the whole folder",
    )  # fmt: skip
    folders.add_argument("--no-files", dest="folders", action="store_const", const=[], help="allow no file")
    code.add_argument("--code", action="store_true", default=None, help="allow code")
    code.add_argument("--no-code", dest="code", action="store_false", help="allow no code")
    times.add_argument(
        "--one-at-a-time", action="store_true", default=None,
        help="refuse a session as busy as long as one with the same jobs waits or runs",
    )  # fmt: skip
    times.add_argument(
        "--many-at-a-time", dest="one_at_a_time", action="store_false", help="allow the same jobs at the same time"
    )
    limit.add_argument("--none", action="store_true", help="remove all limits")


def _module(text: str) -> str:
    """Takes the ID of a module, or a pattern for some."""
    if not _MODULE.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the ID of a module: 1 to 64 digits, letters without accents, _, and * for any characters"
        )
    return text


def _folder(text: str) -> str:
    """Takes a folder below the one for files, as its resolved path is written."""
    path = posixpath.normpath(text.replace(os.sep, "/"))
    is_below = text and not posixpath.isabs(path) and path.split("/")[0] != ".." and not os.path.splitdrive(text)[0]
    if not is_below or "\0" in path or len(path) > _MAX_FOLDER_LENGTH:
        raise argparse.ArgumentTypeError(f"{text!r} is not the relative path of a folder of the server's files")
    return path


def _limit(arguments: argparse.Namespace) -> None:
    given = _given(arguments)
    if arguments.none and given:
        raise ParameterError("--none removes all limits and goes with no other option")
    with closing(existing_home(arguments).database()) as database:
        accounts = Accounts(database)
        if not (arguments.none or given):
            limits = _existing(accounts, arguments.user).limits
            print(escape_control_chars(" ".join(words(limits)) or "no limits"))
            return
        with database:
            database.execute("BEGIN IMMEDIATE")  # no other command changes the limits between the two
            limits = _existing(accounts, arguments.user).limits
            limits = UNLIMITED if arguments.none else limits._replace(**given)
            accounts.set_limits(arguments.user, limits)
    if limits.code and (limits.modules, limits.folders) != (None, None):
        print_warning(
            arguments.program,
            f"the account {arguments.user!r} may run code, which can open every module and file: see --no-code",
        )


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the fields of Limits that the options change."""
    given = {field: value for field in Limits._fields if (value := getattr(arguments, field)) is not None}
    for field, every in (("modules", _EVERY_MODULE), ("folders", _EVERY_FOLDER)):
        if field in given:
            given[field] = None if every in given[field] else tuple(dict.fromkeys(given[field]))
    return given


def words(limits: Limits) -> list[str]:
    """Returns the limits as they are printed; nothing for no limits."""
    return [
        *(["no-modules"] if limits.modules == () else [f"module={module}" for module in limits.modules or ()]),
        *(["no-files"] if limits.folders == () else [f"folder={shlex.quote(each)}" for each in limits.folders or ()]),
        *([] if limits.code else ["no-code"]),
        *(["one-at-a-time"] if limits.one_at_a_time else []),
    ]


# Passwords


def _add_passwords(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say where the password comes from."""
    sources = parser.add_mutually_exclusive_group()
    sources.add_argument(
        "--password-stdin", action="store_true",
        help="read the password from the first line of standard input, instead of asking for it",
    )  # fmt: skip
    sources.add_argument(
        "--secret-file", metavar="FILE",
        help="take the password from this password file of planta_headless.py, which stays valid; - is standard input",
    )  # fmt: skip


def read_keys(arguments: argparse.Namespace) -> scram.Keys:
    """Returns the keys of the password in the place that the options say, or else at the terminal. Raises
    CommandFailed, whose text holds neither password nor hash."""
    if arguments.secret_file is not None:
        return keys_from_hash(_read_secret(arguments.secret_file))
    password = _read_password() if arguments.password_stdin else _ask_for_password()
    try:
        return keys_from_password(password)
    except ValueError as error:
        raise CommandFailed(str(error)) from None


def _read_password() -> str:
    """Returns the first line of standard input. Raises CommandFailed."""
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
    """Returns what is typed at the terminal, twice. Raises CommandFailed."""
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
    """Makes signals raise Interrupted, so that getpass switches the echo of the terminal on again."""

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
