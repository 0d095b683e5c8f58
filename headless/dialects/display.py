"""Prepares the XML of a protocol that others have made for people, without what could prove a password."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "(not shown)"
_NAME = r"[\w.:-]*(?:pass|pwd|hash|response|answer|proof|secret|credential|digest|signature)[\w.:-]*"
# An attribute with such a name; and all that is inside of an element with such a name.
_ATTRIBUTE = re.compile(rf"""(?<=\s)({_NAME}\s*=\s*)("[^"]*"|'[^']*')""", re.IGNORECASE)
_START_TAG = re.compile(rf"""<({_NAME})\b((?:[^<>"']|"[^"]*"|'[^']*')*)>""", re.IGNORECASE)
_VALUE = re.compile(r"""(=\s*)("[^"]*"|'[^']*')""")
_TEXT = re.compile(rf"""(<({_NAME})\b(?:[^<>"'/]|/(?!>)|"[^"]*"|'[^']*')*>)[^<]+""", re.IGNORECASE)


def hide_secrets(text: str, known: Iterable[str] = ()) -> str:
    """Returns the text without the values of attributes and elements that have the name of a secret, and without those
    that are `known` to be one."""
    text = _TEXT.sub(rf"\1{HIDDEN}", text)
    text = _START_TAG.sub(lambda tag: "<" + tag[1] + _VALUE.sub(rf'\1"{HIDDEN}"', tag[2]) + ">", text)
    text = _ATTRIBUTE.sub(rf'\1"{HIDDEN}"', text)
    for secret in known:
        text = text.replace(secret, HIDDEN) if secret else text
    return text
