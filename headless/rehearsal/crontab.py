"""Rehearses the lines of a crontab one after the other as cron runs them: with its shell, its environment and nothing
else, in the home of the user, with the text behind a % on standard input. All in a line really runs, except the calls
of planta_headless.py.

Two guards keep the calls of a line from a real server: `/bin/sh SCRIPT`, which rehearses, replaces each call in the
line, and in copies of the scripts that it starts; and a variable makes the command rehearse, however it is called.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from headless.admin import crontab, files, shell
from headless.admin.calls import Call, Entry, Program, Scheduler, Text, Word, is_mentioned
from headless.admin.files import File, Kind
from headless.admin.rules import NOTHING_RUNS
from headless.client.waiting import READ, Waiter
from headless.errors import CommandFailed, Interrupted, ParameterError
from headless.options import PROGRAM as COMMAND
from headless.rehearsal import containment
from headless.rehearsal.options import PROGRAM, OuterRehearsal, OwnOptions, environment
from headless.rehearsal.server import runs_as, temporary_folder
from headless.terminal import escape_control_chars, print_answer, print_note, shorten, table

_PACKAGE = Path(__file__).parent.parent
_SECONDS_TO_END = 10.0
_NO_FILE = "/dev/null/rehearse"  # a name that no file can have: the script, while the line is judged
_NOTHING = f"/bin/sh {_NO_FILE}"
_MAX_SHOWN = 200  # characters of what a line has said
# What may be the command, put together by the shell.
_ALIKE = re.compile("planta_h|headless")
_REPORT = "report"
_HEAD = ("line", "schedule", "code", "seconds", "jobs", "result")


@dataclass(frozen=True)
class _Script:
    """Holds a script with calls that a line starts: the word that names it, and the shell that reads it, "" if the line
    names that, too."""

    entry: Entry
    calls: Sequence[Call]
    word: Word
    shell: str


@dataclass
class _Line:
    """Holds a line that calls the command. `problem` is why it cannot be rehearsed, or "". `code` is what it has
    returned, as a shell says it. `reports` has one for each call. `said` is the last line of its stderr."""

    number: int
    entry: Entry | None = None
    calls: Sequence[Call] = ()
    scripts: Sequence[_Script] = ()
    problem: str = ""
    code: int | None = None
    seconds: float = 0.0
    reports: list[dict[str, str]] = field(default_factory=list)
    said: str = ""

    @property
    def is_good(self) -> bool:
        return self.code == 0 and bool(self.reports)


def rehearse(own: OwnOptions, outer: OuterRehearsal | None) -> int:
    """Returns 0 if there are lines that call the command and each has returned 0, else 1. Raises ParameterError,
    CommandFailed, Interrupted, OSError."""
    if os.name == "nt":
        raise ParameterError("--crontab: Windows has no cron; rehearse the command lines one by one")
    lines, others = _lines(_file(own.crontab))
    if own.line:
        lines = [line for line in lines if line.number == own.line]
        if not lines:
            raise ParameterError(f"line {own.line} of {own.crontab!r} does not call {COMMAND}")
    what = "their jobs are not run" if own.dry_run else "and so do their jobs"
    user, problem = runs_as()
    print_note(PROGRAM, f"the lines really run, with their redirections, on this machine, as {user}; {what}")
    if problem:
        print_note(PROGRAM, problem)
    with Waiter() as waiter:
        with temporary_folder(outer.folder if outer else None) as folder:
            inside = environment(folder, own, os.path.join(folder, _REPORT), outer)
            for line in lines:
                if not line.problem and line.entry:  # the lines before it may have changed what it starts
                    again = _line(line.entry)
                    line.problem = again.problem if again else "what it starts has been changed by a line before it"
                    line.scripts = again.scripts if again else ()
                if not line.problem:
                    print_answer(f"line {line.number}:\n")
                    _run(line, own, Path(folder), inside, waiter)
        waiter.check()
    print_answer((table([_HEAD, *map(_row, lines)]) if lines else "") + _summary(lines, 0 if own.line else others))
    return 0 if lines and all(line.is_good for line in lines) else 1


def _file(path: str) -> File:
    """Raises ParameterError."""
    try:
        file = files.read(path, None)
    except ParameterError as error:
        raise ParameterError(f"--crontab: {error}") from None
    if file.kind is not Kind.CRONTAB:
        raise ParameterError(f"--crontab: {path!r} is no crontab")
    return file


# Which lines are run


def _lines(file: File) -> tuple[list[_Line], int]:
    """Returns those that call the command, or may do so, and how many others there are."""
    parsed = crontab.read(file)
    lines = [_line(entry) for entry in parsed.entries]
    found = [line for line in lines if line is not None]
    text = file.content.split("\n")
    known = {line.number for line in found}
    for finding in parsed.findings:
        is_lost = finding.consequence == NOTHING_RUNS and finding.line not in known
        if is_lost and COMMAND in text[finding.line - 1]:
            found.append(_Line(finding.line, problem=finding.text))
    return sorted(found, key=lambda line: line.number), lines.count(None)


def _line(entry: Entry) -> _Line | None:
    """Returns None for one that does not call the command."""
    parsed = shell.read(entry)
    number, calls = entry.line, parsed.calls
    problem = next((each.text for each in parsed.findings if each.rule == "syntax"), "")
    if problem:
        return _Line(number, entry, problem=problem) if COMMAND in entry.command.text else None
    scripts = [script for each in parsed.programs if (script := _script(each))]
    texts = {each.entry.file.path: _replaced(each.entry, _in_place_of(each.calls, _NOTHING)) for each in scripts}
    contained = containment.judge(entry, _replaced(entry, _in_place_of(calls, _NOTHING)), _NO_FILE, texts)
    is_doubtful = contained.doubt and (contained.mentions or _may_be_named(entry))
    if not (calls or scripts or contained.calls or is_doubtful):
        return None
    return _Line(number, entry, calls, scripts, _why_not(entry, calls) or contained.doubt)


def _script(program: Program) -> _Script | None:
    """Returns the script that a line starts, if its calls can be replaced in a copy of it: one that asks for its own
    name would miss what is beside it."""
    entry, word = program.entry, program.word
    if not (word.is_certain and os.path.isabs(word.text) and entry.file.content[word.begin : word.end] == word.text):
        return None
    try:
        file = files.read_script(word.text)
    except (OSError, files.Unreadable):
        return None
    if file is None or re.search(r"\$\{?0|BASH_SOURCE", file.content):
        return None
    first = re.match(r"#! *([^\n]*\S)", file.content)
    text = Text.of(file.content, 0, len(file.content))
    inner = replace(entry, file=file, offset=0, scheduler=Scheduler.SCRIPT, command=text, stdin="")
    calls = shell.read(replace(inner, shell=files.shell_of(file.content) or "/bin/sh")).calls
    is_startable = not program.is_direct or files.is_program(word.text)
    shell_words = (first[1] if first else "/bin/sh") if program.is_direct else ""
    return (
        _Script(inner, calls, word, shell_words) if is_startable and calls and not _has_hidden_options(calls) else None
    )


def _may_be_named(entry: Entry) -> bool:
    """Returns whether the command may be named in the line, or in a setting that it uses."""
    text = entry.command.text
    used = (value for name, value in entry.environment.items() if re.search(rf"\$\{{?{re.escape(name)}\b", text))
    return any(is_mentioned(each) or _ALIKE.search(each) for each in (text, *used))


def _why_not(entry: Entry, calls: Sequence[Call]) -> str:
    """Returns why the line cannot be run as it is, or ""."""
    if _has_hidden_options(calls):
        return f"{COMMAND} and its options come from one variable"
    if COMMAND in _replaced(entry, _in_place_of(calls, "")):
        return f"not each {COMMAND} in it could be replaced"
    if not entry.folder:
        return "HOME is not known"
    try:
        is_there = files.is_folder(entry.folder)
    except OSError as error:
        return f"the folder {entry.folder!r}, where it begins, cannot be looked at now: {error.strerror}"
    return "" if is_there else f"there is no folder {entry.folder!r}, where it begins"


def _has_hidden_options(calls: Iterable[Call]) -> bool:
    """Returns whether a call and its options come from one variable, so that it cannot be replaced alone."""
    return any(option.begin < call.script.end for call in calls for option in call.options)


def _in_place_of(calls: Iterable[Call], text: str) -> list[tuple[int, int, str]]:
    """Returns the changes that put a text in the place of each interpreter and script."""
    return [((call.interpreter or call.script).begin, call.script.end, text) for call in calls]


def _replaced(entry: Entry, changes: Iterable[tuple[int, int, str]]) -> str:
    """Returns the command of the entry with these changes, which are at offsets of its file."""
    text, offsets = entry.command.text, entry.command.offsets
    for first, last, new in sorted(changes, reverse=True):
        begin, end = bisect_left(offsets, first), bisect_left(offsets, last)
        text = text[:begin] + new + text[end:]
    return text


# Running one


def _run(line: _Line, own: OwnOptions, folder: Path, inside: Mapping[str, str], waiter: Waiter) -> None:
    """Raises CommandFailed, Interrupted, OSError."""
    entry, report, stdin = line.entry, folder / _REPORT, folder / "stdin"
    said = folder / "stderr"
    assert entry is not None
    command = _command(line, folder, f"/bin/sh {_write_script(folder, own, report)}")
    stdin.write_bytes(os.fsencode(entry.stdin))
    report.write_bytes(b"")
    begin = time.monotonic()
    ended, holder = os.pipe()  # what the line leaves in the background has it open
    try:
        with open(stdin, "rb") as file, open(said, "wb") as stderr:
            process = subprocess.Popen(
                [entry.shell, "-c", command],
                cwd=entry.folder,
                env={**entry.environment, **inside},
                stdin=file,
                stderr=stderr,
                pass_fds=[holder],
                start_new_session=True,
            )
    except OSError as error:
        line.problem = f"{entry.shell} cannot be started: {error.strerror or error}"
        os.close(ended)
        return
    finally:
        os.close(holder)
    try:
        _wait(process, ended, waiter)
    finally:
        os.close(ended)
        line.said = _show(said)
    code = process.wait()
    line.code = code if code >= 0 else 128 - code
    line.seconds = time.monotonic() - begin
    line.reports = [json.loads(each) for each in report.read_text("ascii").splitlines()]


def _command(line: _Line, folder: Path, call: str) -> str:
    """Returns the command of a line as it is run, and writes the scripts that it starts with this in the place of their
    calls. Raises OSError."""
    assert line.entry is not None
    changes = _in_place_of(line.calls, call)
    for number, each in enumerate(line.scripts):
        copy = folder / f"script-{number}"
        copy.write_text(_replaced(each.entry, _in_place_of(each.calls, call)), "utf-8", "surrogateescape")
        changes.append((each.word.begin, each.word.end, f"{each.shell} {copy}".strip()))
    return _replaced(line.entry, changes)


def _show(said: Path) -> str:
    """Shows what a line has written to stderr, and returns the last line of it. Raises OSError."""
    last = ""
    with open(said, encoding="utf-8", errors="replace") as file:
        for text in file:
            last = text.strip() or last
            with suppress(OSError, ValueError):  # it is not read
                sys.stderr.write(text)
    return last


def _write_script(folder: Path, own: OwnOptions, report: Path) -> Path:
    """Writes the script that rehearses a call. Raises CommandFailed, OSError."""
    script = folder / "rehearse"
    if not re.fullmatch(r"[\w/.+-]+", str(script)):  # it may be within quotes of any kind
        raise CommandFailed(
            f"the folder {str(folder)!r} needs a name without blanks and special characters: set TMPDIR"
        )
    rehearsal = [sys.executable, str(_PACKAGE), "rehearse", *own.for_calls(), "--report", str(report), "--"]
    script.write_text(f'exec {shlex.join(rehearsal)} "$@"\n', encoding="utf-8")
    return script


def _wait(process: subprocess.Popen[bytes], ended: int, waiter: Waiter) -> None:
    """Waits for the end of all that the line has started. Raises Interrupted, when all of that is ended."""
    try:
        waiter.wait(ended, READ)
    except Interrupted:
        _signal_group(process, signal.SIGTERM)
        try:
            waiter.wait(ended, READ, _SECONDS_TO_END)
        finally:
            _signal_group(process, signal.SIGKILL)
            process.wait()
        raise


def _signal_group(process: subprocess.Popen[bytes], signum: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signum)


# The table


def _row(line: _Line) -> tuple[str, ...]:
    schedule = line.entry.schedule.text if line.entry and line.entry.schedule else "-"
    if line.problem:
        cells: tuple[str, ...] = ("-", "-", "-", f"not rehearsed: {line.problem}")
    else:
        jobs = ", ".join(report["jobs"] for report in line.reports) or "-"
        results = "; ".join(f"{report['code']}: {report['ends'] or 'refused'}" for report in line.reports)
        said = f": {shorten(line.said, _MAX_SHOWN)}" if line.said else ""
        nothing = f"{COMMAND} was not called, or had a mistake{said}"
        cells = (str(line.code), f"{line.seconds:.1f}", jobs, results or nothing)
    return tuple(map(escape_control_chars, (str(line.number), schedule, *cells)))


def _summary(lines: Sequence[_Line], others: int) -> str:
    run = [line for line in lines if line.code is not None]
    failed = sum(not line.is_good for line in run)
    text = f"{len(run)} rehearsed, {failed} of them not well; {len(lines) - len(run)} not rehearsed"
    return f"{text}; {others} without {COMMAND}\n"
