"""What a client is told of its batch: the messages, from the first job's start to the end of the session.

Here is which message follows from which progress, and when there is nothing to report. How far a batch has come is in
batch.py, how output is read in tail.py, and how a message is sent in link.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from headless.protocol.messages import Alive, Ended, Finished, Message, Output, Started
from headless.protocol.vocabulary import FAILED, OK, SKIPPED, STDERR, STDOUT
from headless.server.batch import Batch
from headless.server.home import Home
from headless.server.journal import INTERRUPTED, QUEUED, RUNNING
from headless.server.tail import Tail

_OUTPUT_POLL_SECONDS = 0.05
_STREAMS = (STDOUT, STDERR)


async def report(batch: Batch, home: Home, heartbeat: float) -> AsyncIterator[Message]:
    """The messages about this batch, as it goes on, up to `ended`; `alive` after `heartbeat` seconds without any.

    They are made no faster than the client takes them, so nothing piles up here. Raises OSError if stored output cannot
    be read.
    """
    failed = False
    for number in range(1, len(batch.accepted.jobs) + 1):
        while batch.progress[number - 1].state == QUEUED:
            if not await batch.wait_for_change(heartbeat):
                yield Alive()
        if batch.progress[number - 1].state != SKIPPED:
            yield Started(number)
            async for message in _report_output(batch, number, home, heartbeat):
                yield message
        state, text = batch.progress[number - 1]
        status = FAILED if state == INTERRUPTED else state
        failed = failed or status != OK
        yield Finished(number, status, text)
    yield Ended(FAILED if failed else OK)


async def _report_output(batch: Batch, number: int, home: Home, heartbeat: float) -> AsyncIterator[Message]:
    """The output of one job, until the job has ended and all of it has been read."""
    tails = {stream: Tail(home.output(batch.accepted.session, number, stream)) for stream in _STREAMS}
    idle = 0.0
    while True:
        is_running = batch.progress[number - 1].state == RUNNING
        found = False
        for stream, tail in tails.items():
            text = tail.read(is_complete=not is_running)
            if text:
                found = True
                yield Output(number, stream, text)
        if found:
            idle = 0.0
        elif not is_running:
            return
        elif not await batch.wait_for_change(_OUTPUT_POLL_SECONDS):
            idle += _OUTPUT_POLL_SECONDS
            if idle >= heartbeat:
                idle = 0.0
                yield Alive()
