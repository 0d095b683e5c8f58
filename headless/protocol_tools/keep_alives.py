"""Finds what is said only to say that the connection lives: the same, at regular times, after a silence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from headless.protocol_tools.documents import parse_leniently
from headless.protocol_tools.recordings import CLIENT, SERVER
from headless.protocol_tools.survey import SILENCE, Facts, Silence
from headless.protocol_tools.trees import outline

_TOLERANCE = 0.15  # of an interval


@dataclass(frozen=True)
class KeepAlive:
    """Says who sends what, after how many seconds of silence, how often in how many connections, and what answers."""

    sender: str
    kind: str
    seconds: float
    times: int
    connections: int
    answer: str


def keep_alives(silences: Iterable[Silence]) -> list[KeepAlive]:
    """Returns those that came at least twice in one connection."""
    groups: dict[tuple[str, str], dict[str, list[Silence]]] = {}
    for silence in silences:
        by_connection = groups.setdefault((silence.sender, silence.kind), {})
        by_connection.setdefault(silence.connection, []).append(silence)
    found = []
    for (sender, kind), by_connection in groups.items():
        regular = {name: each for name, each in by_connection.items() if _is_regular(each)}
        times = [silence for each in regular.values() for silence in each]
        if times:
            answers = {silence.answer for silence in times}
            seconds = median(_intervals(times))
            answer = answers.pop() if len(answers) == 1 else ""
            found.append(KeepAlive(sender, kind, seconds, len(times), len(regular), answer))
    return found


def only_keep_alives(facts: Iterable[Facts], found: Iterable[KeepAlive]) -> set[str]:
    """Returns which of the client's messages, as outlined, come at no other time than after a silence, or as the answer
    to a keep-alive of the server."""
    mine = {each.kind for each in found if each.sender == CLIENT}
    theirs = {each.kind for each in found if each.sender == SERVER}
    possible = mine | {each.answer for each in found if each.sender == SERVER and each.answer}
    for messages in (messages for each in facts for messages in each.kept.values()):
        before, seconds = "", 0.0
        for message in messages:
            kind = outline(parse_leniently(message.data))
            is_early = message.seconds - seconds < SILENCE and before not in theirs
            if message.sender == CLIENT and is_early:
                possible.discard(kind)
            before, seconds = kind, message.seconds
    return possible


def _intervals(silences: list[Silence]) -> list[float]:
    """Returns the times between two of one connection; where there is one only, how long the silence was."""
    pairs = zip(silences, silences[1:])
    between = [later.seconds - earlier.seconds for earlier, later in pairs if earlier.connection == later.connection]
    return between or [each.length for each in silences]


def _is_regular(silences: list[Silence]) -> bool:
    intervals = _intervals(silences)
    if len(silences) == 2:  # one interval alone is always regular
        intervals += [each.length for each in silences]
    usual = median(intervals)
    return len(silences) > 1 and all(abs(each - usual) <= _TOLERANCE * usual for each in intervals)
