"""What `check` has found, for people, for programs, and as corrected files."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path

from headless.admin.finding import ERROR, Edit, Finding, corrected
from headless.admin.places import File
from headless.errors import ParameterError
from headless.terminal import escape_control_chars

_MAX_EDITS = 20  # of which the corrected lines are shown
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True)
class Report:
    """The findings in the order of their places, and how many calls there are in these files."""

    findings: list[Finding]
    calls: int
    files: list[File]

    @cached_property
    def _contents(self) -> dict[str, str]:
        return {file.path: file.content for file in self.files}

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
        """Each file that there is something to correct in, below this new folder, which is closed to others. Raises
        ParameterError, OSError."""
        edits: dict[str, list[Edit]] = {}
        for each in self.findings:
            edits.setdefault(each.place.path, []).extend(each.edits)
        with _new_folder(folder) as write:
            for file in self.files:
                if edits.get(file.path):
                    content = corrected(file.content, edits[file.path]).encode(file.encoding, "surrogateescape")
                    write(Path(os.path.abspath(file.path)).parts[1:], content, file.mode)

    def _corrected_lines(self, findings: list[Finding]) -> Iterator[str]:
        """The lines of the file that the edits touch, as they should be."""
        edits = [edit for each in findings for edit in each.edits]
        if not edits:
            return
        if len(edits) > _MAX_EDITS:  # of each line of a file, say: --fix writes them
            return
        content = self._contents[findings[0].place.path]
        begin = content.rfind("\n", 0, min(edit.begin for edit in edits)) + 1
        end = content.find("\n", max(edit.end for edit in edits))
        end = len(content) if end < 0 else end
        moved = [Edit(edit.begin - begin, edit.end - begin, edit.text) for edit in edits]
        yield from corrected(content[begin:end], moved).rstrip("\n").split("\n")


@contextmanager
def _new_folder(path: str) -> Iterator[Callable[[Sequence[str], bytes, int], None]]:
    """Makes a folder, and gives what writes a file below it: with its path, content and mode. Whoever may write to the
    folder that it is made in can lead nothing of it elsewhere. Raises ParameterError, OSError."""
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
            raise ParameterError(f"--fix: somebody has put another folder in the place of {path!r}: name one elsewhere")
        yield partial(_write, descriptor)
    finally:
        os.close(descriptor)


def _write(folder: int, path: Sequence[str], content: bytes, mode: int) -> None:
    """Raises OSError."""
    if len(path) > 1:
        with suppress(FileExistsError):
            os.mkdir(path[0], 0o700, dir_fd=folder)
        inner = os.open(path[0], _FOLDER, dir_fd=folder)
        try:
            _write(inner, path[1:], content, mode)
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


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
