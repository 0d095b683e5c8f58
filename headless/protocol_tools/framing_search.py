"""Finds out how the messages of one direction become bytes: of all proposals it keeps those that explain every byte.

Of each proposal a sample is asked, of the best one all recordings. What differs for no message is one proposal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from lxml.etree import _Element as Element

from headless.dialects.framing import (
    MAX_MESSAGE,
    Delimiter,
    Digits,
    Documents,
    Framing,
    Http,
    Length,
    Receiver,
    Sender,
    Transport,
)
from headless.protocol_tools.documents import Message, parse_all, split, wide_encoding
from headless.protocol_tools.proposals import Stream, proposals
from headless.protocol_tools.recordings import Folder, Piece

_SAMPLES, _SAMPLE_SIZE = 16, 96 * 1024  # connections of a sample, and bytes of each
_WHOLE_SAMPLES = 2  # that are looked at whole, if none was
_MAX_SEEN = 200  # messages of a connection of which the encoding is looked at
_LINE_END = re.compile(rb"&#(?:10|13|x0*[AaDd]);")
_MAX_PROBES = 50  # lengths of messages for which two transports are compared
# Sizes of messages at which a length has another byte or digit. No message that is allowed has more of them.
_PROBES = (20, 100, 128, 256, 1000, 10_000, 32_768, 65_536, 100_000, 1_000_000)


def sample_of(folder: Folder, names: Sequence[str], sender: str) -> list[Stream]:
    """Returns what this side has said on the first of these connections, and on some of the others, evenly. Raises
    CommandFailed."""
    chosen = dict.fromkeys([*names[: _SAMPLES // 2], *names[:: max(1, len(names) // _SAMPLES)][:_SAMPLES]])
    sample = [stream for stream in (_stream(folder, name, sender, _SAMPLE_SIZE) for name in chosen) if stream.data]
    if any(stream.is_whole and stream.contents for stream in sample):
        return sample
    # What ends a frame has to be distinguished from what begins the next one.
    first = [_stream(folder, stream.name, sender, MAX_MESSAGE) for stream in sample[:_WHOLE_SAMPLES]]
    return first + sample[_WHOLE_SAMPLES:]


def _stream(folder: Folder, name: str, sender: str, size: int) -> Stream:
    data = bytearray()
    for piece in folder.pieces(name):
        data += piece.data if piece.sender == sender else b""
        if len(data) > size:
            break
    return Stream.of(name, bytes(data[:size]), len(data) <= size)


@dataclass
class Evidence:
    """Counts what a transport has explained. `cut` names the connections whose last frame was."""

    connections: int = 0
    messages: int = 0
    empty: int = 0
    untidy: int = 0  # with white space around the document
    escaped: int = 0  # with a line end that is written as a character reference
    most: int = 0  # messages of one connection
    encodings: set[str] = field(default_factory=set)  # of two bytes for a character, "" for others
    lengths: set[int] = field(default_factory=set)
    cut: list[str] = field(default_factory=list)

    def count(self, name: str, messages: Sequence[Message], transport: Transport, rest: bytes) -> list[Message]:
        """Counts the messages of a connection, and the `rest` of its bytes. Returns those that have something in
        them."""
        filled = [message for message in messages if message.data]
        self.connections += 1
        self.messages += len(filled)
        self.empty += len(messages) - len(filled)
        self.most = max(self.most, len(filled))
        self.encodings.update(wide_encoding(message.data[:4]) or "" for message in filled[:_MAX_SEEN])
        if isinstance(transport.framing, Delimiter):
            self.untidy += sum(message.data[0] <= 0x20 or message.data[-1] <= 0x20 for message in filled)
            self.escaped += sum(
                b"&#" in message.data and _LINE_END.search(message.data) is not None for message in filled
            )
        self.lengths.update(len(message.data) for message in filled)
        if rest.strip(b" \t\r\n\0") if isinstance(transport.framing, Documents) else rest:
            self.cut.append(name)
        return filled


@dataclass
class Answer:
    """Says what was found out of one direction. `transport` is None if nothing explains it; `alternatives` explain it
    as well, each with what would tell them apart. `failure` is what the best proposal did not explain."""

    transport: Transport | None
    evidence: Evidence
    alternatives: list[tuple[Transport, str]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    failure: str = ""
    tried: int = 0

    @property
    def is_certain(self) -> bool:
        return self.transport is not None and not self.alternatives and not self.doubts


class Search:
    """Searches the transport of one direction: make it with a sample, then give it what came on each connection. If
    `transport` has changed then, `begin` and give it everything again."""

    def __init__(self, sample: Sequence[Stream]) -> None:
        self._failures: list[tuple[int, str]] = []
        self._open: list[Transport] = []  # that explain the sample, the best first
        self._first = next((stream.data for stream in sample if stream.data), b"")
        proposed = list(dict.fromkeys(proposals(sample)))
        self._tried = len(proposed)
        asked = [(transport, self._ask(transport, sample)) for transport in proposed]
        found = _best([(transport, evidence) for transport, evidence in asked if evidence is not None])
        self._open = [each for each in found if each is found[0] or _is_other(found[0].framing, each.framing)]
        self._encodings = {transport: evidence.encodings for transport, evidence in asked if evidence is not None}
        self.begin()

    @property
    def transport(self) -> Transport | None:
        """Returns the best one of those that are left."""
        return self._open[0] if self._open else None

    def begin(self) -> None:
        """Forgets what was counted."""
        self._evidence = Evidence()

    def _ask(self, transport: Transport, sample: Sequence[Stream]) -> Evidence | None:
        """Returns what the transport explains of the sample, None if it does not explain all of it."""
        evidence = Evidence()
        for number, stream in enumerate(sample):
            receiver = Receiver(transport)
            try:
                messages = split([Piece(0, "", stream.data)], receiver)
                filled = evidence.count(stream.name, messages, transport, receiver.rest if stream.is_whole else b"")
                parse_all([message.data for message in filled])
            except ValueError as error:
                self._failures.append((number, f"{stream.name}: {error}"))
                return None
        return evidence if evidence.messages else None

    def add(self, name: str, pieces: Sequence[Piece]) -> tuple[list[Message], list[Element]]:
        """Returns the messages of a connection that have something in them, and their roots, as the best transport
        finds them. One that does not explain the pieces is left out from here on."""
        while pieces and self._open:
            receiver = Receiver(self._open[0])
            try:
                messages = split(pieces, receiver)
                filled = [message for message in messages if message.data]
                roots = parse_all([message.data for message in filled])
            except ValueError as error:
                self._failures.append((self._evidence.connections + 1000, f"{name}: {error}"))
                del self._open[0]
            else:
                self._evidence.count(name, messages, self._open[0], receiver.rest)
                if self._open[0].compression is not None:  # else their lengths tell what others explain
                    self._open[1:] = [each for each in self._open[1:] if _finds_all(each, pieces, messages)]
                return filled, roots
        return [], []

    def answer(self) -> Answer:
        """Returns what was found out. What explains the sample as well, and all messages that came, is named."""
        if not self._open or not self._evidence.messages:
            failure = max(self._failures, default=(0, ""), key=lambda each: each[0])[1]
            return Answer(None, Evidence(), failure=failure, tried=self._tried)
        transport, evidence = self._open[0], self._evidence
        others: list[tuple[Transport, str]] = []
        for other in self._open[1:]:
            if self._encodings[other] != self._encodings[transport]:
                continue  # documents in UTF-16, taken for the other one, a byte further
            if isinstance(other.framing, Documents) and evidence.escaped:
                continue  # a sender who escapes line ends in messages ends messages with them
            if not self._is_same(transport, other, sorted(evidence.lengths)):
                continue
            difference = difference_of(transport, other, self._first)
            if difference and all(difference_of(other, each, self._first) for each, _ in others):
                others.append((other, difference))
        return Answer(transport, evidence, others, _doubts(transport, evidence), tried=self._tried)

    def _is_same(self, one: Transport, other: Transport, lengths: Sequence[int]) -> bool:
        """Returns whether both make the same bytes of messages that have these lengths."""
        is_of_length = one.compression is None and Documents not in (type(one.framing), type(other.framing))
        asked = [*lengths[:: max(1, len(lengths) // _MAX_PROBES)], *lengths[-1:]] if is_of_length else []
        return all(_framed(one, self._first, size) == _framed(other, self._first, size) for size in asked if size >= 7)


def _best(found: list[tuple[Transport, Evidence]]) -> list[Transport]:
    """Returns those that leave least unexplained, the simplest one first."""

    def quality(each: tuple[Transport, Evidence]) -> tuple[bool, bool, int, bool]:
        evidence = each[1]
        return len(evidence.encodings) > 1, bool(evidence.untidy), len(evidence.cut), bool(evidence.empty)

    least = min(map(quality, found), default=None)
    return sorted((each[0] for each in found if quality(each) == least), key=_complexity)


def _complexity(transport: Transport) -> tuple[int, int]:
    framing = transport.framing
    rank = next(number for number, kind in enumerate(_SIMPLE) if isinstance(framing, kind))
    constants = {name: len(content) for name, content in framing.fields() if isinstance(content, bytes)}
    is_odd = getattr(framing, "extra", 0) not in (0, getattr(framing, "size", 0))
    return sum(constants.values()) - constants.get("end", 0) + len(transport.beginning) + 2 * is_odd, rank


_SIMPLE = (Http, Length, Digits, Delimiter, Documents)


def _is_other(framing: Framing, other: Framing) -> bool:
    """Returns whether documents that are just one after the other are another explanation: not if they are ended by a
    NUL, which no document has."""
    return not (isinstance(other, Documents) and isinstance(framing, Delimiter) and b"\0" in framing.end)


def _finds_all(transport: Transport, pieces: Sequence[Piece], messages: Sequence[Message]) -> bool:
    """Returns whether the transport finds these messages in the pieces."""
    try:
        return split(pieces, Receiver(transport)) == messages
    except ValueError:
        return False


def _doubts(transport: Transport, evidence: Evidence) -> list[str]:
    doubts = []
    framing = transport.framing
    if evidence.messages == 1:
        doubts.append("there is one message only")
    elif evidence.most == 1:
        doubts.append("no connection has a second message: what is between two is not known")
    if isinstance(framing, (Length, Digits)) and len(evidence.lengths) == 1 and evidence.messages > 1:
        doubts.append("all messages have the same length: whether the bytes before them are a length is not known")
    if transport.beginning and evidence.connections == 1:
        doubts.append("there is one connection only: whether each one begins so is not known")
    if len(evidence.cut) == evidence.connections:
        doubts.append("in each connection the last message was cut")
    return doubts


def difference_of(one: Transport, other: Transport, data: bytes) -> str:
    """Returns what would tell two transports apart that explain the same bytes, "" if nothing would. `data` is
    something that both explain."""
    if one.compression != other.compression:
        return "they differ in what is compressed"
    if Documents in (type(one.framing), type(other.framing)):
        return "a message with such white space inside would tell"
    probes = [(size, _framed(one, data, size) == _framed(other, data, size)) for size in _PROBES]
    different = [size for size, is_same in probes if not is_same]
    if len(different) == len(probes):
        return "a second message in one connection would tell"
    return f"a message of {different[0]} bytes would tell" if different else ""


def _framed(transport: Transport, data: bytes, size: int) -> list[bytes]:
    """Returns two frames with a document of this size, and what is around the first one in `data`."""
    receiver = Receiver(transport)
    receiver.receive(data)
    first = receiver.next_message() or b""
    start = len(first) - len(first.lstrip())
    probe = first[:start] + b"<a>" + b"x" * (size - 7) + b"</a>" + first[len(first.rstrip()) :]
    sender = Sender(transport.replace(compression=None))
    try:
        return [sender.bytes_of(probe), sender.bytes_of(probe)]
    except ValueError:
        return []
