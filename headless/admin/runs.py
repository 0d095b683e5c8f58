"""Says what a run of a call is, and what the two lines of its receipt tell of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import IO, Any

from headless.admin import receipts
from headless.dialects.vocabulary import ENDED_WITHOUT_RESULT
from headless.errors import OK as ENDED_WELL
from headless.errors import TIMED_OUT

_TEXTS = ("host", "os_user", "user", "server", "session", "submission")  # of a receipt


class Outcome(Enum):
    """Names how a run ended, the worst first."""

    FAILED = "failed"
    MISSING = "missing"
    NOT_KNOWN = "not known"
    STILL_RUNS = "still runs"
    WELL = "well"


@dataclass(frozen=True)
class Job:
    """Holds one job of a run. `name` is the module, the file, or of code the sha256."""

    kind: str
    name: str
    title: str
    status: str = ""  # "" if it is not known

    @property
    def identity(self) -> tuple[str, str]:
        return self.kind, self.name


@dataclass(frozen=True)
class Run:
    """Holds one run of a call. Times are seconds since the epoch, None for what has not happened, or is not known; so
    is "" of a text."""

    jobs: tuple[Job, ...]
    begun: float
    outcome: Outcome
    reason: str = ""  # why it is not well, or what is to know of one that is
    accepted: float | None = None
    started: float | None = None  # of the first job
    ended: float | None = None  # of the last job, else of the call; until when one was seen that still runs
    exit_status: int | None = None  # of the call, as a shell sees it
    host: str = ""
    os_user: str = ""
    user: str = ""  # of the login
    server: str = ""
    session: str = ""
    submission: str = ""  # whether the server has the jobs, as a call that has failed says it
    in_journal: bool = False
    stderr: str = ""  # the last line of the job that failed

    @property
    def title(self) -> str:
        return ", ".join(job.title for job in self.jobs) or "(no job)"

    @property
    def identity(self) -> tuple[object, ...]:
        """Is the same for each run of the same line of a crontab."""
        return tuple(job.identity for job in self.jobs), self.user, self.server, self.host

    @property
    def seconds(self) -> float | None:
        """Returns how long the jobs ran, or the session took where their start is not known."""
        begun = self.started or self.accepted
        if self.outcome is Outcome.NOT_KNOWN or self.ended is None or begun is None:
            return None
        return max(0.0, self.ended - begun)


@dataclass(frozen=True)
class Call:
    """Holds what one line says of a call. `is_there` says whether its process was there when the line was read, None
    that this is not known."""

    run: Run
    key: str
    pid: int | None
    is_start: bool  # it is the first of the two lines
    is_whole: bool
    is_there: bool | None

    @classmethod
    def of(cls, line: bytes) -> Call:
        """Raises ValueError, TypeError, KeyError and others for what is no receipt."""
        fields, is_whole = receipts.parsed(line)
        texts: dict[str, Any] = {each: _text(fields.get(each)) for each in _TEXTS}
        pid = fields.get("pid")
        is_start = fields.get("event") == "start"
        jobs = tuple(map(job_of, fields.get("jobs") or ()))
        run = Run(jobs, receipts.seconds(fields["when"]), Outcome.NOT_KNOWN, "its last line is cut off", **texts)
        is_over = is_whole and not is_start
        return cls(
            _ended(run, fields) if is_over else run,
            _text(fields.get("key")),
            pid if type(pid) is int else None,
            is_start,
            is_whole,
            # If the process has gone, the last line is further down: a later look could miss it.
            None if is_over else _is_there(pid, run.host),
        )

    @property
    def is_over(self) -> bool:
        """Says whether all is known that the receipt says of its end."""
        return self.is_whole and not self.is_start

    def joined_with(self, other: Call | None) -> Call:
        return self if other is None or self.is_over else other

    def as_run(self, is_last_of_process: bool) -> Run:
        """Returns the run. Of several calls that had the same number of a process only the last one can be there."""
        if self.is_over:
            return self.run
        if self.is_there is None:
            return replace(self.run, reason="there is no last line: the call still runs, or it was killed")
        if self.is_there and is_last_of_process:
            return replace(self.run, outcome=Outcome.STILL_RUNS, reason=f"its process {self.pid} is there")
        reason = "there is no last line, and no process: it was killed, the machine went down, or the disk was full"
        return replace(self.run, reason=reason)


def calls_in(file: IO[bytes], os_user: str, is_wanted: Callable[[bytes], bool]) -> Iterator[tuple[bytes, Call | None]]:
    """Yields the receipts that are wanted, and what each says; None for all that is no receipt, or has too little of
    one. Those of others in the file of a user of the operating system do not count. Raises OSError, and ValueError,
    also if there is no receipt in a file with lines."""
    is_empty, has_receipt = True, False
    for line in receipts.lines(file):
        is_receipt = line.startswith(receipts.BEGINNING)
        has_receipt = has_receipt or is_receipt
        is_empty = is_empty and not line.strip()
        if is_receipt and not is_wanted(line):  # as most lines, which take long to parse
            continue
        try:
            call = Call.of(line)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            call = None
        if call is None or os_user in ("", call.run.os_user):
            yield line, call
    if not (is_empty or has_receipt):
        raise ValueError("no line in it is a receipt")


def _is_there(pid: object, host: str) -> bool | None:
    """Returns whether a process has the number of that of the call, and may be that one: another program has not its
    name in its command line. None if it is not known: of another machine, or of Windows, where no question is
    harmless."""
    if os.name == "nt" or type(pid) is not int or pid <= 0 or host != socket.gethostname():
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


def job_of(fields: dict[str, Any]) -> Job:
    name = _text(fields.get("name")) or _text(fields.get("sha256"))
    kind = _text(fields["kind"])
    return Job(
        kind, name, _text(fields.get("title")) or (name if "name" in fields else kind), _text(fields.get("status"))
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _ended(run: Run, fields: dict[str, Any]) -> Run:
    """Returns the run with the last line of its call."""
    code = fields["code"]
    status = 128 + int(fields["signal"]) if code is None else int(code)
    accepted, ended = (fields.get(name) and receipts.seconds(fields[name]) for name in ("accepted", "ended"))
    starts = [receipts.seconds(job["started"]) for job in fields["jobs"] if job.get("started")]
    outcome, reason = _outcome_of_call(status, fields)
    return replace(
        run,
        outcome=outcome,
        reason=reason,
        accepted=accepted,
        started=min(starts) if starts else None,
        ended=ended or receipts.seconds(fields["returned"]),
        exit_status=status,
    )


def _outcome_of_call(status: int, fields: dict[str, Any]) -> tuple[Outcome, str]:
    if status == TIMED_OUT:
        return Outcome.NOT_KNOWN, "the call has not waited for the end (-t was over); the jobs went on"
    if status != ENDED_WELL:
        state = _text(fields.get("submission"))
        return Outcome.FAILED, "; ".join(filter(None, (_text(fields.get("message")), state and f"jobs: {state}")))
    if fields["proof"] == "accepted":
        return Outcome.NOT_KNOWN, "the call does not wait for the end (no -t); the server has accepted the jobs"
    return Outcome.WELL, "the server reported an end, and no result" if fields["proof"] == ENDED_WITHOUT_RESULT else ""
