"""The server's commands, from their arguments to their exit status.

The exit status: 0 done, 1 the machine or the data did not allow it, 2 the command line must be corrected. Commands
raise; what that means is in outcome.py, and the line on stderr comes from report.py.
"""

from __future__ import annotations

import argparse
import io
import sqlite3
import sys
from collections.abc import Sequence

from headless.outcome import CommandFailed, HeadlessError
from headless.report import report
from headless.server.commands import jobs, serve, user

_DESCRIPTION = "serve, user and jobs: the server's commands, from their arguments to their exit status."


def main(argv: Sequence[str]) -> int:
    """The exit status of one command. Raises SystemExit: 0 after --help, 2 for what must be corrected."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        arguments.command(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has seen enough
        return 1
    except (ValueError, OSError, sqlite3.Error) as error:  # ValueError: no path can be such a text
        return report(arguments.program, CommandFailed(str(error)))
    except HeadlessError as error:
        return report(arguments.program, error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m headless", description=_DESCRIPTION)
    commands = parser.add_subparsers(required=True, metavar="rehearse | serve | user | jobs")
    commands.add_parser("rehearse", help="run a command line of planta_headless.py on a server of its own")  # elsewhere
    for command in (serve, user, jobs):
        command.add(commands)
    return parser
