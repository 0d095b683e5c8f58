"""monitor --job: what is known of the executions of some jobs, from files of receipts or from the home of a server."""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from typing import IO

from headless.admin import receipts
from headless.admin.monitor_verdict import Execution, Stage
from headless.admin.runs import Call, Outcome, calls_in
from headless.client.receipt import described
from headless.dialects.vocabulary import FAILED, OK, PY_CODE, QUEUED, RUNNING, Job, title_of
from headless.errors import CommandFailed, Submission
from headless.server.commands.arguments import existing_home
from headless.server.home import Home
from headless.server.journal import JobView, Journal, Selection
from headless.server.listing import UNKNOWN, look
from headless.system import strerror_of

_LOOK_BACK = 31 * 86400.0  # seconds; what a journal has accepted earlier is not looked at
_PAGE_LENGTH = 500  # jobs of a journal that are read at a time


def executions(arguments: argparse.Namespace, now: float) -> list[Execution]:
    """Returns those of the jobs in their order. Raises CommandFailed."""
    return list(_in_receipts(arguments) if arguments.receipts else _in_home(arguments, now))


# -- receipts --


def _in_receipts(arguments: argparse.Namespace) -> Iterator[Execution]:
    """Yields that of the file last which was written to last; of two at the same time, of the one that was given first.
    All are open before one is read: logrotate may rename one meanwhile. Raises CommandFailed."""
    with ExitStack() as stack:
        files = [each for path in reversed(arguments.receipts) for each in _opened(path, stack)]
        if not files:
            raise CommandFailed(
                f"there are no receipts {arguments.receipts[0]!r}: is PLANTA_RECEIPT set where the job is?"
            )
        found: list[Execution] = []
        ended: set[str] = set()
        for os_user, file in sorted(files, key=lambda each: os.fstat(each[1].fileno()).st_mtime_ns):
            written = os.fstat(file.fileno()).st_mtime
            of_file = _OfFile(arguments.job, arguments.user or "")
            with _failing(file.name):
                of_file.read(file, os_user)
            ended |= of_file.ended
            # Whatever clock has dated a failure, it was there when the file was last written to.
            own = (replace(each, source=file.name) for each in of_file.executions())
            found += (each if each.state == OK else replace(each, at=min(each.at, written)) for each in own)
        # The two lines of a call may be in two files.
        yield from (each for each in found if not each.key or each.key not in ended)


def _opened(path: str, stack: ExitStack) -> list[tuple[str, IO[bytes]]]:
    """Returns the file, or those of a folder and of which users of the operating system these are. None are not there.
    Raises CommandFailed."""
    if os.path.isdir(path):
        with _failing(path):
            return [(user, stack.enter_context(receipts.opened(each, user))) for user, each in receipts.files_in(path)]
    for name in (path, f"{path}.gz"):
        with _failing(path), suppress(FileNotFoundError):
            return [("", stack.enter_context(receipts.opened(name)))]
    return []


