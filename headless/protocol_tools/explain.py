"""explain: says what can be found out from recordings, and writes a dialect with it."""

from __future__ import annotations

import argparse
from typing import Any

from headless import password_file
from headless.arguments import path
from headless.errors import ParameterError
from headless.protocol_tools.assumed_jobs import job_assumptions
from headless.protocol_tools.assumed_login import login_assumptions
from headless.protocol_tools.findings import explain
from headless.protocol_tools.recordings import Folder
from headless.protocol_tools.report import report
from headless.protocol_tools.writing import check_free, code_of, write_new
from headless.terminal import print_answer, print_note

PROGRAM = "headless protocol explain"


def add(commands: Any) -> None:
    """Adds the command to those of `headless protocol`."""
    text = "say what can be found out from recordings"
    parser = commands.add_parser("explain", help=text, description=_DESCRIPTION)
    parser.set_defaults(command=run, program=PROGRAM)
    parser.add_argument("folder", type=path, metavar="DIR", help="the folder of the recordings")
    parser.add_argument("-p", "--secret", metavar="SECRET_FILE", help="the password file of the recorded client")
    parser.add_argument("--write", type=path, metavar="FILE", help="write a dialect to this new file")


_DESCRIPTION = """Says how messages become bytes, what is in them, and how the login is computed, with the evidence.
What accepts, what ends and what is a result is for you to decide: it shows candidates. Nothing secret is shown."""


def run(arguments: argparse.Namespace) -> int:
    """Returns the exit status. Raises HeadlessError."""
    if arguments.write is not None:
        check_free(arguments.write)
    hash_ = password_file.read(arguments.secret).hash if arguments.secret is not None else None
    folder = Folder(arguments.folder)
    if not folder.has_calls:
        raise ParameterError(f"there are no recordings in {arguments.folder}")
    found = explain(folder, hash_)
    known = [*login_assumptions(found), *job_assumptions(found)]
    print_answer(report(found, known))
    if arguments.write is not None:
        write_new(arguments.write, code_of(known, found.is_planta))
        print_note(PROGRAM, f"{arguments.write} was written: what it leaves open is for you to decide")
    return 0
