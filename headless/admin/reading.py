"""Parses files of schedulers, and the scripts that they start. Nothing is run.

What the file of another user names is opened with the rights of that user.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from headless.admin import batch, crontab, files, shell, tasks, units, users
from headless.admin.calls import Entry, Language, Parsed, Program, Scheduler, Text, is_mentioned
from headless.admin.files import File, Kind
from headless.admin.rules import Finding, finding

_MAX_PROGRAMS = 10_000  # that are looked at: scripts may start each other in a circle
_ARGUMENT = re.compile(r"\$[1-9@*]|\$\{[1-9@*]")  # of a script


class Reading:
    """Holds the files, those of this machine if no path is given, and what they are parsed into. `user` says whose
    crontab a file is (default: its owner), `user_column` (yes, no) whether its lines name a user (default:
    a guess). Raises HeadlessError, OSError."""

    def __init__(self, paths: Sequence[str], user: str | None, user_column: str | None = None) -> None:
        self.parsed = Parsed()
        self.named = [files.read(path, user, user_column) for path in paths]
        self.files = self._with_drop_ins() if self.named else self._files_of_this_machine()
        self._by_path = {file.path: file for file in self.files}
        self._started: set[tuple[str, str, tuple[str, ...]]] = set()  # scripts: path, shell, arguments
        self._scripts: dict[tuple[str, str | None], File | None] = {}  # by path, and who may read them
        services = units.Units(file for file in self.files if file.kind is Kind.UNIT)
        self.parsed.add(services.read())
        for file in self.files:
            self.parsed.add(_parsed(file))
        for entry in self.parsed.entries:
            self._read_commands(entry)
        self._read_scripts()
        # The files that name the command, or start a script that does.
        naming = [file for file in self.files if is_mentioned(file.content)]
        self.naming = {*naming, *(file.starter for file in naming if file.starter)}
        self.parsed.findings.extend(services.findings(self.naming))

    def _with_drop_ins(self) -> list[File]:
        """Returns the files of the command line, and the drop-ins of units that systemd reads with them."""
        return self.named + self._found(partial(files.find_drop_ins, self.named))

    def _files_of_this_machine(self) -> list[File]:
        return self._found(files.find)

    def _found(self, find: Callable[[list[tuple[str, str]]], Iterator[File]]) -> list[File]:
        problems: list[tuple[str, str]] = []
        found = list(find(problems))
        for path, reason in problems:
            self.parsed.findings.append(finding("not-looked-at", File(path, ""), None, reason=reason))
        return found

    def not_understood(self, findings: list[Finding]) -> Iterator[Finding]:
        """Yields what names the command, and has neither a call nor one of these findings: silence means understood."""
        known = {call.entry.position for call in self.parsed.calls} | {each.position for each in findings}
        for entry in self.parsed.entries:
            is_judged = entry.language is Language.SHELL or entry.scheduler is Scheduler.SCRIPT  # by what reads it
            if is_mentioned(entry.command.text) and entry.position not in known and not is_judged:
                yield finding("not-checked", entry.file, entry.offset, reason="no call of it was found")
        having_calls = {call.entry.file for call in self.parsed.calls} | {each.file for each in findings}
        started = {file.starter for file in having_calls}
        services = {files.unit_name(each.path) for each in {*having_calls, *started} if each and each.kind is Kind.UNIT}
        has_service = any(files.unit_name(file.path).endswith(".service") for file in self.files)
        for file in self.files:
            is_timer = has_service and files.unit_name(file.path).endswith(".timer")
            if file in having_calls or file in started or is_timer or files.unit_name(file.path) in services:
                continue
            if _code_of(file) and file.kind not in (Kind.CRONTAB, Kind.TASKS):  # which have entries
                yield finding("not-checked", file, None, reason="no call of it was found")
            elif file in self.named:
                yield finding("no-call", file, None)

    def _read_commands(self, entry: Entry) -> None:
        self.parsed.add(shell.read(entry) if entry.language is Language.SHELL else batch.read(entry))

    def _read_scripts(self) -> None:
        """Parses what the entries start, where that is a script on this machine. The list grows meanwhile."""
        for program in itertools.islice(self.parsed.programs, _MAX_PROGRAMS):
            try:
                self._read_script(program)
            except (OSError, files.Unreadable) as error:
                reason = files.reason_of(error) if isinstance(error, OSError) else f"{program.word.text}: {error}"
                entry = program.entry
                self.parsed.findings.append(finding("not-looked-at", entry.file, entry.offset, reason=reason))

    def _read_script(self, program: Program) -> None:
        """Raises OSError for a temporary fault, Unreadable."""
        if program.runs_parts:
            self._read_parts(program)
            return
        file = self._script_of(program)
        if file is None or not is_mentioned(file.content):
            return
        with users.rights_of(program.entry.user):
            self.parsed.findings.extend(_not_executable(file, program))
        if file.path not in self._by_path:
            self._by_path[file.path] = file.started_by(program.entry.file)
            self.files.append(self._by_path[file.path])
        file = self._by_path[file.path]
        arguments = tuple(word.text for word in program.arguments) if _ARGUMENT.search(file.content) else ()
        is_named = file in self.named and not arguments  # its own entry has been read
        if not is_named and (file.path, program.shell, arguments) not in self._started:
            self._started.add((file.path, program.shell, arguments))
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
            self.parsed.findings.extend(_skipped_by_run_parts(file) if file is not None else ())

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
    shell_of_script = (program.shell if program else "") or files.shell_of(file.content) or "/bin/sh"
    if program is None:
        return Entry(
            file, 0, Scheduler.SCRIPT, language, text, user=file.user, shell=shell_of_script, has_more_variables=True
        )
    starter = program.entry
    folder = starter.folder if program.begins_in == "" else program.begins_in
    return Entry(
        file, 0, Scheduler.SCRIPT, language, text, "", starter.user, folder, starter.environment,
        shell_of_script, starter.schedule, (*starter.wrappers, *program.wrappers), program.arguments, program,
        starter.has_more_variables,
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
