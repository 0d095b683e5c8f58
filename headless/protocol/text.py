"""Which characters XML can carry, and how a long text of the other side is quoted. Works without lxml."""

from __future__ import annotations

import re
from functools import cache


def is_xml_text(text: str) -> bool:
    """Whether an XML document can hold every character of the text."""
    return text.isprintable() or _invalid_chars().search(text) is None


def replace_invalid_xml_chars(text: str) -> str:
    """The text with U+FFFD for each character that an XML document cannot hold."""
    return text if text.isprintable() else _invalid_chars().sub("\ufffd", text)


def shorten(text: str, limit: int = 1000) -> str:
    """The text, or its first `limit` characters and how long it is: for a sentence that quotes the other side."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


@cache
def _invalid_chars() -> re.Pattern[str]:
    """What is left out of XML 1.0, production 2 (Char). Compiled only when needed: that takes a millisecond."""
    return re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
