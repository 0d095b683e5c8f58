"""The lines of a crontab, rehearsed as cron would run them, one after the other: its shell, its environment and nothing
else, the home of the user, what stands behind a %. All in a line really runs, but for the calls of planta_headless.py.

Two guards keep each of them from a real server: `/bin/sh SCRIPT`, which rehearses, takes its place in the line; and a
variable makes the command rehearse, however a script of the line calls it. Which lines may be run is in containment.py.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from headless.admin import crontab, places, shell
from headless.admin.command_line import is_mentioned
from headless.admin.entry import Call, Entry
from headless.admin.places import File, Kind
from headless.admin.reading import Reading
from headless.client.waiting import READ, Waiter
from headless.errors import CommandFailed, Interrupted, ParameterError
from headless.rehearsal import containment, nesting
from headless.rehearsal.arguments import PROGRAM, Arguments
from headless.rehearsal.nesting import Around
from headless.rehearsal.server import runs_as
from headless.rehearsal.temporary import temporary_folder
from headless.system import is_final
from headless.terminal import escape_control_chars, print_answer, print_note

_COMMAND = "planta_headless.py"
_PACKAGE = Path(__file__).parent.parent
_SECONDS_TO_END = 10.0
_STAND_IN = "/dev/null/rehearse"  # a name that no file can have, in the place of the script
# What may be the command, put together by the shell.
_ALIKE = re.compile("planta_h|headless")
_REPORT = "report"
_HEAD = ("line", "schedule", "code", "seconds", "jobs", "what became of them")


@dataclass
class _Line:
    """A line that calls the command. `problem` is why it cannot be rehearsed, or "". `code` is what it has returned, as
    a shell says it, and `reports` are those of its calls."""

    number: int
    entry: Entry | None = None
    calls: Sequence[Call] = ()
    problem: str = ""
    code: int | None = None
    seconds: float = 0.0
    reports: list[dict[str, str]] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether it has called the command, and has returned 0."""
        return self.code == 0 and bool(self.reports)


def rehearse(own: Arguments, around: Around | None) -> int:
    """0 if there are lines that call the command and each has returned 0, else 1. Raises ParameterError, CommandFailed,
    Interrupted, OSError."""
    if os.name == "nt":
        raise ParameterError("--crontab: Windows has no cron; rehearse the command lines one by one")
    lines, others = _lines(_file(own.crontab))
    if own.line:
        lines = [line for line in lines if line.number == own.line]
        if not lines:
            raise ParameterError(f"line {own.line} of {own.crontab!r} does not call {_COMMAND}")
    what = "their jobs are not run" if own.dry_run else "and so do their jobs"
    user, problem = runs_as()
    print_note(PROGRAM, f"the lines really run, with their redirections, on this machine, as {user}; {what}")
    if problem:
        print_note(PROGRAM, problem)
    with Waiter() as waiter:
        with temporary_folder(around.folder if around else None) as folder:
            inside = nesting.environment(folder, own, os.path.join(folder, _REPORT), around)
            for line in lines:
                line.problem = line.problem or _problem_by_now(line)
                if not line.problem:
                    print_answer(f"line {line.number}:\n")
                    _Run(line, own, folder, inside, waiter).run()
        waiter.check()
    print_answer((_table(lines) if lines else "") + _summary(lines, 0 if own.line else others))
    return 0 if lines and all(line.is_good for line in lines) else 1


def _file(path: str) -> File:
    """Raises ParameterError."""
    try:
        if path == "-":
            if sys.stdin is None:  # whoever has started this has closed it
                raise ParameterError("standard input is closed")
            content = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
            return File(path, content, Kind.CRONTAB, runs_as()[0])
        file = places.read(path, None)
    except ParameterError as error:
        raise ParameterError(f"--crontab: {error}") from None
    if file.kind is not Kind.CRONTAB:
        raise ParameterError(f"--crontab: {path!r} is no crontab")
    return file


def _lines(file: File) -> tuple[list[_Line], int]:
    """Those that call the command, or may do so, and how many others there are."""
    entries, findings = crontab.read(file.content, file.path, file.names_users, file.user)
    lines = [_line(entry) for entry in entries]
    found = [line for line in lines if line is not None]
    text = file.content.split("\n")
    known = {line.number for line in found}
    for finding in findings:
        is_lost = finding.consequence == crontab.NOTHING_RUNS and finding.place.line not in known
        if is_lost and _COMMAND in text[finding.place.line - 1]:
            found.append(_Line(finding.place.line, problem=finding.text))
    return sorted(found, key=lambda line: line.number), lines.count(None)


def _line(entry: Entry) -> _Line | None:
    """None for one that does not call the command."""
    reading = Reading()
    shell.read(entry, reading)
    number = entry.place.line
    problem = next((each.text for each in reading.findings if each.rule == "syntax"), "")
    if problem:
        return _Line(number, entry, problem=problem) if _COMMAND in entry.command.text else None
    contained = containment.judge(entry, _replaced(entry, reading.calls, f"/bin/sh {_STAND_IN}"), _STAND_IN)
    is_doubtful = contained.doubt and (contained.mentions or _may_be_named(entry))
    if not (reading.calls or contained.calls or is_doubtful):
        return None
    return _Line(number, entry, reading.calls, _why_not(entry, reading) or contained.doubt)


def _problem_by_now(line: _Line) -> str:
    """What is wrong with the line since others have run, which may have changed what it starts, or ""."""
    again = _line(line.entry) if line.entry else None
    return again.problem if again else "what it starts has been changed by a line before it"


