"""Learns the vocabulary of one side from its messages, and writes a schema (XSD) that each of them passes.

A place is an element at a path from the root, so that equal names at different paths are different.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Optional

from lxml import etree
from lxml.etree import _Element as Element

from headless.protocol_tools.documents import Path, local

_MAX_VALUES = 64  # different ones of a place that are kept
_MAX_VALUE = 80  # characters of one that is
_MAX_DEPTH = 16  # of elements that are distinguished
_MAX_PLACES = 1000
_XS = "http://www.w3.org/2001/XMLSchema"
_NUMBER = re.compile(r"-?[0-9]{1,18}")

# That there is an element at a path (the name is None), an attribute of it (the value is None), or such a value of the
# attribute, or with the name "", of the text.
Feature = tuple[Path, Optional[str], Optional[str]]


class Values:
    """Counts the values of an attribute, or the texts of an element."""

    def __init__(self) -> None:
        self.count = 0
        self.found: dict[str, int] = {}
        self.is_many = False  # more than are kept, or longer ones

    def add(self, value: str) -> None:
        self.count += 1
        found = self.found
        if value in found:
            found[value] += 1
        elif len(found) >= _MAX_VALUES or len(value) > _MAX_VALUE:
            self.is_many = True
        else:
            found[value] = 1


class Place:
    """Is an element at a path. `has_more` says that there are others in it, too deep to be distinguished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.elements = 0
        self.values: dict[str, Values] = {}  # by attribute, "" for the text
        self.children: dict[str, Place] = {}
        self.is_mixed = False
        self.has_more = False

    def texts(self) -> int:
        return self.values[""].count if "" in self.values else 0


class Vocabulary:
    """Holds the places of the messages of one side, and how many messages were checked against the schema."""

    def __init__(self) -> None:
        self.places: dict[Path, Place] = {}
        self.messages = 0
        self.failed = 0
        self.schemas: dict[str, bytes] = {}  # by namespace, "" for none
        self._checkers: dict[str, etree.XMLSchema] = {}
        self._checked: dict[str, tuple[int, dict[str, bytes]]] = {}  # by connection: how many failed, by which schemas

    @property
    def roots(self) -> list[str]:
        return [path[0] for path in self.places if len(path) == 1]

    def learn(self, roots: Iterable[Element]) -> Counter[Feature]:
        """Returns which features the messages have."""
        known = self._counts()
        for root in roots:
            self.messages += 1
            path = (str(root.tag),)
            place = self.places.get(path)
            if place is None:
                place = self.places[path] = Place(path)
            self._learn(root, place)
        return self._counts() - known

    def _counts(self) -> Counter[Feature]:
        counts: Counter[Feature] = Counter()
        for path, place in self.places.items():
            counts[path, None, None] = place.elements
            for name, values in place.values.items():
                if name:
                    counts[path, name, None] = values.count
                for value, count in values.found.items():
                    counts[path, name, value] = count
        return counts

    def _learn(self, element: Element, place: Place) -> None:
        place.elements += 1
        values: Any = place.values
        for name, value in element.items():
            if name not in values:
                values[name] = Values()
            values[name].add(value)
        text = element.text
        if text and not text.isspace():
            values.setdefault("", Values()).add(text.strip())
        children: Any = place.children
        for child in element:
            tag = child.tag
            if child.tail and not child.tail.isspace():
                place.is_mixed = True
            below = children.get(tag)
            if below is None:
                if not isinstance(tag, str):
                    continue
                path = (*place.path, tag)
                if len(path) > _MAX_DEPTH or len(self.places) >= _MAX_PLACES:
                    place.has_more = True
                    continue
                below = children[tag] = self.places[path] = Place(path)
            self._learn(child, below)

    # The schema

    def check(self, connection: str, roots: Sequence[Element]) -> None:
        """Checks the messages of a connection, which were learned."""
        schemas = self._written()
        if schemas != self.schemas:
            self.schemas = schemas
            self._checkers = {name: etree.XMLSchema(etree.fromstring(text)) for name, text in schemas.items()}
        failed = sum(not self._checkers[_namespace(str(root.tag))].validate(root) for root in roots)
        self._checked[connection] = failed, self.schemas

    def unchecked(self) -> list[str]:
        """Returns the connections that were checked against other schemas than the last ones."""
        return [name for name, (_, schemas) in self._checked.items() if schemas is not self.schemas]

    def passed(self) -> int:
        """Counts the messages that pass the last schemas they were checked against."""
        return self.messages - sum(failed for failed, _ in self._checked.values())

    def _written(self) -> dict[str, bytes]:
        found = {}
        for namespace in dict.fromkeys(map(_namespace, self.roots)):
            schema = etree.Element(f"{{{_XS}}}schema", nsmap={"xs": _XS})
            if namespace:
                schema.set("targetNamespace", namespace)
                schema.set("elementFormDefault", "qualified")
            for root in self.roots:
                if _namespace(root) == namespace:
                    _declare(schema, self.places[root,])
            etree.indent(schema)
            found[namespace] = etree.tostring(schema)
        return found


def _declare(parent: Element, place: Place) -> None:
    declared = etree.SubElement(parent, f"{{{_XS}}}element", name=local(place.path[-1]))
    has_children = bool(place.children) or place.has_more
    if not has_children and not place.values.keys() - {""}:
        is_always = place.texts() == place.elements and not place.is_mixed
        declared.set("type", _type_of(place.values[""]) if is_always else "xs:string")
        return
    described = etree.SubElement(declared, f"{{{_XS}}}complexType")
    if not has_children and place.texts():
        content = etree.SubElement(described, f"{{{_XS}}}simpleContent")
        described = etree.SubElement(content, f"{{{_XS}}}extension", base="xs:string")
    elif place.texts() or place.is_mixed:
        described.set("mixed", "true")
    if has_children:
        choice = etree.SubElement(described, f"{{{_XS}}}choice", minOccurs="0", maxOccurs="unbounded")
        _declare_children(choice, place)
    _declare_attributes(described, place)


def _declare_children(choice: Element, place: Place) -> None:
    if place.has_more:
        etree.SubElement(choice, f"{{{_XS}}}any", namespace="##any", processContents="skip")
        return
    namespace = _namespace(place.path[-1])
    others = {_namespace(name) for name in place.children} - {namespace}
    if others:
        etree.SubElement(choice, f"{{{_XS}}}any", namespace=_listed(others), processContents="skip")
    for name, child in place.children.items():
        if _namespace(name) == namespace:
            _declare(choice, child)


def _declare_attributes(described: Element, place: Place) -> None:
    names = [name for name in place.values if name]
    for name in names:
        if not _namespace(name):
            values = place.values[name]
            use = "required" if values.count == place.elements else "optional"
            etree.SubElement(described, f"{{{_XS}}}attribute", name=name, type=_type_of(values), use=use)
    others = {_namespace(name) for name in names} - {""}
    if others:
        etree.SubElement(described, f"{{{_XS}}}anyAttribute", namespace=_listed(others), processContents="skip")


def _listed(namespaces: set[str]) -> str:
    return " ".join(sorted(each or "##local" for each in namespaces))


def _type_of(values: Values) -> str:
    if values.is_many:
        return "xs:string"
    if all(value in ("true", "false") for value in values.found):
        return "xs:boolean"
    return "xs:integer" if all(map(_NUMBER.fullmatch, values.found)) else "xs:string"


def _namespace(name: str) -> str:
    return name[1:].partition("}")[0] if name.startswith("{") else ""
