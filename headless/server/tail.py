"""The tail of a file with stored output: what has been added since the last read.

Here is how output is read while a job writes it. When it is read, and who is told of it, is in reporter.py.
"""

from __future__ import annotations

import codecs
import os
import sys
from pathlib import Path
from typing import IO

from headless.protocol.text import replace_invalid_xml_chars

_READ_BYTES = 65536


class Tail:
    """Reads a file of UTF-8 text that is growing, piece by piece."""

    def __init__(self, path: Path, skipped: int = 0) -> None:
        """So many characters at the beginning are not given out."""
        self._path = path
        self._to_skip = skipped
        self._position = 0
        self._end = sys.maxsize  # where the job's output ends, whatever a child of it still adds
        self._begun_line = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self, is_complete: bool) -> str:
        """The next piece, of at most twice 65536 bytes; "" if there is nothing for the time being, or, once the output
        `is_complete`, nothing more at all. Raises OSError, but not for a file that is missing."""
        try:
            with open(self._path, "rb") as file:
                if is_complete:
                    self._end = min(self._end, file.seek(0, os.SEEK_END))
                file.seek(self._position)
                text = self._read(file, is_complete)
                while self._to_skip and text:
                    self._to_skip, text = max(0, self._to_skip - len(text)), text[self._to_skip :]
                    text = text or self._read(file, is_complete)
        except FileNotFoundError:  # the process could not be started
            text = ""
        return self._whole_lines(replace_invalid_xml_chars(text), is_complete)

    def skip(self) -> int:
        """How many characters there are now, none of which will be given out. Raises OSError as `read` does."""
        count = 0
        try:
            with open(self._path, "rb") as file:
                file.seek(self._position)
                while text := self._read(file, False):
                    count += len(text)
        except FileNotFoundError:
            pass
        return count

    def _read(self, file: IO[bytes], is_complete: bool) -> str:
        data = file.read(min(_READ_BYTES, self._end - self._position))
        self._position += len(data)
        return self._decoder.decode(data, final=is_complete and len(data) < _READ_BYTES)

    def _whole_lines(self, text: str, is_complete: bool) -> str:
        """What is to be given out. The beginning of a line waits for the next read, once: a job may write a line in
        several pieces, and whoever reads a log would rather have it in one."""
        text, waited = self._begun_line + text, bool(self._begun_line)
        end = text.rfind("\n") + 1
        if is_complete or (waited and not end):
            end = len(text)
        self._begun_line = text[end:]
        return text[:end]
