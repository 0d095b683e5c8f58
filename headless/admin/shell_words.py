"""Expands the words of a shell text into what a program gets of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Optional

from tree_sitter import Node

from headless.admin.calls import Text, Word

# Returns the value of a variable, None if it is not known.
Lookup = Callable[[str], Optional[str]]

_PLAIN = ("word", "number", "variable_name", "command_name", "special_variable_name", "file_descriptor")


@dataclass
class _Field:
    """Holds one word while it is made."""

    chars: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    is_certain: bool = True
    end: int = 0  # of its last character, without a quote behind it


def expand(node: Node, source: Text, lookup: Lookup) -> list[Word]:
    """Returns the words that the shell makes of one of its own: none or several, if a variable without quotes is in
    it."""
    return _Expander(source, lookup).words(node)


def joined(node: Node | None, source: Text, lookup: Lookup, at: int) -> Word:
    """Returns one word, as after = and after >: nothing is split. `at` is where it is if there is no node."""
    if node is None:
        return Word("", True, at, at, (at,))
    found = _Expander(source, lookup, splits=False).words(node)
    end = source.offsets[node.end_byte]
    return found[0] if found else Word("", True, source.offsets[node.start_byte], end, (end,))


class _Expander:
    def __init__(self, source: Text, lookup: Lookup, splits: bool = True) -> None:
        self._fields: list[_Field] = []
        self._source, self._lookup, self._splits = source, lookup, splits
        self._is_open = False

    def words(self, node: Node) -> list[Word]:
        self._add(node, is_quoted=False)
        begin, end = self._source.offsets[node.start_byte], self._source.offsets[node.end_byte]
        return [
            Word("".join(each.chars), each.is_certain, begin, end, (*each.offsets, each.end)) for each in self._fields
        ]

    def _add(self, node: Node, is_quoted: bool) -> None:
        begin, end = node.start_byte, node.end_byte
        if node.type == "raw_string":
            self._literally(begin + 1, end - 1)
        elif node.type in ("string", "translated_string"):
            self._string(node)
        elif node.type == "ansi_c_string":
            self._ansi(begin, end)
        elif node.type in ("simple_expansion", "expansion"):
            self._variable(begin, end, is_quoted)
        elif node.type == "concatenation" or (node.type == "command_name" and node.children):
            self._parts(node, is_quoted)
        elif node.type in _PLAIN or not node.children:
            self._plain(begin, end)
        else:
            self._unknown(begin, end)

    def _field(self) -> _Field:
        if not self._is_open:
            self._fields.append(_Field())
            self._is_open = True
        return self._fields[-1]

    def _put(self, text: str, begin: int, end: int) -> None:
        """Appends what the characters of the source from `begin` to `end` have become."""
        made = self._field()
        made.chars += text
        made.offsets += [self._source.offsets[begin]] * len(text)
        made.end = self._source.offsets[end]

    def _parts(self, node: Node, is_quoted: bool) -> None:
        at = node.start_byte
        for child in node.children:
            self._plain(at, child.start_byte)
            self._add(child, is_quoted)
            at = child.end_byte
        self._plain(at, node.end_byte)

    def _literally(self, begin: int, end: int) -> None:
        self._field().end = self._source.offsets[begin]
        for at in range(begin, end):
            self._put(self._source.text[at], at, at + 1)

    def _string(self, node: Node) -> None:
        """Takes the text between the expansions from the source: the parser leaves blanks out."""
        self._field()
        at = node.start_byte + self._source.text[node.start_byte : node.end_byte].index('"') + 1
        for child in node.children:
            if child.is_named and child.type != "string_content":
                self._in_quotes(at, child.start_byte)
                self._add(child, is_quoted=True)
                at = child.end_byte
        self._in_quotes(at, node.end_byte - 1)

    def _in_quotes(self, at: int, end: int) -> None:
        text = self._source.text
        while at < end:
            begin = at
            if text[at] == "\\" and at + 1 < end and text[at + 1] in '$`"\\\n':
                at += 1
            if text[at] != "\n" or begin == at:
                self._put(text[at], begin, at + 1)
            at += 1

    def _ansi(self, begin: int, end: int) -> None:
        has_escapes = "\\" in self._source.text[begin:end]
        self._literally(begin if has_escapes else begin + 2, end if has_escapes else end - 1)
        self._field().is_certain &= not has_escapes

    def _plain(self, at: int, end: int) -> None:
        text = self._source.text
        first = at
        while at < end:
            begin = at
            if text[at] == "\\" and at + 1 < end:
                at += 1
            elif text[at] in "*?[":
                self._field().is_certain = False
            elif text[at] == "~" and at == first and not self._is_open and text[at + 1 : end][:1] in ("/", ""):
                self._home(at)
                at += 1
                continue
            self._put(text[at], begin, at + 1)
            at += 1

    def _home(self, at: int) -> None:
        home = self._lookup("HOME")
        self._put("~" if home is None else home, at, at + 1)
        self._field().is_certain &= home is not None

    def _variable(self, begin: int, end: int, is_quoted: bool) -> None:
        name = re.fullmatch(r"\$(?:(\w+)|\{(\w+)\})", self._source.text[begin:end], re.ASCII)
        value = self._lookup(name[1] or name[2]) if name else None
        if value is None:
            self._unknown(begin, end)
        elif is_quoted or not self._splits:
            self._put(value, begin, end)
        else:
            self._split(value, begin, end)

    def _split(self, value: str, begin: int, end: int) -> None:
        for number, part in enumerate(re.split(r"[ \t\n]+", value)):
            self._is_open = self._is_open and number == 0
            if part:
                self._put(part, begin, end)

    def _unknown(self, begin: int, end: int) -> None:
        self._literally(begin, end)
        self._field().is_certain = False
