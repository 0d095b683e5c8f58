"""What the event loop does with an exception that nobody has caught.

Here is the line between the fault of a connection and a bug of the server. What a session does wrong is caught in
session.py, a failed TLS handshake in listener.py: neither comes here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

_REPEAT_SECONDS = 1.0
# What the context of an exception has if it came about at a connection or at the listening socket.
_AT_A_CONNECTION = {"transport", "protocol", "socket"}


class ExceptionHandler:
    """Logs what nobody has caught: a connection's fault in one line, anything else with its traceback.

    Where descriptors run out, asyncio calls it up to a thousand times in a row, once for each connection that may wait
    to be accepted. So the same line about connections is logged once a second at most.
    """

    def __init__(self) -> None:
        self._last_line = ""
        self._last_time = 0.0

    def __call__(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """For `loop.set_exception_handler`."""
        error = context.get("exception")
        message = escape_control_chars(str(context["message"]))
        if isinstance(error, OSError) and _is_of_accept(context.get("future")):
            return  # the listener has it, too
        if isinstance(error, asyncio.CancelledError):
            return  # a connection that came when the loop ended, of which asyncio asks how it went, up to Python 3.11
        # ssl.SSLError is an OSError. Out of a connection's reach it may as well be a file that a bug did not expect.
        if isinstance(error, ConnectionError) or (isinstance(error, OSError) and _AT_A_CONNECTION & context.keys()):
            self._log_once(f"{message}: {escape_control_chars(str(error))}")
        elif error is not None:
            log.error("internal error: %s", message, exc_info=error)
        else:
            log.error("internal error: %s", message)

    def _log_once(self, line: str) -> None:
        now = time.monotonic()
        if line != self._last_line or now - self._last_time >= _REPEAT_SECONDS:
            self._last_line, self._last_time = line, now
            log.warning("%s", line)


def _is_of_accept(task: object) -> bool:
    """Whether it is the task that asyncio makes for each connection that Windows is to accept, and never looks at."""
    return isinstance(task, asyncio.Task) and getattr(task.get_coro(), "__name__", "") == "accept_coro"
