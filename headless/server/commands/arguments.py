"""What the commands have in common: --home, the account that is named, and the types of their arguments.

A type takes the text of an argument and returns its value. It raises argparse.ArgumentTypeError for what is none. The
arguments of one command alone stand with that command.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from headless.dialects.vocabulary import MAX_NAME_LENGTH, is_xml_text
from headless.errors import CommandFailed
from headless.server.accounts import Account, Accounts
from headless.server.home import Home

_DEFAULT_HOME = "planta-home"
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0}  # of the units of a duration


def add_command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int | None], text: str
) -> argparse.ArgumentParser:
    """Adds a command, which runs this function, with --home. Its further arguments are added to what is returned. What
    the function returns is the exit status; None is 0.

    `commands` is what `argparse.ArgumentParser.add_subparsers` returns: its class has no public name.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=function, program=parser.prog, needs_stdout=True)
    parser.add_argument(
        "--home", default=_DEFAULT_HOME, metavar="DIR", help=f"the folder of the server (default: {_DEFAULT_HOME})"
    )
    return parser


def existing_home(arguments: argparse.Namespace) -> Home:
    """The home that --home names. Raises CommandFailed if no server has lived there, HomeError if it is not to be
    trusted."""
    home = Home(arguments.home)
    if not home.is_used:
        raise CommandFailed(f"no server has lived in {arguments.home!r}; --home says where it does")
    home.check_trust()
    return home


def existing_account(accounts: Accounts, user: str) -> Account:
    """The account of this user. Raises CommandFailed if there is none, sqlite3.Error."""
    account = accounts.of_user(user)
    if account is None:
        raise CommandFailed(f"there is no account {user!r}")
    return account


def address(text: str) -> tuple[str, int]:
    """HOST:PORT. An IPv6 address may stand in brackets, which are not returned."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT with a port from 0 to 65535")
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host, int(port)


def count(text: str) -> int:
    """A number from 1 to 10000."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 10_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 10000")
    return int(text)


def seconds(text: str) -> float:
    """A whole number of seconds, from 0."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return float(text)


def name(text: str) -> str:
    """The name of a user, of an account or of the operating system."""
    if not 1 <= len(text) <= MAX_NAME_LENGTH or not is_xml_text(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a name of 1 to {MAX_NAME_LENGTH} characters that XML can carry"
        )
    return text


def moment(text: str) -> float:
    """A time of the past, in seconds since the epoch: a day, a day and a time, or how long ago it is."""
    try:
        return _moment(text)
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not YYYY-MM-DD, 'YYYY-MM-DD HH:MM', today, yesterday, or a duration such as 90m, 12h or 7d"
        ) from None


def _moment(text: str) -> float:
    now = time.time()
    midnight = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
    if text in ("today", "yesterday"):
        return (midnight - timedelta(days=text == "yesterday")).timestamp()
    number, unit = text[:-1], text[-1:]
    if unit in _SECONDS and number.isascii() and number.isdigit():
        return now - float(number) * _SECONDS[unit]
    return datetime.strptime(text, "%Y-%m-%d %H:%M" if " " in text else "%Y-%m-%d").timestamp()
