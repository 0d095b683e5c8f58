"""The server's commands, from their arguments to their exit status."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence

from headless.arguments import Parser
from headless.errors import CommandFailed
from headless.server.commands import cancel, jobs, serve, status, user


def main(argv: Sequence[str]) -> int:
    """Runs one command, and returns its exit status. Raises HeadlessError, OSError, sqlite3.Error, and SystemExit where
    argparse ends the command."""
    parser = _parser()
    if list(argv[:2]) == ["jobs", "cancel"]:  # a command of its own, since no session can have this name
        argv = [cancel.NAME, *argv[2:]]
    arguments = parser.parse_args(argv)
    if sys.stdout is None and arguments.needs_stdout:  # whoever has started this has closed it
        sys.stdout = _ClosedOutput()
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    exit_status: int | None = arguments.command(arguments)
    sys.stdout.flush()
    return exit_status or 0


class _ClosedOutput(io.TextIOBase):
    """What stands for a standard output that there is not: nobody gets what a command has to say."""

    def write(self, _text: str) -> int:
        raise CommandFailed("standard output is closed")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="headless")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (serve, user, jobs, cancel, status):
        command.add(commands)
    return parser
