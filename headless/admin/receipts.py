"""Reads the file that PLANTA_RECEIPT names: how the jobs of each call ended."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from enum import Enum
from typing import IO, Any

from headless.dialects.vocabulary import ENDED_WITHOUT_RESULT, FAILED, OK
from headless.errors import OK as ENDED_WELL
from headless.errors import TIMED_OUT
from headless.system import open_regular

UNKNOWN = "unknown"  # a state that no journal has
_MAX_LINE = 16 << 20  # bytes; the line of the longest command line that Linux allows has less
_MAX_UNPACKED = 1 << 30  # bytes of a file that is compressed
_BEGINNING = b'{"when": "'  # of a receipt; no text in one has this, since its quotation marks are escaped
_GZIP = b"\x1f\x8b"  # RFC 1952, section 2.3.1


class Stage(Enum):
    """How far the execution of a job is."""

    STILL_RUNS = "still runs"  # or waits
    OVER = "over"
    NOT_FOLLOWED = "not followed"  # it was accepted, and the call has not waited for its end


@dataclass(frozen=True)
class Execution:
    """Holds one execution of a job."""

    stage: Stage
    at: float  # when it ended, else the last that is known of it; seconds since the epoch
    state: str = ""  # how it ended or how far it is, in the words of the journal
    message: str = ""
    seconds: float | None = None  # that it took
    job: str = ""  # its name, as it was asked for
    owner: str = ""
    source: str = ""  # of one source, the order in which they ended is known without a clock


def opened(path: str) -> IO[bytes]:
    """Opens the file. Raises OSError, ValueError."""
    return open(path, "rb", opener=open_regular)


def read(file: IO[bytes], jobs: Sequence[str], user: str) -> list[Execution]:
    """Returns the executions of these jobs that can count, in the order in which their calls ended: the last one of
    each kind. A job is a module, a file, code or its sha256; with a user, those of other users are left out. Lines that
    are no receipts are ignored: a full disk leaves half a line. Raises OSError, ValueError."""
    needles = {job: [json.dumps(name).encode("ascii") for name in _names(job)] for job in jobs}
    kept: dict[object, Execution] = {}
    is_empty, has_receipt = True, False
    for line in _lines(file):
        is_empty = False
        named = [job for job in jobs if any(needle in line for needle in needles[job])]
        if has_receipt and not named:  # as most lines, and to parse them would take long
            continue
        try:
            for each in _executions(_parsed(line), named, user):
                key = (each.job, each.owner, each.stage, each.state == OK)
                kept.pop(key, None)  # so that it takes its place in the order
                kept[key] = replace(each, source=str(file.name))
            has_receipt = True
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            continue
    if not (is_empty or has_receipt):
        raise ValueError("no line in it is a receipt")
    return list(kept.values())


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yields the lines, also of a compressed file. A receipt is a line of its own even if the one before it is cut off
    without an end. Raises OSError, ValueError."""
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
    """Returns a receipt; of a line that is cut off, what precedes the session. Raises ValueError."""
    try:
        return json.loads(line)
    except ValueError:
        return json.loads(line.partition(b', "session": ')[0] + b"}")


def _executions(receipt: dict[str, Any], named: list[str], user: str) -> Iterator[Execution]:
    """Yields those of the jobs that the line names. Raises KeyError and others for what is no receipt."""
    of_user, owner = receipt["user"], f"{receipt['user']} at {receipt.get('server')}"
    begun, jobs = _seconds(receipt["when"]), receipt.get("jobs")
    for job in named if user in ("", of_user) else ():
        if jobs is None:
            yield Execution(Stage.OVER, begun, UNKNOWN, "its receipt is cut off", job=job, owner=owner)
        for each in jobs or ():
            if each.get("name") == job or each.get("sha256") in _names(job):
                yield replace(_execution(receipt, each.get("status")), job=job, owner=owner)


def _execution(receipt: dict[str, Any], status: str | None) -> Execution:
    """Returns that of one job. Its own status counts, if the server has reported one; else that of the call."""
    at = _seconds(receipt["ended"] or receipt["returned"])
    accepted = receipt["accepted"]
    took = max(0.0, at - _seconds(accepted)) if accepted and receipt["ended"] else None
    code, message = receipt["code"], receipt["message"]
    if status is not None:
        return Execution(Stage.OVER, at, str(status), "" if status == OK else str(message), took)
    if code == ENDED_WELL:
        if receipt["proof"] == "accepted":
            return Execution(Stage.NOT_FOLLOWED, at)
        return Execution(Stage.OVER, at, OK, "no result told" if receipt["proof"] == ENDED_WITHOUT_RESULT else "", took)
    if code == TIMED_OUT:
        return Execution(Stage.NOT_FOLLOWED, at)
    state = FAILED if receipt["submission"] == "not submitted" else UNKNOWN
    return Execution(Stage.OVER, at, state, str(message))


def _seconds(moment: str) -> float:
    """Returns seconds since the epoch, of ISO 8601 in UTC as the receipt has it. Raises ValueError."""
    return datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()
