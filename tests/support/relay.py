"""A relay between client and server that ends the connection at an offset, and moves only while a client in this
process waits; calls over it, and the offsets to try."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from headless.client.output import Console
from headless.client.session import Session
from headless.client.waiting import READ, Waiter
from headless.dialects.base import Call, Dialect
from headless.options import ChallengeLogin, parse
from headless.password_file import KnownSecret
from support.credentials import HASH
from support.process import PATIENCE
from support.sampling import draws
from support.sessions import call_for, end_of
from support.sockets import reset

CLIENT, SERVER = "client", "server"  # whose bytes
FIN, RST = "FIN", "RST"
# Of the calls whose connections are cut.
LOGINS = {"osuser": ("-u", "R41", "-a", "osuser"), "challenge": ("-u", "R41", "-p", "secret")}
WAITS = {"without -t": (), "-t -1": ("-t", "-1"), "-t N": ("-t", "3600")}
PAIRS = [("osuser", "without -t"), ("osuser", "-t N"), ("challenge", "-t -1"), ("challenge", "without -t")]
JOBS = ("-c", "print(42)", "-m", "009ABC")
_PIECE = 65536


class Cut(NamedTuple):
    """Where a connection ends: when so many bytes of this side have passed. If it is late, not until they have been
    read, and more of them should pass."""

    side: str
    offset: int
    by: str = FIN
    is_late: bool = False


class Line:
    """The connection of a client in this process, with a relay on the way to the server, which is
    `answer_to(data) -> answer`. Each `move` is a step of relay and server."""

    def __init__(self, sock: socket.socket, answer_to: Callable[[bytes], bytes], cut: Cut) -> None:
        self._sock = sock
        self._sock.settimeout(PATIENCE)
        self._answer_to = answer_to
        self._cut = cut
        self.passed = {CLIENT: b"", SERVER: b""}
        self.is_open = True
        self.is_due = False  # the cut is reached
        if cut.offset == 0 and not cut.is_late:
            self._end()

    def fileno(self) -> int:
        return self._sock.fileno()

    def move(self) -> None:
        """Takes what the client has sent to the server, and the answer back, as far as the cut lets it."""
        if not self.is_due:
            data = self._sock.recv(_PIECE)
            self.is_open = bool(data)
            answer = self._answer_to(self._pass(CLIENT, data))
            if not self.is_due:  # else the answer to the last message that has passed comes too late
                self._sock.sendall(self._pass(SERVER, answer))
                if self._cut.is_late:
                    return
        if self.is_due:
            self._end()

    def close(self) -> None:
        """When the client has gone: the server receives its last bytes."""
        with suppress(OSError):
            while self.is_open:
                self.move()
        self._sock.close()

    def _pass(self, side: str, data: bytes) -> bytes:
        passing = data
        if side == self._cut.side:
            room = self._cut.offset - len(self.passed[side])
            passing = data[:room]
            self.is_due = len(data) > room if self._cut.is_late else len(data) >= room
        self.passed[side] += passing
        return passing

    def _end(self) -> None:
        self.is_open = False
        if self._cut.by == RST:
            reset(self._sock)
        else:
            self._sock.shutdown(socket.SHUT_WR)


class LineWaiter(Waiter):
    """While the client waits, the line moves: so client, relay and server take turns in one thread, over real TCP.
    `dial` gives the line when the client has called."""

    dial: Callable[[], Line]
    line: Line | None = None

    def __enter__(self) -> LineWaiter:
        super().__enter__()
        return self

    def wait_for_any(self, files: Iterable[Any], event: int, timeout: float | None) -> list[Any]:
        if self.line is None:
            self.line = self.dial()
        (file,) = files
        while event == READ and self.line.is_open and not self._is_there(file, self.line):
            self.line.move()
        return super().wait_for_any((file,), event, timeout)

    @staticmethod
    def _is_there(file: Any, line: Line) -> bool:
        """Whether there is something to read for the client; if not, it is for the line to move."""
        if line.is_due:
            return bool(select.select([file], [], [], 0)[0])
        ready = select.select([file, line], [], [], PATIENCE)[0]
        assert ready, "neither end sends anything"
        return file in ready


CutCall = Callable[[Cut, Callable[[bytes], bytes]], tuple[tuple[int, str], Line]]
NO_CUT = Cut(SERVER, 10**9)


@contextmanager
def calls_with_cuts(argv: Iterable[str], load: Callable[[Waiter], Callable[[Call], Dialect]]) -> Iterator[CutCall]:
    """Gives `call(cut, answer_to)`, which makes a call with these options over a connection that is cut there. It
    returns the code, what is said of the jobs, and the line."""
    with socket.create_server(("127.0.0.1", 0)) as listener, LineWaiter() as waiter:
        listener.settimeout(PATIENCE)
        options = parse(["-s", "{}:{}".format(*listener.getsockname()), *argv])
        secret = KnownSecret("secret", HASH.encode(), "") if isinstance(options.login, ChallengeLogin) else None
        dialect = load(waiter)

        def call(cut: Cut, answer_to: Callable[[bytes], bytes]) -> tuple[tuple[int, str], Line]:
            waiter.line = None
            waiter.dial = lambda: Line(listener.accept()[0], answer_to, cut)
            result = end_of(Session(options, secret, lambda: dialect(call_for(options)), Console(0, waiter), waiter))
            line = waiter.line
            assert line is not None
            line.close()
            return result, line

        yield call


# An offset in a frame of so many bytes.
POSITIONS: dict[str, Callable[[int], int]] = {
    "before it": lambda _size: 0,
    "in its length": lambda _size: 2,
    "in its middle": lambda size: 4 + (size - 4) // 2,
    "before its last byte": lambda size: size - 1,
    "after it": lambda size: size,
}


def some_cuts(ends: dict[str, list[int]]) -> Iterator[Cut]:
    """Cuts of streams whose frames end there: of each kind before and after the last byte of a frame, of one kind at
    the other places in it, and a few at random."""
    chance = draws()
    for side, of_side in ends.items():
        last = {0, *of_side, *(end - 1 for end in of_side)}
        inner = {
            begin + position(end - begin)
            for begin, end in zip([0, *of_side], of_side)
            for position in POSITIONS.values()
        }
        inner |= set(chance.sample(range(of_side[-1]), 3))
        for offset in sorted(last | inner):
            yield from _kinds_at(side, offset) if offset in last else chance.sample(list(_kinds_at(side, offset)), 1)


def every_cut(ends: dict[str, list[int]]) -> Iterator[Cut]:
    """Cuts of each kind at every byte."""
    for side, of_side in ends.items():
        for offset in range(of_side[-1] + 1):
            yield from _kinds_at(side, offset)


def _kinds_at(side: str, offset: int) -> Iterator[Cut]:
    return (Cut(side, offset, by, is_late) for by in (FIN, RST) for is_late in (False, True))
