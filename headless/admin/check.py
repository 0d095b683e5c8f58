"""check: what schedules planta_headless.py is read, and what would go wrong at night is said, with the corrected line.

Nothing is run, and with --connect alone anybody is connected to. What the file of another user names is looked at with
the rights of that user. Here is the command: from its arguments to its exit status.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence

from headless.admin import batch, call_checks, crontab, places, shell, systemd, task_scheduler, users
from headless.admin.check_report import Report
from headless.admin.command_line import is_mentioned
from headless.admin.entry import Entry, Language, Scheduler
from headless.admin.finding import ERROR, WARNING, Finding
from headless.admin.log_ins import log_ins
from headless.admin.places import File, Kind
from headless.admin.reading import Program, Reading
from headless.arguments import Parser
from headless.errors import CommandFailed, ParameterError
from headless.options import PROGRAM as PROGRAM_OF_JOBS
from headless.options import refuse_in_rehearsal
from headless.terminal import print_answer, report

PROGRAM = "headless check"
_MAX_PROGRAMS = 10_000  # that are looked at: scripts may start each other in a circle


def main(argv: Sequence[str]) -> int:
    """0 nothing was found, 1 something was, or it could not be done, 2 the command line must be corrected. Raises
    SystemExit for --help."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.user is not None and not arguments.file:
        parser.error("--as needs a FILE")
    if arguments.connect:
        refuse_in_rehearsal(f"{PROGRAM} --connect")
    try:
        found = _Checks(arguments).run()
        if arguments.fix is not None:
            found.write_corrected(arguments.fix)
    except OSError as error:
        kind = CommandFailed if places.passes(error) else ParameterError
        return report(PROGRAM, kind(places.reason_of(error)))
    print_answer(found.as_json() if arguments.json else found.as_text())
    return 1 if found.findings else 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROGRAM,
        description="Reads what schedules planta_headless.py, and says what would go wrong at night. Nothing is run."
        " The exit status is 0 if nothing was found, 1 if something was, a login that was not tried included, 2 for a"
        " mistake in the command line.",
    )
    parser.add_argument(
        "file",
        nargs="*",
        metavar="FILE",
        help="crontabs, units of systemd, exported tasks (XML), scripts; without any, what is on this machine",
    )
    parser.add_argument("--as", dest="user", metavar="USER", help="whose crontab a FILE is (default: its owner)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--fix", metavar="DIR", help="make this folder, and write the corrected files there")
    parser.add_argument(
        "--connect",
        action="store_true",
        help="log in at each server, without a job: finds old password files. Only for what you run yourself; for the"
        " rest it says what to type",
    )
    return parser


class _Checks:
    """All files, and what is found in them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._connects = arguments.connect
        self._reading = Reading()
        named = [places.read(path, arguments.user) for path in arguments.file]
        self._files = named or list(places.found(self._reading.findings))
        self._by_path = {file.path: file for file in self._files}
        self._scripts: dict[tuple[str, str | None], File | None] = {}  # by path, and who may read them

    def run(self) -> Report:
        """Raises HeadlessError."""
        systemd.read({file.path: file.content for file in self._files if file.kind is Kind.UNIT}, self._reading)
        for file in self._files:
            self._read_file(file)
        for entry in self._reading.entries:
            self._read_entry(entry)
        self._read_scripts()
        checked = [call_checks.check(call) for call in self._reading.calls]
        findings = [*self._reading.findings, *(each for one in checked for each in one.findings)]
        findings += call_checks.same_jobs(checked)
        findings += self._not_checked(findings)
        findings += log_ins(checked, self._by_path) if self._connects else []
        mentioning = {file.path for file in self._files if is_mentioned(file.content)}
        kept = dict.fromkeys(each for each in findings if _is_of_interest(each, mentioning))
        in_order = sorted(
            kept, key=lambda each: (each.place.path, each.place.line, each.severity is not ERROR, each.rule)
        )
        return Report(in_order, len(checked), self._files)

    def _not_checked(self, findings: list[Finding]) -> Iterator[Finding]:
        """Lines that name the command, of which nothing can be said: what ssh starts, say."""
        known = {call.entry.place for call in self._reading.calls} | {each.place for each in findings}
        for entry in self._reading.entries:
            is_script = entry.scheduler is Scheduler.SCRIPT
            if PROGRAM_OF_JOBS in entry.command.text and entry.place not in known and not is_script:
                text = f"{PROGRAM_OF_JOBS} is named here, and no call of it was found"
                advice = "if it calls it, on another machine say, check that line there"
                yield Finding(entry.place, WARNING, "not-checked", text, "nobody knows", advice=advice)

    def _read_file(self, file: File) -> None:
        if file.kind is Kind.CRONTAB:
            entries, findings = crontab.read(file.content, file.path, file.names_users, file.user)
            cut_off = {each.place for each in findings if each.rule == crontab.PERCENT}
            self._reading.entries.extend(
                crontab.as_meant(entry, file.content) if entry.place in cut_off else entry for entry in entries
            )
            self._reading.findings.extend(findings)
        elif file.kind is Kind.TASKS:
            task_scheduler.read(file.content, file.path, self._reading)
        elif file.kind in (Kind.SCRIPT, Kind.BATCH):
            self._reading.entries.append(places.script(file, None))

    def _read_entry(self, entry: Entry) -> None:
        if entry.language is Language.SHELL:
            shell.read(entry, self._reading)
        else:
            batch.read(entry, self._reading)

    def _read_scripts(self) -> None:
        """What the entries start, where that is a script on this machine. The list grows while it is read."""
        for program in itertools.islice(self._reading.programs, _MAX_PROGRAMS):
            try:
                self._read_script(program)
            except (OSError, places.NotReadable) as error:
                reason = places.reason_of(error) if isinstance(error, OSError) else f"{program.word.text}: {error}"
                self._reading.findings.append(places.not_looked_at(program.entry.place, reason))

    def _read_script(self, program: Program) -> None:
        """Raises OSError for what passes."""
        file = self._script_of(program)
        if file is None or not is_mentioned(file.content):
            return
        with users.rights_of(program.entry.user):
            self._reading.findings.extend(places.not_executable(file, program))
        if file.path not in self._by_path:
            file = self._by_path[program.entry.place.path].leading_to(file)
            self._by_path[file.path] = file
            self._files.append(file)
            self._read_entry(places.script(file, program))

    def _script_of(self, program: Program) -> File | None:
        """Raises OSError for what passes."""
        path, reader = places.path_of(program), self._reader_of(program)
        if path is None:
            return None
        if (path, reader) not in self._scripts:
            with users.rights_of(reader):
                self._scripts[path, reader] = places.script_at(path)
        return self._scripts[path, reader]

    def _reader_of(self, program: Program) -> str | None:
        """With whose rights the script is opened: what others have written leads to nothing that only whoever runs this
        may read."""
        entry = program.entry
        is_own = self._by_path[entry.place.path].is_own
        is_trusted = is_own or not (entry.user is None or users.is_caller(entry.user))
        return entry.user if is_trusted else users.ANYBODY


def _is_of_interest(finding: Finding, mentioning: set[str]) -> bool:
    """Nobody wants to know what is wrong with a crontab in which the command is not named."""
    path = finding.place.path
    return path in mentioning or path.endswith(".timer") or finding.rule == places.NOT_LOOKED_AT
