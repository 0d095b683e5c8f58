"""Writes the corrected files below a new folder, which is closed to others, and says what is changed and what not."""

from __future__ import annotations

import difflib
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from headless.admin.files import File
from headless.admin.rules import Finding, corrected
from headless.errors import ParameterError
from headless.terminal import escape_control_chars

_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


def write(folder: str, findings: Sequence[Finding], files: Iterable[File]) -> str:
    """Writes each file that has something to correct, and returns what people are told of that. Raises ParameterError,
    OSError."""
    told = ""
    with _new_folder(folder) as write_file:
        for file in files:
            own = [each for each in findings if each.file is file]
            content = corrected(file.content, [edit for each in own for edit in each.edits])
            parts = Path(os.path.abspath(file.path)).parts[1:]
            if content != file.content:
                write_file(parts, content.encode(file.encoding, "surrogateescape"), file.mode)
            told += _told(file, content, os.path.join(folder, *parts), own) if own else ""
    return told or f"--fix: there is nothing to correct: {escape_control_chars(folder)} is empty\n"


def _told(file: File, content: str, path: str, findings: Iterable[Finding]) -> str:
    """Returns which lines are changed, what is left, and a diff. It has no lines between: nobody asked for them."""
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
