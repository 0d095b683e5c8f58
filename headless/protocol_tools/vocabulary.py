"""Learns the vocabulary of one side from its messages: elements, attributes and values.

A place is an element at a path from the root, so that equal names at different paths are different.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lxml.etree import _Element as Element

MAX_VALUES = 64  # different ones of a place that are kept
MAX_VALUE = 80  # characters of one that is
MAX_DEPTH = 16  # of elements that are told apart
MAX_PLACES = 5000

# An element of a place (the name is None), an attribute of it, or if the name is "" its text; with this value, if it is
# one that is kept.
Feature = tuple["Place", "str | None", "str | None"]


class Values:
    """Counts the values of an attribute, or the texts of an element."""

    __slots__ = ("count", "found", "is_many")

    def __init__(self) -> None:
        self.count = 0
        self.found: dict[str, int] = {}
        self.is_many = False  # more than are kept, or longer ones

    def add(self, value: str) -> str | None:
        """Returns the value if it is kept."""
        self.count += 1
        if value in self.found:
            self.found[value] += 1
        elif len(value) > MAX_VALUE or len(self.found) >= MAX_VALUES:
            self.is_many = True
            return None
        else:
            self.found[value] = 1
        return value


class Place:
    """Is an element at a path. `elements` counts them; `has_more` says that there are others in it, too deep to be told
    apart."""

    __slots__ = ("attributes", "children", "depth", "elements", "has_more", "is_mixed", "name", "parent", "texts")

    def __init__(self, name: str, parent: Place | None = None) -> None:
        self.name = name
        self.parent = parent
        self.depth: int = parent.depth + 1 if parent else 0
        self.elements = 0
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


class Vocabulary:
    """Holds the places of the messages of one side, by the names of their root elements."""

    def __init__(self) -> None:
        self.roots: dict[str, Place] = {}
        self.messages = 0
        self._places = 0

    def learn(self, root: Element, seen: Counter[Feature]) -> None:
        """Learns a message, and counts in `seen` which features it has."""
        self.messages += 1
        name = str(root.tag)
        place = self.roots.get(name)
        if place is None:
            place = self.roots[name] = Place(name)
        self._learn(root, place, seen)

    def _learn(self, element: Element, place: Place, seen: Counter[Feature]) -> None:
        place.elements += 1
        seen[place, None, None] += 1
        for name, value in element.attrib.items():
            values = place.attributes.get(str(name))
            if values is None:
                values = place.attributes[str(name)] = Values()
            seen[place, str(name), values.add(str(value))] += 1
        text = element.text
        if text and (text := text.strip()):
            seen[place, "", place.texts.add(text)] += 1
        for child in element:
            if child.tail and not place.is_mixed and child.tail.strip():
                place.is_mixed = True
            if isinstance(child.tag, str):
                below = place.children.get(child.tag) or self._below(place, child.tag)
                if below is not None:
                    self._learn(child, below, seen)

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
