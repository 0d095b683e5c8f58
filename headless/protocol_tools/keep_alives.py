"""Finds what is said only to say that the connection lives: the same, at regular times, after a silence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from lxml.etree import _Element as Element

from headless.protocol_tools.documents import Message, outline
from headless.protocol_tools.recordings import Piece

SILENCE = 5.0  # seconds, after which a message is not the answer to one before
NO_DOCUMENT = "bytes without a document"
_MAX_PIECES = 32  # in which a message is whole
_TOLERANCE = 0.15  # of an interval


@dataclass(frozen=True)
class Silence:
    """Ends with a message, or with bytes that are none; `kind` outlines it. `length` is in seconds."""

    connection: str
    seconds: float
    length: float
    sender: str
    kind: str


@dataclass(frozen=True)
class KeepAlive:
    """Says who sends what, after how many seconds of silence, how often in how many connections."""

    sender: str
    kind: str
    seconds: float
    times: int
    connections: int


def silences_in(name: str, pieces: Sequence[Piece], messages: Iterable[tuple[Message, Element]]) -> list[Silence]:
    """Returns the silences of a connection."""
    complete = {message.number: root for message, root in messages}
    found = []
    for number in range(1, len(pieces)):
        piece, length = pieces[number], pieces[number].seconds - pieces[number - 1].seconds
        if length < SILENCE:
            continue
        kind = NO_DOCUMENT
        if piece.data.strip(b" \t\r\n\0"):  # the message that begins with this piece
            following = range(number, min(number + _MAX_PIECES, len(pieces)))
            whole = (each for each in following if each in complete and pieces[each].sender == piece.sender)
            kind = next((outline(complete[each]) for each in whole), NO_DOCUMENT)
        found.append(Silence(name, piece.seconds, length, piece.sender, kind))
    return found


def keep_alives(silences: Iterable[Silence]) -> list[KeepAlive]:
    """Returns those that came at least twice in one connection."""
    groups: dict[tuple[str, str], dict[str, list[Silence]]] = {}
    for each in silences:
        groups.setdefault((each.sender, each.kind), {}).setdefault(each.connection, []).append(each)
    found = []
    for (sender, kind), by_connection in groups.items():
        regular = [group for group in by_connection.values() if _is_regular(group)]
        if regular:
            seconds = median(interval for group in regular for interval in _intervals(group))
            found.append(KeepAlive(sender, kind, seconds, sum(map(len, regular)), len(regular)))
    return found


def _intervals(silences: list[Silence]) -> list[float]:
    return [later.seconds - earlier.seconds for earlier, later in zip(silences, silences[1:])]


def _is_regular(silences: list[Silence]) -> bool:
    """Returns whether they come at regular times; of two, whether each follows a silence as long as that between."""
    intervals = _intervals(silences) + ([each.length for each in silences] if len(silences) == 2 else [])
    return len(silences) > 1 and all(
        abs(each - median(intervals)) <= _TOLERANCE * median(intervals) for each in intervals
    )
