"""What the commands of a server have in common: --home, the types of their arguments, and how one of them is run.

A type takes the text of an argument and returns its value. It raises argparse.ArgumentTypeError for any other text.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from headless.arguments import Parser
from headless.errors import CommandFailed
from headless.server.home import Home
from headless.system import host_and_port, seconds_of

_DEFAULT_HOME = "planta-home"


def run(add_commands: Iterable[Callable[[Any], None]], argv: Sequence[str]) -> int:
    """Runs one of these commands, and returns its exit status. Raises HeadlessError, OSError, sqlite3.Error, and
    SystemExit where argparse ends the command."""
    parser = Parser(prog="headless")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in add_commands:
        add(commands)
    two_words = " ".join(argv[:2])
    if two_words in commands.choices:  # jobs cancel, which no session can be called
        argv = [two_words, *argv[2:]]
    arguments = parser.parse_args(argv)
    if sys.stdout is None and arguments.needs_stdout:
        sys.stdout = _ClosedOutput()
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    exit_status: int | None = arguments.command(arguments)
    sys.stdout.flush()
    return exit_status or 0


class _ClosedOutput(io.TextIOBase):
    """Stands in for a standard output that was closed before this process began."""

    def write(self, _text: str) -> int:
        raise CommandFailed("standard output is closed")


def add_command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int | None], text: str
) -> argparse.ArgumentParser:
    """Adds a command, which runs this function, with --home. Further arguments can be added to what is returned. The
    function returns the exit status; None is 0.

    `commands` is what `argparse.ArgumentParser.add_subparsers` returns: its class has no public name.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=function, program=parser.prog, needs_stdout=True)
    parser.add_argument(
        "--home", default=_DEFAULT_HOME, metavar="DIR", help=f"the folder of the server (default: {_DEFAULT_HOME})"
    )
    return parser


def existing_home(arguments: argparse.Namespace) -> Home:
    """Returns the home that --home names. Raises CommandFailed if no server has lived there, HomeError if it is not to
    be trusted."""
    home = Home(arguments.home)
    if not home.is_used:
        raise CommandFailed(f"no server has lived in {arguments.home!r}; --home says where it does")
    home.check_trust()
    return home


def listen_address(text: str) -> tuple[str, int]:
    """Takes HOST:PORT. Port 0 is a free one."""
    try:
        return host_and_port(text, least_port=0)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


def count(text: str) -> int:
    """Takes a number from 1 to 10000."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 10_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 10000")
    return int(text)


def seconds(text: str) -> float:
    """Takes a whole number of seconds, from 0."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return float(text)


def moment(text: str) -> float:
    """Takes a time of the past. Returns it in seconds since the epoch: a day, a day and a time, or how long ago it
    is."""
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
    if text[-1:] in ("m", "h", "d"):
        return now - seconds_of(text)
    return datetime.strptime(text, "%Y-%m-%d %H:%M" if " " in text else "%Y-%m-%d").timestamp()
