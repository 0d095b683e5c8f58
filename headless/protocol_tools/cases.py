"""Makes cases of an exchange: the same in other pieces, and what a server, a network or a crash could make of it.

Long exchanges have too many cases: some of them are left out, evenly.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from lxml import etree

from headless.dialects.base import Accepted, Ended, JobFinished, JobStarted, LoggedIn, Output
from headless.dialects.framing import Sender, Transport
from headless.dialects.xml_messages import element
from headless.protocol_tools.exchanges import Exchange
from headless.protocol_tools.player import Chunk, Play

# What was done to a message.
_MISSING, _DOUBLED, _EARLY, _SWAPPED, CUT, CUT_INSIDE = "missing", "doubled", "early", "swapped", "cut", "cut inside"
_MAX_PLACES = 40  # messages of an exchange of which cases are made
_MAX_CUTS = 64  # inside of messages
_LEAST = 4  # of both
_MAX_EFFORT = 50_000  # messages that are played for all of them, where a message has _SIZE bytes
_SIZE = 500
_MAX_PIECES = 4000  # of an exchange that is played byte by byte
_RANDOM_TIMES = 3
_PROVING = (Accepted, JobFinished, Ended)
_OF_RUNNING_JOBS = (Accepted, JobStarted, JobFinished)
_NUMBER = re.compile(rb"[0-9]+")
_TEXT, _WORD = re.compile(rb">[^<]+<"), re.compile(rb"[A-Za-z]\0?[A-Za-z]")
_NEXT_DIGITS = bytes.maketrans(b"123456789", b"234567891")  # a 0 stays one


@dataclass(frozen=True)
class Case:
    """Is what was done (`kind`) to the server's message of this number, in words `what`. `came` counts its bytes that
    come, of one that is cut."""

    kind: str
    number: int
    what: str
    chunks: tuple[Chunk, ...]
    came: int = 0


def unchanged(exchange: Exchange) -> list[Chunk]:
    """Returns the exchange message by message, as the recorded server has ended it."""
    return [*_messages(exchange), *_end(exchange)]


def _messages(exchange: Exchange) -> list[Chunk]:
    return [Chunk(said.data, number, said.wait, said.silence) for number, said in enumerate(exchange.server)]


def _end(exchange: Exchange) -> list[Chunk]:
    count = len(exchange.server)
    rest = [Chunk(exchange.rest, count)] if exchange.rest else []
    return [*rest, Chunk(b"", count)] if exchange.is_closed else rest


# The same in other pieces


def in_pieces(exchange: Exchange, play: Play) -> Iterator[tuple[str, list[Chunk]]]:
    """Yields the exchange in other pieces, with what they are. After a call that does not wait, nothing comes that the
    old client may not have waited for."""
    stop = len(exchange.server) if exchange.call.timeout else play.last + 1
    is_whole = stop >= len(exchange.server)
    end = _end(exchange) if is_whole else []
    messages = _messages(exchange)[:stop]
    turns = _turns(exchange, messages, play)
    if is_whole and exchange.pieces:
        yield "in the pieces in which it was recorded", [*_recorded(exchange, turns), *end]
    yield "with all that came without a pause at once", [*map(_joined, turns), *end]
    step = 1 + sum(len(each.data) for each in messages) // _MAX_PIECES
    how = "byte by byte" if step == 1 else f"in pieces of {step} bytes"
    yield how, [*(piece for each in messages for piece in _cut(each, [step] * (len(each.data) // step))), *end]
    for seed in range(_RANDOM_TIMES):
        draws = random.Random(seed)
        largest = draws.choice((3, 10, 40)) * step
        sizes = (draws.randint(1, largest) for _ in iter(int, 1))
        yield "in random pieces", [*(piece for each in turns for piece in _cut(_joined(each), sizes)), *end]


def _turns(exchange: Exchange, messages: Sequence[Chunk], play: Play) -> list[list[Chunk]]:
    """Returns what the server said without waiting for the client: neither for the old one, nor, where that has sent
    more at once, for this one."""
    sent_after = {number for number, part in play.parts}
    turns: list[list[Chunk]] = []
    for chunk in messages:
        number = chunk.number
        said = exchange.server[number]
        is_same = turns and said.before == exchange.server[number - 1].before
        has_sent_less = number - 1 in sent_after and _sent_by(play, number - 2) < said.before
        if is_same and not has_sent_less:
            turns[-1].append(chunk)
        else:
            turns.append([chunk])
    return turns


def _sent_by(play: Play, number: int) -> int:
    return sum(after <= number for after, _ in play.parts)


def _joined(chunks: Sequence[Chunk]) -> Chunk:
    return replace(chunks[0], data=b"".join(each.data for each in chunks), number=chunks[-1].number)


def _recorded(exchange: Exchange, turns: Sequence[Sequence[Chunk]]) -> Iterator[Chunk]:
    """Yields the bytes as they are, if the messages are these bytes."""
    data = b"".join(exchange.pieces)
    if data != b"".join(each.data for turn in turns for each in turn) + exchange.rest:
        yield from (chunk for turn in turns for chunk in turn)
        return
    sizes = iter([*map(len, exchange.pieces), len(data)])
    for turn in turns:
        yield from _cut(_joined(turn), sizes)


def _cut(chunk: Chunk, sizes: Iterable[int]) -> Iterator[Chunk]:
    """Yields the chunk in pieces of these sizes, and what is left."""
    rest = chunk
    for size in sizes:
        if size >= len(rest.data):
            break
        yield replace(rest, data=rest.data[:size])
        rest = replace(rest, data=rest.data[size:], wait=0.0, silence=0.0)
    yield rest


# What could be otherwise


def places(exchange: Exchange, play: Play) -> list[int]:
    """Returns the numbers of messages of which cases are made: all that the call has got, or some."""
    return _some(min(play.last + 1, len(exchange.server)), _limit(exchange, _MAX_PLACES))


def _some(count: int, limit: int) -> list[int]:
    """Returns so many of the first numbers, evenly: at least the first and the last one."""
    return list(range(count)) if count <= limit else [each * (count - 1) // (limit - 1) for each in range(limit)]


def _limit(exchange: Exchange, most: int) -> int:
    """Returns of how many places cases are made: less in a long exchange, of which each case takes long."""
    effort = len(exchange.server) + sum(len(said.data) for said in exchange.server) // _SIZE
    return max(_LEAST, min(most, _MAX_EFFORT // (10 * effort + 1)))


def cases(exchange: Exchange, play: Play) -> Iterator[Case]:
    """Yields the cases of an exchange. `play` is how it goes unchanged."""
    messages = unchanged(exchange)
    server = [chunk for chunk in messages if chunk.number < len(exchange.server)]
    count = play.last + 1
    for number in places(exchange, play):
        yield Case(_MISSING, number, "is missing", (*messages[:number], *messages[number + 1 :]))
        yield Case(_DOUBLED, number, "comes twice", (*messages[: number + 1], *messages[number:]))
        yield from _early(messages, number, play)
        if number + 1 < min(count, len(server)) and server[number].data != server[number + 1].data:
            swapped = (*messages[:number], messages[number + 1], messages[number], *messages[number + 2 :])
            yield Case(_SWAPPED, number, "comes after the next one", swapped)
        yield from _cuts(messages, number, "does not come any more")
    yield from _cuts(messages, min(count, len(server)), "does not come any more")
    yield from _cuts_inside(server[:count], _limit(exchange, _MAX_CUTS))


def altered(exchange: Exchange, number: int, transport: Transport) -> Iterator[tuple[str, list[Chunk]]]:
    """Yields the exchange with another message in the place of this one, and what it is: an unknown one, and the
    same with other numbers beside the words of its texts, as another job has them. Raises ValueError."""
    roots = {said.root.tag for said in exchange.server if said.root is not None}
    name = roots.pop() if len(roots) == 1 else "Unforeseen"
    root = element(name)
    if name != "Unforeseen":
        root.append(element("Unforeseen"))
    what = "if an unknown message comes in the place of this one"
    yield what, _with_payload(exchange, number, etree.tostring(root), transport)
    payload = exchange.server[number].payload
    other = _TEXT.sub(lambda text: _NUMBER.sub(_next_number, text[0]) if _WORD.search(text[0]) else text[0], payload)
    if other != payload:
        what = "if there are other numbers in the texts of this message"
        yield what, _with_payload(exchange, number, other, transport)


def _with_payload(exchange: Exchange, number: int, payload: bytes, transport: Transport) -> list[Chunk]:
    sender = Sender(transport)
    payloads = [payload if each == number else said.payload for each, said in enumerate(exchange.server)]
    changed = [replace(chunk, data=sender.bytes_of(data)) for chunk, data in zip(_messages(exchange), payloads)]
    return [*changed, *_end(exchange)]


def _next_number(digits: re.Match[bytes]) -> bytes:
    return digits[0].translate(_NEXT_DIGITS)


def _cuts(messages: Sequence[Chunk], number: int, what: str) -> Iterator[Case]:
    kept = (*messages[:number],)
    yield Case(CUT, number, what, kept)
    yield Case(CUT, number, f"{what}, and the server closes", (*kept, Chunk(b"", number)))


def _cuts_inside(server: Sequence[Chunk], limit: int) -> Iterator[Case]:
    """Yields cuts at some bytes, and before the last byte of some messages."""
    starts = [0, *accumulate(len(chunk.data) for chunk in server)]
    cuts = {*_some(starts[-1], limit), *(starts[number + 1] - 1 for number in _some(len(server), limit))}
    for cut in sorted(cuts - set(starts)):
        number = bisect_right(starts, cut) - 1
        size = cut - starts[number]
        kept = (*server[:number], replace(server[number], data=server[number].data[:size]))
        closed = (Chunk(b"", number),) if size % 2 else ()
        yield Case(CUT_INSIDE, number, f"is cut after {size} bytes", (*kept, *closed), size)


def _cause_of(number: int, play: Play) -> int | None:
    """Returns the number of the message after which this side has sent what this message answers: a login, or jobs. -1
    if no message came before. None if this side has sent nothing of that kind before it."""
    login = next((each for each, event in play.events if isinstance(event, LoggedIn)), play.last)
    sent = [after for after, part in play.parts if after < number and (part.jobs or after < login)]
    return max(sent, default=None)


def _early(messages: Sequence[Chunk], number: int, play: Play) -> Iterator[Case]:
    """Yields the message before this side has sent what it answers: behind the one before that, and as a part of it."""
    cause = _cause_of(number, play)
    if cause is None:
        return
    rest = (*messages[cause + 1 : number], *messages[number + 1 :])
    early = replace(messages[number], is_early=True)
    what = "comes before this side has sent what it answers"
    yield Case(_EARLY, number, what, (*messages[: cause + 1], early, *rest))
    if cause >= 0:
        joined = replace(messages[cause], data=messages[cause].data + early.data, number=number)
        yield Case(_EARLY, number, what, (*messages[:cause], joined, *rest))


# What they take away


def lost(exchange: Exchange, case: Case, usual: Play) -> str:
    """Returns which events the case takes the ground from, "" if none."""
    brought: dict[int, list[str]] = {}
    for number, event in usual.events:
        if isinstance(event, _PROVING):
            brought.setdefault(number, []).append(type(event).__name__)
    number = case.number
    names: list[str] = []
    if case.kind == _MISSING or (case.kind == _EARLY and not _is_repeated(exchange, number, usual)):
        names = brought.get(number, [])
    elif case.kind == _SWAPPED:
        first, second = brought.get(number, []), brought.get(number + 1, [])
        is_end_first = Ended.__name__ in second and first and Ended.__name__ not in first
        is_early = _cause_of(number + 1, usual) == number and not _is_repeated(exchange, number + 1, usual)
        names = second if is_end_first or is_early else []
    elif case.kind in (CUT, CUT_INSIDE):
        begin = number + (case.kind == CUT_INSIDE and _is_whole(exchange, case))
        names = [name for each in range(begin, usual.last + 1) for name in brought.get(each, [])]
    return ", ".join(dict.fromkeys(names))


def _is_repeated(exchange: Exchange, number: int, usual: Play) -> bool:
    """Returns whether there is another message that differs in numbers alone: a dialect may just count them."""
    shapes = [_NUMBER.sub(b"0", said.payload) for said in exchange.server[: usual.last + 1]]
    return shapes.count(shapes[number]) > 1


def _is_whole(exchange: Exchange, case: Case) -> bool:
    """Returns whether the document of the message that was cut may have come, and only what frames it has not. Of what
    is compressed that is not known."""
    said = exchange.server[case.number]
    payload = said.payload.rstrip()
    start = said.data.find(payload)
    return start < 0 or case.came >= start + len(payload)


def runs_at(number: int, usual: Play) -> bool:
    """Returns whether the message says that the server has jobs."""
    accepted = next((each for each, event in usual.events if isinstance(event, Accepted)), usual.last + 1)
    kinds = (*_OF_RUNNING_JOBS, Output) if number >= accepted else _OF_RUNNING_JOBS
    return any(each == number and isinstance(event, kinds) for each, event in usual.events)
