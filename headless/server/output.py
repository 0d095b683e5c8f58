"""What jobs print, as it is stored in files of UTF-8 text: read once, or followed while a job writes it.

A file is looked at and read once for all who follow it, in threads that no job needs.
"""

from __future__ import annotations

import asyncio
import codecs
import errno
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from headless.dialects.vocabulary import QUEUED, RUNNING, STDERR, STDOUT, Offset, replace_invalid_xml_chars
from headless.errors import Busy
from headless.server.home import Home
from headless.server.session import Session
from headless.server.threads import Threads

STREAMS = (STDOUT, STDERR)
POLL_SECONDS = 0.05
_WAKES_MAX = 4000  # followers that are woken in a second: the event loop has other things to do
_THREADS, _BACKLOG = 4, 20_000
_READ_BYTES = 65536
_PIECES_MAX = 32  # that are kept, for who comes a moment later
_MARK_BYTES = 4 * _READ_BYTES
_MARKED_FILES = 50
_LINE_BYTES = 65536  # the most that is one line
_SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)  # what may be there a moment later

_T = TypeVar("_T")


# Following


class FollowedOutput:
    """Reads the output of all jobs of one server that are followed. A disk has `timeout` seconds to answer.

    A shortage of descriptors or memory is Busy, which passes. Another OSError ends the connection of a follower, and
    nothing is reported of the job.
    """

    def __init__(self, home: Home, timeout: float) -> None:
        self._home = home
        self._timeout = timeout
        self._readers = Threads("reading stored output", _THREADS, _BACKLOG)
        self._counter = Threads("counting the characters of stored output", 1, _BACKLOG)
        self._marks = Marks()
        self._followed: dict[tuple[str, int], _JobOutput] = {}
        self._pieces: OrderedDict[tuple[Any, ...], asyncio.Future[Piece]] = OrderedDict()
        self._polling: asyncio.Future[None] | None = None

    @contextmanager
    def follow(self, session: Session, offset: Offset) -> Iterator[Follower]:
        """Yields a follower from this offset on. The output is looked at as long as the block runs."""
        key = (session.id, offset.job)
        if key not in self._followed:
            self._followed[key] = _JobOutput(session, offset.job, self._paths(*key))
        output = self._followed[key]
        output.followers += 1
        if self._polling is None or self._polling.done():
            self._polling = asyncio.ensure_future(self._poll())
        try:
            yield Follower(self, output, offset)
        finally:
            output.followers -= 1
            if not output.followers:
                del self._followed[key]

    async def complete(self, output: _JobOutput) -> None:
        """Looks for the last time how much there is. Raises OSError, Busy."""
        if output.completing is None or output.completing.done():
            output.completing = _shared(self._look([output], is_last=True))
        await asyncio.shield(output.completing)

    async def read(self, *piece: Any) -> Piece:
        """Returns what `read_piece` does, for all who want the same piece. Raises OSError, Busy."""
        shared = self._pieces.get(piece)
        if shared is None:
            shared = self._pieces[piece] = _shared(self._call(self._readers, read_piece, *piece))
            if len(self._pieces) > _PIECES_MAX:
                self._pieces.popitem(last=False)
        try:
            return await asyncio.shield(shared)
        except (OSError, Busy):
            self._pieces.pop(piece, None)
            raise

    async def tail(self, path: Path, skipped: int) -> Tail:
        """Returns one that does not give out so many characters. Raises OSError, Busy."""
        if not skipped:
            return Tail()
        characters, position = await self._call(self._counter, self._marks.before, path, skipped)
        return Tail(position, skipped - characters)

    async def count(self, session_id: str, job: int) -> list[int]:
        """Returns how many characters of each stream of this job there are. Raises OSError, Busy."""
        paths = self._paths(session_id, job).values()
        return [(await self._call(self._counter, self._marks.before, path, float("inf")))[0] for path in paths]

    def _paths(self, session_id: str, job: int) -> dict[str, Path]:
        return {stream: self._home.output(session_id, job, stream) for stream in STREAMS}

    async def _poll(self) -> None:
        """Looks at the jobs that run, as long as any are followed: the more follow, the less often."""
        while self._followed:
            outputs = [output for output in self._followed.values() if not output.is_over]
            try:
                await self._look(outputs, is_last=False)
            except Busy:
                pass
            except OSError as error:
                for output in outputs:
                    output.set(error)
            followers = sum(output.followers for output in self._followed.values())
            await asyncio.sleep(max(POLL_SECONDS, followers / _WAKES_MAX))

    async def _look(self, outputs: list[_JobOutput], is_last: bool) -> None:
        """Raises OSError, Busy."""
        found = await self._call(self._readers, _sizes, [output.paths for output in outputs])
        for output, sizes in zip(outputs, found):
            if is_last or not output.is_over:
                output.set(sizes, is_last)

    async def _call(self, threads: Threads, function: Callable[..., _T], *arguments: Any) -> _T:
        """Returns what the function returns in a thread. Raises OSError, Busy."""
        try:
            return await threads.call(function, *arguments, timeout=self._timeout)
        except asyncio.TimeoutError:
            raise OSError("the disk with the stored output does not answer") from None
        except OSError as error:
            if error.errno in _SHORTAGE:
                raise Busy(str(error)) from None
            raise


