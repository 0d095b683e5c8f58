"""Connections that end in the middle of a conversation: the return code is what the bytes that arrived at the client
prove. What they prove is found here by counting bytes, without the package; for our protocol, the example of PORTING.md
and four servers with the vendor's published vocabulary. By default a cut comes at each place of each frame; `-m large`
takes every byte."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import pytest

from headless.client.loading import load
from headless.client.output import Console
from headless.client.session import Session
from headless.client.waiting import READ, Waiter
from headless.dialects.own.dialect import Dialect
from headless.dialects.own.messages import Jobs, Login, Logout, Message, Response, Welcome
from headless.dialects.own.server_connection import ServerConnection
from headless.options import ChallengeLogin, parse
from headless.password_file import KnownSecret
from support.conversations import KEYS, receive
from support.credentials import HASH, SALT
from support.cut_conversations import NOT, SUBMITTED, Conversation, Cut, Outcome
from support.example_server import EXAMPLE, ExampleServer
from support.frames import frame
from support.literal_messages import SERVER_NONCE
from support.planta_server import PlantaServer
from support.planta_variants import VARIANTS
from support.process import PATIENCE
from support.sampling import REPEAT, draws
from support.sessions import call_for, end_of
from support.sockets import reset
from support.unreliable_relay import CLIENT, FIN, RST, SERVER
from support.vendor_server import Answer, VendorServer

pytestmark = pytest.mark.slow

LOGINS = {"osuser": ("-u", "R41", "-a", "osuser"), "challenge": ("-u", "R41", "-p", "secret")}
WAITS = {"without -t": (), "-t -1": ("-t", "-1"), "-t N": ("-t", "3600")}
PAIRS = [("osuser", "without -t"), ("osuser", "-t N"), ("challenge", "-t -1"), ("challenge", "without -t")]
JOBS = ("-c", "print(42)", "-m", "009ABC")
NO_CUT = Cut(SERVER, 10**9)

# An offset in a frame of so many bytes: before it, in its length, in its middle, before its last byte, after it.
POSITIONS: tuple[Callable[[int], int], ...] = (
    lambda _size: 0,
    lambda _size: 2,
    lambda size: 4 + (size - 4) // 2,
    lambda size: size - 1,
    lambda size: size,
)


def some_cuts(ends: dict[str, list[int]]) -> Iterator[Cut]:
    """Cuts of streams whose frames end there: of each kind before and after the last byte of a frame, of one kind at
    the other places in it, and a few at random."""
    chance = draws()
    for side, of_side in ends.items():
        last = {0, *of_side, *(end - 1 for end in of_side)}
        frames = list(zip([0, *of_side], of_side))
        inner = {begin + position(end - begin) for begin, end in frames for position in POSITIONS}
        inner |= set(chance.sample(range(of_side[-1]), 3))
        for offset in sorted(last | inner):
            yield from kinds_at(side, offset) if offset in last else chance.sample(list(kinds_at(side, offset)), 1)


def every_cut(ends: dict[str, list[int]]) -> Iterator[Cut]:
    """Cuts of each kind at every byte."""
    for side, of_side in ends.items():
        for offset in range(of_side[-1] + 1):
            yield from kinds_at(side, offset)


def kinds_at(side: str, offset: int) -> Iterator[Cut]:
    return (Cut(side, offset, by, is_late) for by in (FIN, RST) for is_late in (False, True))


# The servers, in memory


class OwnServer(VendorServer):
    """The package's server side of the conversation, which runs all jobs well. Only the length of its frame says where
    a document ends: white space follows each."""

    ANSWER_TO_THE_JOBS = (
        ("alive", "<alive/>"),
        ("accepted", "<accepted/>"),
        ("started", '<started job="1"/>'),
        ("output", '<output job="1" stream="stdout">42</output>'),
        ("result", '<finished job="1" status="ok"/>'),
        ("started", '<started job="2"/>'),
        ("alive", "<alive/>"),
        ("result", '<finished job="2" status="ok">done</finished>'),
        ("ended", '<ended status="ok"/>'),
    )

    def __init__(self) -> None:
        super().__init__()
        self._connection = ServerConnection()
        self._received = b""

    def frame(self, document: str) -> bytes:
        return frame(document + "\n")

    def received(self, data: bytes) -> Iterator[Answer]:
        self._received += data
        while len(self._received) >= (end := 4 + int.from_bytes(self._received[:4], "big")):
            piece, self._received = self._received[:end], self._received[end:]
            (message,) = receive(self._connection, piece)
            self._note(type(message).__name__, 2 if isinstance(message, Jobs) else 0, len(self._received))
            yield from self._answers_to(message)

    def _answers_to(self, message: Message) -> Iterator[Answer]:
        if isinstance(message, Login) and message.auth_type == "challenge":
            yield self._answer("challenge", self._connection.send_challenge(SALT, SERVER_NONCE)[4:].decode())
        elif isinstance(message, (Login, Response)):
            signature = self._connection.signature(KEYS) if isinstance(message, Response) else None
            yield self._answer("granted", self._connection.send(Welcome("s1", 30, signature))[4:].decode())
        elif isinstance(message, Jobs):
            self.has_jobs = True
            yield from (self._answer(role, document) for role, document in self.ANSWER_TO_THE_JOBS)
        else:
            assert isinstance(message, Logout)


class Spoken(NamedTuple):
    """A dialect, and the server that speaks it; how many bytes at the end of a message have no content."""

    load: Callable[[Waiter], Any]
    new_server: Callable[[], VendorServer]
    trailing: int = 0


DIALECTS = {
    "own": Spoken(lambda _: Dialect, OwnServer),
    "example": Spoken(partial(load, EXAMPLE), ExampleServer),
    **{
        variant.name: Spoken(partial(load, variant.site), partial(PlantaServer, variant.habits), variant.trailing)
        for variant in VARIANTS
    },
}


# The connection


class Line:
    """The connection of a client in this process, with a relay on the way to the server. Each `move` is a step of
    relay and server."""

    def __init__(self, sock: socket.socket, server: VendorServer, cut: Cut) -> None:
        self._sock = sock
        self._sock.settimeout(PATIENCE)
        self._server = server
        self._cut = cut
        self.passed = {CLIENT: b"", SERVER: b""}
        self.is_open = True
        self.is_due = False  # the cut is reached
        if cut.offset == 0 and not cut.is_late:
            self._end()
        elif greeting := server.greeting():
            self._sock.sendall(self._pass(SERVER, greeting))
            if self.is_due and not cut.is_late:
                self._end()

    def fileno(self) -> int:
        return self._sock.fileno()

    def move(self) -> None:
        """Takes what the client has sent to the server, and the answer back, as far as the cut lets it."""
        if not self.is_due:
            data = self._sock.recv(65536)
            self.is_open = bool(data)
            answer = self._server.answer(self._pass(CLIENT, data))
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


CutCall = Callable[[Cut, VendorServer], tuple[Outcome, Line]]


@contextmanager
def calls_with_cuts(argv: Iterable[str], load_dialect: Callable[[Waiter], Any]) -> Iterator[CutCall]:
    """Gives `call(cut, server)`, which makes a call with these options over a connection that is cut there."""
    waiter = LineWaiter()
    with socket.create_server(("127.0.0.1", 0)) as listener, waiter:
        listener.settimeout(PATIENCE)
        options = parse(["-s", "{}:{}".format(*listener.getsockname()), *argv])
        secret = KnownSecret("secret", HASH.encode(), "") if isinstance(options.login, ChallengeLogin) else None
        dialect = load_dialect(waiter)

        def call(cut: Cut, server: VendorServer) -> tuple[Outcome, Line]:
            waiter.line = None
            waiter.dial = lambda: Line(listener.accept()[0], server, cut)
            result = end_of(Session(options, secret, lambda: dialect(call_for(options)), Console(0, waiter), waiter))
            line = waiter.line
            assert line is not None
            line.close()
            return result, line

        yield call


def assert_the_return_code_is_what_arrived(dialect: str, login: str, wait: str, cuts=some_cuts) -> None:
    wrong = []
    spoken = DIALECTS[dialect]
    with calls_with_cuts((*LOGINS[login], *WAITS[wait], *JOBS), spoken.load) as call:
        server = spoken.new_server()
        result, line = call(NO_CUT, server)
        assert result == (0, SUBMITTED)
        whole = Conversation(server.log, wait != "without -t", spoken.trailing)
        assert all(of_side[-1] == len(line.passed[side]) for side, of_side in whole.ends().items())
        for cut in cuts(whole.ends()):
            server = spoken.new_server()
            result, line = call(cut, server)
            # The server cannot have more than its relay, nor can the client deny or claim what the server has.
            missing = whole.jobs_end - len(line.passed[CLIENT])
            if (
                result not in whole.outcomes(cut)
                or server.has_jobs != (missing <= 0 or (server.has_jobs and missing <= spoken.trailing))
                or result[1] == (NOT if server.has_jobs else SUBMITTED)
            ):
                wrong.append(
                    (cut, result, f"the server has {'the' if server.has_jobs else 'no'} jobs", whole.outcomes(cut))
                )
    assert wrong == [], REPEAT


@pytest.mark.version("the end and the reset of a connection, as sockets and selectors report them")
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("login", "wait"), PAIRS)
def test_the_return_code_is_what_arrived_wherever_the_connection_ends(dialect, login, wait):
    assert_the_return_code_is_what_arrived(dialect, login, wait)


def one_cut_at_every_byte(ends: dict[str, list[int]]) -> Iterator[Cut]:
    """Of all kinds in turn."""
    for place, cut in enumerate(every_cut(ends)):
        if place % 4 == place // 4 % 4:
            yield cut


@pytest.mark.large
@pytest.mark.timeout(300)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("wait", WAITS)
def test_the_return_code_is_what_arrived_at_every_byte(dialect, login, wait):
    cuts = every_cut if dialect in ("own", "example") else one_cut_at_every_byte
    assert_the_return_code_is_what_arrived(dialect, login, wait, cuts)
