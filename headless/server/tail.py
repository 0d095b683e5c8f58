"""The tail of a file with stored output: what has been added since the last read.

Here is how a file of UTF-8 text is read while a job writes it: what a piece of it is, and how far one follower has
come. Who reads when, and that many followers share what is read, is in followed_output.py.
"""

from __future__ import annotations

import codecs
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from headless.dialects.vocabulary import replace_invalid_xml_chars

_READ_BYTES = 65536
_MARK_BYTES = 4 * _READ_BYTES
_MARKED_FILES = 50


class Piece(NamedTuple):
    """A part of a file: whole lines, and what has come of the line behind them. `lines_end` and `end` are where these
    end, in bytes. It `is_full` if there was no room in it for more."""

    lines: str
    rest: str
    lines_end: int
    end: int
    is_full: bool


def read_piece(path: Path, start: int, stop: int, is_last: bool) -> Piece:
    """What a file has between these bytes. A character at the end of which a part is missing is left out, unless the
    piece `is_last`, so that nothing will follow. Raises OSError, but not for a file that is missing."""
    try:
        with open(path, "rb") as file:
            file.seek(start)
            data = file.read(stop - start)
    except FileNotFoundError:  # the session has been pruned
        data = b""
    length = data.rfind(b"\n") + 1
    lines, _ = codecs.utf_8_decode(data[:length], "replace", True)
    is_last = is_last or len(data) < stop - start
    rest, rest_length = codecs.utf_8_decode(data[length:], "replace", is_last)
    return Piece(
        replace_invalid_xml_chars(lines),
        replace_invalid_xml_chars(rest),
        start + length,
        stop if is_last else start + length + rest_length,
        stop - start == _READ_BYTES,
    )


class Tail:
    """How far a follower has come with a file: to this byte, and so many characters behind it are not given out."""

    def __init__(self, position: int = 0, skipped: int = 0) -> None:
        self._position = position
        self._to_skip = skipped
        self._seen = 0  # the size of the file when there was nothing more to read
        self.holds_a_line = False  # its beginning

    def is_due(self, size: int, is_complete: bool) -> bool:
        """Whether there may be something to read, now that the file has this size."""
        return self._position < size and (is_complete or self.holds_a_line or size != self._seen)

    def range(self, size: int, is_complete: bool) -> tuple[int, int, bool]:
        """What `read_piece` has to read next."""
        stop = min(size, self._position + _READ_BYTES)
        return self._position, stop, is_complete and stop == size

    def take(self, piece: Piece, size: int, is_complete: bool) -> str:
        """What is given out of this piece. The beginning of a line waits for the next read, once: a job may write a
        line in several pieces, and whoever reads a log would rather have it in one."""
        may_wait = bool(piece.rest) and not (piece.is_full or (self.holds_a_line and not piece.lines))
        self.holds_a_line = may_wait and not (is_complete and piece.end == size)
        if self.holds_a_line or (piece.is_full and piece.lines):
            text, self._position = piece.lines, piece.lines_end
        else:
            text, self._position = piece.lines + piece.rest, piece.end
        if not piece.is_full:
            self._seen = size
        skipped = min(self._to_skip, len(text))
        self._to_skip -= skipped
        return text[skipped:]


class Marks:
    """Where characters stand in files that grow: how many are before a byte. What was counted once is not counted
    again. One thread uses it."""

    def __init__(self) -> None:
        self._marks: OrderedDict[Path, list[tuple[int, int]]] = OrderedDict()

    def before(self, path: Path, count: float) -> tuple[int, int]:
        """Characters and bytes up to a place that has at most so many characters before it; not many fewer, unless the
        file ends there. Raises OSError, but not for a file that is missing."""
        marks = self._marks.setdefault(path, [(0, 0)])
        self._marks.move_to_end(path)
        if len(self._marks) > _MARKED_FILES:
            self._marks.popitem(last=False)
        known = [mark for mark in marks if mark[0] <= count]
        return known[-1] if len(known) < len(marks) else _count_on(path, marks, count)


def _count_on(path: Path, marks: list[tuple[int, int]], count: float) -> tuple[int, int]:
    """The same behind the last of these marks, to which it adds those that it comes by."""
    characters, position = marks[-1]
    try:
        with open(path, "rb") as file:
            while True:
                file.seek(position)
                data = file.read(_MARK_BYTES)
                text, length = codecs.utf_8_decode(data, "replace", False)
                if not length or characters + len(text) > count:
                    break
                characters, position = characters + len(text), position + length
                if len(data) == _MARK_BYTES:
                    marks.append((characters, position))
    except FileNotFoundError:
        pass
    return characters, position
