"""sessions without options: those of the receipts, whatever server and user they are of."""

from __future__ import annotations

import time
from datetime import datetime

from headless.admin.known import Known
from headless.admin.runs import Outcome, Run
from headless.errors import CONNECTION_ERROR, OK
from headless.options import SessionsOptions
from headless.terminal import escape_control_chars, print_answer, print_warning

_SECONDS = 86400.0  # that are looked back
_HEAD = ("session", "state", "begun", "user", "server", "jobs")
_GOING = (Outcome.STILL_RUNS, Outcome.NOT_KNOWN)


def show(path: str) -> int:
    """Prints the sessions of the last 24 hours in the receipts of this file or folder, and the calls whose session is
    not known yet. Returns 0, or 1 with a warning if some may be missing."""
    known = Known(time.time() - _SECONDS)
    known.read_receipts([path])
    rows = [_row(run) for run in known.runs() if run.session or run.outcome in _GOING]
    widths = [max(len(row[column]) for row in (_HEAD, *rows)) for column in range(len(_HEAD) - 1)]
    for row in (_HEAD, *rows) if rows else ():
        print_answer("  ".join([*map(str.ljust, row, widths), row[-1]]) + "\n")
    for problem in known.problems:
        print_warning(SessionsOptions.program, problem)
    return CONNECTION_ERROR if known.problems else OK


def _row(run: Run) -> tuple[str, ...]:
    begun = f"{datetime.fromtimestamp(run.begun):%Y-%m-%d %H:%M:%S}"
    cells = (run.session or "-", run.outcome.value, begun, run.user or "-", run.server or "-", run.title)
    return tuple(map(escape_control_chars, cells))
