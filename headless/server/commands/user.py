"""user add, user list, user remove: the accounts. What an account is, accounts.py says."""

from __future__ import annotations

import argparse
import getpass
import sys
from contextlib import closing
from typing import Any

from headless.outcome import CommandFailed
from headless.server.accounts import Account, Accounts, keys_from_password
from headless.server.commands.arguments import add_command, existing_home, name
from headless.server.home import Home
from headless.terminal import escape_control_chars


def add(commands: Any) -> None:
    """Adds the commands to these."""
    user = commands.add_parser("user", help="the accounts").add_subparsers(required=True, metavar="add | list | remove")
    add = add_command(user, "add", _add, "add an account, for a password, an operating system's user, or both")
    add.add_argument("user", type=name, metavar="USER")
    add.add_argument("--os-user", type=name, metavar="NAME", help="who may log in as this user with osuser")
    add.add_argument(
        "--password-stdin",
        action="store_true",
        help="read the password from the first line of standard input, instead of asking for it",
    )
    add_command(user, "list", _list, "list the accounts")
    remove = add_command(user, "remove", _remove, "remove an account")
    remove.add_argument("user", type=name, metavar="USER")


def _add(arguments: argparse.Namespace) -> None:
    keys = None
    if arguments.password_stdin or not arguments.os_user:
        password = _read_password() if arguments.password_stdin else _ask_for_password()
        try:
            keys = keys_from_password(password)
        except ValueError as error:
            raise CommandFailed(str(error)) from None
    home = Home(arguments.home)
    home.create()
    with closing(home.database()) as database:
        is_added = Accounts(database).add(Account(arguments.user, arguments.os_user, keys))
    if not is_added:
        raise CommandFailed(f"there is an account {arguments.user!r} already; remove it first")


def _read_password() -> str:
    """The first line of standard input. Raises CommandFailed."""
    try:
        return sys.stdin.buffer.readline().decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise CommandFailed("the password on standard input is not text in UTF-8") from None


def _ask_for_password() -> str:
    """What is typed at the terminal, twice. Raises CommandFailed."""
    if not sys.stdin.isatty():
        raise CommandFailed("there is no terminal to ask for the password at; give --password-stdin or --os-user")
    try:
        password = getpass.getpass("Password: ")
        again = getpass.getpass("The same again: ")
    except EOFError:
        raise CommandFailed("no password was given") from None
    if again != password:
        raise CommandFailed("these were two different passwords")
    return password


def _list(arguments: argparse.Namespace) -> None:
    with closing(existing_home(arguments).database()) as database:
        accounts = Accounts(database).all()
    for account in accounts:
        ways = (["challenge"] if account.keys else []) + ([f"osuser={account.os_user}"] if account.os_user else [])
        print(escape_control_chars(account.user), escape_control_chars(" ".join(ways)))


def _remove(arguments: argparse.Namespace) -> None:
    with closing(existing_home(arguments).database()) as database:
        is_removed = Accounts(database).remove(arguments.user)
    if not is_removed:
        raise CommandFailed(f"there is no account {arguments.user!r}")
