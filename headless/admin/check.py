"""check: parses what schedules planta_headless.py, and reports what would go wrong at night, with the corrected line.

Nothing is run, and nothing is connected to but with --connect. What the file of another user names is opened with the
rights of that user.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from headless.admin import call_rules, crontab, files, fix, shell, tasks, units, users
from headless.admin.calls import Entry, Language, Parsed, Program, Scheduler, Text, is_mentioned
from headless.admin.files import File, Kind
from headless.admin.findings import Edit, Finding, corrected, finding
from headless.admin.logins import try_logins
from headless.admin.rules import ERROR
from headless.arguments import Parser
from headless.errors import CommandFailed, ParameterError
from headless.options import refuse_in_rehearsal
from headless.terminal import escape_control_chars, print_answer, print_note, report

PROGRAM = "headless check"
_MAX_PROGRAMS = 10_000  # that are looked at: scripts may start each other in a circle
_ARGUMENT = re.compile(r"\$[1-9@*]|\$\{[1-9@*]")  # of a script
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
        found, written = _Check(arguments).run(), ""
        if arguments.fix is not None:
            written = fix.write(arguments.fix, found.findings, found.files)
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


class _Check:
    """Parses the files, then what they start, and checks the calls in all of it."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._connects = arguments.connect
        self._parsed = Parsed()
        self._named = [files.read(path, arguments.user, arguments.user_column) for path in arguments.file]
        self._files = self._with_drop_ins() if self._named else self._files_of_this_machine()
        for file in self._named:
            if file.has_guessed_users:
                print_note(PROGRAM, f"{file.path}: each line is taken to name a user; if not: --user-column no")
        self._by_path = {file.path: file for file in self._files}
        self._started: set[tuple[str, tuple[str, ...]]] = set()  # scripts, by their paths and arguments
        self._scripts: dict[tuple[str, str | None], File | None] = {}  # by path, and who may read them

    def run(self) -> _Report:
        """Raises HeadlessError."""
        services = units.Units(file for file in self._files if file.kind is Kind.UNIT)
        self._parsed.add(services.read())
        for file in self._files:
            self._parsed.add(_parsed(file))
        for entry in self._parsed.entries:
            self._read_commands(entry)
        self._read_scripts()
        naming = {each for file in self._files if is_mentioned(file.content) for each in (file, file.starter) if each}
        self._parsed.findings.extend(services.findings(naming))
        checked = [call_rules.check(call) for call in self._parsed.calls]
        findings = [*self._parsed.findings, *(each for one in checked for each in one.findings)]
        findings += call_rules.same_jobs(checked)
        findings = _of_interest(findings, naming)
        findings += self._not_checked(findings)
        findings += try_logins(checked) if self._connects else []
        places = {(each.call.entry.file, each.call.offset) for each in checked}
        return _Report(_of_interest(findings, naming), len(places), self._files)

    def _with_drop_ins(self) -> list[File]:
        """Returns the files of the command line, and the drop-ins of units that systemd reads with them."""
        return self._named + self._found(partial(files.find_drop_ins, self._named))

    def _files_of_this_machine(self) -> list[File]:
        return self._found(files.find)

    def _found(self, find: Callable[[list[tuple[str, str]]], Iterator[File]]) -> list[File]:
        problems: list[tuple[str, str]] = []
        found = list(find(problems))
        for path, reason in problems:
            self._parsed.findings.append(finding("not-looked-at", File(path, ""), None, reason=reason))
        return found

    def _not_checked(self, findings: list[Finding]) -> Iterator[Finding]:
        """Yields what names the command, and has neither a call nor a finding: silence means understood."""
        known = {call.entry.position for call in self._parsed.calls} | {each.position for each in findings}
        for entry in self._parsed.entries:
            is_judged = entry.language is Language.SHELL or entry.scheduler is Scheduler.SCRIPT  # by what reads it
            if is_mentioned(entry.command.text) and entry.position not in known and not is_judged:
                yield finding("not-checked", entry.file, entry.offset, reason="no call of it was found")
        having_calls = {call.entry.file for call in self._parsed.calls} | {each.file for each in findings}
        started = {file.starter for file in having_calls}
        services = {files.unit_name(each.path) for each in {*having_calls, *started} if each and each.kind is Kind.UNIT}
        has_service = any(files.unit_name(file.path).endswith(".service") for file in self._files)
        for file in self._files:
            is_timer = has_service and files.unit_name(file.path).endswith(".timer")
            if file in having_calls or file in started or is_timer or files.unit_name(file.path) in services:
                continue
            if _code_of(file) and file.kind not in (Kind.CRONTAB, Kind.TASKS):  # which have entries
                yield finding("not-checked", file, None, reason="no call of it was found")
            elif file in self._named:
                yield finding("no-call", file, None)

    def _read_commands(self, entry: Entry) -> None:
        self._parsed.add(shell.read(entry) if entry.language is Language.SHELL else tasks.read_batch(entry))

    def _read_scripts(self) -> None:
        """Parses what the entries start, where that is a script on this machine. The list grows meanwhile."""
        for program in itertools.islice(self._parsed.programs, _MAX_PROGRAMS):
            try:
                self._read_script(program)
            except (OSError, files.Unreadable) as error:
                reason = files.reason_of(error) if isinstance(error, OSError) else f"{program.word.text}: {error}"
                entry = program.entry
                self._parsed.findings.append(finding("not-looked-at", entry.file, entry.offset, reason=reason))

    def _read_script(self, program: Program) -> None:
        """Raises OSError for a temporary fault, Unreadable."""
        if program.runs_parts:
            self._read_parts(program)
            return
        file = self._script_of(program)
        if file is None or not is_mentioned(file.content):
            return
        with users.rights_of(program.entry.user):
            self._parsed.findings.extend(_not_executable(file, program))
        if file.path not in self._by_path:
            self._by_path[file.path] = file.started_by(program.entry.file)
            self._files.append(self._by_path[file.path])
        file = self._by_path[file.path]
        arguments = tuple(word.text for word in program.arguments) if _ARGUMENT.search(file.content) else ()
        is_named = file in self._named and not arguments  # its own entry has been read
        if not is_named and (file.path, arguments) not in self._started:
            self._started.add((file.path, arguments))
            self._read_commands(_script(file, program))

    def _read_parts(self, program: Program) -> None:
        """Parses what run-parts starts: the scripts of a folder."""
        path, reader = program.word.text, _reader_of(program.entry)
        if not program.word.is_certain or not os.path.isabs(path):
            return
        with users.rights_of(reader):
            names = sorted(os.listdir(path)) if files.is_folder(path) else []
        for name in names:
            word = replace(program.word, text=os.path.join(path, name))
            self._read_script(replace(program, word=word, runs_parts=False))
            file = self._by_path.get(word.text)
            self._parsed.findings.extend(_skipped_by_run_parts(file) if file is not None else ())

    def _script_of(self, program: Program) -> File | None:
        """Raises OSError for a temporary fault, Unreadable."""
        word, reader = program.word, _reader_of(program.entry)
        if not word.is_certain or not (os.path.isabs(word.text) or program.folder is not None):
            return None
        path = os.path.normpath(os.path.join(program.folder or "", word.text))
        if (path, reader) not in self._scripts:
            with users.rights_of(reader):
                self._scripts[path, reader] = files.read_script(path)
        return self._scripts[path, reader]


