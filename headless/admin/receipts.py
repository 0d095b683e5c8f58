"""The file that PLANTA_RECEIPT names, read: which runs of a job are in it. It is written in client/receipt.py; what its
fields mean is in README.md of the package.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from headless.admin.runs import UNKNOWN, Run, Stage
from headless.outcome import OK as ENDED_WELL
from headless.outcome import TIMED_OUT
from headless.protocol.vocabulary import FAILED, OK

_MAX_LINE = 16 << 20  # bytes; the line of the longest command line that Linux allows has less


def runs_in(path: str, job: str, user: str) -> Iterator[Run]:
    """The runs of this job: a module, a file, code or its sha256; of this user alone, unless it is "". Lines that are
    no receipts are left out: a full disk leaves half a line. Raises OSError, ValueError."""
    names = (job, hashlib.sha256(job.encode("utf-8", "surrogatepass")).hexdigest())
    needles = [json.dumps(name).encode("ascii") for name in names]
    # O_NONBLOCK: a FIFO without a writer must not hang.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(None, "it is not a regular file")
        while line := file.readline(_MAX_LINE):
            if not any(needle in line for needle in needles):  # as of most lines, and to parse them would take long
                continue
            try:
                yield from _runs_of(json.loads(line), names, user)
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
                continue


def _runs_of(receipt: dict[str, Any], names: tuple[str, ...], user: str) -> Iterator[Run]:
    if user in ("", receipt["user"]):
        for each in receipt["jobs"]:
            if each.get("name") == names[0] or each.get("sha256") in names:
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
