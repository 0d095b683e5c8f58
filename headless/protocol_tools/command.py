"""Runs `headless protocol COMMAND`: tools to find out how an old client and its server talk."""

from __future__ import annotations

from collections.abc import Sequence

from headless.arguments import Parser
from headless.errors import HeadlessError
from headless.protocol_tools import check, explain, record, show
from headless.terminal import report

PROGRAM = "headless protocol"


def main(argv: Sequence[str]) -> int:
    """Returns the exit status. Raises SystemExit where argparse ends the command."""
    parser = Parser(prog=PROGRAM, description="Finds out how an old client and its server talk. See PORTING.md.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for each in (record, show, explain, check):
        each.add(commands)
    arguments = parser.parse_args(argv)
    try:
        status: int = arguments.command(arguments)
    except HeadlessError as error:
        return report(arguments.program, error)
    return status
