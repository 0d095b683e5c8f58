"""Reads the file or the folder that PLANTA_RECEIPT names: how the jobs of each call ended, and which calls have not."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import socket
import stat
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from enum import Enum
from typing import IO, Any

from headless.dialects.vocabulary import ENDED_WITHOUT_RESULT, FAILED, OK
from headless.errors import OK as ENDED_WELL
from headless.errors import TIMED_OUT
from headless.system import open_regular, user_by_name

AHEAD = 300.0  # seconds that two clocks may differ, as for Kerberos (RFC 4120, section 8.2)
UNKNOWN = "unknown"  # a state that no journal has
_MAX_LINE = 16 << 20  # bytes; the line of the longest command line that Linux allows has less
_MAX_UNPACKED = 1 << 30  # bytes of a file that is compressed
BEGINNING = b'{"when": "'  # of a receipt; no text in one has this, since its quotation marks are escaped
_GZIP = b"\x1f\x8b"  # RFC 1952, section 2.3.1
# The file of a user in a folder, and what logrotate(8) makes of it: .1, .2.gz, and -20261201 with dateext.
_OF_USER = re.compile(r"(.+)\.jsonl(?:[.-][0-9]+)*(?:\.gz)?", re.DOTALL)


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
    key: str = ""  # of its call, if that has left no second line in this source


def opened(path: str, os_user: str = "") -> IO[bytes]:
    """Opens the file, with a user of the operating system that of this user in a folder. Raises OSError, ValueError."""
    if not os_user:
        return open(path, "rb", opener=open_regular)
    file: IO[bytes] = open(path, "rb", opener=_open_no_link)  # noqa: SIM115 (it is returned)
    if not _counts(os.fstat(file.fileno()), os_user):  # it has been replaced since the folder was listed
        file.close()
        raise OSError(None, "it belongs to another user")
    return file


def files_in(folder: str) -> list[tuple[str, str]]:
    """Returns the users and the paths of their files in a folder. Anybody may write to the folder: so a file counts if
    its user owns it, or root, or who reads it here, and a link never does. Raises OSError."""
    files: list[tuple[str, str]] = []
    for name in sorted(os.listdir(folder)):
        match = _OF_USER.fullmatch(name)
        path = os.path.join(folder, name)
        status = os.lstat(path)
        if match is not None and stat.S_ISREG(status.st_mode) and _counts(status, match[1]):
            files.append((match[1], path))
    return files


def _open_no_link(path: str, flags: int) -> int:
    return open_regular(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _counts(status: os.stat_result, user: str) -> bool:
    """Returns whether what the file says of this user can be believed. Raises OSError if the name service does not
    answer."""
    if not hasattr(os, "geteuid") or status.st_uid in (0, os.geteuid()) or str(status.st_uid) == user:
        return True
    found = user_by_name(user)
    return found is not None and found.pw_uid == status.st_uid


def read(file: IO[bytes], jobs: Sequence[str], user: str, os_user: str = "") -> tuple[list[Execution], set[str]]:
    """Returns the executions of these jobs that can count, in the order in which their calls ended: the last one of
    each kind, and those whose calls have not ended, where they began. Returns besides the keys of the calls that have.

    A job is a module, a file, code or its sha256; with a user, those of other users are left out, and with a user of
    the operating system the receipts of others. Lines that are no receipts are ignored: a full disk leaves half a line.
    Raises OSError, ValueError."""
    found = _Found(jobs, user, os_user)
    for line in lines(file):
        found.add(line)
    if found.has_gone():  # it may have ended since, and then its second line is there
        for line in iter(lambda: file.readline(_MAX_LINE), b""):
            found.add(line)
    if not (found.is_empty or found.has_receipt):
        raise ValueError("no line in it is a receipt")
    return [replace(each, source=str(file.name)) for each in found.executions()], found.ended


class _Found:
    """Collects what the lines of a file say of some jobs."""

    def __init__(self, jobs: Sequence[str], user: str, os_user: str) -> None:
        self._needles = {job: [json.dumps(name).encode("ascii") for name in _names(job)] for job in jobs}
        self._user = user
        self._os_user = os_user
        self._count = 0
        self._kept: dict[object, tuple[int, Execution]] = {}  # with the number of the line
        self._begun: dict[str, tuple[int, dict[str, Any], list[Execution]]] = {}  # and have not ended
        self._is_there: dict[str, bool | None] = {}  # the process of such a call
        self.ended: set[str] = set()
        self.is_empty, self.has_receipt = True, False

    def add(self, line: bytes) -> None:
        self._count += 1
        self.is_empty = False
        named = [job for job, needles in self._needles.items() if any(needle in line for needle in needles)]
        if self.has_receipt and not named:  # as most lines, and to parse them would take long
            return
        try:
            receipt, _ = parsed(line)
            executions = list(_executions(receipt, named, self._user))
            self.has_receipt = True
            if self._os_user not in ("", receipt.get("os_user", self._os_user)):
                return
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return
        key = str(receipt.get("key"))
        if receipt.get("event") == "start":
            self._begun[key] = self._count, receipt, executions
            return
        self.ended.add(key)
        self._begun.pop(key, None)
        for each in executions:
            self._kept[each.job, each.owner, each.stage, each.state == OK] = self._count, each

    def has_gone(self) -> bool:
        """Looks for the processes of the calls that have not ended. Returns whether one is not there."""
        self._is_there = {key: is_there(receipt) for key, (_, receipt, named) in self._begun.items() if named}
        return False in self._is_there.values()

    def executions(self) -> list[Execution]:
        """Returns them in their order."""
        last = {(each.job, each.owner): number for number, each in self._kept.values()}
        found = list(self._kept.values())
        for key, (number, _, executions) in self._begun.items():
            is_there = self._is_there.get(key)
            for each in executions:
                if is_there is False:
                    reason = "there is no second line of its call, and no process"
                    found.append((number, replace(each, stage=Stage.OVER, state=UNKNOWN, message=reason, key=key)))
                elif is_there or number > last.get((each.job, each.owner), 0):
                    found.append((number, replace(each, message="" if is_there else "or was killed", key=key)))
        return [each for _, each in sorted(found, key=lambda pair: pair[0])]


def is_there(receipt: dict[str, Any]) -> bool | None:
    """Returns whether a process has the number of that of the call, and may be that one: another program has not its
    name in its command line. None if it is not known: of another machine, or of Windows, where no question is
    harmless."""
    pid = receipt.get("pid")
    if os.name == "nt" or type(pid) is not int or pid <= 0 or receipt.get("host") != socket.gethostname():
        return None
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it belongs to somebody else
        pass
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"headless" in file.read()
    except OSError:
        return True


def lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yields the lines, also of a compressed file. A receipt is a line of its own even if the one before it is cut off
    without an end. Raises OSError, ValueError."""
    is_compressed = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    for line in _unpacked(file) if is_compressed else iter(lambda: file.readline(_MAX_LINE), b""):
        start = 0
        while (end := line.find(BEGINNING, start + 1)) > 0:
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


