"""Wires that follow a script instead of a protocol, and a server without a network: for what no real wire would do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar
from unittest.mock import patch

from headless import outcome
from headless.client import connection
from headless.client.console import Console
from headless.client.foreign_wire import GuardedWire
from headless.client.session import Session
from headless.client.waiting import Waiter
from headless.options import parse
from headless.protocol import wire
from headless.protocol.vocabulary import OSUSER
from headless.protocol.wire import Event, Part

METHODS = ("log_in", "answer_salt", "submit", "leave", "receive", "part_left")


class ScriptedWire(wire.Wire):
    """At each call of a method it does the next steps of its script: tells an event, sends a part, or calls a function.

    `log` is what happened, in order: "received" (bytes), "closed" (the end of the stream), "wanted" (to send a part), a
    Part that has left, an Event that the client has taken, "dry" (it has asked for one in vain).
    """

    script: ClassVar[dict[str, list[list[object]]]]
    log: ClassVar[list[object]]

    def _play(self, method: str) -> None:
        steps = self.script.get(method, [])
        for step in steps.pop(0) if steps else []:
            if isinstance(step, Event):
                self.tell(step)
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

    peer = "nobody port 0"

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

    def wait(self, _silence: float | None) -> None:
        self._is_due = True

    def close(self) -> None:
        pass


class KnownHash:
    """The secret of a challenge login."""

    def hash_for(self, _salt: str | None) -> bytes:
        return b"x" * 60

    def save(self) -> str:
        return ""


def make_call(jobs: int, login: str = OSUSER) -> wire.Call:
    """A call with so many jobs."""
    options = parse(["-s", "127.0.0.1:1", *["-c", "pass"] * jobs])
    return wire.Call("test", login, "R41", "jdoe", options.jobs, bytes(wire.RANDOM_BYTES))


def run_session(  # noqa: PLR0917
    waiter: Waiter,
    script: dict[str, list[list[object]]],
    jobs: int,
    argv: Sequence[str] = (),
    receipts: int | list[int] = 5,
    room: int = 1000,
    is_eager: bool = False,
    has_secret: bool = False,
    patience: int = 0,
    check: Callable[[Session], None] = lambda _session: None,
) -> tuple[int, list[object]]:
    """The return code of a session with this script, and its log. `receipts` may be a list: of each connection."""
    options = parse(["-s", "127.0.0.1:1", *["-c", "pass"] * jobs, *argv]).replace(patience=patience)
    log: list[object] = []
    wire_class = type("Wire", (ScriptedWire,), {"script": script, "log": log})

    def next_stream() -> FakeStream:
        return FakeStream(receipts.pop(0) if isinstance(receipts, list) else receipts, room, is_eager)

    secret = KnownHash() if has_secret else None

    def make_wire() -> GuardedWire:
        """Another connection goes on with the script."""
        return GuardedWire(wire_class, make_call(jobs), waiter)

    call = Session(options, secret, make_wire, Console(0, waiter), waiter)
    try:
        with patch.object(connection, "connect", lambda *_: next_stream()):
            call.run()
        code = outcome.OK
    except Exception as error:
        code, text = outcome.explain(error)
        assert not text.startswith("unforeseen"), text
    check(call)
    waiter.set_deadline(None)
    return code, log
