"""Dialects that follow a script instead of a protocol, and a server without a network: for what no real dialect would
do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from random import Random
from typing import ClassVar
from unittest.mock import patch

from headless import errors
from headless.client import connection
from headless.client.output import Console
from headless.client.session import Session
from headless.client.waiting import Waiter
from headless.dialects import base
from headless.dialects.base import (
    Accepted,
    Ended,
    Event,
    JobFinished,
    JobStarted,
    LoggedIn,
    Output,
    Part,
    Received,
    Refused,
    SaltReceived,
)
from headless.dialects.vocabulary import OSUSER
from headless.errors import LocalProtocolError, RemoteProtocolError
from headless.options import JobOptions, parse
from headless.password_file import KnownSecret

JOBS = 2  # of the scripts that are made here
METHODS = ("log_in", "answer_salt", "submit", "leave", "receive", "part_left")
Script = dict[str, list[list[object]]]  # of each method: the steps of each of its calls


class ScriptedDialect(base.Dialect):
    """Does the next steps of its script at each call of a method: reports an event, sends a part, or calls a function.

    `log` is what happened, in order: "received" (bytes), "closed" (the end of the stream), "wanted" (to send a part), a
    Part that has left, an Event that the client has taken, "dry" (it has asked for one in vain).
    """

    script: ClassVar[Script]
    log: ClassVar[list[object]]

    def _play(self, method: str) -> None:
        steps = self.script.get(method, [])
        for step in steps.pop(0) if steps else []:
            if isinstance(step, Event):
                self.report(step)
            elif isinstance(step, Part):
                self.log.append("wanted")
                self.send(step.data, step.shown, step.jobs)
            else:
                assert callable(step)
                step()

    def log_in(self) -> None:
        self._play("log_in")

    def answer_salt(self, _hash: bytes) -> None:
        self._play("answer_salt")

    def submit(self) -> None:
        self._play("submit")

    def attach(self, _session: str, _offset: object) -> None:
        self._play("attach")

    def leave(self) -> None:
        self._play("leave")

    def receive(self, data: bytes) -> None:
        self.log.append("received" if data else "closed")
        self._play("receive")

    def part_left(self) -> None:
        self.log.append(self.next_part())
        super().part_left()
        self._play("part_left")

    def next_event(self) -> Event | None:
        event = super().next_event()
        self.log.append("dry" if event is None else event)
        return event


class FakeStream:
    """In the place of a Stream: bytes come so many times, then the server closes. It takes `room` bytes at a time.

    If it is eager, bytes come between the pieces of what is sent; if not, only when all of that has left.
    """

    peer = "no server port 0"

    def __init__(self, receipts: int, room: int, is_eager: bool) -> None:
        self._receipts = receipts
        self._room = room
        self._is_eager = is_eager
        self._is_due = is_eager

    def receive_now(self) -> bytes | None:
        is_due, self._is_due = self._is_due, False
        if not is_due:
            return None
        self._receipts -= 1
        return b"x" if self._receipts >= 0 else b""

    def send_now(self, data: memoryview) -> int:
        self._is_due = self._is_eager
        return min(len(data), self._room)

    def wait(self, _timeout: float | None) -> bool:
        self._is_due = True
        return True

    def close(self) -> None:
        pass


class KnownHash(KnownSecret):
    """The secret of a challenge login, for every salt."""

    def hash_for(self, _salt: str | None) -> bytes:
        return self.hash


@functools.cache
def options_of(jobs: int, *argv: str) -> JobOptions:
    """Those of a call with so many jobs."""
    return parse(["-s", "127.0.0.1:1", *["-c", "pass"] * jobs, *argv])


def make_call(jobs: int, login: str = OSUSER) -> base.Call:
    """A call with so many jobs."""
    return base.Call("test", login, "R41", "jdoe", options_of(jobs).jobs, bytes(base.RANDOM_BYTES))


def run_session(  # noqa: PLR0917
    waiter: Waiter,
    script: Script,
    jobs: int,
    argv: tuple[str, ...] = (),
    receipts: int | list[int] = 5,
    room: int = 1000,
    is_eager: bool = False,
    has_secret: bool = False,
    patience: float = 0,
    timeout: float | None = None,
    check: Callable[[Session], None] = lambda _session: None,
) -> tuple[int, list[object]]:
    """The return code of a session with this script, and its log. `receipts` may be a list: of each connection. The
    seconds of `timeout` take the place of those of -t, which are whole."""
    options = options_of(jobs, *argv).replace(patience=patience)
    if timeout is not None:
        options = options.replace(timeout=timeout)
    log: list[object] = []
    dialect_class: type[ScriptedDialect] = type("Dialect", (ScriptedDialect,), {"script": script, "log": log})

    def next_stream() -> FakeStream:
        return FakeStream(receipts.pop(0) if isinstance(receipts, list) else receipts, room, is_eager)

    secret = KnownHash("secret", b"x" * 60, "") if has_secret else None

    def make_dialect() -> base.Dialect:
        """Another connection goes on with the script."""
        return dialect_class(make_call(jobs))

    call = Session(options, secret, make_dialect, Console(0, waiter), waiter)
    try:
        with patch.object(connection, "connect", lambda *_: next_stream()):
            call.run()
        code = errors.OK
    except Exception as error:
        code, text = errors.explain(error)
        assert not text.startswith("unforeseen") or isinstance(error, MemoryError), text
    check(call)
    waiter.set_deadline(None)
    return code, log


# Scripts


STATUSES = ("ok", "failed", "skipped", "?")
FAULTS = (RemoteProtocolError("r"), LocalProtocolError("l"), ValueError("v"), SystemExit(0))


def raising(error: BaseException) -> Callable[[], None]:
    def step() -> None:
        raise error

    return step


def some_event(draws: Random) -> Event:
    kinds: tuple[Callable[[], Event], ...] = (
        lambda: Received("x"),
        lambda: SaltReceived(draws.choice([None, "$2b$10$abcdefghijklmnopqrstuu"])),
        lambda: LoggedIn("s", draws.choice([None, 1, 0]), draws.random() < 0.5),
        Accepted,
        lambda: JobStarted(draws.randint(0, JOBS + 1)),
        lambda: Output(draws.choice([None, 0, 1, 2]), draws.choice(["stdout", "stderr", "?"]), "x\n"),
        lambda: JobFinished(draws.randint(0, JOBS + 1), draws.choice(STATUSES)),
        lambda: Ended(draws.choice(STATUSES)),
        lambda: Refused(draws.choice(["login", "jobs", "busy", "?"])),
    )
    return draws.choice(kinds)()


def some_step(draws: Random) -> object:
    kind = draws.randrange(5)
    if kind == 0:
        return Part(bytes(draws.choices(b"job\0\xff", k=draws.randint(0, 5))), draws.randint(0, JOBS))
    return raising(draws.choice(FAULTS)) if kind == 1 else some_event(draws)


GOOD: Script = {
    "log_in": [[Part(b"hello")]],
    "submit": [[Part(b"job", 1), Part(b"job", 1)]],
    "receive": [
        [LoggedIn("s", 30)],
        [Accepted(), JobStarted(1)],
        [Output(1, "stdout", "42\n"), JobFinished(1, "ok")],
        [JobStarted(2), JobFinished(2, "ok"), Ended("ok")],
    ],
    "part_left": [[], [], []],
}


def copy_of_good() -> Script:
    return {method: [list(steps) for steps in calls] for method, calls in GOOD.items()}


def twisted(draws: Random, step: object) -> object:
    """The same event with other contents."""
    if isinstance(step, Ended):
        return Ended(draws.choice(STATUSES))
    if isinstance(step, (JobStarted, JobFinished)):
        return JobFinished(step.job, draws.choice(STATUSES))
    return step


def damaged_script(draws: Random) -> Script:
    """A script with a good end, of which a few steps are taken away, added, doubled, replaced or moved."""
    script = copy_of_good()
    for _ in range(draws.randint(1, 3)):
        calls = script[draws.choice(["receive", "receive", "receive", "submit", "log_in", "part_left"])]
        number = draws.randrange(len(calls))
        steps = calls[number]
        position = draws.randint(0, len(steps))
        what = draws.choice(["insert", "delete", "double", "replace", "twist", "twist", "split", "merge"])
        if what == "insert":
            steps.insert(position, some_step(draws))
        elif what == "delete":
            del steps[position : position + 1]
        elif what == "double":
            steps[position:position] = steps[position : position + 1]
        elif what == "replace":
            steps[position : position + 1] = [some_step(draws)]
        elif what == "twist" and position < len(steps):
            steps[position] = twisted(draws, steps[position])
        elif what == "split":
            calls[number : number + 1] = [steps[:position], steps[position:]]
        elif number + 1 < len(calls):
            steps += calls.pop(number + 1)
    return script


def arbitrary_script(draws: Random) -> Script:
    return {
        method: [[some_step(draws) for _ in range(draws.randint(0, 6))] for _ in range(draws.randint(0, 5))]
        for method in draws.sample(METHODS, draws.randint(0, len(METHODS)))
    }
