"""What a client is told of its session: the messages, from the first job's start to the end of the session.

Here is which message follows from which progress, and when there is nothing to report. How far a session has come is in
session.py, how output is read in followed_output.py, and how a message is sent in link.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from headless.dialects.base import Ended, JobFinished, JobStarted, Output
from headless.dialects.own.messages import Alive, Message
from headless.dialects.vocabulary import FAILED, OK, QUEUED, SKIPPED, Offset
from headless.server.followed_output import POLL_SECONDS, STREAMS, FollowedOutput
from headless.server.home import Home
from headless.server.journal import CANCELLED, INTERRUPTED
from headless.server.session import Session

_STATUS = {INTERRUPTED: FAILED, CANCELLED: FAILED}  # of a job, where the protocol has no word for its state


class Reporter:
    """Reports on the sessions of one server. `heartbeat` is the longest silence, in seconds."""

    def __init__(self, home: Home, heartbeat: float) -> None:
        self._output = FollowedOutput(home, heartbeat)
        self._heartbeat = heartbeat

    async def now(self, session: Session) -> Offset:
        """Where somebody begins who does not want to hear what has been. Raises OSError, Busy."""
        number = session.first_not_ok
        if number > session.job_count:
            return Offset(number)
        return Offset(number, *await self._output.count(session.session_id, number))

    async def report(self, session: Session, offset: Offset) -> AsyncIterator[Message]:
        """The messages about this session, from this offset on, as it goes on, up to `ended`.

        They are made no faster than the client takes them, so nothing piles up here. Raises OSError if stored output
        cannot be read.
        """
        failed = session.first_not_ok < offset.job
        for number in range(offset.job, session.job_count + 1):
            while session.progress(number).state == QUEUED:
                if not await session.wait_for_change(self._heartbeat):
                    yield Alive()
            if session.progress(number).has_run:
                yield JobStarted(number)
                async for message in self._report_output(session, offset if number == offset.job else Offset(number)):
                    yield message
            state, text, has_run = session.progress(number)
            status = _STATUS.get(state, state) if has_run else SKIPPED
            failed = failed or status != OK
            yield JobFinished(number, status, text)
        yield Ended(FAILED if failed else OK)

    async def _report_output(self, session: Session, offset: Offset) -> AsyncIterator[Message]:
        """The output of one job from there on, until the job has ended and all of it has been read."""
        loop = asyncio.get_running_loop()
        told = loop.time()
        with self._output.follow(session, offset) as follower:
            while not follower.is_at_end:
                changed = session.changed  # before anything is looked at, so that no change is missed
                found = False
                for stream in STREAMS:
                    text = await follower.read(stream)
                    if text:
                        found = True
                        yield Output(offset.job, stream, text)
                silence = loop.time() - told
                if found:
                    told = loop.time()
                elif silence >= self._heartbeat:
                    told = loop.time()
                    yield Alive()
                elif not follower.is_at_end:
                    is_soon = follower.is_due or follower.holds_a_line
                    pause = POLL_SECONDS if is_soon else self._heartbeat - silence
                    await asyncio.wait({changed}, timeout=pause)