def parsed(line: bytes) -> tuple[Any, bool]:
    """Returns a receipt, and whether it is whole; of a line that is cut off, what precedes the session. Raises
    ValueError."""
    try:
        return json.loads(line), True
    except ValueError:
        return json.loads(line.partition(b', "session": ')[0] + b"}"), False


def _executions(receipt: dict[str, Any], named: list[str], user: str) -> Iterator[Execution]:
    """Yields those of the jobs that the line names. Raises KeyError and others for what is no receipt."""
    of_user, owner = receipt["user"], f"{receipt['user']} at {receipt.get('server')}"
    begun, jobs = seconds(receipt["when"]), receipt.get("jobs")
    is_start = receipt.get("event") == "start"
    for job in named if user in ("", of_user) else ():
        if jobs is None and not is_start:
            yield Execution(Stage.OVER, begun, UNKNOWN, "its receipt is cut off", job=job, owner=owner)
        for each in jobs or ():
            if each.get("name") == job or each.get("sha256") in _names(job):
                found = Execution(Stage.STILL_RUNS, begun) if is_start else _execution(receipt, each.get("status"))
                yield replace(found, job=job, owner=owner)


def _execution(receipt: dict[str, Any], status: str | None) -> Execution:
    """Returns that of one job. Its own status counts, if the server has reported one; else that of the call."""
    at = seconds(receipt["ended"] or receipt["returned"])
    accepted = receipt["accepted"]
    took = max(0.0, at - seconds(accepted)) if accepted and receipt["ended"] else None
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


def seconds(moment: str) -> float:
    """Returns seconds since the epoch, of ISO 8601 in UTC as the receipt has it. Raises ValueError."""
    if not moment.endswith("Z"):
        raise ValueError
    return datetime.fromisoformat(f"{moment[:-1]}+00:00").timestamp()


def iso(moment: float) -> str:
    """Returns seconds since the epoch as the receipt has them."""
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
