"""Writes a schema (XSD) that each message of a vocabulary passes, and checks messages against it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lxml import etree
from lxml.etree import _Element as Element

from headless.protocol_tools.messages import ROOT_OF_MANY
from headless.protocol_tools.vocabulary import Place, Values, Vocabulary

_XS = "http://www.w3.org/2001/XMLSchema"
_NUMBER = re.compile(r"-?[0-9]{1,18}")


def schemas_of(vocabulary: Vocabulary) -> dict[str, bytes]:
    """Returns a schema for each namespace that a root element has ("" for none)."""
    found = {}
    for namespace in dict.fromkeys(map(_namespace, vocabulary.roots)):
        schema = _schema(namespace)
        for name, place in vocabulary.roots.items():
            if _namespace(name) == namespace:
                _add_element(schema, place)
        etree.indent(schema)
        found[namespace] = etree.tostring(schema)
    return found


def _schema(namespace: str) -> Element:
    schema = etree.Element(f"{{{_XS}}}schema", nsmap={"xs": _XS})
    if namespace:
        schema.set("targetNamespace", namespace)
        schema.set("elementFormDefault", "qualified")
    return schema


class Schemas:
    """Holds the schemas of a vocabulary that is still learned, and which connections were checked against which."""

    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}
        self._checker = _Checker({})
        self._checked: dict[
            str, tuple[int, int, dict[str, bytes]]
        ] = {}  # messages, those that fail, with which schemas

    def check(self, name: str, vocabulary: Vocabulary, roots: Sequence[Element]) -> None:
        """Checks the messages of a connection, which the vocabulary knows."""
        texts = schemas_of(vocabulary)
        if texts != self.texts:
            self.texts, self._checker = texts, _Checker(texts)
        self._checked[name] = len(roots), self._checker.check(roots), self.texts

    def unchecked(self) -> list[str]:
        """Returns the connections that were checked against other schemas than the last ones."""
        return [name for name, (_, _, texts) in self._checked.items() if texts is not self.texts]

    @property
    def checked(self) -> int:
        """Counts messages."""
        return sum(count for count, _, _ in self._checked.values())

    @property
    def failed(self) -> int:
        return sum(failed for _, failed, _ in self._checked.values())


class _Checker:
    """Checks messages against schemas."""

    def __init__(self, schemas: dict[str, bytes]) -> None:
        self._schemas = {namespace: etree.XMLSchema(etree.fromstring(text)) for namespace, text in schemas.items()}
        self._of_many = _schema_of_many(schemas[""]) if "" in schemas else None

    def check(self, roots: Sequence[Element]) -> int:
        """Returns how many of them do not pass."""
        if self._of_many is not None:
            parents = dict.fromkeys(root.getparent() for root in roots)
            if None not in parents and all(self._of_many.validate(parent) for parent in parents):  # type: ignore[arg-type]
                return 0
        failed = 0
        for root in roots:
            schema = self._schemas.get(_namespace(str(root.tag)))
            failed += schema is None or not schema.validate(root)
        return failed


def _schema_of_many(text: bytes) -> etree.XMLSchema:
    """Returns a schema of the document that holds many messages, in which each of them is as in this schema."""
    schema = etree.fromstring(text)
    names = [str(each.get("name")) for each in schema]
    choice = schema
    for tag, attributes in (
        ("element", {"name": ROOT_OF_MANY}),
        ("complexType", {}),
        ("choice", {"minOccurs": "0", "maxOccurs": "unbounded"}),
    ):
        choice = etree.SubElement(choice, f"{{{_XS}}}{tag}", attributes)
    for name in names:
        etree.SubElement(choice, f"{{{_XS}}}element", ref=name)
    return etree.XMLSchema(schema)


def _add_element(parent: Element, place: Place) -> None:
    declared = etree.SubElement(parent, f"{{{_XS}}}element", name=_local(place.name))
    has_children = bool(place.children) or place.has_more
    if not has_children and not place.attributes:
        declared.set("type", _type_of(place.texts) if place.texts.count == place.elements else "xs:string")
        return
    described = etree.SubElement(declared, f"{{{_XS}}}complexType")
    if not has_children and place.texts.count:
        content = etree.SubElement(described, f"{{{_XS}}}simpleContent")
        described = etree.SubElement(content, f"{{{_XS}}}extension", base="xs:string")
    elif place.texts.count or place.is_mixed:
        described.set("mixed", "true")
    if has_children:
        choice = etree.SubElement(described, f"{{{_XS}}}choice", minOccurs="0", maxOccurs="unbounded")
        _add_children(choice, place)
    _add_attributes(described, place)


def _add_children(choice: Element, place: Place) -> None:
    if place.has_more:
        etree.SubElement(choice, f"{{{_XS}}}any", namespace="##any", processContents="skip")
        return
    namespace = _namespace(place.name)
    others = {_namespace(name) for name in place.children} - {namespace}
    if others:
        etree.SubElement(choice, f"{{{_XS}}}any", namespace=_listed(others), processContents="skip")
    for name, child in place.children.items():
        if _namespace(name) == namespace:
            _add_element(choice, child)


def _add_attributes(described: Element, place: Place) -> None:
    for name, values in place.attributes.items():
        if not _namespace(name):
            use = "required" if values.count == place.elements else "optional"
            etree.SubElement(described, f"{{{_XS}}}attribute", name=name, type=_type_of(values), use=use)
    others = {_namespace(name) for name in place.attributes} - {""}
    if others:
        etree.SubElement(described, f"{{{_XS}}}anyAttribute", namespace=_listed(others), processContents="skip")


def _listed(namespaces: set[str]) -> str:
    return " ".join(sorted(each or "##local" for each in namespaces))


def _type_of(values: Values) -> str:
    if values.is_many or not values.found:
        return "xs:string"
    if all(value in ("true", "false") for value in values.found):
        return "xs:boolean"
    return "xs:integer" if all(map(_NUMBER.fullmatch, values.found)) else "xs:string"


def _namespace(name: str) -> str:
    return name[1:].partition("}")[0] if name.startswith("{") else ""


def _local(name: str) -> str:
    return name.rpartition("}")[2]
