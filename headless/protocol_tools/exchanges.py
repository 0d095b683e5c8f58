"""Makes an exchange of the recordings of a call: what the server said, message by message, and what the old client did.

A call may have several connections, one after the other: a dialect says all of it on one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from lxml.etree import _Element as Element

from headless.dialects.framing import Receiver, Sender, Transport
from headless.errors import CommandFailed, ProtocolError
from headless.protocol_tools.documents import root_of, without_content
from headless.protocol_tools.framing_search import Search, sample_of
from headless.protocol_tools.recordings import CLIENT, SERVER, Folder, Piece, RecordedCall


@dataclass(frozen=True)
class Said:
    """Is one message. `number` counts those of its side on the `connection`, from 1; `data` are its bytes as they
    travel. `before` counts the messages of the other side that were whole before it was. `wait` are the seconds before
    it in which nothing was said, `silence` those since this side's last message. `root` is None if it is not XML."""

    connection: str
    number: int
    data: bytes
    payload: bytes
    root: Optional[Element]
    before: int
    wait: float
    silence: float


@dataclass
class Exchange:
    """Is what was said in one call. `rest` are bytes of the server that belong to no whole message, `pieces` all its
    bytes as they came. `client` is None if its framing is not known."""

    call: RecordedCall
    name: str
    server: list[Said] = field(default_factory=list)
    client: Optional[list[Said]] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    rest: bytes = b""
    is_closed: bool = False  # by the server
    is_left: bool = False  # by the client, before that

    @property
    def title(self) -> str:
        return f'{self.name} "{self.call.label}"' if self.call.label else self.name

    def divide(self, ends: set[int]) -> None:
        """Makes several messages of what was taken for one: `ends` counts the server's bytes up to the end of each."""
        found: list[Said] = []
        start = 0
        for said in self.server:
            stops = [each - start for each in sorted(ends) if start < each < start + len(said.data)]
            for begin, stop in zip([0, *stops], [*stops, len(said.data)]):
                data = said.data[begin:stop]
                wait, silence = (0.0, 0.0) if begin else (said.wait, said.silence)
                number = len(found) + 1
                found.append(replace(said, number=number, data=data, payload=data, wait=wait, silence=silence))
            start += len(said.data)
        self.server = found


@dataclass(frozen=True)
class _Found:
    """Is a message in pieces; `last` is the number of the one that completes it."""

    data: bytes
    payload: bytes
    last: int


