"""check: parses what schedules planta_headless.py, and reports what would go wrong at night, with the corrected line.

Nothing is run, and nothing is connected to but with --connect. What the file of another user names is opened with the
rights of that user.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from headless.admin import call_rules, files, fix
from headless.admin.files import File, Kind
from headless.admin.logins import try_logins
from headless.admin.reading import Reading
from headless.admin.rules import ERROR, Edit, Finding, corrected
from headless.arguments import Parser
from headless.errors import CommandFailed, ParameterError
from headless.options import refuse_in_rehearsal
from headless.terminal import escape_control_chars, print_answer, print_note, report

PROGRAM = "headless check"
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
