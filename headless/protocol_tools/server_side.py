"""Sorts the messages of the server into kinds, with what tells each kind from the others, and where it came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from lxml.etree import _Element as Element

from headless.protocol_tools.contrast import FAILED, GOOD, LATE, LEFT, REFUSED, WRONG, Contrast
from headless.protocol_tools.documents import parse_leniently
from headless.protocol_tools.recordings import SERVER
from headless.protocol_tools.secrecy import is_secret
from headless.protocol_tools.survey import Facts
from headless.protocol_tools.trees import Path, local, normal, outline, texts_of, values_in
from headless.protocol_tools.vocabulary import Values, Vocabulary

_MAX_VALUES = 12  # different ones of what tells kinds apart
_MAX_LENGTH = 40  # characters of one
_MAX_KINDS = 60
_MAX_CHILDREN = 100  # and values, of a message that are looked at
_MAX_DEPTH = 3
# Names of what counts jobs, or messages, and tells no kinds apart.
_NUMBERS = (
    "count",
    "id",
    "idx",
    "index",
    "item",
    "job",
    "n",
    "no",
    "nr",
    "num",
    "number",
    "pos",
    "seq",
    "step",
    "task",
)
_BAD = (FAILED, REFUSED, WRONG)

# Something that a message has: path below the root, attribute ("" for the text, None for the element), and its value,
# None if that does not matter.
Trait = tuple[Path, "str | None", "str | None"]


@dataclass
class Kind:
    """Is a kind of message: those with these traits. `tests` are the traits that tell it from other kinds, `label` says
    in a few words which messages they are."""

    tag: str
    traits: frozenset[Trait]
    label: str
    outlines: set[str] = field(default_factory=set)
    times: int = 0
    calls: dict[str, set[int]] = field(default_factory=dict)  # by outcome: numbers of the calls
    counts: Counter[str] = field(default_factory=Counter)  # how often on each connection
    last: int = 0  # how often it was the last message
    place: int = 0  # the sum of how many messages of the server were before each
    tests: list[Trait] = field(default_factory=list)

    def count(self, *outcomes: str) -> int:
        """Counts the calls with these outcomes in which it came."""
        return sum(len(self.calls.get(outcome, ())) for outcome in outcomes)


class Kinds:
    """Holds the kinds of messages that the server sent, in an order in which they can be asked for."""

    def __init__(self, facts: Sequence[Facts], vocabulary: Vocabulary, contrast: Contrast) -> None:
        self._telling = _telling(vocabulary, contrast)
        found: dict[tuple[str, frozenset[Trait]], Kind] = {}
        for number, each in enumerate(facts):
            kept = [(name, message) for name, messages in each.kept.items() for message in messages]
            messages = [(name, message) for name, message in kept if message.sender == SERVER]
            for count, (name, message) in enumerate(messages):
                root = parse_leniently(message.data)
                key = str(root.tag), _traits(root, self._telling)
                if key not in found and len(found) < _MAX_KINDS:
                    found[key] = Kind(*key, self.label_of(root))
                if key in found:
                    kind = found[key]
                    kind.times += 1
                    kind.counts[name] += 1
                    kind.place += count
                    kind.outlines.add(outline(root))
                    kind.calls.setdefault(each.outcome, set()).add(number)
                    kind.last += count == len(messages) - 1
        self.all: list[Kind] = []
        for kind in found.values():
            kind.tests = _tests(kind, [other for other in found.values() if other is not kind])
            # What has all that another kind has, and more, has to be asked for before it.
            after = (
                number for number, other in enumerate(self.all) if other.tag == kind.tag and other.traits < kind.traits
            )
            self.all.insert(next(after, len(self.all)), kind)

    def label_of(self, root: Element) -> str:
        """Returns in a few words which message it is: the names in it, and the values that tell kinds apart."""
        valued = sorted(trait for trait in _traits(root, self._telling) if trait[2] is not None)
        named = [(local(name or (path[-1] if path else "text")), value) for path, name, value in valued]
        return outline(root) + "".join(f" {name}={value}" for name, value in named)


def _telling(vocabulary: Vocabulary, contrast: Contrast) -> set[tuple[Path, str]]:
    """Returns the places whose values tell kinds apart: few, short ones, that come again or that only bad recordings
    have."""
    bad = [each.before + each.after for outcome in _BAD for each in contrast.groups[outcome]]
    good = [each.before + each.after for outcome in (GOOD, LEFT, LATE) for each in contrast.groups[outcome]]
    texts = {text for group in contrast.groups.values() for each in group for _, text in texts_of(each.call)}
    found = set()
    for place in vocabulary.places():
        for name, values in [*place.attributes.items(), ("", place.texts)]:
            if not _is_short(name or place.name, values, texts):
                continue
            is_bad = any(
                any((place, name, value) in each for each in bad)
                and not any((place, name, value) in each for each in good)
                for value in values.found
            )
            are_words = not any(any(each.isdigit() for each in value) for value in values.found)
            if is_bad or (are_words and min(values.found.values()) > 1 and len(values.found) > 1):
                found.add((place.path[1:], name))
    return found


def _is_short(name: str, values: Values, texts: set[str]) -> bool:
    if values.is_many or not 1 <= len(values.found) <= _MAX_VALUES:
        return False
    if len(values.found) == values.count > 2:
        return False  # it is new each time
    if local(name).lower() in _NUMBERS and all(value.isdigit() for value in values.found):
        return False
    is_of_call = any(text in normal(value) for value in values.found for text in texts)
    is_long = any(
        len(value) > _MAX_LENGTH or len(value.split()) > 2 or is_secret(name, value) for value in values.found
    )
    return not is_of_call and not is_long


def _traits(root: Element, telling: set[tuple[Path, str]]) -> frozenset[Trait]:
    found: set[Trait] = {((), str(name), None) for name in root.attrib}
    _add_elements(root, (), found)
    for path, name, value in values_in(root, _MAX_CHILDREN):
        if (path[1:], name) in telling:
            found.add((path[1:], name, value.strip()))
    return frozenset(found)


def _add_elements(element: Element, path: Path, found: set[Trait]) -> None:
    for child in islice(element, _MAX_CHILDREN):
        if isinstance(child.tag, str) and len(found) < _MAX_CHILDREN:
            below = (*path, child.tag)
            found.add((below, None, None))
            found.update((below, str(name), None) for name in child.attrib)
            if len(below) < _MAX_DEPTH:
                _add_elements(child, below, found)


def _tests(kind: Kind, others: Iterable[Kind]) -> list[Trait]:
    """Returns all values that tell kinds apart, and few more traits: no other kind with the same root has them all."""
    chosen = sorted(trait for trait in kind.traits if trait[2] is not None)
    left = [other for other in others if other.tag == kind.tag and other.traits.issuperset(chosen)]

    def rank(trait: Trait) -> tuple[int, int]:
        return sum(trait not in other.traits for other in left), -len(trait[0])

    while left:
        best = max(sorted(kind.traits, key=repr), key=rank, default=None)
        if best is None or rank(best)[0] == 0:
            break
        chosen.append(best)
        left = [other for other in left if best in other.traits]
    return chosen


def test_code(kind: Kind) -> str:
    """Returns an expression that is true for a message `root` of this kind."""
    parts = [f"root.tag == {kind.tag!r}"]
    for path, name, value in kind.tests:
        each, below = ("each", "/".join(path)) if path else ("root", "")
        if name is None:
            parts.append(f"root.find({below!r}) is not None")
            continue
        told = f"({each}.text or '').strip()" if name == "" else f"{each}.get({name!r})"
        test = f"{told} is not None" if value is None else f"{told} == {value!r}"
        parts.append(f"any({test} for each in root.iterfind({below!r}))" if path else test)
    return " and ".join(parts)
