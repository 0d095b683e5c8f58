"""Finds out which calls schedulers start, and when: what was planned."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from headless.admin.call_rules import options_of
from headless.admin.calls import Call
from headless.admin.reading import Reading
from headless.admin.runs import Job, Run, job_of
from headless.admin.schedule import Schedule, is_expression
from headless.admin.surroundings import changes_user, looks_at_files
from headless.client.receipt import described
from headless.options import JobOptions

_HOUR = 3600.0  # seconds that the clocks of summer time are set by
_AHEAD = 60.0  # seconds that a run may begin before its start: of clocks, and of the second that cron wakes in


@dataclass(frozen=True)
class Start:
    """Says when something is started, in seconds since the epoch, and how early that may be."""

    at: float
    earliest: float


@dataclass(frozen=True)
class PlannedCall:
    """Holds one call that a scheduler starts. A text that is "" is not known."""

    position: str  # path and line, the first one
    jobs: tuple[Job, ...]
    host: str
    os_user: str
    user: str  # of the login
    server: str
    schedule: Schedule

    @property
    def title(self) -> str:
        return ", ".join(job.title for job in self.jobs)

    @property
    def identity(self) -> tuple[object, ...]:
        """Is the same for lines that start the same."""
        return tuple(job.identity for job in self.jobs), self.host, self.os_user, self.user, self.server

    def joined_with(self, other: PlannedCall | None) -> PlannedCall:
        """Returns the same call with the starts of both."""
        if other is None:
            return self
        schedule = Schedule(other.schedule.text, (*other.schedule.expressions, *self.schedule.expressions))
        return replace(other, schedule=schedule)

    def is_of(self, run: Run) -> bool:
        """Returns whether a run of the same jobs may be one of it. What is not known of one differs from nothing."""
        pairs = ((self.host, run.host), (self.os_user, run.os_user), (self.user, run.user), (self.server, run.server))
        return all("" in pair or pair[0] == pair[1] for pair in pairs)

    def starts(self, since: float, until: float) -> list[Start]:
        """Returns the planned starts after a moment and up to another one. Of those that summer time leaves out,
        cron(8) makes up for what has a time of its own, and not for what has a star as hour or minute."""
        begin, end = datetime.fromtimestamp(since), datetime.fromtimestamp(until)
        found = self.schedule.starts_between(begin, end)
        if any(map(_is_left_out, found)):
            at_a_time = filter(lambda each: "*" not in each.split()[0] + each.split()[1], self.schedule.expressions)
            kept = set(Schedule("", tuple(at_a_time)).starts_between(begin, end))
            found = [at for at in found if at in kept or not _is_left_out(at)]
        return sorted(map(_start, found), key=lambda start: start.earliest)


def _is_left_out(at: datetime) -> bool:
    """Returns whether no clock shows this local time."""
    return datetime.fromtimestamp(at.timestamp()) != at


def _start(at: datetime) -> Start:
    """Takes the first of two moments that a clock shows twice. For one that it leaves out, cron(8) starts the command
    right after the hour that is not there."""
    moment = at.timestamp()
    return Start(moment, moment - (_HOUR if _is_left_out(at) else _AHEAD))


def read_plan(paths: Sequence[str], user: str | None, problems: list[str]) -> list[PlannedCall]:
    """Reads these files, those of this machine if there are none, and what they start. Lines with the same call are one
    call. Appends what is not understood. Raises HeadlessError, OSError."""
    reading = Reading(paths, user)
    found: dict[object, PlannedCall] = {}
    for call in reading.parsed.calls:
        options = options_of(call)[0] if all(word.is_certain for word in call.options) else None
        schedule = call.entry.schedule
        if options is None:
            problems.append(f"{call.entry.position}: what it starts is not known")
        elif schedule is None or not all(map(is_expression, schedule.expressions)):
            problems.append(f"{call.entry.position}: when it starts is not known")
        else:
            planned = _planned(call, schedule, options)
            found[planned.identity] = planned.joined_with(found.get(planned.identity))
    findings = reading.parsed.findings
    not_checked = [each for each in (*findings, *reading.not_understood(findings)) if each.rule == "not-checked"]
    problems += [f"{each.position}: what it starts is not understood" for each in not_checked]
    problems += [each.text for each in findings if each.rule == "not-looked-at"]
    return list(found.values())


def _planned(call: Call, schedule: Schedule, options: JobOptions) -> PlannedCall:
    host = socket.gethostname() if looks_at_files(call) else ""
    os_user = "" if changes_user(call) else call.entry.user or ""
    jobs = tuple(job_of(described(job)) for job in options.jobs)
    position = call.entry.file.position(call.offset)
    return PlannedCall(position, jobs, host, os_user, options.login.user or os_user, str(options.service), schedule)
