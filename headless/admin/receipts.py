"""The file that PLANTA_RECEIPT names, read: which runs of a job are in it. It is written in client/receipt.py; what its
fields mean is in README.md of the package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from headless.admin.runs import UNKNOWN, Run, Stage
from headless.outcome import OK as ENDED_WELL
from headless.outcome import TIMED_OUT
from headless.protocol.vocabulary import FAILED, OK


def runs_in(path: str, job: str, user: str) -> Iterator[Run]:
    """The runs of this job, a module, a file or the sha256 of code; of this user alone, unless it is "". Lines that are
    no receipts are left out: a full disk leaves half a line. Raises OSError."""
    needle = json.dumps(job).encode("ascii")
    with open(path, "rb") as file:
        for line in file:
            if needle not in line:  # most lines are of other jobs, and to read each of them would take long
                continue
            try:
                yield from _runs_of(json.loads(line), job, user)
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
                continue


def _runs_of(receipt: dict[str, Any], job: str, user: str) -> Iterator[Run]:
    if user in ("", receipt["user"]):
        for each in receipt["jobs"]:
            if job in (each.get("name"), each.get("sha256")):
                yield _run(receipt, each.get("status"))


def _run(receipt: dict[str, Any], status: str | None) -> Run:
    """Of one job. Its own status counts, if the server has told it; else what became of the whole call."""
    at = _seconds(receipt["ended"] or receipt["returned"])
    accepted = receipt["accepted"]
    took = max(0.0, at - _seconds(accepted)) if accepted and receipt["ended"] else None
    code, message = receipt["code"], receipt["message"]
    if status is not None:
        return Run(Stage.OVER, at, str(status), "" if status == OK else str(message), took)
    if code == ENDED_WELL:
        is_over = receipt["proof"] == "ended"
        return Run(Stage.OVER, at, OK, "", took) if is_over else Run(Stage.NOT_FOLLOWED, at)
    if code == TIMED_OUT:
        return Run(Stage.NOT_FOLLOWED, at)
    state = FAILED if receipt["submission"] == "not submitted" else UNKNOWN
    return Run(Stage.OVER, at, state, str(message))


def _seconds(moment: str) -> float:
    """Since the epoch, of ISO 8601 in UTC as the receipt has it. Raises ValueError."""
    return datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()