@contextmanager
def _failing(path: str) -> Iterator[None]:
    """Raises CommandFailed instead of what a file can raise."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise CommandFailed(f"the receipts {path!r} cannot be read: {strerror_of(error)}") from None


class _OfFile:
    """Collects the executions of some jobs in one file that can count, in the order in which their calls ended: the
    last one of each kind, and those whose calls have not ended, where they began. A job is a module, a file, code or
    its sha256. With a user, those of other users are left out. `ended` has the keys of the calls that have."""

    def __init__(self, jobs: Sequence[str], user: str) -> None:
        self._names = {job: (job, str(described(Job(PY_CODE, job))["sha256"])) for job in jobs}
        self._user = user
        self._kept: dict[object, tuple[int, Execution]] = {}  # with the number of the line
        self._begun: dict[str, tuple[int, Call, list[str]]] = {}  # and have not ended
        self.ended: set[str] = set()

    def read(self, file: IO[bytes], os_user: str) -> None:
        """Raises OSError, ValueError."""
        needles = {job: [json.dumps(name).encode("ascii") for name in names] for job, names in self._names.items()}
        every = [needle for each in needles.values() for needle in each]
        wanted = calls_in(file, os_user, lambda line: any(needle in line for needle in every))
        for number, (line, call) in enumerate(wanted, 1):
            if call is None:
                continue
            jobs = [job for job, each in needles.items() if any(needle in line for needle in each)]
            if call.is_start:
                self._begun[f"{os_user} {call.key}"] = number, call, jobs
                continue
            self.ended.add(f"{os_user} {call.key}")
            self._begun.pop(f"{os_user} {call.key}", None)
            for each in self._executions(call, jobs):
                self._kept[each.job, each.owner, each.stage, each.state == OK] = number, each

    def executions(self) -> list[Execution]:
        """Returns them in their order."""
        last = {(each.job, each.owner): number for number, each in self._kept.values()}
        found = list(self._kept.values())
        for key, (number, call, jobs) in self._begun.items():
            for each in self._executions(call, jobs):
                if call.is_there is not None or number > last.get((each.job, each.owner), 0):
                    found.append((number, replace(each, key=key)))
        return [each for _, each in sorted(found, key=lambda pair: pair[0])]

    def _executions(self, call: Call, jobs: Sequence[str]) -> Iterator[Execution]:
        """Yields those of the jobs that the line names."""
        run, owner = call.run, f"{call.run.user} at {call.run.server}"
        for job in jobs if self._user in ("", run.user) else ():
            if not call.is_whole:
                yield Execution(Stage.OVER, run.begun, UNKNOWN, "its receipt is cut off", job=job, owner=owner)
            for each in run.jobs:
                if each.name in self._names[job]:
                    found = _of_end(call, each.status) if call.is_over else _of_start(call)
                    yield replace(found, job=job, owner=owner)


def _of_start(call: Call) -> Execution:
    if call.is_there is False:
        return Execution(Stage.OVER, call.run.begun, UNKNOWN, "there is no second line of its call, and no process")
    return Execution(Stage.STILL_RUNS, call.run.begun, message="" if call.is_there else "or was killed")


def _of_end(call: Call, status: str) -> Execution:
    """Returns that of one job. Its own status counts, if the server has reported one; else that of the call."""
    run = call.run
    at = run.begun if run.ended is None else run.ended
    if not status and run.outcome is Outcome.NOT_KNOWN:
        return Execution(Stage.NOT_FOLLOWED, at)
    state = status or (OK if run.outcome is Outcome.WELL else UNKNOWN)
    if state == UNKNOWN and run.submission == Submission.NOT_SUBMITTED.value:
        state = FAILED
    seconds = None if state == UNKNOWN else run.seconds
    return Execution(Stage.OVER, at, state, "" if state == OK else run.reason, seconds)


# -- the journal --


def _in_home(arguments: argparse.Namespace, now: float) -> Iterator[Execution]:
    """Yields what was accepted after the first session that counts, whatever its date says. Raises CommandFailed."""
    try:
        home = existing_home(arguments)
        with closing(home.database()) as database:
            journal = Journal(database)
            position = journal.start(Selection(since=now - arguments.within - _LOOK_BACK))
            while page := journal.page(Selection(user=arguments.user or ""), position, _PAGE_LENGTH):
                position = page[-1].position
                for entry in page:
                    yield from (_execution(job, entry, home, now) for job in arguments.job if _is(job, entry, journal))
    except (OSError, sqlite3.Error) as error:
        raise CommandFailed(
            f"the home {arguments.home!r} cannot be read: {strerror_of(error)}; run this as the user of the server"
        ) from None


def _execution(job: str, entry: JobView, home: Home, now: float) -> Execution:
    """Raises OSError."""
    seen = look(home, entry)
    at, stage = entry.started or entry.accepted, Stage.STILL_RUNS
    if seen.state not in (QUEUED, RUNNING):  # an end that was not seen was before it was recorded, or before now
        noticed = entry.over or (now if seen.state == UNKNOWN else None)
        at, stage = entry.ended or (noticed if seen.state != OK else None) or at, Stage.OVER
    return Execution(stage, at, seen.state, seen.message, seen.seconds, job, entry.user, entry.session_id)


def _is(job: str, entry: JobView, journal: Journal) -> bool:
    """Returns whether this is the job that is meant: by its title or, since two codes can have the same, by all of its
    code."""
    if entry.title == job:
        return True
    return entry.title == title_of(entry.kind, job) and journal.job(entry.session_id, entry.job).text == job
