"""check: holds a dialect to what this program promises, by recordings of the old client and cases made from them."""

from __future__ import annotations

import argparse
from typing import Any

from headless import password_file
from headless.arguments import path
from headless.client.loading import load
from headless.client.waiting import Waiter
from headless.errors import ParameterError
from headless.protocol_tools.exchanges import Exchanges
from headless.protocol_tools.judging import Findings, Judge
from headless.protocol_tools.player import Player, Watchdog
from headless.protocol_tools.recordings import Folder
from headless.terminal import escape_control_chars, print_answer

PROGRAM = "headless protocol check"


def add(commands: Any) -> None:
    """Adds the command to those of `headless protocol`."""
    text = "hold a dialect to recordings, and to what could go wrong"
    parser = commands.add_parser("check", help=text, description=_DESCRIPTION)
    parser.set_defaults(command=run, program=PROGRAM)
    parser.add_argument("dialect", metavar="FILE", help="the dialect: what PLANTA_PROTOCOL names")
    parser.add_argument("folder", type=path, metavar="DIR", help="the folder of the recordings")
    parser.add_argument("-p", "--secret", metavar="SECRET_FILE", help="the password file of the recorded client")


_DESCRIPTION = """Plays recordings to a dialect, and cases in which something is missing, early, twice or cut off. It
compares what the dialect sends with what the old client has sent, and the outcome with what was expected. Exit status:
0 if it finds nothing, 1 if it does, 2 if it cannot check."""


def run(arguments: argparse.Namespace) -> int:
    """Returns the exit status. Raises HeadlessError."""
    folder = Folder(arguments.folder)
    if not folder.has_calls:
        raise ParameterError(f"there are no recordings in {arguments.folder}")
    hash_ = password_file.read(arguments.secret).hash if arguments.secret is not None else None
    player = Player(load(arguments.dialect, Waiter()))
    exchanges = Exchanges(folder)
    findings = Findings()

    def report_endless(doing: str) -> None:
        findings.add(doing, "the dialect never ends")
        _print(findings, len(exchanges.calls))

    with Watchdog(report_endless) as watchdog:
        Judge(player, exchanges, hash_, findings, watchdog).judge()
    _print(findings, len(exchanges.calls))
    return 1 if len(findings) else 0


def _print(findings: Findings, recordings: int) -> None:
    lines = [*findings.lines(), f"{recordings:,} recordings, {findings.cases:,} cases, {len(findings):,} findings"]
    print_answer("".join(f"{escape_control_chars(line)}\n" for line in lines))