class _JobOutput:
    """Holds how much one job has printed. `sizes` is how much of each stream there was at the last of so many `looks`,
    in bytes; that is final once it `is_complete`, whatever a child of the job still adds. `error` is why it cannot be
    looked at."""

    def __init__(self, session: Session, job: int, paths: dict[str, Path]) -> None:
        self.session = session
        self.job = job
        self.paths = paths
        self.sizes = dict.fromkeys(paths, 0)
        self.looks = 0
        self.is_complete = False
        self.completing: asyncio.Future[None] | None = None
        self.error: OSError | None = None
        self.followers = 0

    @property
    def is_over(self) -> bool:
        """Returns whether the job is. One that turns out not to have started, after a crash, is queued again."""
        return self.session.state_of(self.job) not in (QUEUED, RUNNING)

    def set(self, found: list[int] | OSError, is_complete: bool = False) -> None:
        """Wakes the followers if something has come, or if their connections have to end."""
        before = self.sizes, self.error
        if isinstance(found, OSError):
            self.error = found
        else:
            self.looks += 1
            self.sizes = dict(zip(self.paths, found))
            self.is_complete = is_complete
        if before != (self.sizes, self.error):
            self.session.wake()


class Follower:
    """Follows the output of one job for one client."""

    def __init__(self, files: FollowedOutput, output: _JobOutput, offset: Offset) -> None:
        self._files = files
        self._output = output
        self._skipped = {STDOUT: offset.stdout, STDERR: offset.stderr}
        self._tails: dict[str, Tail] = {}
        self._held: dict[str, int] = {}  # the streams that hold the beginning of a line, since which look

    async def texts(self) -> AsyncIterator[tuple[str, str]]:
        """Yields stream and text, as it comes, until the job is over and there is nothing more. Raises OSError."""
        output = self._output
        while True:
            changed = output.session.changed  # before anything is looked at, so that no change is missed
            found = False
            for stream in STREAMS:
                text = await self._read(stream)
                if text:
                    found = True
                    yield stream, text
            is_due = output.is_over > output.is_complete or any(self._is_due(stream) for stream in STREAMS)
            if output.is_complete and not is_due:
                return
            if not found:  # the next look may bring more of a line even if nothing has come
                await asyncio.wait({changed}, timeout=POLL_SECONDS if is_due or self._held else None)

    async def _read(self, stream: str) -> str:
        """Returns what comes next, "" if there is nothing for the time being. Raises OSError."""
        output, text = self._output, ""
        if output.error is not None:
            raise output.error
        with suppress(Busy):
            if output.is_over and not output.is_complete:
                await self._files.complete(output)
            if stream not in self._tails:
                self._tails[stream] = await self._files.tail(output.paths[stream], self._skipped[stream])
            tail = self._tails[stream]
            while self._is_due(stream) and not text:
                size, is_complete = output.sizes[stream], output.is_complete
                piece = await self._files.read(output.paths[stream], *tail.range(size, is_complete))
                text = tail.take(piece, size, is_complete)
                self._held.pop(stream, None)
                if tail.holds_a_line:
                    self._held[stream] = output.looks
                    break
        return text

    def _is_due(self, stream: str) -> bool:
        """Returns whether it need not wait for a change to get more."""
        tail, output = self._tails.get(stream), self._output
        if self._held.get(stream) == output.looks and not output.is_complete:
            return False  # the rest of the line may have come since that look
        return tail is None or tail.is_due(output.sizes[stream], output.is_complete)


