"""Finds out how the messages of one side are written: their encoding, and what is before the root element."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from headless.protocol_tools.documents import declared, is_decodable, prolog_of, wide_encoding

ENCODINGS = ("utf-8", "windows-1252", "iso-8859-15", "iso-8859-1")  # that are asked for letters beyond ASCII
_REFERENCE = re.compile(rb"&#(?:[0-9]+|x[0-9A-Fa-f]+);")


@dataclass
class Style:
    """Counts how messages are written. `possible` are the encodings that all of them may be in, `confirmed` counts
    those in which the letters of a call's own text were found."""

    messages: int = 0
    prologs: Counter[str] = field(default_factory=Counter)
    declared: Counter[str] = field(default_factory=Counter)
    wide: Counter[str] = field(default_factory=Counter)
    beyond_ascii: int = 0
    references: int = 0
    misdeclared: int = 0
    indented: int = 0
    possible: set[str] = field(default_factory=lambda: set(ENCODINGS))
    confirmed: Counter[str] = field(default_factory=Counter)

    def add(self, messages: Iterable[bytes], letters: Iterable[str] = ()) -> None:
        """Counts messages. `letters` beyond ASCII are those of the call's texts."""
        usual = 0  # that begin as the one before, and have nothing beyond ASCII
        beginning, size = b"", 0
        for message in messages:
            if size and message.startswith(beginning) and message[size : size + 1].isalpha() and message.isascii():
                usual += 1
                self.references += b"&#" in message and _REFERENCE.search(message) is not None
                continue
            prolog, name, wide = self._add(message, letters)
            beginning = b"" if wide else prolog.encode("latin-1") + b"<"
            size = len(beginning)
            last = prolog, name
        if usual:
            self._count(*last, "", usual)

    def _count(self, prolog: str, name: str, wide: str, times: int) -> None:
        self.messages += times
        self.prologs[prolog] += times
        self.declared[name] += times
        self.wide[wide] += times

    def _add(self, message: bytes, letters: Iterable[str]) -> tuple[str, str, str]:
        wide = wide_encoding(message[:4]) or ""
        prolog = prolog_of(message[:256].decode(wide or "latin-1", "ignore"))
        name = declared(message) or ""
        self._count(prolog, name, wide, 1)
        self.indented += b">\n " in message[:256] or b">\n\t" in message[:256]
        if wide not in ("", "utf-8"):
            return prolog, name, wide
        if message.isascii():
            self.references += _REFERENCE.search(message) is not None
            return prolog, name, wide
        self.beyond_ascii += 1
        self.misdeclared += name != "" and not is_decodable(message, name)
        self.possible = {each for each in self.possible if is_decodable(message, each)}
        for encoding in ENCODINGS if letters else ():
            encoded = [letter.encode(encoding, "ignore") for letter in letters]
            self.confirmed[encoding] += all(each and each in message for each in encoded)
        return prolog, name, wide

    @property
    def prolog(self) -> str:
        """Returns the one that most messages have, without white space before it."""
        return self.prologs.most_common(1)[0][0].lstrip(" \t\r\n") if self.prologs else ""


@dataclass(frozen=True)
class Encoding:
    name: str
    is_certain: bool
    text: str  # for people


def encoding_of(style: Style) -> Encoding:
    """Returns the encoding of messages, and how sure that is."""
    names = [name for name, _ in style.declared.most_common()]
    wide = [name for name, _ in style.wide.most_common() if name != "utf-8"]
    if len({name.lower() for name in names}) > 1 or len(set(wide)) > 1:
        listed = ", ".join(f"{count} {name or 'none'}" for name, count in style.declared.most_common())
        return Encoding(names[0] or "utf-8", False, f"not the same in all messages (declared: {listed})")
    if wide and wide[0]:
        name = "utf-16" if style.prolog.startswith("\ufeff") else wide[0]
        return Encoding(name, True, f"two bytes for each character in all {style.messages} messages")
    name = names[0] if names else ""
    return _declared(style, name) if name else _undeclared(style)


def _declared(style: Style, name: str) -> Encoding:
    if style.misdeclared:
        return Encoding(name, False, f"declared, but {style.misdeclared} messages are not written in it")
    if not _is_known(name):
        return Encoding(name, False, "declared, and not known here")
    others = [each for each in ENCODINGS if style.confirmed[each] > style.confirmed[_usual(name)]]
    if others:
        return Encoding(name, False, f"declared, but the call's own letters came in {others[0]}")
    beyond = f"{style.beyond_ascii} of them with letters beyond ASCII" if style.beyond_ascii else "all in ASCII"
    return Encoding(name, True, f"declared in all {style.messages} messages, {beyond}")


def _undeclared(style: Style) -> Encoding:
    if not style.beyond_ascii:
        written = "; other letters are written as &#...;" if style.references else ""
        text = f"not declared, and nothing beyond ASCII was said: not borne out{written}"
        return Encoding("utf-8", False, text)
    if "utf-8" in style.possible:
        return Encoding(
            "utf-8", True, f"not declared; {style.beyond_ascii} messages with letters beyond ASCII are in it"
        )
    confirmed = [each for each in ENCODINGS if style.confirmed[each] and each in style.possible]
    most = [each for each in confirmed if style.confirmed[each] == max(style.confirmed[each] for each in confirmed)]
    if len(most) == 1:
        return Encoding(
            most[0], True, f"not declared; the call's own letters came in it {style.confirmed[most[0]]} times"
        )
    possible = [each for each in ENCODINGS if each in (most or style.possible)]
    if not possible:
        return Encoding("utf-8", False, "not declared, and none of those that were tried")
    return Encoding(possible[0], False, f"not declared; {', '.join(possible)} are possible: record a text with \u20ac")


def _usual(name: str) -> str:
    """Returns the name in ENCODINGS of the same encoding, or this name."""
    if not _is_known(name):
        return name
    return next((each for each in ENCODINGS if codecs.lookup(each) == codecs.lookup(name)), name)


def _is_known(name: str) -> bool:
    try:
        codecs.lookup(name)
    except LookupError:
        return False
    return True
