"""protocol.xsd and the classes of messages are two places that must be the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lxml import etree

from headless.dialects.base import Attached, Ended, Listed
from headless.dialects.own import messages
from headless.dialects.own.messages import Attach, Jobs, name_of
from support.encoded_messages import ENCODED, MESSAGE_TYPES

# Fields of events that this protocol does not carry, and the attributes that carry an offset.
NOT_CARRIED = {Ended: {"text"}}
OFFSET = {"job", "stdout", "stderr"}


class TestSchema:
    XS = "{http://www.w3.org/2001/XMLSchema}"
    ROOT = etree.parse(str(Path(messages.__file__).with_name("protocol.xsd"))).getroot()
    CLASSES: tuple[Any, ...] = MESSAGE_TYPES

    def element(self, kind):
        name = messages.FROM_CLIENT.get(kind) or messages.FROM_SERVER[kind]
        return self.ROOT.find(f"{self.XS}element[@name='{name}']")

    def fields(self, kind) -> dict[str, bool]:
        """Each attribute, and whether it is required."""
        content = {"title"} if kind is Listed else {"text"}
        names = set(kind.field_names) - content - NOT_CARRIED.get(kind, set()) - ({"jobs"} if kind is Jobs else set())
        required = {name: not hasattr(kind, name) for name in names - {"offset"}}
        return {**required, **dict.fromkeys(OFFSET if kind in (Attach, Attached) else (), kind is Attached)}

    def test_there_is_a_class_for_each_element_and_the_other_way_round(self):
        names = {element.get("name") for element in self.ROOT.findall(f"{self.XS}element")}
        assert names == {*messages.FROM_CLIENT.values(), *messages.FROM_SERVER.values()}

    def test_the_name_of_a_message_is_its_element(self):
        for message, _ in ENCODED:
            assert self.element(type(message)).get("name") == name_of(message)

    def test_fields_and_attributes_are_the_same_and_equally_required(self):
        for kind in self.CLASSES:
            attributes = self.element(kind).iter(f"{self.XS}attribute")
            uses = {attribute.get("name"): attribute.get("use") == "required" for attribute in attributes}
            assert uses == self.fields(kind), kind

    def test_a_message_has_a_text_where_its_element_has_one(self):
        for kind in self.CLASSES:
            has_text = self.element(kind).find(f".//{self.XS}simpleContent") is not None
            content = {"text", "title"} & set(kind.field_names) - NOT_CARRIED.get(kind, set())
            assert bool(content) == has_text, kind