def _sizes(jobs: list[dict[str, Path]]) -> list[list[int] | OSError]:
    """Returns the sizes of the files of each job, in bytes, or why they are not known. Runs in a thread. Raises OSError
    for a shortage."""
    found: list[list[int] | OSError] = []
    for paths in jobs:
        try:
            found.append([_size(path) for path in paths.values()])
        except OSError as error:
            if error.errno in _SHORTAGE:
                raise
            found.append(error)
    return found


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:  # the process has not been started yet, or could not be
        return 0


def _shared(work: Coroutine[Any, Any, _T]) -> asyncio.Future[_T]:
    """Begins work for several followers. All of them may have left at its end."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


# The tail of a file


class Piece(NamedTuple):
    """Is a part of a file: whole lines, and what has come of the line behind them. `lines_end` and `end` are where
    these end, in bytes. It `is_full` if there was no room in it for more."""

    lines: str
    rest: str
    lines_end: int
    end: int
    is_full: bool


def read_piece(path: Path, start: int, stop: int, is_last: bool) -> Piece:
    """Reads what a file has between these bytes. A character at the end of which a part is missing is left out, unless
    the piece `is_last`, so that nothing will follow. Raises OSError, but not for a file that is missing."""
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
    """Holds how far a follower is with a file: at this byte, and so many characters behind it are not given out."""

    def __init__(self, position: int = 0, skipped: int = 0) -> None:
        self._position = position
        self._to_skip = skipped
        self._seen = 0  # the size of the file when there was nothing more to read
        self.holds_a_line = False  # its beginning

    def is_due(self, size: int, is_complete: bool) -> bool:
        """Returns whether there may be something to read, now that the file has this size."""
        return self._position < size and (is_complete or self.holds_a_line or size != self._seen)

    def range(self, size: int, is_complete: bool) -> tuple[int, int, bool]:
        """Returns what `read_piece` has to read next."""
        stop = min(size, self._position + _READ_BYTES)
        return self._position, stop, is_complete and stop == size

    def take(self, piece: Piece, size: int, is_complete: bool) -> str:
        """Returns what is given out of this piece. The beginning of a line waits for the next read, once: a job may
        write a line in several pieces, and people read it more easily in one."""
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
    """Counts characters in files that grow. What was counted once is not counted again. One thread uses it."""

    def __init__(self) -> None:
        self._marks: OrderedDict[Path, list[tuple[int, int]]] = OrderedDict()

    def before(self, path: Path, count: float) -> tuple[int, int]:
        """Returns characters and bytes up to a point that has at most so many characters before it; not many fewer,
        unless the file ends there. Raises OSError, but not for a file that is missing."""
        marks = self._marks.setdefault(path, [(0, 0)])
        self._marks.move_to_end(path)
        if len(self._marks) > _MARKED_FILES:
            self._marks.popitem(last=False)
        known = [mark for mark in marks if mark[0] <= count]
        characters, position = known[-1]
        if len(known) < len(marks):
            return characters, position
        with suppress(FileNotFoundError), open(path, "rb") as file:
            while True:
                file.seek(position)
                data = file.read(_MARK_BYTES)
                text, length = codecs.utf_8_decode(data, "replace", False)
                if not length or characters + len(text) > count:
                    break
                characters, position = characters + len(text), position + length
                if len(data) == _MARK_BYTES:
                    marks.append((characters, position))
        return characters, position


# Reading what is stored


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
