"""The file that PLANTA_RECEIPT names, read: which runs of a job are in it. It is written in client/receipt.py; what its
fields mean is in README.md of the package.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import IO, Any

from headless.admin.runs import UNKNOWN, Run, Stage
from headless.dialects.vocabulary import FAILED, OK
from headless.errors import OK as ENDED_WELL
from headless.errors import TIMED_OUT

_MAX_LINE = 16 << 20  # bytes; the line of the longest command line that Linux allows has less
_MAX_UNPACKED = 1 << 30  # bytes of a file that is compressed
_BEGINNING = b'{"when": "'  # of a receipt; no text in one has this, since its quotation marks are escaped
_GZIP = b"\x1f\x8b"  # RFC 1952, section 2.3.1


def opened(path: str) -> IO[bytes]:
    """The file, to be read. Raises OSError, ValueError."""
    # O_NONBLOCK: a FIFO without a writer must not hang.
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(None, "it is not a regular file")
    return file


def runs_in(file: IO[bytes], jobs: Sequence[str], user: str) -> list[Run]:
    """The runs of these jobs that can count, in the order in which their calls ended: the last one of each kind. A job
    is a module, a file, code or its sha256; with a user, other users' runs are left out. Raises OSError, ValueError.

    Lines that are no receipts are left out: a full disk leaves half a line.
    """
    needles = {job: [json.dumps(name).encode("ascii") for name in _names(job)] for job in jobs}
    kept: dict[object, Run] = {}
    is_empty, has_receipt = True, False
    for line in _lines(file):
        is_empty = False
        named = [job for job in jobs if any(needle in line for needle in needles[job])]
        if has_receipt and not named:  # as most lines, and to parse them would take long
            continue
        try:
            receipt = _parsed(line)
            for run in _runs_of(receipt, named, user):
                key = (run.job, run.owner, run.stage, run.state == OK)
                kept.pop(key, None)  # so that it is in its place in the order
                kept[key] = replace(run, source=str(file.name))
            has_receipt = True
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            continue
    if not (is_empty or has_receipt):
        raise ValueError("no line in it is a receipt")
    return list(kept.values())


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Those of what is compressed, too. A receipt is a line of its own even if the one before it is cut off without an
    end. Raises OSError, ValueError."""
    is_compressed = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    for line in _unpacked(file) if is_compressed else iter(lambda: file.readline(_MAX_LINE), b""):
        start = 0
        while (end := line.find(_BEGINNING, start + 1)) > 0:
            yield line[start:end]
            start = end
        yield line[start:]


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    """Raises OSError, ValueError."""
    import gzip
    import zlib

    size = 0
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            while line := unpacked.readline(_MAX_LINE):
                size += len(line)
                if size > _MAX_UNPACKED:
                    raise ValueError(f"it is compressed, and has more than {_MAX_UNPACKED >> 30} GiB")
                yield line
    except (EOFError, zlib.error) as error:
        raise ValueError(f"it is compressed, and not whole: {error}") from None


def _names(job: str) -> tuple[str, str]:
    return job, hashlib.sha256(job.encode("utf-8", "surrogatepass")).hexdigest()


def _parsed(line: bytes) -> Any:
    """A receipt; of a line that is cut off, what stands before the session. Raises ValueError."""
    try:
        return json.loads(line)
    except ValueError:
        return json.loads(line.partition(b', "session": ')[0] + b"}")


def _runs_of(receipt: dict[str, Any], named: list[str], user: str) -> Iterator[Run]:
    """Those of the jobs that the line names. Raises KeyError and others for what is no receipt."""
    of_user, owner = receipt["user"], f"{receipt['user']} at {receipt.get('server')}"
    begun, jobs = _seconds(receipt["when"]), receipt.get("jobs")
    for job in named if user in ("", of_user) else ():
        if jobs is None:
            yield Run(Stage.OVER, begun, UNKNOWN, "its receipt is cut off", job=job, owner=owner)
        for each in jobs or ():
            if each.get("name") == job or each.get("sha256") in _names(job):
                yield replace(_run(receipt, each.get("status")), job=job, owner=owner)


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
