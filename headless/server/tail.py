"""The tail of a file with stored output: what has been added since the last read.

Here is how output is read while a job writes it. When it is read, and who is told of it, is in reporter.py.
"""

from __future__ import annotations

import codecs
import os
import sys
from pathlib import Path

from headless.protocol.text import replace_invalid_xml_chars

_READ_BYTES = 65536


class Tail:
    """Reads a file of UTF-8 text that is growing, piece by piece."""

    def __init__(self, path: Path) -> None:
        self._path = path
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
                data = file.read(min(_READ_BYTES, self._end - self._position))
        except FileNotFoundError:  # the process could not be started
            data = b""
        self._position += len(data)
        text = self._decoder.decode(data, final=is_complete and len(data) < _READ_BYTES)
        return self._whole_lines(replace_invalid_xml_chars(text), is_complete)

    def _whole_lines(self, text: str, is_complete: bool) -> str:
        """What is to be given out. The beginning of a line waits for the next read, once: a job may write a line in
        several pieces, and whoever reads a log would rather have it in one."""
        text, waited = self._begun_line + text, bool(self._begun_line)
        end = text.rfind("\n") + 1
        if is_complete or (waited and not end):
            end = len(text)
        self._begun_line = text[end:]
        return text[:end]
