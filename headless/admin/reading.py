"""Parses files of schedulers, and the scripts that they start. Nothing is run.

What the file of another user names is opened with the rights of that user.
"""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterator, Sequence

from headless.admin import crontab, files, shell, tasks, units, users
from headless.admin.calls import Entry, Language, Parsed, Program, Scheduler, Text, is_mentioned
from headless.admin.files import File, Kind
from headless.admin.rules import Finding, finding
from headless.options import PROGRAM

_MAX_PROGRAMS = 10_000  # that are looked at: scripts may start each other in a circle


class Reading:
    """Holds the files, those of this machine if no path is given, and what they are parsed into. `user` says whose
    crontab a file is (default: its owner). Raises HeadlessError."""

    def __init__(self, paths: Sequence[str], user: str | None) -> None:
        self.parsed = Parsed()
        self.files = [files.read(path, user) for path in paths] or self._files_of_this_machine()
        self._by_path = {file.path: file for file in self.files}
        self._scripts: dict[tuple[str, str | None], File | None] = {}  # by path, and who may read them
        self.parsed.add(units.read(file for file in self.files if file.kind is Kind.UNIT))
        for file in self.files:
            self.parsed.add(_parsed(file))
        for entry in self.parsed.entries:
            self._read_commands(entry)
        self._read_scripts()

    def not_understood(self, known: set[str]) -> Iterator[Entry]:
        """Yields the entries that name the command, and in which no call was found: what ssh starts, say. `known` are
        the positions of those about which something is known nevertheless."""
        known = known | {call.entry.position for call in self.parsed.calls}
        for entry in self.parsed.entries:
            is_script = entry.scheduler is Scheduler.SCRIPT
            if PROGRAM in entry.command.text and entry.position not in known and not is_script:
                yield entry

    def _files_of_this_machine(self) -> list[File]:
        problems: list[tuple[str, str]] = []
        found = list(files.find(problems))
        for path, reason in problems:
            self.parsed.findings.append(finding("not-looked-at", File(path, ""), None, reason=reason))
        return found

    def _read_commands(self, entry: Entry) -> None:
        self.parsed.add(shell.read(entry) if entry.language is Language.SHELL else tasks.read_batch(entry))

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
        file = self._script_of(program)
        if file is None or not is_mentioned(file.content):
            return
        with users.rights_of(program.entry.user):
            self.parsed.findings.extend(_not_executable(file, program))
        if file.path not in self._by_path:
            file = file.started_by(program.entry.file)
            self._by_path[file.path] = file
            self.files.append(file)
            self._read_commands(_script(file, program))

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
        return Parsed([_script(file, None)])
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
        return Entry(
            file, 0, Scheduler.SCRIPT, language, text, user=file.user, shell=shell_of_script, has_more_variables=True
        )
    starter = program.entry
    return Entry(
        file, 0, Scheduler.SCRIPT, language, text, "", starter.user, starter.folder, starter.environment,
        shell_of_script, starter.schedule, (*starter.wrappers, *program.wrappers), starter.has_more_variables,
    )  # fmt: skip


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
