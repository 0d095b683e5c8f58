"""Reads a folder of recordings as a whole, and notes what the rest is found out from.

The bytes of a connection are looked at one connection after the other: a folder may hold more than fits in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from lxml.etree import _Element as Element

from headless.errors import CommandFailed
from headless.protocol_tools.documents import (
    JOB,
    Message,
    Path,
    Style,
    holds_job,
    local,
    normal,
    outline,
    texts_of,
    values_in,
)
from headless.protocol_tools.framing_search import Answer, Search, sample_of
from headless.protocol_tools.recordings import CLIENT, SERVER, SILENCE, Folder, Piece, RecordedCall
from headless.protocol_tools.vocabulary import Feature, Vocabulary

SENDERS = (CLIENT, SERVER)
_TLS = b"\x16\x03"  # a record of the handshake (RFC 8446, 5.1)
_MAX_SILENCES = 10_000
_NO_DOCUMENT = "bytes without a document"
_MAX_PIECES = 32  # in which a message is whole
_TOLERANCE = 0.15  # of an interval
_MAX_KEPT = 60  # messages of one side of a connection that are kept, the first ones
_MAX_LAST = 5  # and the last ones
_MAX_KEPT_BYTES = {CLIENT: 512 * 1024, SERVER: 64 * 1024}  # of them
_MAX_ALL_KEPT = 16 * 1024 * 1024  # bytes of all connections
_MAX_ECHOES = 2000  # values of a connection in which the call's texts are looked for
_MAX_SEARCHED = 200  # messages of a connection in which they are


@dataclass
class Kept:
    """Is a message that is kept. In those of the server the names of elements are without namespaces."""

    connection: str
    number: int
    sender: str
    root: Element


@dataclass
class Facts:
    """Holds what is known of one call. `before` and `after` count the features of the server's messages before and
    after the jobs had left, `last` those of its last message."""

    call: RecordedCall
    has_jobs_left: bool = False
    before: Counter[Feature] = field(default_factory=Counter)
    after: Counter[Feature] = field(default_factory=Counter)
    last: Counter[Feature] = field(default_factory=Counter)
    said: Counter[Feature] = field(default_factory=Counter)  # by the client
    echoes: set[tuple[Path, str, str]] = field(default_factory=set)  # which text of the call came back where
    kept: list[Kept] = field(default_factory=list)


class Survey:
    """Holds what a folder says. Raises CommandFailed for one that cannot be read, or says nothing."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.calls = folder.calls()
        self.names = [name for call in self.calls for name in call.connections]
        if not self.names:
            raise CommandFailed(f"{folder.path}: no call with a connection was recorded")
        self._searches = {sender: Search(sample_of(folder, self.names, sender)) for sender in SENDERS}
        while True:  # again if the best explanation of the sample is not that of all
            used = self._transports()
            self._read()
            if used == self._transports():
                break
        self.answers: dict[str, Answer] = {sender: search.answer() for sender, search in self._searches.items()}
        self._check_again()

    def _transports(self) -> list[object]:
        return [search.transport for search in self._searches.values()]

    # A look at all

    def _read(self) -> None:
        self.vocabularies = {sender: Vocabulary() for sender in SENDERS}
        self.styles = {sender: Style() for sender in SENDERS}
        self.facts = [Facts(call) for call in self.calls]
        self.first: Counter[str] = Counter()  # who has sent the first byte
        self.silences: list[Silence] = []
        self.longest_silence = 0.0
        self.is_tls = False  # a connection begins as TLS does
        self._kept_bytes = 0
        for search in self._searches.values():
            search.begin()
        for facts in self.facts:
            for name in facts.call.connections:
                pieces = [piece for piece in self._folder.pieces(name) if piece.data or piece.sender == CLIENT]
                ends = [number for number, piece in enumerate(pieces) if not piece.data]
                pieces = [piece for piece in pieces if piece.data]
                if pieces:
                    self.first[pieces[0].sender] += 1
                    self.is_tls = self.is_tls or pieces[0].data.startswith(_TLS)
                    self._read_connection(facts, name, pieces, [*ends, len(pieces)][0])

    def _read_connection(self, facts: Facts, name: str, pieces: list[Piece], end: int) -> None:
        """`end` is the number of the first piece after the end of the client's stream."""
        found: dict[str, list[tuple[Message, Element]]] = {}
        for sender in SENDERS:
            numbers = [number for number, piece in enumerate(pieces) if piece.sender == sender]
            messages, roots = self._searches[sender].add(name, [pieces[number] for number in numbers])
            for message in messages:
                message.number = numbers[message.number]
            found[sender] = list(zip(messages, roots))
        if facts.call.leaves_early:
            found[SERVER] = [pair for pair in found[SERVER] if pair[0].number < end]
        left_at = self._learn_client(facts, found[CLIENT])
        self._learn_server(facts, found[SERVER], left_at)
        for sender, pairs in found.items():
            self.vocabularies[sender].check(name, [root for _, root in pairs])
            self._keep(facts, name, pairs, _MAX_KEPT_BYTES[sender])
        facts.kept.sort(key=lambda each: (facts.call.connections.index(each.connection), each.number))
        times = [piece.seconds for piece in pieces]
        self.longest_silence = max([self.longest_silence, *(b - a for a, b in zip(times, times[1:]))])
        if len(self.silences) < _MAX_SILENCES:
            self.silences += _silences_in(name, pieces, [*found[CLIENT], *found[SERVER]])

    def _learn_client(self, facts: Facts, pairs: Sequence[tuple[Message, Element]]) -> float:
        """Returns the number of the piece that completed the first message with a job."""
        texts = [text for what, text in texts_of(facts.call) if what == JOB]
        letters = {letter for job in facts.call.jobs for letter in job.text if not letter.isascii()}
        self.styles[CLIENT].add((message.data for message, _ in pairs), letters)
        left_at = -1.0 if facts.has_jobs_left else float("inf")
        facts.said.update(self.vocabularies[CLIENT].learn(root for _, root in pairs))
        for message, root in pairs[:_MAX_SEARCHED]:
            if not facts.has_jobs_left and texts and holds_job(root, texts):
                facts.has_jobs_left = True
                left_at = message.number
        return left_at

    def _learn_server(self, facts: Facts, pairs: Sequence[tuple[Message, Element]], left_at: float) -> None:
        vocabulary = self.vocabularies[SERVER]
        self.styles[SERVER].add(message.data for message, _ in pairs)
        facts.before.update(vocabulary.learn(root for message, root in pairs[:-1] if message.number <= left_at))
        facts.after.update(vocabulary.learn(root for message, root in pairs[:-1] if message.number > left_at))
        for message, root in pairs[-1:]:
            facts.last = vocabulary.learn([root])
            (facts.after if message.number > left_at else facts.before).update(facts.last)
        texts = texts_of(facts.call)
        values_left = _MAX_ECHOES
        for _, root in pairs[:_MAX_SEARCHED]:
            values = values_in(root, values_left) if values_left > 0 else []
            values_left -= len(values)
            for path, name, value in values:
                said = normal(value)
                facts.echoes.update((path, name, what) for what, text in texts if text in value or text in said)

    def _keep(self, facts: Facts, name: str, pairs: Sequence[tuple[Message, Element]], left: int) -> None:
        for message, root in [*pairs[-_MAX_LAST:], *pairs[: max(0, min(_MAX_KEPT, len(pairs) - _MAX_LAST))]]:
            size = len(message.data)
            if size > min(left, _MAX_ALL_KEPT - self._kept_bytes):
                continue
            left -= size
            self._kept_bytes += size
            if message.sender == SERVER:
                for each in root.iter("*"):
                    each.tag = local(str(each.tag))
            facts.kept.append(Kept(name, message.number, message.sender, root))

    def _check_again(self) -> None:
        """Checks messages against the last schemas that were checked before something new was learned."""
        for sender, search in self._searches.items():
            search.begin()
            for name in self.vocabularies[sender].unchecked():
                _, roots = search.add(name, [piece for piece in self._folder.pieces(name) if piece.sender == sender])
                self.vocabularies[sender].check(name, roots)


# What is said only to say that the connection lives: the same, at regular times, after a silence


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


def _silences_in(name: str, pieces: Sequence[Piece], messages: Iterable[tuple[Message, Element]]) -> list[Silence]:
    """Returns the silences of a connection."""
    complete = {message.number: root for message, root in messages}
    found = []
    for number in range(1, len(pieces)):
        piece, length = pieces[number], pieces[number].seconds - pieces[number - 1].seconds
        if length < SILENCE:
            continue
        kind = _NO_DOCUMENT
        if piece.data.strip(b" \t\r\n\0"):  # the message that begins with this piece
            following = range(number, min(number + _MAX_PIECES, len(pieces)))
            whole = (each for each in following if each in complete and pieces[each].sender == piece.sender)
            kind = next((outline(complete[each]) for each in whole), _NO_DOCUMENT)
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