def _parsed(file: File) -> Parsed:
    """Returns what is in one file. Units are parsed together."""
    if file.kind is Kind.TASKS:
        return tasks.read(file)
    if file.kind in (Kind.SCRIPT, Kind.BATCH):
        is_part = os.path.dirname(os.path.abspath(file.path)) in files.PERIODIC
        return Parsed([_script(file, None)], findings=list(_skipped_by_run_parts(file)) if is_part else [])
    if file.kind is Kind.UNIT:
        return Parsed()
    parsed = crontab.read(file)
    cut_off = {each.line for each in parsed.findings if each.rule == "percent"}
    parsed.entries[:] = [crontab.as_meant(each) if each.line in cut_off else each for each in parsed.entries]
    return parsed


def _script(file: File, program: Program | None) -> Entry:
    """Returns a script as an entry, with what is known of the entry that starts it."""
    text = Text.of(file.content, 0, len(file.content))
    language = Language.BATCH if file.kind is Kind.BATCH else Language.SHELL
    shell_of_script = files.shell_of(file.content) or "/bin/sh"
    if program is None:
        return Entry(file, 0, Scheduler.SCRIPT, language, text, user=file.user, shell=shell_of_script)
    starter = program.entry
    folder = starter.folder if program.begins_in == "" else program.begins_in
    return Entry(
        file, 0, Scheduler.SCRIPT, language, text, "", starter.user, folder, starter.environment,
        shell_of_script, starter.schedule, (*starter.wrappers, *program.wrappers), program.arguments, program,
    )  # fmt: skip


def _skipped_by_run_parts(file: File) -> Iterator[Finding]:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", os.path.basename(file.path)):
        yield finding("run-parts", file, None)


def _reader_of(entry: Entry) -> str | None:
    """Returns with whose rights a script is opened: what other users have written leads to nothing that only the
    caller may read."""
    is_trusted = entry.file.is_own or not (entry.user is None or users.is_caller(entry.user))
    return entry.user if is_trusted else users.NO_USER


def _not_executable(file: File, program: Program) -> Iterator[Finding]:
    """Checks a script that is started by its name."""
    if program.is_direct and os.name != "nt" and not files.is_program(file.path):
        entry = program.entry
        offset = None if entry.scheduler is Scheduler.SCRIPT else entry.offset
        command = shlex.join([files.shell_of(file.content) or "/bin/sh", file.path])
        yield finding("not-executable/script", entry.file, offset, path=file.path, command=command)


def _code_of(file: File) -> bool:
    """Returns whether a line of the file that is no comment names the command."""
    lines = file.content.split("\n")
    return any(is_mentioned(each) and not re.match(r"\s*(#|;|::|@?rem\b)", each, re.IGNORECASE) for each in lines)


def _of_interest(findings: Iterable[Finding], naming: Collection[File]) -> list[Finding]:
    """Returns each finding once, in the order of the lines, without those of files that neither name the command nor
    start a script that does. Of units, only findings of interest are made."""
    kept: dict[object, Finding] = {}
    for each in findings:
        is_of_interest = each.file in naming or each.file.kind is Kind.UNIT
        if is_of_interest or each.rule in ("not-looked-at", "no-call"):
            kept.setdefault((each.position, each.rule, each.text, each.edits), each)
    explained = {each.position for each in kept.values() if each.rule in ("user-in-command", "six-fields")}
    found = (each for each in kept.values() if each.rule != "not-checked" or each.position not in explained)
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
