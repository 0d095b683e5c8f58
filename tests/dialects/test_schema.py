"""protocol.xsd and the classes in messages.py are two places that must be the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lxml import etree

from headless.dialects.own import messages
from headless.dialects.own.messages import name_of
from support.encoded_messages import ENCODED, MESSAGE_TYPES


class TestSchema:
    XS = "{http://www.w3.org/2001/XMLSchema}"
    ROOT = etree.parse(str(Path(messages.__file__).with_name("protocol.xsd"))).getroot()
    CLASSES: tuple[Any, ...] = MESSAGE_TYPES

    def element(self, kind):
        return self.ROOT.find(f"{self.XS}element[@name='{kind.__name__.lower()}']")

    def test_there_is_a_class_for_each_element_and_the_other_way_round(self):
        names = {element.get("name") for element in self.ROOT.findall(f"{self.XS}element")}
        assert names == {kind.__name__.lower() for kind in self.CLASSES}

    def test_the_name_of_a_message_is_its_element(self):
        for message, _ in ENCODED:
            assert self.element(type(message)).get("name") == name_of(message)

    def test_fields_and_attributes_are_the_same_and_equally_required(self):
        for kind in self.CLASSES:
            attributes = self.element(kind).iter(f"{self.XS}attribute")
            uses = {attribute.get("name"): attribute.get("use") for attribute in attributes}
            fields = set(kind.field_names) - {"text", *(["jobs"] if kind is messages.Jobs else [])}
            assert uses == {field: None if hasattr(kind, field) else "required" for field in fields}, kind

    def test_a_message_has_a_text_where_its_element_has_one(self):
        for kind in self.CLASSES:
            has_text = self.element(kind).find(f".//{self.XS}simpleContent") is not None
            assert ("text" in kind.field_names) == has_text, kind