def _may_be_named(entry: Entry) -> bool:
    """Whether the command may be named in the line, or in a setting that it uses."""
    text = entry.command.text
    used = (value for name, value in entry.environment.items() if re.search(rf"\$\{{?{re.escape(name)}\b", text))
    return any(is_mentioned(each) or _ALIKE.search(each) for each in (text, *used))


def _why_not(entry: Entry, reading: Reading) -> str:
    """Why the line cannot be run as it is, or ""."""
    if any(option.begin < call.script.end for call in reading.calls for option in call.options):
        return f"{_COMMAND} and its options come from one variable"
    if _COMMAND in _replaced(entry, reading.calls, ""):
        return f"not each {_COMMAND} in it could be replaced"
    return _what_is_wrong_with(entry.folder)


def _what_is_wrong_with(folder: str | None) -> str:
    """Why no line can begin in this folder, or ""."""
    try:
        if folder and stat.S_ISDIR(os.stat(folder).st_mode):
            return ""
    except OSError as error:
        if not is_final(error):
            return f"the folder {folder!r}, where it begins, cannot be looked at now: {error.strerror}"
    return f"there is no folder {folder!r}, where it begins" if folder else "HOME is not known"


def _replaced(entry: Entry, calls: Iterable[Call], script: str) -> str:
    """The command of the entry with this in the place of each interpreter and script."""
    text, positions = entry.command.text, entry.command.positions
    for call in sorted(calls, key=lambda call: call.script.begin, reverse=True):
        first = call.interpreter or call.script
        begin, end = bisect_left(positions, first.begin), bisect_left(positions, call.script.end)
        text = text[:begin] + script + text[end:]
    return text


class _Run:
    """One line, as it runs."""

    def __init__(self, line: _Line, own: Arguments, folder: str, inside: Mapping[str, str], waiter: Waiter) -> None:
        assert line.entry is not None
        self._line = line
        self._entry = line.entry
        self._waiter = waiter
        self._inside = inside
        self._report = os.path.join(folder, _REPORT)
        self._stdin = os.path.join(folder, "stdin")
        self._script = os.path.join(folder, "rehearse")
        if not re.fullmatch(r"[\w/.+-]+", self._script):  # it stands in quotes of any kind
            raise CommandFailed(f"the folder {folder!r} needs a name without blanks and special characters: set TMPDIR")
        rehearsal = [
            sys.executable,
            str(_PACKAGE),
            "rehearse",
            *nesting.own_options(own),
            "--report",
            self._report,
            "--",
        ]
        Path(self._script).write_text(f'exec {shlex.join(rehearsal)} "$@"\n', encoding="utf-8")
        Path(self._stdin).write_bytes(os.fsencode(self._entry.stdin))
        Path(self._report).write_bytes(b"")

    def run(self) -> None:
        """Raises Interrupted, OSError."""
        begun = time.monotonic()
        command = _replaced(self._entry, self._line.calls, f"/bin/sh {self._script}")
        ended, holder = os.pipe()  # whatever the line leaves in the background has it open
        try:
            with open(self._stdin, "rb") as stdin:
                process = subprocess.Popen(
                    [self._entry.shell, "-c", command],
                    cwd=self._entry.folder,
                    env={**self._entry.environment, **self._inside},
                    stdin=stdin,
                    pass_fds=[holder],
                    start_new_session=True,
                )
        except OSError as error:
            self._line.problem = f"{self._entry.shell} cannot be started: {error.strerror or error}"
            os.close(ended)
            return
        finally:
            os.close(holder)
        try:
            self._wait(process, ended)
        finally:
            os.close(ended)
        code = process.wait()
        self._line.code = code if code >= 0 else 128 - code
        self._line.seconds = time.monotonic() - begun
        self._line.reports = [json.loads(each) for each in Path(self._report).read_text("ascii").splitlines()]

    def _wait(self, process: subprocess.Popen[bytes], ended: int) -> None:
        try:
            self._waiter.wait(ended, READ)
        except Interrupted:
            _signal_group(process, signal.SIGTERM)
            try:
                self._waiter.wait(ended, READ, _SECONDS_TO_END)
            finally:
                _signal_group(process, signal.SIGKILL)
                process.wait()
            raise


def _signal_group(process: subprocess.Popen[bytes], signum: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signum)


def _table(lines: Iterable[_Line]) -> str:
    rows = [_HEAD, *map(_row, lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    return "".join("  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() + "\n" for row in rows)


def _row(line: _Line) -> tuple[str, ...]:
    schedule = line.entry.schedule.text if line.entry and line.entry.schedule else "-"
    jobs = ", ".join(report["jobs"] for report in line.reports) or "-"
    ends = "; ".join(_end(report) for report in line.reports) or f"{_COMMAND} was not called, or had a mistake"
    if line.problem:
        cells = (str(line.number), schedule, "-", "-", "-", f"not rehearsed: {line.problem}")
    else:
        cells = (str(line.number), schedule, str(line.code), f"{line.seconds:.1f}", jobs, ends)
    return tuple(map(escape_control_chars, cells))


def _end(report: dict[str, str]) -> str:
    return f"{report['code']}: {report['ends'] or 'refused'}"


def _summary(lines: Sequence[_Line], others: int) -> str:
    run = [line for line in lines if line.code is not None]
    failed = sum(not line.is_good for line in run)
    text = f"{len(run)} rehearsed, {failed} of them not well; {len(lines) - len(run)} not rehearsed"
    return f"{text}; {others} without {_COMMAND}\n"
