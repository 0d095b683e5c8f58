"""What a server leaves behind when something is over: no thread of its log, and no record of a job."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from headless.server.jobs import Jobs
from headless.server.log_writer import LogWriter
from headless.server.settings import Settings
from headless.server.threads import Threads
from support.process import PATIENCE


def test_a_log_that_is_closed_has_no_thread_any_more(tmp_path):
    writer = LogWriter(str(tmp_path / "log"))
    writer.handle(logging.LogRecord("x", logging.INFO, "", 0, "the last line", (), None))
    writer.close(PATIENCE)
    assert not writer._thread.is_alive()
    assert "the last line" in (tmp_path / "log").read_text()


def test_of_a_job_whose_end_is_known_only_its_output_stays(place):
    nothing: Any = None
    jobs = Jobs(place, nothing, Threads("files", 1, 10), Settings())
    for suffix in ("shim", "stdout", "stderr"):
        path = place.output("s", 1, suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    async def forget():
        await jobs.forget("s", 1)
        await jobs.forget("s", 1)  # a server that has crashed in between does it again

    asyncio.run(forget())
    assert sorted(each.name for each in path.parent.iterdir()) == ["1.stderr", "1.stdout"]
