"""What `check` has found, for people, for programs, and as corrected files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from headless.admin.finding import ERROR, Edit, Finding, corrected
from headless.admin.places import File
from headless.outcome import ParameterError
from headless.terminal import escape_control_chars

_MAX_EDITS = 20  # of which the corrected lines are shown


@dataclass(frozen=True)
class Report:
    """The findings in the order of their places, and how many calls there are in these files."""

    findings: list[Finding]
    calls: int
    files: list[File]

    def as_text(self) -> str:
        """A paragraph for each line of a file, and a last line that counts."""
        lines: list[str] = []
        for place, group in groupby(self.findings, key=lambda each: each.place):
            findings = list(group)
            lines.append(f"{place}")
            for each in findings:
                lines += [f"  {each.severity.value}: {each.text} [{each.rule}]", f"    at night: {each.consequence}"]
                if each.advice and not each.edits:
                    lines.append(f"    to do: {each.advice}")
            lines += [f"  write: {line}" for line in self._corrected_lines(findings)]
        errors = sum(each.severity is ERROR for each in self.findings)
        count = f"{_counted(self.calls, 'call')} of planta_headless.py in {_counted(len(self.files), 'file')}"
        warnings = len(self.findings) - errors
        lines.append(f"{count}: {_counted(errors, 'error')}, {_counted(warnings, 'warning')}")
        return "".join(f"{escape_control_chars(line)}\n" for line in lines)

    def as_json(self) -> str:
        """An object a line, one for each finding."""
        return "".join(
            json.dumps(
                {
                    "file": each.place.path,
                    "line": each.place.line,
                    "severity": each.severity.value,
                    "rule": each.rule,
                    "text": each.text,
                    "at_night": each.consequence,
                    "to_do": each.advice or None,
                    "write": "\n".join(self._corrected_lines([each])) or None,
                }
            )
            + "\n"
            for each in self.findings
        )

    def write_corrected(self, folder: str) -> None:
        """Each file that there is something to correct in, below this new folder. Raises ParameterError, OSError."""
        os.makedirs(folder, exist_ok=True)
        if os.listdir(folder):
            raise ParameterError(f"--fix: {folder!r} is not empty: name a new folder")
        for file in self.files:
            edits = [edit for each in self.findings if each.place.path == file.path for edit in each.edits]
            if edits:
                target = Path(folder, *Path(os.path.abspath(file.path)).parts[1:])
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(corrected(file.content, edits).encode(file.encoding, "surrogateescape"))
                shutil.copymode(file.path, target)

    def _corrected_lines(self, findings: list[Finding]) -> Iterator[str]:
        """The lines of the file that the edits touch, as they should be."""
        edits = [edit for each in findings for edit in each.edits]
        if not edits:
            return
        if len(edits) > _MAX_EDITS:  # of each line of a file, say: --fix writes them
            return
        content = next(file.content for file in self.files if file.path == findings[0].place.path)
        begin = content.rfind("\n", 0, min(edit.begin for edit in edits)) + 1
        end = content.find("\n", max(edit.end for edit in edits))
        end = len(content) if end < 0 else end
        moved = [Edit(edit.begin - begin, edit.end - begin, edit.text) for edit in edits]
        yield from corrected(content[begin:end], moved).rstrip("\n").split("\n")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
