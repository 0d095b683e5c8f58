"""What a client is told of its batch: the messages, from the first job's start to the end of the session.

Here is which message follows from which progress, and when there is nothing to report. How far a batch has come is in
batch.py, how output is read in tail.py, and how a message is sent in link.py.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from headless.protocol.messages import Alive, Ended, Finished, Message, Output, Started
from headless.protocol.vocabulary import FAILED, OK, QUEUED, RUNNING, SKIPPED, STDERR, STDOUT, Offset
from headless.server.batch import Batch
from headless.server.home import Home
from headless.server.journal import CANCELLED, INTERRUPTED
from headless.server.tail import Tail
from headless.server.threads import Overloaded, Threads

_OUTPUT_POLL_SECONDS = 0.05
_WANTING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)  # what may be there a moment later
_STATUS = {INTERRUPTED: FAILED, CANCELLED: FAILED}  # of a job, where the protocol has no word for its state


_T = TypeVar("_T")


class Reporter:
    """Reports on the batches of one server. `heartbeat` is the longest silence, in seconds. Output is read in the
    threads."""

    def __init__(self, home: Home, threads: Threads, heartbeat: float) -> None:
        self._home = home
        self._threads = threads
        self._heartbeat = heartbeat

    async def now(self, batch: Batch) -> Offset:
        """Where somebody begins who does not want to hear what has been. Raises OSError."""
        number = batch.first_not_ok
        if number > batch.job_count:
            return Offset(number)
        counts = {stream: await self._call(tail.skip) for stream, tail in self._tails(batch, Offset(number)).items()}
        return Offset(number, counts[STDOUT], counts[STDERR])

    async def report(self, batch: Batch, offset: Offset) -> AsyncIterator[Message]:
        """The messages about this batch, from this offset on, as it goes on, up to `ended`.

        They are made no faster than the client takes them, so nothing piles up here. Raises OSError if stored output
        cannot be read.
        """
        failed = batch.first_not_ok < offset.job
        for number in range(offset.job, batch.job_count + 1):
            while batch.progress(number).state == QUEUED:
                if not await batch.wait_for_change(self._heartbeat):
                    yield Alive()
            if batch.progress(number).has_run:
                yield Started(number)
                async for message in self._report_output(batch, offset if number == offset.job else Offset(number)):
                    yield message
            state, text, has_run = batch.progress(number)
            status = _STATUS.get(state, state) if has_run else SKIPPED
            failed = failed or status != OK
            yield Finished(number, status, text)
        yield Ended(FAILED if failed else OK)

    async def _report_output(self, batch: Batch, offset: Offset) -> AsyncIterator[Message]:
        """The output of one job from there on, until the job has ended and all of it has been read."""
        loop = asyncio.get_running_loop()
        number, tails = offset.job, self._tails(batch, offset)
        told = loop.time()
        while True:
            is_running = batch.progress(number).state == RUNNING
            found, is_all = False, True
            for stream, tail in tails.items():
                text = await self._read(tail, not is_running)
                is_all = is_all and text is not None
                if text:
                    found = True
                    yield Output(number, stream, text)
            if found:
                told = loop.time()
            elif is_all and not is_running:
                return
            elif loop.time() - told >= self._heartbeat:
                told = loop.time()
                yield Alive()
            else:
                await batch.wait_for_change(_OUTPUT_POLL_SECONDS)

    def _tails(self, batch: Batch, offset: Offset) -> dict[str, Tail]:
        """Of both streams of a job, without what comes before the offset."""
        skipped = {STDOUT: offset.stdout, STDERR: offset.stderr}
        return {
            stream: Tail(self._home.output(batch.session, offset.job, stream), skipped[stream]) for stream in skipped
        }

    async def _read(self, tail: Tail, is_complete: bool) -> str | None:
        """What the tail has to give; None if it has to be asked again, because means are wanting. Raises OSError."""
        try:
            return await self._call(tail.read, is_complete)
        except Overloaded:
            return None
        except OSError as error:
            if error.errno in _WANTING:
                return None
            raise

    async def _call(self, function: Callable[..., _T], *arguments: object) -> _T:
        """What the function returns in a thread. Raises Overloaded, OSError. If the disk does not answer, that ends the
        connection, and nothing is said of the job."""
        try:
            return await self._threads.call(function, *arguments, timeout=self._heartbeat)
        except asyncio.TimeoutError:
            raise OSError("the disk with the stored output does not answer") from None
