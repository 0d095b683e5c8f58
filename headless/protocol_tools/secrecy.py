"""Decides which values of recorded messages people are shown: none that may prove a password.

A name or a look may tell a secret. The client's values are compared between recordings besides: a long one that is not
the same in all of them may be a proof, and what differs between the right password and a wrong one may be a password
that is sent as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Set
from functools import partial
from typing import Callable, NamedTuple

from lxml.etree import _Element as Element

from headless.dialects.bcrypt_hash import is_like_hash
from headless.dialects.display import HIDDEN, hide_secrets
from headless.dialects.display import is_secret as is_name_of_secret
from headless.dialects.vocabulary import CHALLENGE
from headless.protocol_tools.documents import local, normal, texts_of
from headless.protocol_tools.recordings import CLIENT, RecordedCall

LEAST_HIDDEN = 16  # characters of what is hidden because it differs, or looks random
LEAST_KNOWN = 8  # characters of a secret that is looked for in other texts
# Headers of HTTP that hold what proves who somebody is.
SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization", "set-cookie")
_DIGITS = 3  # in what looks random
_CHANGES = 0.33  # of its letters are followed by one of the other case
_MAX_KNOWN = 100  # of a connection
_MAX_VALUES = 200_000  # that are kept, of all places
_WORD = re.compile(r"[^\s<>\"'=&;,]+")  # of what is no XML

Place = tuple[str, ...]  # names of elements from the root on, and of an attribute


def is_secret(name: str, value: str) -> bool:
    """Returns whether the value of an attribute or element of this name must not be shown. What looks random is not
    either: it may be a proof that is the same each time."""
    return _is_called_secret((local(name),), value) or any(map(_is_random, re.split(r"[\s:;,|]+", value)))


def shown(name: str, value: str) -> str:
    return HIDDEN if is_secret(name, value) else value


def follows_password(right: Set[object], wrong: Set[object]) -> bool:
    """Returns whether what was said with the right password was never said with a wrong one."""
    return bool(right and wrong) and right.isdisjoint(wrong)


def _is_called_secret(names: Iterable[str], value: str) -> bool:
    return any(map(is_name_of_secret, names)) or is_like_hash(value)


def _is_random(word: str) -> bool:
    if len(word) < LEAST_HIDDEN or not re.fullmatch(r"[A-Za-z0-9+/=_.$-]+", word):
        return False
    is_of_words = re.fullmatch(r"(?:[A-Za-z]{3,}[0-9]{0,4}[./_-]?)+", word) is not None
    changes = sum((a.islower() and b.isupper()) or (a.isupper() and b.islower()) for a, b in zip(word, word[1:]))
    return changes > len(word) * _CHANGES or (not is_of_words and sum(each.isdigit() for each in word) >= _DIGITS)


# What is hidden of all recordings


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
                if len(text) >= LEAST_HIDDEN:
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
                text = self._shown_of_client(value, call)
                if text is HIDDEN:
                    _add(known, value.text)
            else:
                text = HIDDEN if _is_called_secret(value.place[-1:], value.text) else _without(value.text, known)
            if text != value.text:
                value.put(text)

    def hide_in_text(self, text: str, sender: str, known: list[str]) -> str:
        """Returns text that is no message without what may be secret. `known` is as above."""

        def replaced(word: re.Match[str]) -> str:
            if not self._may_prove((), word[0]):
                return word[0]
            _add(known, word[0])
            return HIDDEN

        text = hide_secrets(_without(text, known))
        return _WORD.sub(replaced, text) if sender == CLIENT else text

    def _shown_of_client(self, value: Value, call: RecordedCall) -> str:
        if _is_called_secret(value.place, value.text):
            return HIDDEN
        what = {text: what for what, text in texts_of(call)}.get(normal(value.text))
        if what is not None:
            return f"({what})" if self._differs(value.place, value.text) else value.text
        return HIDDEN if self._may_prove(value.place, value.text) else value.text

    def _may_prove(self, place: Place, text: str) -> bool:
        right, wrong = (self._short[each].get(place, set()) for each in (True, False))
        return follows_password(right, wrong) or self._differs(place, text) or is_secret("", text)

    def _differs(self, place: Place, text: str) -> bool:
        return len(text) >= LEAST_HIDDEN and hash(text) not in self._constant.get(place, ())


def _words(text: str) -> Iterator[tuple[Place, str]]:
    return (((), word[0]) for word in _WORD.finditer(text))


def _add(known: list[str], text: str) -> None:
    if len(text) >= LEAST_KNOWN and len(known) < _MAX_KNOWN:
        known.append(text)


def _without(text: str, known: Iterable[str]) -> str:
    for secret in known:
        text = text.replace(secret, HIDDEN)
    return text
