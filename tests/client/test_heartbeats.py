"""Keep-alives of the client's own: they are sent in time, and a server that is silent is found out all the same. By a
clock that goes on only while the client waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headless.client import connection
from headless.client.output import Console
from headless.client.session import Session
from headless.client.waiting import Waiter
from headless.dialects.base import Accepted, Ended, LoggedIn
from headless.dialects.base import Dialect as Base
from headless.errors import ConnectionLost, LocalProtocolError, TimedOut
from headless.options import parse
from support.clock import Clock
from support.conversing import dialect_of, with_
from support.planta_server import PlantaServer
from support.planta_variants import ZERO
from support.sessions import call_for

HOUR = 3600


class TimedStream:
    """In the place of a Stream: what `answers_to` gives for bytes that were sent comes after so many seconds. `sent` is
    what was sent when. It takes `room` bytes at a time, and nothing `full_behind` these bytes."""

    peer = "no server port 0"

    def __init__(
        self, waiter: Waiter, clock: Clock, answers_to: Callable[[bytes], Iterator[tuple[float, bytes]]]
    ) -> None:
        self._waiter, self._clock, self._answers_to = waiter, clock, answers_to
        self._begun = clock.now
        self._coming: list[tuple[float, bytes]] = []
        self.sent: list[tuple[float, bytes]] = []
        self.room, self.full_behind = 10**6, b"no such bytes"

    def receive_now(self) -> bytes | None:
        return self._coming.pop(0)[1] if self._coming and self._coming[0][0] <= self._clock.now else None

    def send_now(self, data: memoryview) -> int:
        is_full = b"".join(sent for _, sent in self.sent).endswith(self.full_behind)
        piece = b"" if is_full else bytes(data[: self.room])
        if piece:
            self.sent.append((self._clock.now - self._begun, piece))
            self._coming += ((self._clock.now + seconds, answer) for seconds, answer in self._answers_to(piece))
        return len(piece)

    def wait(self, timeout: float | None) -> bool:
        ends = [self._clock.now + self._waiter.remaining(), *(moment for moment, _ in self._coming[:1])]
        self._clock.now = min(ends if timeout is None else [*ends, self._clock.now + timeout])
        self._waiter.check()
        return bool(self._coming) and self._coming[0][0] <= self._clock.now

    def close(self) -> None:
        pass


class Beating(Base):
    """What comes begins with a letter: (l)ogged in, (a)ccepted, (e)nded, (p)ing, which is answered."""

    heartbeat_seconds: Any = 60
    promise: int | None = None

    def log_in(self) -> None:
        self.send(b"login", "")

    def submit(self) -> None:
        self.send(b"job", "", jobs=1)

    def send_heartbeat(self) -> None:
        self.send(b"beat", "")

    def receive(self, data: bytes) -> None:
        for letter in data.decode():
            if letter == "p":
                self.send(b"pong", "")
            else:
                self.report({"l": LoggedIn("", self.promise), "a": Accepted(), "e": Ended("ok")}[letter])


class TimedCall:
    """One call with -t: `error` is how it ended, `seconds` how long it took, `stream` what was sent."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, dialect: type[Base], answers_to: Any, timeout: str = "-1", **stream: Any
    ) -> None:
        clock = Clock()
        options = parse(["-s", "127.0.0.1:1", "-t", timeout, "-m", stream.pop("job", "A")])
        self.error: BaseException | None = None
        with Waiter(clock) as waiter:
            self.stream = TimedStream(waiter, clock, answers_to)
            vars(self.stream).update(stream)
            monkeypatch.setattr(connection, "connect", lambda *_: self.stream)
            begun = clock.now
            try:
                Session(options, None, lambda: dialect(call_for(options)), Console(0, waiter), waiter).run()
            except Exception as error:
                self.error = error
            self.seconds = clock.now - begun

    def times_of(self, data: bytes) -> list[float]:
        return [moment for moment, sent in self.stream.sent if sent == data]


