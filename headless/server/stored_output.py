"""What jobs have printed, as it is read for people: in pieces, or the lines that are new since the last look.

Here is how the files are read. Where they are, home.py says; how a client follows them is in tail.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from headless.dialects.vocabulary import RUNNING, STDERR, STDOUT
from headless.server.home import Home
from headless.server.journal import Entry

STREAMS = (STDOUT, STDERR)
_PIECE_LENGTH = 65536  # characters that are read at a time
_LINE_BYTES = 65536  # the most that is one line


def missing(home: Home, entry: Entry) -> list[Path]:
    """The files of a job that has run and is over that are not there: somebody has compressed or removed them, or its
    process could not be started. Raises OSError."""
    if entry.started is None or entry.state == RUNNING:
        return []
    paths = [home.output(entry.session_id, entry.job, stream) for stream in STREAMS]
    return [path for path in paths if not path.exists()]


def pieces(path: Path) -> Iterator[str]:
    """All of one file: it may be larger than the memory. Raises OSError."""
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            while piece := file.read(_PIECE_LENGTH):
                yield piece
    except FileNotFoundError:
        pass


class NewLines:
    """The output of one session's jobs. A line that has been returned once is not returned again."""

    def __init__(self, home: Home, session_id: str) -> None:
        self._home = home
        self._session_id = session_id
        self._seen: dict[tuple[int, str], _Seen] = {}

    def have_come(self, job: int) -> bool:
        """Whether the job has printed anything since it was looked at. Raises OSError."""
        return any(self._size(job, stream) != self._seen.get((job, stream), _NOTHING).size for stream in STREAMS)

    def of(self, job: int, is_over: bool) -> Iterator[tuple[str, str]]:
        """Stream and text of each. What has no end yet is a line only if the job is over; such a job is asked for once.
        Raises OSError."""
        for stream in STREAMS:
            for line in self._lines(job, stream, is_over):
                yield stream, line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace")

    def _lines(self, job: int, stream: str, is_over: bool) -> Iterator[bytes]:
        position = self._seen.pop((job, stream), _NOTHING).position
        try:
            with open(self._home.output(self._session_id, job, stream), "rb") as file:
                file.seek(position)
                while line := file.readline(_LINE_BYTES):
                    if not (is_over or line.endswith(b"\n") or len(line) == _LINE_BYTES):
                        break
                    position += len(line)
                    yield line
                if not is_over:
                    self._seen[job, stream] = _Seen(position, file.tell())
        except FileNotFoundError:
            pass

    def _size(self, job: int, stream: str) -> int:
        try:
            return self._home.output(self._session_id, job, stream).stat().st_size
        except FileNotFoundError:
            return 0


class _Seen(NamedTuple):
    """Up to where a file has been returned, and how large it was."""

    position: int
    size: int


_NOTHING = _Seen(0, 0)
