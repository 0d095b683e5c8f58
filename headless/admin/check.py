"""check: parses what schedules planta_headless.py, and reports what would go wrong at night, with the corrected line.

Nothing is run, and nothing is connected to but with --connect. What the file of another user names is opened with the
rights of that user.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import json
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from headless.admin import call_rules, files
from headless.admin.files import File, Kind
from headless.admin.logins import try_logins
from headless.admin.reading import Reading
from headless.admin.rules import ERROR, Edit, Finding, corrected
from headless.arguments import Parser
from headless.errors import CommandFailed, ParameterError
from headless.options import refuse_in_rehearsal
from headless.terminal import escape_control_chars, print_answer, print_note, report

PROGRAM = "headless check"
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_MAX_EDITS = 20  # of which the corrected lines are shown; --fix writes them all


def main(argv: Sequence[str]) -> int:
    """Returns 0 if nothing was found, 1 if something was, or it could not be done, 2 if the command line must be
    corrected. Raises SystemExit for --help."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.user is not None and not arguments.file:
        parser.error("--as needs a FILE")
    if arguments.connect:
        refuse_in_rehearsal(f"{PROGRAM} --connect")
    try:
        found, written = _checked(arguments), ""
        if arguments.fix is not None:
            written = _write_corrected(arguments.fix, found.findings, found.files)
    except OSError as error:
        kind = CommandFailed if files.is_temporary(error) else ParameterError
        return report(PROGRAM, kind(files.reason_of(error)))
    print_answer(found.as_json() if arguments.json else found.as_text() + written)
    return 1 if found.findings else 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROGRAM,
        description="Reads what schedules planta_headless.py, and reports what would go wrong at night. Nothing is run."
        " The exit status is 0 if nothing was found, 1 if something was, a login that was not tried included, 2 for a"
        " mistake in the command line.",
    )
    parser.add_argument(
        "file",
        nargs="*",
        metavar="FILE",
        help="crontabs, units of systemd, exported tasks (XML), scripts; - is stdin; without any, all of this machine",
    )
    parser.add_argument("--as", dest="user", metavar="USER", help="whose crontab a FILE is (default: its owner)")
    parser.add_argument(
        "--user-column",
        choices=("yes", "no"),
        help="whether the lines of a crontab name a user, as in /etc/cron.d (default: guessed by the words)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--fix", metavar="DIR", help="make this folder, write the corrected files there, and say what is left to do"
    )
    parser.add_argument(
        "--connect",
        action="store_true",
        help="log in at each server, without a job: finds old password files. Only for what you run yourself; for the"
        " rest it shows what to type",
    )
    return parser


def _checked(arguments: argparse.Namespace) -> _Report:
    """Returns what is wrong with the calls in the files, and in what these start. Raises HeadlessError, OSError."""
    reading = Reading(arguments.file, arguments.user, arguments.user_column)
    for file in reading.named:
        if file.has_guessed_users:
            print_note(PROGRAM, f"{file.path}: each line is taken to name a user; if not: --user-column no")
    checked = [call_rules.check(call) for call in reading.parsed.calls]
    findings = [*reading.parsed.findings, *(each for one in checked for each in one.findings)]
    findings += call_rules.same_jobs(checked)
    findings = _of_interest(findings, reading.naming)
    findings += reading.not_understood(findings)
    findings += try_logins(checked) if arguments.connect else []
    places = {(each.call.entry.file, each.call.offset) for each in checked}
    return _Report(_of_interest(findings, reading.naming), len(places), reading.files)


def _of_interest(findings: Iterable[Finding], naming: Collection[File]) -> list[Finding]:
    """Returns each finding once, in the order of the lines, without those of files that neither name the command nor
    start a script that does. Of units, only findings of interest are made."""
    kept: dict[object, Finding] = {}
    for each in findings:
        is_of_interest = each.file in naming or each.file.kind is Kind.UNIT
        if is_of_interest or each.rule in ("not-looked-at", "no-call"):
            kept.setdefault((each.position, each.rule, each.text, each.edits), each)
    explained = {each.position for each in kept.values() if each.rule in ("user-in-command", "six-fields")}
    mended = {(each.position, each.rule, each.text) for each in kept.values() if each.edits}
    found = (
        each
        for each in kept.values()
        if (each.edits or (each.position, each.rule, each.text) not in mended)
        and (each.rule != "not-checked" or each.position not in explained)
    )
    return sorted(found, key=lambda each: (each.file.path, each.line, each.severity is not ERROR, each.rule))


# -- the report --


