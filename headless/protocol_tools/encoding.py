"""Finds out how the messages of one side are written: their encoding, and what is before the root element."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from headless.protocol_tools.documents import is_decodable, wide_encoding

_ENCODINGS = ("utf-8", "windows-1252", "iso-8859-15", "iso-8859-1")  # that are asked for letters beyond ASCII
_PROLOG = re.compile(
    rb"""(?:\xef\xbb\xbf)?\s*(?:<\?xml\s(?:[^>]*?encoding\s*=\s*["']([A-Za-z][\w.-]*)["'])?[^>]*\?>\s*)?"""
)


class Encoding(NamedTuple):
    name: str
    is_certain: bool
    text: str  # for people


class Style:
    """Counts how messages are written."""

    def __init__(self) -> None:
        self.messages = 0
        self.prologs: Counter[str] = Counter()
        self._declared: Counter[str] = Counter()  # "" for none
        self._wide: Counter[str] = Counter()  # two bytes for a character
        self._beyond_ascii = 0
        self._misdeclared = 0
        self._possible = set(_ENCODINGS)  # that all messages may be in
        self._confirmed: Counter[str] = Counter()  # in which letters of a call's own text were found

    def add(self, messages: Iterable[bytes], letters: Iterable[str] = ()) -> None:
        """Counts messages. `letters` beyond ASCII are those of the call's texts."""
        for message in messages:
            self.messages += 1
            wide = wide_encoding(message[:4])
            head = message
            if wide in ("utf-16le", "utf-16be"):
                text = message[:512].decode(wide, "ignore")
                wide = "utf-16" if text.startswith("\ufeff") else wide
                head = text.lstrip("\ufeff").encode("latin-1", "replace")
            found = _PROLOG.match(head)
            assert found is not None  # everything in it is optional
            name = (found[1] or b"").decode()
            self.prologs[found[0].decode("utf-8", "replace").lstrip()] += 1
            self._declared[name] += 1
            self._wide[wide if wide and head is not message else ""] += 1
            if head is message and not message.isascii():
                self._add_letters(message, name, letters)

    def _add_letters(self, message: bytes, declared: str, letters: Iterable[str]) -> None:
        self._beyond_ascii += 1
        self._misdeclared += declared != "" and not is_decodable(message, declared)
        self._possible = {each for each in self._possible if is_decodable(message, each)}
        for encoding in _ENCODINGS if letters else ():
            encoded = [letter.encode(encoding, "ignore") for letter in letters]
            self._confirmed[encoding] += all(each and each in message for each in encoded)

    @property
    def prolog(self) -> str:
        """Returns the one that most messages have."""
        return self.prologs.most_common(1)[0][0] if self.prologs else ""

    def encoding(self) -> Encoding:
        """Returns the encoding of messages, and how sure that is."""
        names = [name for name, _ in self._declared.most_common()]
        if len({name.lower() for name in names}) > 1 or len(self._wide) > 1:
            listed = ", ".join(f"{count} {name or 'none'}" for name, count in self._declared.most_common())
            return Encoding(names[0] or "utf-8", False, f"not the same in all messages (declared: {listed})")
        wide = next(iter(self._wide), "")
        if wide:
            return Encoding(wide, True, f"two bytes for each character in all {self.messages} messages")
        return self._of_declaration(names[0]) if names and names[0] else self._of_letters()

    def _of_declaration(self, name: str) -> Encoding:
        try:
            usual = next((each for each in _ENCODINGS if codecs.lookup(each) == codecs.lookup(name)), name)
        except LookupError:
            return Encoding(name, False, "declared, and not known here")
        if self._misdeclared:
            return Encoding(name, False, f"declared, but {self._misdeclared} messages are not written in it")
        others = [each for each in _ENCODINGS if self._confirmed[each] > self._confirmed[usual]]
        if others:
            return Encoding(name, False, f"declared, but the call's own letters came in {others[0]}")
        beyond = f"{self._beyond_ascii} of them with letters beyond ASCII" if self._beyond_ascii else "all in ASCII"
        return Encoding(name, True, f"declared in all {self.messages} messages, {beyond}")

    def _of_letters(self) -> Encoding:
        if not self._beyond_ascii:
            return Encoding("utf-8", False, "not declared, and nothing beyond ASCII was said: not borne out")
        if "utf-8" in self._possible:
            text = f"not declared; {self._beyond_ascii} messages with letters beyond ASCII are in it"
            return Encoding("utf-8", True, text)
        possible = [each for each in _ENCODINGS if each in self._possible]
        most = max((self._confirmed[each] for each in possible), default=0)
        likely = [each for each in possible if self._confirmed[each] == most]
        if most and len(likely) == 1:
            text = f"not declared; the call's own letters came in it {most} times"
            return Encoding(likely[0], True, text)
        if not possible:
            return Encoding("utf-8", False, "not declared, and none of those that were tried")
        text = f"not declared; {', '.join(likely)} are possible: record a text with \u20ac"
        return Encoding(likely[0], False, text)