class Exchanges:
    """Reads the exchanges of a folder. `to_server` are the transports of the client's messages that explain all
    recordings, the best one first; `to_client` is the server's, None if none was found."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.calls = [call for call in folder.calls() if call.connections]
        if not self.calls:
            raise CommandFailed(f"{folder.path}: no call with a connection was recorded")
        self.to_server = self._transports(CLIENT)
        self.to_client = next(iter(self._transports(SERVER)), None)

    def _transports(self, sender: str) -> list[Transport]:
        names = [name for call in self.calls for name in call.connections]
        search = Search(sample_of(self._folder, names, sender))
        for name in names:
            search.add(name, [piece for piece in self._pieces(name) if piece.sender == sender and piece.data])
        answer = search.answer()
        return [] if answer.transport is None else [answer.transport, *(each for each, _ in answer.alternatives)]

    def _pieces(self, name: str) -> list[Piece]:
        """Returns the pieces of a connection, without what the server said when the client had left."""
        pieces = list(self._folder.pieces(name))
        ends = [number for number, piece in enumerate(pieces) if piece.sender == CLIENT and not piece.data]
        return pieces[: ends[0] + 1] if ends else pieces

    def messages_of(self, sent: Sequence[bytes]) -> list[tuple[int, bytes, bytes]]:
        """Returns the messages in parts that were sent: the number of the part that completes it, the message as it
        travels, and itself. Raises ValueError if none of the transports explains the parts."""
        failure = ""
        for transport in self.to_server:
            try:
                found, rest = _messages(list(enumerate(sent)), transport)
            except ProtocolError as error:
                failure = failure or without_content(error)
                continue
            if not rest.strip(b" \t\r\n\0"):
                return [(each.last, each.data, each.payload) for each in found]
            failure = failure or "what is sent last is no whole message"
        raise ValueError(failure)

    def __iter__(self) -> Iterator[Exchange]:
        for call in self.calls:
            exchange = Exchange(call, call.connections[0])
            for name in call.connections:
                self._add(exchange, name)
            yield exchange

    def _add(self, exchange: Exchange, name: str) -> None:
        pieces = self._pieces(name)
        theirs, rest = self._found(pieces, SERVER, self.to_client)
        ours, _ = self._found(pieces, CLIENT, next(iter(self.to_server), None))
        before_server, before_client = len(exchange.server), len(exchange.client or [])
        exchange.server += _said(pieces, theirs, ours, connection=name, before=before_client)
        if exchange.client is not None and self.to_server:
            exchange.client += _said(pieces, ours, theirs, connection=name, before=before_server)
        else:
            exchange.client = None
        exchange.pieces += [piece.data for piece in pieces if piece.sender == SERVER and piece.data]
        exchange.rest = rest
        exchange.is_closed = any(piece.sender == SERVER and not piece.data for piece in pieces)
        exchange.is_left = not exchange.is_closed and any(not piece.data for piece in pieces[-1:])

    def _found(self, pieces: Sequence[Piece], sender: str, transport: Transport | None) -> tuple[list[_Found], bytes]:
        """Returns the messages of this side, and its bytes that belong to none."""
        mine = [(number, piece.data) for number, piece in enumerate(pieces) if piece.sender == sender and piece.data]
        if transport is None:
            return _turns(pieces, mine), b""
        try:
            return _messages(mine, transport)
        except ProtocolError as error:
            raise CommandFailed(f"a recording cannot be read: {without_content(error)}") from None


def _messages(mine: Sequence[tuple[int, bytes]], transport: Transport) -> tuple[list[_Found], bytes]:
    receiver, sender = Receiver(transport), Sender(transport)
    is_stream = transport.compression is not None and transport.compression.scope != "message"
    found: list[_Found] = []
    fed, taken = bytearray(), 0
    for number, data in mine:
        receiver.receive(data)
        fed += data
        while (payload := receiver.next_message()) is not None:
            end = len(fed) - receiver.unread
            raw = sender.bytes_of(payload) if is_stream else bytes(fed[taken:end])
            found.append(_Found(raw, payload, number))
            taken = end
    return found, b"" if is_stream else bytes(fed[taken:])


def _turns(pieces: Sequence[Piece], mine: Sequence[tuple[int, bytes]]) -> list[_Found]:
    """Returns what was said without a word of the other side between as one message."""
    found: list[_Found] = []
    for number, data in mine:
        is_new = not found or any(piece.sender != pieces[number].sender for piece in pieces[found[-1].last : number])
        if is_new:
            found.append(_Found(data, data, number))
        else:
            last = found.pop()
            found.append(_Found(last.data + data, last.data + data, number))
    return found


def _said(pieces: Sequence[Piece], found: Sequence[_Found], others: Sequence[_Found], **fields: Any) -> Iterator[Said]:
    """Yields the messages of one side. `fields` are those of Said that all have, `before` what is to be added to it."""
    lasts = [each.last for each in others]
    before = fields.pop("before")
    spoken = 0.0  # when this side did so for the last time
    previous = -1  # the piece that has completed the message before
    for number, each in enumerate(found, 1):
        moment = pieces[each.last].seconds
        is_alone = each.last != previous
        yield Said(
            number=number,
            data=each.data,
            payload=each.payload,
            root=root_of(each.payload),
            before=before + bisect_left(lasts, each.last),
            wait=max(0.0, moment - pieces[each.last - 1].seconds) if is_alone and each.last else 0.0,
            silence=max(0.0, moment - spoken),
            **fields,
        )
        previous, spoken = each.last, moment
