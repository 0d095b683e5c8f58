"""Plays the server's side of a recording to a dialect, which the client's own session drives and judges.

There is no socket, and time passes only by what is played: a wait ends at once, at the moment at which it would have.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from headless.client.connection import ask
from headless.client.output import Console
from headless.client.session import Session
from headless.client.waiting import Waiter
from headless.dialects.base import RANDOM_BYTES, Accepted, Dialect, Event, Part
from headless.dialects.base import Call as DialectCall
from headless.dialects.vocabulary import CHALLENGE, KEY_BYTES
from headless.errors import OK, ConnectionLost, Submission, explain
from headless.options import VERSION, ChallengeLogin, JobOptions, OsUserLogin, Service
from headless.password_file import KnownSecret
from headless.protocol_tools.recordings import RecordedCall

ENDLESS = -1  # the code of a call that waits for ever
_SALT = "$2b$10$" + "." * 22
_SECRET_FILE = "the password file"
_MAX_WAITS = 1000  # for nothing, with heartbeats of this side between them
# Parts that are sent without a wait, and those of each job. More take time: to send for ever comes to a deadline.
_MANY_PARTS, _PARTS_OF_JOB = 1000, 10
# A play that takes longer never ends: so many ticks, and one for each so many chunks.
_TICKS, _CHUNKS_OF_TICK, _TICK_SECONDS = 10, 100, 0.5


@dataclass(frozen=True)
class Chunk:
    """Is what comes from the server at once, b"" for the end of its stream. `wait` are the seconds before it in which
    nothing is said, `silence` those since the server's last byte. What is `early` comes before this side could send
    what it has to send. `number` is the server's message that it completes, or is a piece of."""

    data: bytes
    number: int
    wait: float = 0.0
    silence: float = 0.0
    is_early: bool = False


@dataclass(frozen=True)
class Secrets:
    """Holds what differs between two calls. `hash` is the bcrypt hash of the password; or, of one that is made up, what
    is behind the salt, which is the recorded one."""

    hash: bytes = b"." * 31
    random: bytes = bytes(RANDOM_BYTES)
    key: str = "0" * (2 * KEY_BYTES)


@dataclass
class Play:
    """Says how a call went. Events and parts have the number of the message that came last before them; -1: none.
    `unsent` counts the bytes that were still to leave when the jobs were accepted. `has_waited` says whether it went on
    to wait when all had come."""

    code: int = ENDLESS
    text: str = ""
    submission: Submission = Submission.NOT_SUBMITTED
    events: list[tuple[int, Event]] = field(default_factory=list)
    parts: list[tuple[int, Part]] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    last: int = -1  # message that has come
    read: set[int] = field(default_factory=set)  # messages that the dialect has shown, or reported an event of
    unsent: int = 0
    has_waited: bool = False

    @property
    def is_accepted(self) -> bool:
        return any(isinstance(event, Accepted) for _, event in self.events)


class _Endless(Exception):
    """Nothing more comes, and nothing ends the wait."""


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class _Waiter(Waiter):
    def sleep(self, seconds: float) -> None:
        raise ConnectionLost(f"the connection was lost, and after {seconds:.1f} s there would be another one")


class _Console(Console):
    """Keeps what would be shown."""

    def __init__(self, play: Play) -> None:
        self._play = play

    def info(self, text: str) -> None:
        self._play.shown.append(text)

    def output(self, source: str, text: str) -> None:
        self._play.shown.append(f"{source}: {text}")

    def received(self, text: str) -> None:
        self._play.read.add(self._play.last)
        self._play.shown.append(text)

    sent = info


class _Secret(KnownSecret):
    """Holds a hash, or makes one up that has the salt."""

    def hash_for(self, salt: str | None) -> bytes:
        return super().hash_for(salt) if self._path else (salt or _SALT).encode() + self.hash


