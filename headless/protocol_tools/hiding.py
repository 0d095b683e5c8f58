"""Decides which values of recorded messages people are not shown: those that may prove a password.

The client's values are compared between recordings: a long one that is not the same in all of them may be a proof. What
differs between the right password and a wrong one may be a password that is sent as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Callable, NamedTuple

from lxml.etree import _Element as Element

from headless.dialects.bcrypt_hash import is_like_hash
from headless.dialects.display import HIDDEN, hide_secrets
from headless.dialects.display import is_secret as is_name_of_secret
from headless.dialects.vocabulary import CHALLENGE
from headless.protocol_tools.recordings import CLIENT, RecordedCall
from headless.protocol_tools.secrecy import is_secret
from headless.protocol_tools.trees import local, normal, texts_of

_LEAST = 16  # characters of a value that is hidden if it differs
_LEAST_KNOWN = 8  # characters of a hidden one that is looked for in what the server says
_MAX_KNOWN = 100  # of a connection
_MAX_VALUES = 200_000  # that are kept, of all places
_WORD = re.compile(r"[^\s<>\"'=&;,]+")  # of what is no XML

Place = tuple[str, ...]  # names of elements from the root on, and of an attribute


class Value(NamedTuple):
    """Is an attribute, a text or a comment of a message. `put` changes it."""

    place: Place
    text: str
    put: Callable[[str], None]


def values_of(root: Element) -> Iterator[Value]:
    """Yields all of a message but for white space between elements."""
    left: list[tuple[Element, Place]] = [(root, ())]
    while left:
        node, above = left.pop()
        is_element = isinstance(node.tag, str)
        place = (*above, local(node.tag) if is_element else "")
        if is_element:
            for name, text in node.items():
                yield Value((*place, local(str(name))), str(text), partial(node.set, name))
        for which, where in (("text", place), ("tail", above)):
            text = getattr(node, which)
            if text and not text.isspace():
                yield Value(where, text, partial(setattr, node, which))
        left += [(child, place) for child in node]


class Hiding:
    """Learns what the client says in each recording, then hides what may be secret."""

    def __init__(self) -> None:
        self._constant: dict[Place, set[int]] = {}  # hashes of values that are in each recording that has the place
        self._short: dict[bool, dict[Place, set[int]]] = {True: {}, False: {}}  # by whether the password was right
        self._left = _MAX_VALUES

    def learn(self, call: RecordedCall, said: Iterable[Element | str]) -> None:
        """Learns what the client said on one connection: messages, and text that is none."""
        found: dict[Place, set[int]] = {}
        for each in said:
            for place, text in _words(each) if isinstance(each, str) else ((v.place, v.text) for v in values_of(each)):
                hashes = found.setdefault(place, set())
                if len(text) >= _LEAST:
                    hashes.add(hash(text))
                elif call.login == CHALLENGE and self._left > 0:
                    self._short[call.is_password_right].setdefault(place, set()).add(hash(text))
                    self._left -= 1
        for place, hashes in found.items():
            if place in self._constant:
                self._constant[place] &= hashes
            elif self._left > 0:
                self._constant[place] = hashes
                self._left -= len(hashes) + 1

    def hide(self, root: Element, sender: str, call: RecordedCall, known: list[str]) -> None:
        """Changes the values of a message. `known` collects what was hidden on this connection."""
        for value in values_of(root):
            if sender == CLIENT:
                shown = self._shown_of_client(value, call)
                if shown is HIDDEN:
                    _add(known, value.text)
            else:
                is_hidden = is_name_of_secret(value.place[-1]) or is_like_hash(value.text)
                shown = HIDDEN if is_hidden else _without(value.text, known)
            if shown != value.text:
                value.put(shown)

    def hide_in_text(self, text: str, sender: str, known: list[str]) -> str:
        """Returns text that is no message without what may be secret. `known` is as above."""

        def shown(word: re.Match[str]) -> str:
            if not self._may_prove((), word[0]):
                return word[0]
            _add(known, word[0])
            return HIDDEN

        text = hide_secrets(_without(text, known))
        return _WORD.sub(shown, text) if sender == CLIENT else text

    def _shown_of_client(self, value: Value, call: RecordedCall) -> str:
        if any(map(is_name_of_secret, value.place)) or is_like_hash(value.text):
            return HIDDEN
        what = {text: what for what, text in texts_of(call)}.get(normal(value.text))
        if what is not None:
            return f"({what})" if self._differs(value.place, value.text) else value.text
        return HIDDEN if self._may_prove(value.place, value.text) else value.text

    def _may_prove(self, place: Place, text: str) -> bool:
        right, wrong = self._short[True].get(place), self._short[False].get(place)
        is_of_password = bool(right and wrong) and right.isdisjoint(wrong)  # type: ignore[union-attr,arg-type]
        return is_of_password or self._differs(place, text) or is_secret("", text)

    def _differs(self, place: Place, text: str) -> bool:
        return len(text) >= _LEAST and hash(text) not in self._constant.get(place, ())


def _words(text: str) -> Iterator[tuple[Place, str]]:
    return (((), word[0]) for word in _WORD.finditer(text))


def _add(known: list[str], text: str) -> None:
    if len(text) >= _LEAST_KNOWN and len(known) < _MAX_KNOWN:
        known.append(text)


def _without(text: str, known: Iterable[str]) -> str:
    for secret in known:
        text = text.replace(secret, HIDDEN)
    return text
