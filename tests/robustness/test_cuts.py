"""Connections that end in the middle of a conversation: the return code is what the bytes that arrived at the client
prove. What they prove is found here by counting bytes, without the package; for our protocol, and for the example of
PORTING.md. By default a cut comes at each place of each frame; `-m large` takes every byte."""

from __future__ import annotations

import re
import select
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
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
from support.example_server import EXAMPLE, ExampleServer, document
from support.frames import frame, frames_in
from support.literal_messages import SERVER_NONCE
from support.process import PATIENCE
from support.sampling import REPEAT, draws
from support.sessions import call_for, end_of
from support.sockets import reset
from support.unreliable_relay import CLIENT, FIN, RST, SERVER

pytestmark = pytest.mark.slow

LOGINS = {"osuser": ("-u", "R41", "-a", "osuser"), "challenge": ("-u", "R41", "-p", "secret")}
WAITS = {"without -t": (), "-t -1": ("-t", "-1"), "-t N": ("-t", "3600")}
PAIRS = [("osuser", "without -t"), ("osuser", "-t N"), ("challenge", "-t -1"), ("challenge", "without -t")]
JOBS = ("-c", "print(42)", "-m", "009ABC")
Outcome = tuple[int, str]  # the return code, and what the client reports of the jobs
NOT_SUBMITTED, UNKNOWN, SUBMITTED = (1, "not submitted"), (1, "unknown"), (1, "submitted")
GOOD = (0, "submitted")


class Cut(NamedTuple):
    """Where a connection ends: when so many bytes of this side have passed. If it is late, not until they have been
    read, and more of them should pass."""

    side: str
    offset: int
    by: str = FIN
    is_late: bool = False


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


# What is proved


class Places(NamedTuple):
    """How many bytes of a side it takes until something has passed whole."""

    ends: dict[str, list[int]]  # of each side: every frame
    login: int  # of the client: what it sends before the jobs
    jobs: int
    granted: int  # of the server: what the client waits for before it sends the jobs
    accepted: int
    ended: int


def proven(cut: Cut, places: Places, proof: int) -> set[Outcome]:
    """What a client may conclude when the connection was cut there."""
    if cut.side == CLIENT:
        # What the last byte completes is answered only if the cut is late.
        answered = cut.offset - (not cut.is_late)
        if answered < places.login:
            return {NOT_SUBMITTED}
        return {UNKNOWN} if answered < places.jobs else {GOOD}
    if cut.offset < places.granted or (cut.offset == 0 and not cut.is_late):
        return {NOT_SUBMITTED}
    if cut.offset < places.accepted:
        # A client that knows of the end together with the grant sends no jobs.
        return {UNKNOWN} if cut.offset > places.granted or cut.is_late else {UNKNOWN, NOT_SUBMITTED}
    reached = {GOOD} if cut.offset >= proof else {SUBMITTED}
    # What came just before a reset may be lost: with it the answer to the jobs.
    return reached | {UNKNOWN} if cut.by == RST and not cut.is_late else reached


# The servers, in memory


class OwnServer:
    """The package's server side of the conversation, which runs all jobs well. Only the length of its frame says where
    a document ends: white space follows each."""

    ANSWER_TO_THE_JOBS = (
        "<alive/>",
        "<accepted/>",
        '<started job="1"/>',
        '<output job="1" stream="stdout">42</output>',
        '<finished job="1" status="ok"/>',
        '<started job="2"/>',
        "<alive/>",
        '<finished job="2" status="ok">done</finished>',
        '<ended status="ok"/>',
    )

    def __init__(self) -> None:
        self._connection = ServerConnection()
        self.has_jobs = False

    def answer(self, data: bytes) -> bytes:
        return b"".join(self._answer_to(message) for message in receive(self._connection, data))

    def _answer_to(self, message: Message) -> bytes:
        if isinstance(message, Login) and message.auth_type == "challenge":
            return self._padded(self._connection.send_challenge(SALT, SERVER_NONCE))
        if isinstance(message, (Login, Response)):
            signature = self._connection.signature(KEYS) if isinstance(message, Response) else None
            return self._padded(self._connection.send(Welcome("s1", 30, signature)))
        if isinstance(message, Jobs):
            self.has_jobs = True
            return b"".join(frame(text + "\n") for text in self.ANSWER_TO_THE_JOBS)
        assert isinstance(message, Logout)
        return b""

    @staticmethod
    def _padded(sent: bytes) -> bytes:
        return frame(sent[4:] + b"\n")

    @staticmethod
    def places(passed: dict[str, bytes]) -> Places:
        frames = {side: frames_in(passed[side]) for side in (CLIENT, SERVER)}
        end = {each.name: each.end for side in frames.values() for each in side}
        login = end.get("response", end["login"])
        ends = {side: [each.end for each in frames[side]] for side in frames}
        return Places(ends, login, end["jobs"], end["welcome"], end["accepted"], end["ended"])


