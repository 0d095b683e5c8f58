"""Which characters the wire can carry, and how text from the other side is shown. Works without lxml."""

from __future__ import annotations

import re

# XML 1.0, production 2 (Char).
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def carried_by_xml(text: str) -> bool:
    """Whether an XML document can hold every character of the text."""
    return _NOT_XML.search(text) is None


def made_fit_for_xml(text: str) -> str:
    """The text with U+FFFD for each character that an XML document cannot hold."""
    return _NOT_XML.sub("\ufffd", text)


def on_one_line(text: str) -> str:
    """The text with everything escaped that could end a line, move a cursor, or hide or reorder what is shown."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
