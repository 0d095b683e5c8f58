"""Learns the vocabulary of one side from its messages: elements, attributes and values.

A place is an element at a path from the root, so that equal names at different paths are different.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from lxml.etree import _Element as Element

MAX_VALUES = 64  # different ones of a place that are kept
MAX_VALUE = 80  # characters of one that is
MAX_DEPTH = 16  # of elements that are told apart
MAX_PLACES = 1000
_MAX_TAILS = 5000  # elements of a place behind which text is looked for

# An element of a place (the name is None), an attribute of it, or if the name is "" its text; with this value, if it is
# one that is kept.
Feature = tuple["Place", "str | None", "str | None"]


class Values:
    """Counts the values of an attribute, or the texts of an element. `new` are those that are not counted yet."""

    __slots__ = ("count", "found", "is_many", "new")

    def __init__(self) -> None:
        self.count = 0
        self.found: dict[str, int] = {}
        self.is_many = False  # more than are kept, or longer ones
        self.new: list[str] = []

    def count_new(self) -> dict[str | None, int]:
        """Returns how often each value that is kept is new, and under None how often others are."""
        new = Counter(self.new)
        counted: dict[str | None, int] = {}
        if not self.is_many:
            for value in new:
                if value not in self.found:
                    if len(value) > MAX_VALUE or len(self.found) >= MAX_VALUES:
                        self.is_many = True
                        break
                    self.found[value] = 0
        for value in self.found if len(self.found) < len(new) else [value for value in new if value in self.found]:
            if times := new[value]:
                self.found[value] += times
                counted[value] = times
        others = len(self.new) - sum(counted.values())
        self.count += len(self.new)
        self.new = []
        return {**counted, None: others} if others else counted


class Place:
    """Is an element at a path. `elements` counts them; `has_more` says that there are others in it, too deep to be told
    apart."""

    __slots__ = (
        "attributes",
        "children",
        "depth",
        "elements",
        "has_more",
        "is_mixed",
        "name",
        "new",
        "parent",
        "texts",
    )

    def __init__(self, name: str, parent: Place | None = None) -> None:
        self.name = name
        self.parent = parent
        self.depth: int = parent.depth + 1 if parent else 0
        self.elements = 0
        self.new = 0  # elements that are not counted yet
        self.attributes: dict[str, Values] = {}
        self.children: dict[str, Place] = {}
        self.texts = Values()
        self.is_mixed = False
        self.has_more = False

    @property
    def path(self) -> tuple[str, ...]:
        return (*self.parent.path, self.name) if self.parent else (self.name,)

    def walk(self) -> Iterator[Place]:
        yield self
        for child in self.children.values():
            yield from child.walk()

    def count_new(self, seen: Counter[Feature]) -> None:
        """Counts what is new, also in `seen`."""
        self.elements += self.new
        seen[self, None, None] += self.new
        self.new = 0
        for name, values in self.attributes.items():
            if values.new:
                for value, times in values.count_new().items():
                    seen[self, name, value] += times
        if self.texts.new:
            self.texts.new = [stripped for text in self.texts.new if (stripped := text.strip())]
            for value, times in self.texts.count_new().items():
                seen[self, "", value] += times


class Vocabulary:
    """Holds the places of the messages of one side, by the names of their root elements."""

    def __init__(self) -> None:
        self.roots: dict[str, Place] = {}
        self.messages = 0
        self._places = 0

    def learn(self, roots: Iterable[Element], seen: Counter[Feature]) -> None:
        """Learns messages, and counts in `seen` which features they have."""
        for root in roots:
            self.messages += 1
            name = str(root.tag)
            place = self.roots.get(name)
            if place is None:
                place = self.roots[name] = Place(name)
            self._learn(root, place)
        for place in self.places():
            if place.new:
                place.count_new(seen)

    def _learn(self, element: Element, place: Place) -> None:
        place.new += 1
        attributes: Any = place.attributes
        for name, value in element.items():
            try:
                attributes[name].new.append(value)
            except KeyError:
                attributes[name] = Values()
                attributes[name].new.append(value)
        if text := element.text:
            place.texts.new.append(text)
        if len(element):
            self._learn_children(element, place)

    def _learn_children(self, element: Element, place: Place) -> None:
        children: Any = place.children
        for child in element:
            tag = child.tag
            below = children.get(tag)
            if below is None:
                if not isinstance(tag, str):
                    place.is_mixed = place.is_mixed or bool(child.tail and child.tail.strip())
                    continue
                below = self._below(place, tag)
            if below is not None:
                if below.elements < _MAX_TAILS and child.tail and child.tail.strip():
                    place.is_mixed = True
                self._learn(child, below)

    def _below(self, place: Place, name: str) -> Place | None:
        if place.depth >= MAX_DEPTH or self._places >= MAX_PLACES:
            place.has_more = True
            return None
        self._places += 1
        place.children[name] = found = Place(name, place)
        return found

    def places(self) -> Iterator[Place]:
        for root in self.roots.values():
            yield from root.walk()
