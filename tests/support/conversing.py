"""A dialect and a server of another vendor that talk in memory, without the client."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from headless.client.loading import load
from headless.client.waiting import Waiter
from headless.dialects.base import RANDOM_BYTES, Call, Dialect, Event, LoggedIn, Received, SaltReceived
from headless.dialects.vocabulary import CHALLENGE, MODULE, OSUSER, Job
from headless.errors import HeadlessError, RemoteProtocolError
from support.credentials import HASH
from support.planta_server import Habits, PlantaServer
from support.planta_variants import Variant
from support.vendor_server import VendorServer

Pieces = Callable[[bytes], Iterable[bytes]]


def whole(data: bytes) -> Iterable[bytes]:
    return [data] if data else []


def byte_by_byte(data: bytes) -> Iterable[bytes]:
    return [bytes([byte]) for byte in data]


def dialect_of(variant: Variant, **overrides: object) -> type[Dialect]:
    """The dialect of a variant's site, with other attributes."""
    with Waiter() as waiter:
        return with_(load(variant.site, waiter), **overrides)


def with_(base: type[Dialect], **overrides: object) -> type[Dialect]:
    return type("Dialect", (base,), overrides)


def call_of(*jobs: str, login: str = OSUSER, waits: bool = True, user: str | None = "R41") -> Call:
    """A call with modules of these names."""
    os_user = "jdoe" if login == OSUSER else ""
    described = tuple(Job(MODULE, job) for job in jobs)
    return Call("test", login, user, os_user, described, bytes(RANDOM_BYTES), is_traced=True, waits=waits)


def challenge_call(*jobs: str, waits: bool = True) -> Call:
    return call_of(*jobs, login=CHALLENGE, waits=waits)


class Conversation:
    """All that is said until both are silent. `events` are those of the dialect without Received, the last one may be
    an error. `received` and `sent` are texts as -vvv shows them, `handed_over` is how many jobs have left."""

    def __init__(self, dialect: Dialect, server: VendorServer, pieces: Pieces = whole) -> None:
        self.events: list[Event | HeadlessError] = []
        self.sent: list[str] = []
        self.received: list[str] = []
        self.handed_over = 0
        self._dialect = dialect
        try:
            dialect.log_in()
            self._receive(server.greeting(), pieces)
            while data := self._send():
                self._receive(server.answer(data), pieces)
        except HeadlessError as error:
            self._take_events()
            self.events.append(error)

    def _send(self) -> bytes:
        data = b""
        while (part := self._dialect.next_part()) is not None:
            data += part.data
            self.handed_over += part.jobs
            self.sent.append(part.shown)
            self._dialect.part_left()
        return data

    def _receive(self, data: bytes, pieces: Pieces) -> None:
        for piece in pieces(data):
            self._dialect.receive(piece)
            self._take_events()

    def _take_events(self) -> None:
        while (event := self._dialect.next_event()) is not None:
            if isinstance(event, Received):
                self.received.append(event.text)
                continue
            self.events.append(event)
            if isinstance(event, SaltReceived):
                self._dialect.answer_salt(HASH.encode())
            elif isinstance(event, LoggedIn) and self._dialect.call.jobs:
                self._dialect.submit()


def talk(
    base: type[Dialect], habits: Habits, *jobs: str, call: Callable[..., Call] = call_of, **overrides: object
) -> Conversation:
    """What is said when this site, with other attributes, calls a server with these habits; without names, two jobs."""
    return Conversation(with_(base, **overrides)(call(*(jobs or ("A", "B")))), PlantaServer(habits))


def error_of(conversation: Conversation) -> str:
    """The text of the error that it ends with."""
    assert conversation.events
    assert isinstance(conversation.events[-1], RemoteProtocolError), conversation.events
    return str(conversation.events[-1])
