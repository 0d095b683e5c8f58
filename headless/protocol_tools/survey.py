"""Reads a folder of recordings as a whole, and notes what the rest is found out from.

The bytes of a connection are looked at one connection after the other: a folder may hold more than fits in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from lxml.etree import _Element as Element

from headless.dialects.framing import MAX_MESSAGE, Receiver
from headless.errors import CommandFailed
from headless.protocol_tools.framing_search import Answer, Search
from headless.protocol_tools.messages import Message, parse_all, texts_in
from headless.protocol_tools.proposals import Stream
from headless.protocol_tools.recordings import CLIENT, SERVER, Folder, Piece, RecordedCall
from headless.protocol_tools.schema import Schemas
from headless.protocol_tools.style import Style
from headless.protocol_tools.trees import JOB, Path, holds_job, normal, outline, texts_of, values_in
from headless.protocol_tools.vocabulary import Feature, Place, Vocabulary

SENDERS = (CLIENT, SERVER)
SILENCE = 5.0  # seconds, after which a message is not the answer to one before
_TLS = b"\x16\x03"  # a record of the handshake (RFC 8446, 5.1)
NO_DOCUMENT = "bytes without a document"
_MAX_SILENCES = 10_000
_MAX_PIECES = 32  # in which a message is whole
_SAMPLES = 16  # connections
_LARGE_SAMPLES = 4
_SAMPLE_SIZE = 96 * 1024  # bytes of one
_MAX_KEPT = 60  # messages of one side of a connection that are kept, the first ones
_MAX_LAST = 5  # and the last ones
_MAX_KEPT_BYTES = {CLIENT: 512 * 1024, SERVER: 64 * 1024}  # of them
_MAX_ALL_KEPT = 48 * 1024 * 1024  # bytes of all connections
_MAX_ECHOES = 2000  # values of a connection in which they are
_MAX_SEARCHED = 200  # messages of a connection in which the call's texts are looked for


@dataclass
class Silence:
    """Ends with a message, or with bytes that are none; `kind` describes it, and `answer` what the other side sent at
    once. `length` is in seconds."""

    connection: str
    seconds: float
    length: float
    sender: str
    kind: str
    answer: str


@dataclass
class Facts:
    """Holds what is known of one call. `before` and `after` count the features of the server's messages before and
    after the jobs had left, `last` those of its last message."""

    call: RecordedCall
    outcome: str = ""
    has_jobs_left: bool = False
    before: Counter[Feature] = field(default_factory=Counter)
    after: Counter[Feature] = field(default_factory=Counter)
    last: Counter[Feature] = field(default_factory=Counter)
    said: Counter[Feature] = field(default_factory=Counter)  # by the client
    echoes: set[tuple[Place, str, str]] = field(default_factory=set)  # which text of the call came back where
    kept: dict[str, list[Message]] = field(default_factory=dict)  # by connection


class Survey:
    """Holds what a folder says. Raises CommandFailed for one that cannot be read, or says nothing."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.calls = folder.calls()
        self.names = [name for call in self.calls for name in call.connections]
        if not self.names:
            raise CommandFailed(f"{folder.path}: no call with a connection was recorded")
        self.answers: dict[str, Answer] = {}
        searches = self._searches()
        for _ in range(3):  # again if the best explanation of a sample is not that of all
            self._begin()
            used = {sender: search.transport for sender, search in searches.items()}
            for search in searches.values():
                search.begin()
            self._read(searches)
            self.answers = {sender: search.answer() for sender, search in searches.items()}
            if used == {sender: answer.transport for sender, answer in self.answers.items()}:
                break
        self._check_again()

    def _begin(self) -> None:
        self.vocabularies = {sender: Vocabulary() for sender in SENDERS}
        self.schemas = {sender: Schemas() for sender in SENDERS}
        self.styles = {sender: Style() for sender in SENDERS}
        self.facts = [Facts(call) for call in self.calls]
        self.first: Counter[str] = Counter()  # who has sent the first byte
        self.silences: list[Silence] = []
        self.longest_silence = 0.0
        self.is_tls = False  # a connection begins as TLS does
        self._kept_bytes = 0

    # A look at some

    def _searches(self) -> dict[str, Search]:
        names = self.names[:: max(1, len(self.names) // _SAMPLES)][:_SAMPLES]
        samples = self._samples([*self.names[: _SAMPLES // 2], *names], _SAMPLE_SIZE)
        large = [sender for sender, sample in samples.items() if sample and not any(each.contents for each in sample)]
        if large:  # their first messages are longer than what was looked at
            whole = self._samples(self.names[:_LARGE_SAMPLES], MAX_MESSAGE)
            samples.update({sender: whole[sender] for sender in large})
        return {sender: Search(sample) for sender, sample in samples.items()}

    def _samples(self, names: Iterable[str], size: int) -> dict[str, list[Stream]]:
        samples: dict[str, list[Stream]] = {sender: [] for sender in SENDERS}
        for name in dict.fromkeys(names):
            for sender, data in _joined(self.folder.pieces(name)).items():
                if data:
                    samples[sender].append(Stream.of(name, data[:size], len(data) <= size))
        return samples

    # A look at all

    def _read(self, searches: dict[str, Search]) -> None:
        for facts in self.facts:
            for name in facts.call.connections:
                pieces = [piece for piece in self.folder.pieces(name) if piece.data]
                if pieces:
                    self.first[pieces[0].sender] += 1
                    self.is_tls = self.is_tls or pieces[0].data.startswith(_TLS)
                self._read_connection(facts, name, pieces, searches)

    def _read_connection(self, facts: Facts, name: str, pieces: list[Piece], searches: dict[str, Search]) -> None:
        numbered = list(enumerate(pieces))
        found: dict[str, tuple[list[Message], list[Element]]] = {}
        for sender in SENDERS:
            mine = [(number, piece) for number, piece in numbered if piece.sender == sender]
            messages, roots = searches[sender].add(name, [piece for _, piece in mine])
            for message in messages:
                message.number = mine[message.number][0]
            found[sender] = messages, roots
        self._learn_client(facts, *found[CLIENT])
        self._learn_server(facts, *found[SERVER])
        for sender, (_, roots) in found.items():
            self.schemas[sender].check(name, self.vocabularies[sender], roots)
        self._note_silences(name, pieces, found)
        self._keep(facts, name, found)

    def _learn_client(self, facts: Facts, messages: list[Message], roots: list[Element]) -> None:
        texts = [text for what, text in texts_of(facts.call) if what == JOB]
        letters = {letter for job in facts.call.jobs for letter in job.text if not letter.isascii()}
        self.styles[CLIENT].add([message.data for message in messages], letters)
        self.vocabularies[CLIENT].learn(roots, facts.said)
        self._left_at = -1 if facts.has_jobs_left else 1 << 60  # the piece that completed the first message with a job
        for message, root in zip(messages[:_MAX_SEARCHED], roots):
            if not facts.has_jobs_left and texts and holds_job(root, texts):
                facts.has_jobs_left = True
                self._left_at = message.number

    def _learn_server(self, facts: Facts, messages: list[Message], roots: list[Element]) -> None:
        self.styles[SERVER].add([message.data for message in messages])
        vocabulary = self.vocabularies[SERVER]
        is_later = [message.number > self._left_at for message in messages]
        first = is_later.index(True) if True in is_later else len(roots)  # behind the jobs
        vocabulary.learn(roots[: min(first, len(roots) - 1)], facts.before)
        vocabulary.learn(roots[first:-1], facts.after)
        if roots:
            facts.last = Counter()
            vocabulary.learn(roots[-1:], facts.last)
            (facts.after if first < len(roots) else facts.before).update(facts.last)
        left = _MAX_ECHOES
        for root in roots[:_MAX_SEARCHED]:
            left -= self._note_echoes(facts, root, left)

    def _note_echoes(self, facts: Facts, root: Element, limit: int) -> int:
        """Notes where texts of the call came back. Returns how many values were looked at."""
        texts = texts_of(facts.call)
        values = values_in(root, limit) if limit > 0 else []
        for path, name, value in values:
            for what, text in texts:
                if text in value or text in normal(value):
                    found = _place_at(self.vocabularies[SERVER].roots[path[0]], path)
                    if found is not None:
                        facts.echoes.add((found, name, what))
        return len(values)

    def _note_silences(
        self, name: str, pieces: list[Piece], found: dict[str, tuple[list[Message], list[Element]]]
    ) -> None:
        times = [piece.seconds for piece in pieces]
        lengths = [later - earlier for earlier, later in zip(times, times[1:])]
        self.longest_silence = max([self.longest_silence, *lengths])
        if max(lengths, default=0) < SILENCE:
            return
        pairs = [pair for messages, roots in found.values() for pair in zip(messages, roots)]
        complete = {message.number: root for message, root in pairs}

        def kind_at(number: int, sender: str) -> str:
            """Describes the message that begins with this piece."""
            for each in range(number, min(number + _MAX_PIECES, len(pieces))):
                if each in complete and pieces[each].sender == sender:
                    return outline(complete[each])
            return NO_DOCUMENT

        for number, (length, piece) in enumerate(zip(lengths, pieces[1:]), 1):
            if length < SILENCE or len(self.silences) >= _MAX_SILENCES:
                continue
            following = enumerate(pieces[number + 1 : number + _MAX_PIECES], number + 1)
            soon = [each for each, later in following if later.seconds - piece.seconds < SILENCE / 2]
            answer = next((each for each in soon if pieces[each].sender != piece.sender), None)
            is_empty = not piece.data.strip(b" \t\r\n\0")
            kind = NO_DOCUMENT if is_empty else kind_at(number, piece.sender)
            answered = "" if answer is None else kind_at(answer, pieces[answer].sender)
            self.silences.append(Silence(name, piece.seconds, length, piece.sender, kind, answered))

    def _keep(self, facts: Facts, name: str, found: dict[str, tuple[list[Message], list[Element]]]) -> None:
        kept = facts.kept.setdefault(name, [])
        for sender, (messages, _) in found.items():
            left = _MAX_KEPT_BYTES[sender]
            for message in [*messages[-_MAX_LAST:], *messages[: max(0, min(_MAX_KEPT, len(messages) - _MAX_LAST))]]:
                if len(message.data) <= min(left, _MAX_ALL_KEPT - self._kept_bytes):
                    left -= len(message.data)
                    self._kept_bytes += len(message.data)
                    kept.append(message)
        kept.sort(key=lambda message: message.number)

    # A second look at some

    def _check_again(self) -> None:
        """Checks messages against the last schemas that were checked before something new was learned."""
        for sender, schemas in self.schemas.items():
            transport = self.answers[sender].transport
            for name in schemas.unchecked():
                pieces = [piece for piece in self.folder.pieces(name) if piece.sender == sender]
                if transport is not None:
                    roots = parse_all([*filter(None, texts_in(pieces, Receiver(transport)))])
                    schemas.check(name, self.vocabularies[sender], roots)


def _joined(pieces: Iterable[Piece]) -> dict[str, bytes]:
    found = {sender: bytearray() for sender in SENDERS}
    for piece in pieces:
        found[piece.sender] += piece.data
    return {sender: bytes(data) for sender, data in found.items()}


def _place_at(place: Place, path: Path) -> Place | None:
    found: Place | None = place
    for name in path[1:]:
        found = found.children.get(name) if found else None
    return found