@dataclass(frozen=True)
class _Report:
    """Holds the findings in the order of their lines, and how many calls there are in these files."""

    findings: list[Finding]
    calls: int
    files: list[File]

    def as_text(self) -> str:
        """Returns a paragraph for each line of a file, and a last line that counts."""
        lines: list[str] = []
        for position, group in itertools.groupby(self.findings, key=lambda each: each.position):
            findings = list(group)
            lines.append(position)
            for each in findings:
                lines += [f"  {each.severity.value}: {each.text} [{each.rule}]", f"    at night: {each.consequence}"]
                lines += [f"    to do: {each.advice}"] if each.advice and not each.edits else []
            lines += [f"  write: {line}" for line in _corrected_lines(findings)]
        errors = sum(each.severity is ERROR for each in self.findings)
        count = f"{_counted(self.calls, 'call')} of planta_headless.py in {_counted(len(self.files), 'file')}"
        warnings = len(self.findings) - errors
        lines.append(f"{count}: {_counted(errors, 'error')}, {_counted(warnings, 'warning')}")
        return "".join(f"{escape_control_chars(line)}\n" for line in lines)

    def as_json(self) -> str:
        """Returns one line with an object for each finding."""
        return "".join(
            json.dumps(
                {
                    "file": each.file.path,
                    "line": each.line,
                    "severity": each.severity.value,
                    "rule": each.rule,
                    "text": each.text,
                    "at_night": each.consequence,
                    "to_do": each.advice or None,
                    "write": "\n".join(_corrected_lines([each])) or None,
                }
            )
            + "\n"
            for each in self.findings
        )


def _corrected_lines(findings: list[Finding]) -> Iterator[str]:
    """Yields the lines of the file that the edits touch, as they should be."""
    edits = [edit for each in findings for edit in each.edits]
    if not edits or len(edits) > _MAX_EDITS:
        return
    content = findings[0].file.content
    begin = content.rfind("\n", 0, min(edit.begin for edit in edits)) + 1
    end = content.find("\n", max(edit.end for edit in edits))
    moved = [Edit(edit.begin - begin, edit.end - begin, edit.text) for edit in edits]
    yield from corrected(content[begin : len(content) if end < 0 else end], moved).rstrip("\n").split("\n")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


# -- the corrected files: below a new folder, which is closed to others --


def _write_corrected(folder: str, findings: Sequence[Finding], files: Iterable[File]) -> str:
    """Writes each file that has something to correct, and returns a report of that. Raises ParameterError, OSError."""
    report = ""
    with _new_folder(folder) as write_file:
        for file in files:
            own = [each for each in findings if each.file is file]
            content = corrected(file.content, [edit for each in own for edit in each.edits])
            parts = Path(os.path.abspath(file.path)).parts[1:]
            if content != file.content:
                write_file(parts, content.encode(file.encoding, "surrogateescape"), file.mode)
            report += _report_of(file, content, os.path.join(folder, *parts), own) if own else ""
    return report or f"--fix: there is nothing to correct: {escape_control_chars(folder)} is empty\n"


def _report_of(file: File, content: str, path: str, findings: Iterable[Finding]) -> str:
    """Returns which lines are changed, what is left, and a diff. The diff has no lines of context."""
    changed = sorted({file.line(edit.begin) for each in findings for edit in each.edits})
    left = [f"line {each.line or '-'} [{each.rule}]" for each in findings if not each.edits]
    done = f"wrote {path}, changed: line {_ranges(changed)}" if changed else f"{file.path} stays as it is"
    lines = [f"--fix: {done}", *([f"  left for a person: {', '.join(left)}"] if left else [])]
    old, new = (text.replace("\r\n", "\n").split("\n") for text in (file.content, content))  # a CR is in each line
    lines += difflib.unified_diff(old, new, file.path, path, n=0, lineterm="")
    return "".join(f"{escape_control_chars(line)}\n" for line in lines)


def _ranges(numbers: Sequence[int]) -> str:
    """Returns sorted numbers as people write them: 1-3, 7."""
    groups = itertools.groupby(enumerate(numbers), key=lambda each: each[1] - each[0])
    ranges = ([number for _, number in group] for _, group in groups)
    return ", ".join(f"{each[0]}-{each[-1]}" if len(each) > 1 else str(each[0]) for each in ranges)


@contextmanager
def _new_folder(path: str) -> Iterator[Callable[[Sequence[str], bytes, int], None]]:
    """Makes a folder, and returns what writes a file below it, by its path, content and mode. A user who may write to
    the folder above can lead nothing of it elsewhere. Raises ParameterError, OSError."""
    try:
        if sys.platform == "win32":
            from headless.windows import create_private_folder

            create_private_folder(path)
            yield partial(_write_on_windows, path)
            return
        os.mkdir(path, 0o700)
    except FileExistsError:
        raise ParameterError(f"--fix: {path!r} is there already: name a new folder") from None
    descriptor = os.open(path, _FOLDER)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise ParameterError(f"--fix: another user has replaced the folder {path!r}: name one elsewhere")
        yield partial(_write_below, descriptor)
    finally:
        os.close(descriptor)


def _write_below(folder: int, path: Sequence[str], content: bytes, mode: int) -> None:
    """Raises OSError."""
    if len(path) > 1:
        with suppress(FileExistsError):
            os.mkdir(path[0], 0o700, dir_fd=folder)
        inner = os.open(path[0], _FOLDER, dir_fd=folder)
        try:
            _write_below(inner, path[1:], content, mode)
        finally:
            os.close(inner)
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(os.open(path[0], flags, mode, dir_fd=folder), "wb") as file:
        os.fchmod(file.fileno(), mode)  # gives back what the umask has taken
        file.write(content)


def _write_on_windows(folder: str, path: Sequence[str], content: bytes, _mode: int) -> None:
    """Raises OSError."""
    target = Path(folder, *path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
