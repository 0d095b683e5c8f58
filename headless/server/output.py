"""What jobs print, as it is stored in files of UTF-8 text: read once, or followed while a job writes it."""

from __future__ import annotations

import asyncio
import codecs
import errno
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headless.dialects.vocabulary import QUEUED, RUNNING, STDERR, STDOUT, Offset, replace_invalid_xml_chars
from headless.errors import Busy
from headless.server.home import Home
from headless.server.session import Session
from headless.server.threads import Threads

STREAMS = (STDOUT, STDERR)
POLL_SECONDS = 0.05
_LOOKS_PER_SECOND = 1000  # of all followers: the event loop has other things to do
_THREADS, _BACKLOG = 4, 20_000
_READ_BYTES = 65536
_LINE_BYTES = 65536  # the most that is one line
_SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)  # what may be there a moment later


# Following


class FollowedOutput:
    """Reads the output of all jobs of one server that are followed, in threads that no job needs. A disk has `timeout`
    seconds to answer."""

    def __init__(self, home: Home, timeout: float) -> None:
        self._home = home
        self._timeout = timeout
        self._threads = Threads("reading stored output", _THREADS, _BACKLOG)
        self._followers = 0

    @contextmanager
    def follow(self, session: Session, offset: Offset) -> Iterator[AsyncIterator[tuple[str, str]]]:
        """Yields an iterator of stream and text, from this offset on, as it comes, until the job is over and there is
        nothing more. It waits as long as descriptors or memory are short, and raises another OSError."""
        self._followers += 1
        try:
            yield self._texts(session, offset)
        finally:
            self._followers -= 1

    async def count(self, session_id: str, job: int) -> list[int]:
        """Returns how many characters of each stream of this job there are. Raises OSError, Busy."""
        counts = []
        for stream in STREAMS:
            tail, count = Tail(self._home.output(session_id, job, stream)), 0
            while True:
                (text,) = await self._read([tail], is_over=True)
                count += len(text)
                if not tail.has_more:  # what comes from here on is new
                    break
            counts.append(count)
        return counts

    async def _texts(self, session: Session, offset: Offset) -> AsyncIterator[tuple[str, str]]:
        paths = [self._home.output(session.id, offset.job, stream) for stream in STREAMS]
        tails = [Tail(path, skipped) for path, skipped in zip(paths, (offset.stdout, offset.stderr))]
        while True:
            changed = session.changed  # before anything is read, so that no change is missed
            is_over = session.state_of(offset.job) not in (QUEUED, RUNNING)
            with suppress(Busy):
                for stream, text in zip(STREAMS, await self._read(tails, is_over)):
                    if text:
                        yield stream, text
                if any(tail.has_more for tail in tails):
                    continue
                if is_over:
                    return
            await asyncio.wait({changed}, timeout=max(POLL_SECONDS, self._followers / _LOOKS_PER_SECOND))

    async def _read(self, tails: list[Tail], is_over: bool) -> list[str]:
        """Returns what these read next, in a thread. Raises OSError, Busy: then they are where they were."""
        try:
            return await self._threads.call(_read, tails, is_over, timeout=self._timeout)
        except asyncio.TimeoutError:
            raise OSError("the disk with the stored output does not answer") from None
        except OSError as error:
            if error.errno in _SHORTAGE:
                raise Busy(str(error)) from None
            raise


class Tail:
    """Reads a file that grows, without the first `skipped` characters. `has_more` says that there may be more than what
    was taken."""

    def __init__(self, path: Path, skipped: int = 0) -> None:
        self.has_more = False
        self._path = path
        self._position = 0
        self._to_skip = skipped
        self._holds_a_line = False  # its beginning

    def read(self) -> bytes:
        """Returns what comes next in the file, which may be missing. Raises OSError."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._position)
                return file.read(_READ_BYTES)
        except FileNotFoundError:  # the process has not been started yet, or the session has been pruned
            return b""

    def take(self, data: bytes, is_over: bool) -> str:
        """Returns the text of what was read, as far as it is given out now. Nothing is added if the job `is_over`.

        The beginning of a line waits for the next read, once: a job may write a line in several pieces, and people read
        it more easily in one. A character that is not whole waits for its rest.
        """
        self.has_more = len(data) == _READ_BYTES
        is_last = is_over and not self.has_more
        lines_end = data.rfind(b"\n") + 1
        is_all = is_last or (not lines_end and (self._holds_a_line or self.has_more))
        text, length = codecs.utf_8_decode(data if is_all else data[:lines_end], "replace", is_last)
        self._holds_a_line = not is_all and lines_end < len(data) and not self.has_more
        self._position += length
        skipped = min(self._to_skip, len(text))
        self._to_skip -= skipped
        return replace_invalid_xml_chars(text[skipped:])


def _read(tails: list[Tail], is_over: bool) -> list[str]:
    """Runs in a thread. Raises OSError, before anything is taken."""
    data = [tail.read() for tail in tails]
    return [tail.take(each, is_over) for tail, each in zip(tails, data)]


# Reading at once


def pieces(path: Path) -> Iterator[str]:
    """Yields all of one file: it may be larger than the memory. Raises OSError."""
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            while piece := file.read(_READ_BYTES):
                yield piece
    except FileNotFoundError:
        pass


class NewLines:
    """Reads the output of one session's jobs. A line that has been returned once is not returned again."""

    def __init__(self, home: Home, session_id: str) -> None:
        self._home = home
        self._session_id = session_id
        self._seen: dict[tuple[int, str], tuple[int, int]] = {}  # up to where, and how large the file was then

    def have_come(self, job: int) -> bool:
        """Returns whether the job has printed anything since it was looked at. Raises OSError."""
        paths = {stream: self._home.output(self._session_id, job, stream) for stream in STREAMS}
        return any(_size(path) != self._seen.get((job, stream), (0, 0))[1] for stream, path in paths.items())

    def of(self, job: int, is_over: bool) -> Iterator[tuple[str, str]]:
        """Yields stream and text of each. What has no end yet is a line only if the job is over; such a job is asked
        for once. Raises OSError."""
        for stream in STREAMS:
            for line in self._lines(job, stream, is_over):
                yield stream, line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace")

    def _lines(self, job: int, stream: str, is_over: bool) -> Iterator[bytes]:
        position, _ = self._seen.pop((job, stream), (0, 0))
        try:
            with open(self._home.output(self._session_id, job, stream), "rb") as file:
                file.seek(position)
                while line := file.readline(_LINE_BYTES):
                    if not (is_over or line.endswith(b"\n") or len(line) == _LINE_BYTES):
                        break
                    position += len(line)
                    yield line
                if not is_over:
                    self._seen[job, stream] = position, file.tell()
        except FileNotFoundError:
            pass


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
