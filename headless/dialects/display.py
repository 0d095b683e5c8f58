"""Prepares the XML of a protocol that others have made for people, without what could prove a password.

Time grows with the length of the text alone: each name is tried at its beginning, and each tag once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "(not shown)"
_NAMES = (
    "pass",
    "pwd",
    "kennwort",
    "hash",
    "response",
    "answer",
    "proof",
    "secret",
    "credential",
    "digest",
    "signature",
)
_SECRET = re.compile("|".join(_NAMES), re.IGNORECASE)
_BCRYPT_HASH = re.compile(r"\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}")
# Markup that is no tag; a tag, with its name and attributes; text. What was cut goes to the end.
_PIECE = re.compile(
    r"""<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z)"""
    r"""|<(?P<end>/?)(?P<name>[^\s<>"'=/!?]+)(?![^\s<>"'=/!?])(?P<rest>[^<>"']*(?:"[^"]*"[^<>"']*|'[^']*'[^<>"']*)*)>"""
    r"""|[^<]+""",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"""(?<![\w.:-])([\w.:-]+)(\s*=\s*)(?:"[^"]*(?:"|\Z)|'[^']*(?:'|\Z))""")


def is_secret(name: str) -> bool:
    """Returns whether an attribute or an element of this name may hold what proves a password."""
    return _SECRET.search(name) is not None


def hide_secrets(text: str, known: Iterable[str] = ()) -> str:
    """Returns the text without the values of attributes that have the name of a secret, without all that is in an
    element with such a name, and without what is `known` to be one."""
    folded = text.casefold()  # which is searched much faster
    if any(name in folded for name in _NAMES):
        text = _PIECE.sub(_Hiding().replace, text)
        text = _ATTRIBUTE.sub(lambda found: _hidden(found) if is_secret(found[1]) else found[0], text)
    text = _BCRYPT_HASH.sub(HIDDEN, text)
    for secret in known:
        in_text = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        for written in filter(None, (in_text.replace('"', "&quot;"), in_text, secret)):
            text = text.replace(written, HIDDEN)
    return text


class _Hiding:
    """Counts how deep the text is in elements of which nothing is shown."""

    def __init__(self) -> None:
        self._depth = 0

    def replace(self, piece: re.Match[str]) -> str:
        end, name, rest = piece.group("end", "name", "rest")
        if name is None:
            return HIDDEN if self._depth and piece[0].strip() else piece[0]
        if not self._depth and not is_secret(name):
            return piece[0]
        if end:
            self._depth = max(0, self._depth - 1)
        elif not rest.endswith("/"):
            self._depth += 1
        return f"<{end}{name}{_ATTRIBUTE.sub(_hidden, rest)}>"


def _hidden(attribute: re.Match[str]) -> str:
    return f'{attribute[1]}{attribute[2]}"{HIDDEN}"'