@pytest.fixture
def call(monkeypatch):
    return lambda *arguments, **options: TimedCall(monkeypatch, *arguments, **options)


def answering(*coming: tuple[float, bytes], login: float = 0) -> Callable[[bytes], Iterator[tuple[float, bytes]]]:
    """A server that lets the client in after so many seconds, and after the job sends this."""

    def answers_to(data: bytes) -> Iterator[tuple[float, bytes]]:
        if data in (b"login", b"n"):
            yield login, b"l"
        elif data == b"job":
            yield from coming

    return answers_to


def of(**attributes: Any) -> type[Beating]:
    return type("Dialect", (Beating,), attributes)


def test_they_are_sent_in_time_as_long_as_the_call_lasts(call):
    done = call(Beating, answering((0, b"a"), (1000, b"e")))
    assert (done.error, done.seconds) == (None, 1000)
    assert done.times_of(b"beat") == [60 * number for number in range(1, 17)]


def test_what_else_is_sent_is_as_good(call):
    done = call(Beating, answering((0, b"a"), (30, b"p"), (80, b"p"), (190, b"e")))
    assert (done.times_of(b"pong"), done.times_of(b"beat")) == ([30, 80], [140])


def test_none_is_sent_before_the_login_or_where_the_dialect_has_none(call):
    done = call(of(heartbeat_seconds=5), answering((0, b"a"), (12, b"e"), login=20))
    assert done.times_of(b"beat") == [25, 30]
    assert call(of(heartbeat_seconds=None), answering((0, b"a"), (HOUR, b"e"))).times_of(b"beat") == []


def test_a_silent_server_is_found_out_all_the_same(call):
    done = call(of(promise=90), answering((0, b"a"), (50, b"p")))
    assert isinstance(done.error, ConnectionLost)
    assert "silent for more than 270 s" in str(done.error)
    assert (done.seconds, done.times_of(b"beat")) == (50 + 270, [110, 170, 230, 290])


def test_a_server_that_speaks_in_time_is_waited_for(call):
    alive = [(moment, b"p") for moment in range(250, 5000, 250)]
    done = call(of(promise=100), answering((0, b"a"), *alive, (5000, b"e")))
    assert (done.error, done.seconds) == (None, 5000)


def test_they_do_not_make_a_call_longer(call):
    done = call(Beating, answering((0, b"a")), "150")
    assert isinstance(done.error, TimedOut)
    assert (done.seconds, done.times_of(b"beat")) == (150, [60, 120])


def test_none_is_sent_in_the_middle_of_what_else_is_sent(call):
    asked: list[Base] = []
    beating = of(heartbeat_seconds=1, send_heartbeat=asked.append)
    done = call(beating, answering((0, b"a")), "20", room=1, full_behind=b"jo")
    assert asked == []
    assert b"".join(sent for _, sent in done.stream.sent) == b"loginjo"
    assert (done.seconds, "not accepted the jobs in time" in str(done.error)) == (20, True)


@pytest.mark.parametrize("seconds", [0, -1, 1.5, "60", True, 10**10])
def test_a_number_of_seconds_that_cannot_be_is_a_fault_of_the_dialect(call, seconds):
    done = call(of(heartbeat_seconds=seconds), answering((0, b"a")))
    assert isinstance(done.error, LocalProtocolError)
    assert "heartbeat_seconds is not" in str(done.error)


def test_a_site_s_keep_alives_reach_its_server(call):
    server = PlantaServer(ZERO.habits)
    greeting = [server.greeting()]

    def answers_to(data: bytes) -> Iterator[tuple[float, bytes]]:
        moment = 0.0
        for answer in server.answers_to(data):
            moment += answer.seconds
            yield moment, answer.say()

    site = dialect_of(ZERO)

    def log_in(dialect: Base) -> None:
        site.log_in(dialect)
        dialect.receive(greeting.pop())

    done = call(with_(site, log_in=log_in), answers_to, job="sleep 170")
    assert (done.error, done.seconds) == (None, 170)
    assert (server.heartbeats, server.pongs) == (2, 1)
