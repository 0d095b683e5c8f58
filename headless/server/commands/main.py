"""The server's commands, from their arguments to their exit status.

The exit status: 0 done, 1 the machine or the data did not allow it, 2 the command line must be corrected. Commands
raise; what that means is in errors.py, and the line on stderr comes from report.py.
"""

from __future__ import annotations

import argparse
import io
import sqlite3
import sys
from collections.abc import Sequence

from headless.arguments import Parser
from headless.errors import CommandFailed, HeadlessError
from headless.server.commands import cancel, jobs, serve, status, user
from headless.terminal import is_closed_pipe, report


def main(argv: Sequence[str]) -> int:
    """The exit status of one command. Raises SystemExit: 0 after --help, 2 for what must be corrected."""
    parser = _parser()
    if list(argv[:2]) == ["jobs", "cancel"]:  # a command of its own, since no session can have this name
        argv = [cancel.NAME, *argv[2:]]
    arguments = parser.parse_args(argv)
    if sys.stdout is None and arguments.needs_stdout:  # whoever has started this has closed it
        sys.stdout = _ClosedOutput()
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        exit_status: int | None = arguments.command(arguments)
        sys.stdout.flush()
    except (ValueError, OSError, sqlite3.Error) as error:  # ValueError: no path can be such a text
        if is_closed_pipe(error):  # whoever read has seen enough
            return 1
        return report(arguments.program, CommandFailed(str(error)))
    except HeadlessError as error:
        return report(arguments.program, error)
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