class _Stream:
    """Is the server. What it says next comes when the client waits for it."""

    peer = "a recording"

    def __init__(self, chunks: Sequence[Chunk], play: Play, clock: _Clock, waiter: Waiter, most: int) -> None:
        self._chunks, self._play, self._clock, self._waiter = chunks, play, clock, waiter
        self._next = 0
        self._silent_since = 0.0
        self._waits = 0
        self._sent, self._most = 0, most  # parts, since the last wait
        self._is_due = False

    def receive_now(self) -> bytes | None:
        chunk = self._chunks[self._next] if self._next < len(self._chunks) else None
        if chunk is None or not (self._is_due or chunk.is_early):
            return None
        self._is_due = False
        self._next += 1
        self._silent_since = self._clock.now
        self._play.last = chunk.number
        return chunk.data

    def send_now(self, data: memoryview) -> int:
        self._sent += 1
        if self._sent > self._most:
            self._clock.now += 1.0
        return len(data)

    def wait(self, timeout: float | None) -> bool:
        self._sent = 0
        limit = self._waiter.remaining() if self._waiter.has_deadline() else None
        limit = timeout if limit is None else limit if timeout is None else min(limit, timeout)
        if self._next < len(self._chunks):
            wait = self._wait_before(self._chunks[self._next])
            if limit is None or wait < limit:
                self._clock.now += wait
                self._is_due = True
                return True
        self._play.has_waited = self._play.has_waited or self._next == len(self._chunks)
        self._waits += 1
        if limit is None or self._waits > _MAX_WAITS:
            raise _Endless
        self._clock.now += limit
        self._waiter.check()
        return False

    def _wait_before(self, chunk: Chunk) -> float:
        """Returns seconds. Once the jobs run, time passes as it did, whatever the recorded client did meanwhile."""
        if not self._play.is_accepted:
            return chunk.wait
        return max(0.0, self._silent_since + chunk.silence - self._clock.now)

    def close(self) -> None:
        pass


class Player:
    """Plays recordings to a dialect: a class, as `loading.load` returns it."""

    def __init__(self, dialect: type[Dialect]) -> None:
        self._dialect = dialect

    def play(self, call: RecordedCall, chunks: Sequence[Chunk], secrets: Secrets) -> Play:
        """Returns how the call went. What the dialect has raised is in its text."""
        play, clock = Play(), _Clock()
        waiter = _Waiter(clock)
        session: Session | None = None
        try:
            dialect = self._make(call, secrets, waiter, play)
            secret = _secret(secrets) if call.login == CHALLENGE else None
            session = Session(_options_of(call), secret, lambda: dialect, _Console(play), waiter)
            session.observe = self._observer(play, dialect)
            most = _MANY_PARTS + _PARTS_OF_JOB * len(call.jobs)
            session.open_stream = lambda *_: _Stream(chunks, play, clock, waiter, most)  # type: ignore[assignment]
            session.run()
            play.code = OK
        except _Endless:
            play.text = "the call would wait for ever"
        except Exception as error:
            play.code, play.text = explain(error)
            play.shown.append(play.text)
        if session is not None:
            play.submission = session.verdict.submission
        return play

    def _make(self, call: RecordedCall, secrets: Secrets, waiter: Waiter, play: Play) -> Dialect:
        described = DialectCall(
            VERSION,
            call.login,
            call.user,
            call.os_user,
            call.jobs,
            secrets.random,
            True,
            secrets.key,
            call.timeout != 0,
        )
        dialect = ask(waiter, self._dialect, described)
        forget = dialect.part_left

        def part_left() -> None:
            part = dialect.next_part()
            if part is not None:
                play.parts.append((play.last, part))
            forget()

        vars(dialect)["part_left"] = part_left
        return dialect

    def _observer(self, play: Play, dialect: Dialect) -> Callable[[Event], None]:
        def observe(event: Event) -> None:
            play.events.append((play.last, event))
            play.read.add(play.last)
            if isinstance(event, Accepted):
                part = dialect.next_part()
                play.unsent = len(part.data) if part is not None else 0

        return observe


def _secret(secrets: Secrets) -> KnownSecret:
    is_made_up = len(secrets.hash) == len(Secrets.hash)
    return _Secret("" if is_made_up else _SECRET_FILE, secrets.hash, "")


def _options_of(call: RecordedCall) -> JobOptions:
    is_challenge = call.login == CHALLENGE
    login = ChallengeLogin(call.user or "", _SECRET_FILE) if is_challenge else OsUserLogin(call.user)
    return JobOptions(Service("recording", 1, False), login, call.timeout, 0, "", call.jobs)


class Watchdog:
    """Ends the process when a play does not end, for nothing else would. `report` is called before, with its name."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._doing = ""
        self._number = 0
        self._limit = 0  # ticks
        self._is_done = threading.Event()

    def __enter__(self) -> Watchdog:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_done.set()

    @contextmanager
    def watch(self, doing: str, chunks: int) -> Iterator[None]:
        """Watches what is done inside of it: a play of so many chunks."""
        self._doing, self._limit = doing, _TICKS + chunks // _CHUNKS_OF_TICK
        self._number += 1
        try:
            yield
        finally:
            self._doing = ""

    def _watch(self) -> None:
        ticks, number = 0, 0
        while not self._is_done.wait(_TICK_SECONDS):
            ticks = ticks + 1 if self._doing and self._number == number else 0
            number = self._number
            if ticks >= self._limit > 0:
                self._report(self._doing)
                os._exit(1)