class OtherServer(ExampleServer):
    """The one of the example, which hands over the jobs with its first message, or with the answer to a challenge."""

    def answer(self, data: bytes) -> bytes:
        return b"".join(document(text) for _, text in self.answers_to(data))

    @staticmethod
    def places(passed: dict[str, bytes]) -> Places:
        ends = {side: [match.end() for match in re.finditer(b"\0", passed[side])] for side in (CLIENT, SERVER)}
        (login, granted) = (ends[CLIENT][0], ends[SERVER][0]) if len(ends[CLIENT]) > 1 else (0, 0)
        accepted = next(end for end in ends[SERVER] if end > granted)
        return Places(ends, login, ends[CLIENT][-1], granted, accepted, ends[SERVER][-1])


DIALECTS: dict[str, tuple[Callable[[Waiter], Any], type[OwnServer | OtherServer]]] = {
    "own": (lambda _: Dialect, OwnServer),
    "example": (lambda waiter: load(EXAMPLE, waiter), OtherServer),
}


# The connection


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
            data = self._sock.recv(65536)
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


CutCall = Callable[[Cut, Callable[[bytes], bytes]], tuple[Outcome, Line]]


@contextmanager
def calls_with_cuts(argv: Iterable[str], load_dialect: Callable[[Waiter], Any]) -> Iterator[CutCall]:
    """Gives `call(cut, answer_to)`, which makes a call with these options over a connection that is cut there."""
    waiter = LineWaiter()
    with socket.create_server(("127.0.0.1", 0)) as listener, waiter:
        listener.settimeout(PATIENCE)
        options = parse(["-s", "{}:{}".format(*listener.getsockname()), *argv])
        secret = KnownSecret("secret", HASH.encode(), "") if isinstance(options.login, ChallengeLogin) else None
        dialect = load_dialect(waiter)

        def call(cut: Cut, answer_to: Callable[[bytes], bytes]) -> tuple[Outcome, Line]:
            waiter.line = None
            waiter.dial = lambda: Line(listener.accept()[0], answer_to, cut)
            result = end_of(Session(options, secret, lambda: dialect(call_for(options)), Console(0, waiter), waiter))
            line = waiter.line
            assert line is not None
            line.close()
            return result, line

        yield call


def assert_the_return_code_is_what_arrived(dialect: str, login: str, wait: str, cuts=some_cuts) -> None:
    wrong = []
    load_dialect, new_server = DIALECTS[dialect]
    with calls_with_cuts((*LOGINS[login], *WAITS[wait], *JOBS), load_dialect) as call:
        result, line = call(NO_CUT, new_server().answer)
        assert result == GOOD
        places = new_server.places(line.passed)
        assert all(of_side[-1] == len(line.passed[side]) for side, of_side in places.ends.items())
        for cut in cuts(places.ends):
            server = new_server()
            result, line = call(cut, server.answer)
            allowed = proven(cut, places, places.accepted if wait == "without -t" else places.ended)
            # The server cannot have more than its relay, nor can the client deny or claim what the server has.
            has_jobs = len(line.passed[CLIENT]) >= places.jobs
            if (
                result not in allowed
                or server.has_jobs != has_jobs
                or result[1] == ("not submitted" if has_jobs else "submitted")
            ):
                wrong.append((cut, result, f"the server has {'the' if server.has_jobs else 'no'} jobs", allowed))
    assert wrong == [], REPEAT


@pytest.mark.version("the end and the reset of a connection, as sockets and selectors report them")
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("login", "wait"), PAIRS)
def test_the_return_code_is_what_arrived_wherever_the_connection_ends(dialect, login, wait):
    assert_the_return_code_is_what_arrived(dialect, login, wait)


@pytest.mark.large
@pytest.mark.timeout(300)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("wait", WAITS)
def test_the_return_code_is_what_arrived_at_every_byte(dialect, login, wait):
    assert_the_return_code_is_what_arrived(dialect, login, wait, every_cut)
