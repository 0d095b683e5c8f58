"""What a log leaves behind when it is closed."""

from __future__ import annotations

import logging

from headless.server.log_writer import LogWriter
from support.process import PATIENCE


def test_a_log_that_is_closed_has_no_thread_any_more(tmp_path):
    writer = LogWriter(str(tmp_path / "log"))
    writer.handle(logging.LogRecord("x", logging.INFO, "", 0, "the last line", (), None))
    writer.close(PATIENCE)
    assert not writer._thread.is_alive()
    assert "the last line" in (tmp_path / "log").read_text()
