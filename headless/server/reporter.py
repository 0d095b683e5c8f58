"""What a client is told of its batch: the messages, from the first job's start to the end of the session.

Here is which message follows from which progress, and when there is nothing to report. How far a batch has come is in
batch.py, how output is read in tail.py, and how a message is sent in link.py.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator

from headless.protocol.messages import Alive, Ended, Finished, Message, Output, Started
from headless.protocol.vocabulary import FAILED, OK, SKIPPED, STDERR, STDOUT
from headless.server.batch import Batch
from headless.server.home import Home
from headless.server.journal import CANCELLED, INTERRUPTED, QUEUED, RUNNING
from headless.server.tail import Tail
from headless.server.threads import Overloaded, Threads

_OUTPUT_POLL_SECONDS = 0.05
_WANTING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)  # what may be there a moment later
_STREAMS = (STDOUT, STDERR)
_STATUS = {INTERRUPTED: FAILED, CANCELLED: FAILED}  # of a job, where the protocol has no word for its state


class Reporter:
    """Reports on the batches of one server. `heartbeat` is the longest silence, in seconds. Output is read in the
    threads."""

    def __init__(self, home: Home, threads: Threads, heartbeat: float) -> None:
        self._home = home
        self._threads = threads
        self._heartbeat = heartbeat

    async def report(self, batch: Batch) -> AsyncIterator[Message]:
        """The messages about this batch, as it goes on, up to `ended`.

        They are made no faster than the client takes them, so nothing piles up here. Raises OSError if stored output
        cannot be read.
        """
        failed = False
        for number in range(1, batch.job_count + 1):
            while batch.progress[number - 1].state == QUEUED:
                if not await batch.wait_for_change(self._heartbeat):
                    yield Alive()
            if batch.progress[number - 1].state != SKIPPED:
                yield Started(number)
                async for message in self._report_output(batch, number):
                    yield message
            state, text = batch.progress[number - 1]
            status = _STATUS.get(state, state)
            failed = failed or status != OK
            yield Finished(number, status, text)
        yield Ended(FAILED if failed else OK)

    async def _report_output(self, batch: Batch, number: int) -> AsyncIterator[Message]:
        """The output of one job, until the job has ended and all of it has been read."""
        loop = asyncio.get_running_loop()
        tails = {stream: Tail(self._home.output(batch.session, number, stream)) for stream in _STREAMS}
        told = loop.time()
        while True:
            is_running = batch.progress[number - 1].state == RUNNING
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

    async def _read(self, tail: Tail, is_complete: bool) -> str | None:
        """What the tail has to give; None if it has to be asked again, because means are wanting. Raises OSError, too,
        if the disk does not answer: that ends the connection, and nothing is said of the job."""
        try:
            return await self._threads.call(tail.read, is_complete, timeout=self._heartbeat)
        except asyncio.TimeoutError:
            raise OSError("the disk with the stored output does not answer") from None
        except Overloaded:
            return None
        except OSError as error:
            if error.errno in _WANTING:
                return None
            raise
