"""Which characters XML can carry, how a long text of the other side is quoted, and how a job is called. Works without
lxml."""

from __future__ import annotations

import re
from functools import cache

from headless.protocol.vocabulary import PY_CODE

TITLE_LENGTH = 60  # characters of a job's code that are shown and logged


def is_xml_text(text: str) -> bool:
    """Whether an XML document can hold every character of the text."""
    return text.isprintable() or _invalid_chars().search(text) is None


def replace_invalid_xml_chars(text: str) -> str:
    """The text with U+FFFD for each character that an XML document cannot hold."""
    return text if text.isprintable() else _invalid_chars().sub("\ufffd", text)


def shorten(text: str, limit: int = 1000) -> str:
    """The text, or its first `limit` characters and how long it is: for a sentence that quotes the other side."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def title_of(kind: str, text: str) -> str:
    """How people are told which job it is: the module, the file, or the beginning of the code."""
    if kind != PY_CODE:
        return text
    return next(iter(text.lstrip()[:TITLE_LENGTH].splitlines()), "").rstrip()


@cache
def _invalid_chars() -> re.Pattern[str]:
    """What is left out of XML 1.0, production 2 (Char). Compiled only when needed: that takes a millisecond."""
    return re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
