"""user add, user passwd, user list, user remove: the accounts. What an account is, accounts.py says.

Where a password comes from is in new_keys.py, and `user limit` in user_limit.py.
"""

from __future__ import annotations

import argparse
import os
from contextlib import closing
from typing import Any

from headless import system
from headless.errors import CommandFailed
from headless.server.accounts import Account, Accounts
from headless.server.commands import new_keys, user_limit
from headless.server.commands.arguments import add_command, existing_account, existing_home, name
from headless.server.home import Home
from headless.server.journal import Journal
from headless.terminal import escape_control_chars, print_warning


def add(commands: Any) -> None:
    """Adds the commands to these."""
    user = commands.add_parser("user", help="the accounts").add_subparsers(
        required=True, metavar="add | passwd | limit | list | remove"
    )
    add = add_command(user, "add", _add, "add an account, for a password, an operating system's user, or both")
    add.add_argument("user", type=name, metavar="NAME")
    add.add_argument("--os-user", type=name, metavar="NAME", help="who may log in as this user with osuser")
    new_keys.add_arguments(add)
    passwd = add_command(user, "passwd", _passwd, "give an account a password, or another one")
    passwd.add_argument("user", type=name, metavar="NAME")
    new_keys.add_arguments(passwd)
    user_limit.add(user)
    add_command(user, "list", _list, "list the accounts")
    remove = add_command(
        user, "remove", _remove, "remove an account: its running jobs go on, and no further job of it starts"
    )
    remove.add_argument("user", type=name, metavar="NAME")


def _add(arguments: argparse.Namespace) -> None:
    keys = new_keys.read(arguments) if new_keys.are_given(arguments) or not arguments.os_user else None
    home = Home(arguments.home)
    home.create()
    with closing(home.database()) as database, database:
        is_added = Accounts(database).add(Account(arguments.user, arguments.os_user, keys))
    if not is_added:
        raise CommandFailed(f"there is an account {arguments.user!r} already; user passwd and user limit change it")
    if arguments.os_user and not _may_exist(arguments.os_user):
        print_warning(arguments.program, f"this machine knows no user {arguments.os_user!r}; the account was added")


def _may_exist(os_user: str) -> bool:
    """Whether the operating system knows the user, or cannot be asked."""
    try:
        return os.name == "nt" or system.user_by_name(os_user) is not None
    except OSError:
        return True


def _passwd(arguments: argparse.Namespace) -> None:
    with closing(existing_home(arguments).database()) as database:
        accounts = Accounts(database)
        existing_account(accounts, arguments.user)  # before anybody types a password
        keys = new_keys.read(arguments)
        with database:
            is_set = accounts.set_keys(arguments.user, keys)
    if not is_set:
        raise CommandFailed(f"the account {arguments.user!r} has been removed meanwhile")


def _list(arguments: argparse.Namespace) -> None:
    with closing(existing_home(arguments).database()) as database:
        accounts = Accounts(database).all()
    for account in accounts:
        ways = (["challenge"] if account.keys else []) + ([f"osuser={account.os_user}"] if account.os_user else [])
        limits = user_limit.words(account.limits)
        print(escape_control_chars(account.user), escape_control_chars(" ".join(ways + limits)))


def _remove(arguments: argparse.Namespace) -> None:
    with closing(existing_home(arguments).database()) as database, database:
        database.execute("BEGIN IMMEDIATE")
        accounts = Accounts(database)
        count = Journal(database).unfinished_count(existing_account(accounts, arguments.user).number)
        accounts.remove(arguments.user)
    if count:
        sessions = "1 session of this account is" if count == 1 else f"{count} sessions of this account are"
        print(f"{sessions} not over: running jobs go on, and no further job of it starts")
