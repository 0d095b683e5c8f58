"""Lets a client and a server talk in memory, with a clock of their own, and notes what is said as a relay sees it.

Each side is a generator. It yields bytes to send them, `Receive` to get some, `Sleep` to wait. EOFError is raised in it
when the other side has closed. A client yields `Again` to go on with another connection.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, Optional, Union

from headless.protocol_tools.recordings import CLIENT, SERVER, Piece


class Sleep(NamedTuple):
    seconds: float


class Receive(NamedTuple):
    """Gets b"" when so many seconds are over."""

    seconds: Optional[float] = None


class Again(NamedTuple):
    pass


Step = Union[bytes, Sleep, Receive, Again]
Side = Generator[Step, bytes, Any]


class _End:
    """One side of a connection."""

    def __init__(self, name: str, side: Side) -> None:
        self.name, self.side = name, side
        self.received = bytearray()
        self.step: Step | None = None
        self.until: float | None = None
        self.result: Any = None
        self.go_on(lambda: next(side), 0.0)

    def go_on(self, how: Callable[[], Step], now: float) -> None:
        try:
            self.step = how()
            self.until = now + self.step.seconds if self._has_end() else None  # type: ignore[union-attr,operator]
        except StopIteration as done:
            self.step, self.until, self.result = None, None, done.value
        except EOFError:
            self.step, self.until = None, None

    def _has_end(self) -> bool:
        return isinstance(self.step, (Sleep, Receive)) and self.step.seconds is not None


class Talk:
    """One call: its connections, as lists of pieces, and what the client has returned."""

    def __init__(self, client: Side, serve: Callable[[], Side], seed: int, killed_at: float | None = None) -> None:
        self._random = random.Random(seed)
        self._killed_at = killed_at
        self.connections: list[list[Piece]] = []
        end = _End(CLIENT, client)
        while True:
            self.connections.append([])
            self._converse(end, _End(SERVER, serve()))
            if not isinstance(end.step, Again):
                break
            end.received.clear()
            end.go_on(lambda: end.side.send(b""), 0.0)
        self.status = end.result

    def _converse(self, client: _End, server: _End) -> None:
        now = 0.0
        is_open = True
        while client.step is not None and not isinstance(client.step, Again):
            moved = False
            for end, other in ((client, server), (server, client)):
                if self._move(end, other, now):
                    moved = True
                    now += 0.001
            if self._killed_at is not None and now >= self._killed_at:
                server.step = None
            if is_open and server.step is None:
                self.connections[-1].append(Piece(now, SERVER, b""))
                is_open = False
            if not moved:
                times = [end.until for end in (client, server) if end.until is not None]
                if self._killed_at is not None and server.step is not None:
                    times.append(self._killed_at)
                if not times and client.step is not None and server.step is not None:
                    raise AssertionError("both sides wait for ever")
                now = max(now, min(times, default=now))
        self.connections[-1].append(Piece(now, CLIENT, b""))
        while server.step is not None and self._move(server, client, now, is_over=True):
            pass

    def _move(self, end: _End, other: _End, now: float, is_over: bool = False) -> bool:
        """Does what the side waits for, if that can be done."""
        step = end.step
        if isinstance(step, bytes):
            if not is_over:
                self._note(now, end.name, step)
                other.received += step
            end.go_on(lambda: end.side.send(b""), now)
        elif isinstance(step, Receive) and end.received:
            count = self._random.choice((len(end.received), len(end.received), self._random.randint(1, 9)))
            data = bytes(end.received[:count])
            del end.received[:count]
            end.go_on(lambda: end.side.send(data), now)
        elif isinstance(step, Receive) and (other.step is None or is_over or isinstance(other.step, Again)):
            end.go_on(lambda: end.side.throw(EOFError()), now)
        elif isinstance(step, (Sleep, Receive)) and end.until is not None and (end.until <= now or is_over):
            end.go_on(lambda: end.side.send(b""), now)
        else:
            return False
        return True

    def _note(self, now: float, sender: str, data: bytes) -> None:
        """Notes it as it may come from a network: in several pieces, or with what was sent before."""
        pieces = self.connections[-1]
        if (
            pieces
            and pieces[-1].sender == sender
            and pieces[-1].data
            and now - pieces[-1].seconds < 0.01
            and self._random.random() < 0.3
        ):
            data = pieces.pop().data + data
        while len(data) > 1 and self._random.random() < 0.3:
            count = self._random.randint(1, len(data) - 1)
            pieces.append(Piece(now, sender, data[:count]))
            data = data[count:]
        pieces.append(Piece(now, sender, data))
