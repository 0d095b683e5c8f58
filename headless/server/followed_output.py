"""The output of jobs, for all who follow it: what many want is looked at and read once.

Here is when files are looked at, in which threads they are read, and which reads are shared. How a piece is read is in
tail.py, what a follower is told of it in reporter.py.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from headless.dialects.vocabulary import RUNNING, STDERR, STDOUT, Offset
from headless.errors import Busy
from headless.server.home import Home
from headless.server.session import Session
from headless.server.tail import Marks, Piece, Tail, read_piece
from headless.server.threads import Threads

STREAMS = (STDOUT, STDERR)
POLL_SECONDS = 0.05
_WAKES_MAX = 4000  # followers that are woken in a second: the event loop has other things to do
_THREADS, _BACKLOG = 4, 20_000
_PIECES_MAX = 32  # that are kept, for who comes a moment later
_WANTING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)  # what may be there a moment later

_T = TypeVar("_T")


class _JobOutput:
    """What one job prints. `sizes` is how much of each stream there was at the last of so many `looks`, in bytes; that
    is final once it `is_complete`, whatever a child of the job still adds."""

    def __init__(self, session: Session, number: int, paths: dict[str, Path]) -> None:
        self._session = session
        self._number = number
        self.paths = paths
        self.sizes = dict.fromkeys(paths, 0)
        self.looks = 0
        self.is_complete = False
        self.completing: asyncio.Future[None] | None = None
        self.error: OSError | None = None
        self.followers = 0

    @property
    def is_over(self) -> bool:
        """Whether the job is."""
        return self._session.progress(self._number).state != RUNNING

    def set_sizes(self, sizes: list[int]) -> None:
        """Wakes the followers if something has come."""
        self.looks += 1
        found = dict(zip(self.paths, sizes))
        if found != self.sizes:
            self.sizes = found
            self._session.wake()

    def fail(self, error: OSError) -> None:
        """It cannot be looked at, which ends the connections of the followers."""
        self.error = error
        self._session.wake()


class Follower:
    """Somebody who follows the output of one job."""

    def __init__(self, files: FollowedOutput, output: _JobOutput, offset: Offset) -> None:
        self._files = files
        self._output = output
        self._skipped = {STDOUT: offset.stdout, STDERR: offset.stderr}
        self._tails: dict[str, Tail] = {}
        self._held: dict[str, int] = {}  # the streams that hold the beginning of a line, since which look

    @property
    def is_due(self) -> bool:
        """Whether it need not wait for a change to get more."""
        output = self._output
        return output.is_over > output.is_complete or any(self._is_due(stream) for stream in STREAMS)

    @property
    def holds_a_line(self) -> bool:
        """Whether the next look may bring more even if nothing has come."""
        return bool(self._held)

    @property
    def is_at_end(self) -> bool:
        """Whether the job is over, and there is nothing more."""
        return self._output.is_complete and not self.is_due

    async def read(self, stream: str) -> str:
        """What comes next, "" if there is nothing for the time being, or means are wanting. Raises OSError."""
        output = self._output
        if output.error is not None:
            raise output.error
        try:
            if output.is_over and not output.is_complete:
                await self._files.complete(output)
            if stream not in self._tails:
                self._tails[stream] = await self._files.tail(output.paths[stream], self._skipped[stream])
            return await self._read(stream, self._tails[stream])
        except Busy:
            return ""

    async def _read(self, stream: str, tail: Tail) -> str:
        text, output = "", self._output
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
        tail, output = self._tails.get(stream), self._output
        if self._held.get(stream) == output.looks and not output.is_complete:
            return False  # the rest of the line may have come since that look
        return tail is None or tail.is_due(output.sizes[stream], output.is_complete)


class FollowedOutput:
    """The output of all jobs of one server that are followed. A disk has `timeout` seconds to answer."""

    def __init__(self, home: Home, timeout: float) -> None:
        self._home = home
        self._timeout = timeout
        self._readers = Threads("reading stored output", _THREADS, _BACKLOG)
        self._counter = Threads("counting the characters of stored output", 1, _BACKLOG)
        self._marks = Marks()
        self._followed: dict[tuple[str, int], _JobOutput] = {}
        self._pieces: OrderedDict[tuple[Path, int, int, bool], asyncio.Future[Piece]] = OrderedDict()
        self._polling: asyncio.Future[None] | None = None

    @contextmanager
    def follow(self, session: Session, offset: Offset) -> Iterator[Follower]:
        """A follower from this place on. The output is looked at as long as the block runs."""
        key = (session.session_id, offset.job)
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
            output.completing = _shared(self._complete(output))
        await asyncio.shield(output.completing)

    async def read(self, *piece: Any) -> Piece:
        """What `read_piece` returns. Raises OSError, Busy."""
        reading = self._pieces.get(piece)
        if reading is None:
            reading = self._pieces[piece] = _shared(self._call(self._readers, read_piece, *piece))
            if len(self._pieces) > _PIECES_MAX:
                self._pieces.popitem(last=False)
        try:
            return await asyncio.shield(reading)
        except (OSError, Busy):
            self._pieces.pop(piece, None)
            raise

    async def tail(self, path: Path, skipped: int) -> Tail:
        """One that does not give out so many characters. Raises OSError, Busy."""
        if not skipped:
            return Tail()
        characters, position = await self._call(self._counter, self._marks.before, path, skipped)
        return Tail(position, skipped - characters)

    async def count(self, session_id: str, number: int) -> list[int]:
        """How many characters of each stream of this job there are. Raises OSError, Busy."""
        paths = self._paths(session_id, number).values()
        return [(await self._call(self._counter, self._marks.before, path, float("inf")))[0] for path in paths]

    def _paths(self, session_id: str, number: int) -> dict[str, Path]:
        return {stream: self._home.output(session_id, number, stream) for stream in STREAMS}

    async def _complete(self, output: _JobOutput) -> None:
        (sizes,) = await self._call(self._readers, _sizes, [output.paths])
        if isinstance(sizes, OSError):
            raise sizes
        output.set_sizes(sizes)
        output.is_complete = True

    async def _poll(self) -> None:
        """Looks at the jobs that run, as long as any are followed: the more follow, the less often."""
        while self._followed:
            outputs = [output for output in self._followed.values() if not output.is_over]
            with suppress(Busy):
                for output, sizes in zip(outputs, await self._look(outputs)):
                    if isinstance(sizes, OSError):
                        output.fail(sizes)
                    elif not output.is_over:  # whose last look is another one
                        output.set_sizes(sizes)
            followers = sum(output.followers for output in self._followed.values())
            await asyncio.sleep(max(POLL_SECONDS, followers / _WAKES_MAX))

    async def _look(self, outputs: list[_JobOutput]) -> list[list[int] | OSError]:
        """Raises Busy."""
        try:
            return await self._call(self._readers, _sizes, [output.paths for output in outputs])
        except OSError as error:
            return [error for _ in outputs]

    async def _call(self, threads: Threads, function: Callable[..., _T], *arguments: Any) -> _T:
        """What the function returns in a thread. Raises OSError, Busy if means are wanting. A disk that does not
        answer ends the connection, and nothing is said of the job."""
        try:
            return await threads.call(function, *arguments, timeout=self._timeout)
        except asyncio.TimeoutError:
            raise OSError("the disk with the stored output does not answer") from None
        except OSError as error:
            if error.errno in _WANTING:
                raise Busy(str(error)) from None
            raise


def _sizes(jobs: list[dict[str, Path]]) -> list[list[int] | OSError]:
    """Of the files of each job, in bytes, or why that cannot be known. Runs in a thread."""
    return [_sizes_of(paths) for paths in jobs]


def _sizes_of(paths: dict[str, Path]) -> list[int] | OSError:
    """Raises OSError if means are wanting."""
    try:
        return [_size(path) for path in paths.values()]
    except OSError as error:
        if error.errno in _WANTING:
            raise
        return error


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:  # the process has not been started yet, or could not be
        return 0


def _shared(work: Coroutine[Any, Any, _T]) -> asyncio.Future[_T]:
    """Work for several, none of whom need be there at its end."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
