"""The heartbeat of a session that waits for its session: a timer, and no task, for thousands may wait.

Here is what happens while nothing comes, and when a message takes too long. How the server is alive while a session
runs is in reporter.py.
"""

from __future__ import annotations

import asyncio

from headless.dialects.own.messages import Alive
from headless.errors import Busy
from headless.server.link import Link


class Heartbeat:
    """Tells the client every `seconds` that the server is alive, as long as the block runs. A message that has begun,
    and is not complete after `patience` seconds, ends the wait for it with Busy."""

    def __init__(self, link: Link, seconds: float, patience: float) -> None:
        self._link = link
        self._seconds = seconds
        self._patience = patience
        self._waited = 0.0  # since the message has begun
        self._is_late = False

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._beat)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        if kind is asyncio.CancelledError and self._is_late:
            raise Busy(f"the message was not complete within {self._patience:g} s") from None

    def _beat(self) -> None:
        self._waited = self._waited + self._seconds if self._link.connection.unread else 0.0
        self._is_late = self._waited >= self._patience
        if self._is_late and self._task is not None:
            self._task.cancel()
            return
        self._link.send_soon(Alive())
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._beat)
