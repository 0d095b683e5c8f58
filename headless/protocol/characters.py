"""Which characters the wire can carry, and how text from the other side is shown. Works without lxml."""

from __future__ import annotations

import re

# XML 1.0, production 2 (Char).
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_PLAIN = re.compile("[^\x20-\x7e]+")


def carried_by_xml(text: str) -> bool:
    """Whether an XML document can hold every character of the text."""
    return _NOT_XML.search(text) is None


def made_fit_for_xml(text: str) -> str:
    """The text with U+FFFD for each character that an XML document cannot hold."""
    return _NOT_XML.sub("\ufffd", text)


def on_one_line(text: str) -> str:
    """The text with everything escaped that could end a line, move a cursor, or hide or reorder what is shown."""
    return text if text.isprintable() else _NOT_PLAIN.sub(_escaped, text)


def shortened(text: str, most: int = 1000) -> str:
    """The text, or its beginning with a mark of what is missing: for a sentence that quotes the other side."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def _escaped(run: re.Match[str]) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in run[0])
