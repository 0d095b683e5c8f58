"""Another connection after one was lost, or was not to be had: how long it is tried, and how often.

Here are the pauses and the limits. What is asked of the server then is in session.py. Only a call that has lost a
connection imports this, and one with PLANTA_PATIENCE.
"""

from __future__ import annotations

import os

from headless.client.waiting import DeadlinePassed, Waiter
from headless.errors import ConnectionLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from headless.client.console import Console
    from headless.client.verdict import Verdict

    class Session(Protocol):
        """A session that another connection can take up."""

        verdict: Verdict

        def let_go(self, lost: ConnectionLost) -> float:
            """Of a connection that is lost. Returns for how many seconds there must be no other one. Raises `lost` if
            no other one can go on."""

        def begin(self) -> None:
            """Connects, and returns when the server has begun to tell what becomes of the jobs."""

        def follow(self) -> None:
            """Returns when all was told that the caller waits for."""


# All of this in seconds.
_IN_A_ROW = 600.0  # without a server, where no -t ends the call
_ATTEMPT = 30.0  # to connect, log in and be told of the jobs
_FIRST_PAUSE, _PAUSE_MAX = 0.1, 10.0


def go_on(session: Session, lost: ConnectionLost | None, console: Console, waiter: Waiter) -> None:
    """Follows the session over further connections to its end, with all that is still to be told. `lost` is None before
    the first connection.

    Raises DeadlinePassed if there is no connection by the deadline of the call or, if it has none, for ten minutes, and
    what the session raises. ConnectionLost means that no other connection can go on.
    """
    pauses = _Pauses()
    while True:
        told = session.verdict.offset
        with waiter.at_most(None if waiter.has_deadline() else _IN_A_ROW):
            _connect(session, lost, pauses, console, waiter)
        try:
            session.follow()
        except ConnectionLost as error:
            lost = error
        else:
            return
        if session.verdict.offset != told:
            pauses = _Pauses()


def _connect(session: Session, lost: ConnectionLost | None, pauses: _Pauses, console: Console, waiter: Waiter) -> None:
    """Returns with a new connection, on which the server tells of the jobs."""
    while True:
        if lost is not None:
            pause = session.let_go(lost) + pauses.next()
            console.info(f"{lost}; connecting again in {pause:.1f} s")
            waiter.sleep(pause)
        try:
            with waiter.at_most(_ATTEMPT):
                session.begin()
        except ConnectionLost as error:
            lost = error
        except DeadlinePassed:
            waiter.check()  # if that was not the one of this attempt
            lost = ConnectionLost(f"the server has not answered within {_ATTEMPT:.0f} s")
        else:
            return


class _Pauses:
    """They grow, and differ between clients that have lost the same server at the same moment."""

    def __init__(self) -> None:
        self._longest = _FIRST_PAUSE

    def next(self) -> float:
        """In seconds."""
        pause = self._longest * (0.5 + os.urandom(1)[0] / 512)
        self._longest = min(2 * self._longest, _PAUSE_MAX)
        return pause
