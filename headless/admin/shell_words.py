"""Words of the shell: what a program gets of them. Which word is what in a command is in shell.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Optional

from tree_sitter import Node

from headless.admin import entry
from headless.admin.entry import Text

# The value of a variable, None if it cannot be known.
Lookup = Callable[[str], Optional[str]]

_BLANK = " \t\n"
_PLAIN = ("word", "number", "variable_name", "command_name", "special_variable_name", "file_descriptor")
_QUOTED = ("string", "translated_string", "raw_string", "ansi_c_string")


@dataclass(frozen=True)
class Word:
    """A word as the program gets it. `begin` and `end` are where it stands in the text of the command, with its
    quotes."""

    text: str
    is_certain: bool
    begin: int
    end: int

    def in_file(self, command: Text) -> entry.Word:
        """The same with its places in the file that the command stands in."""
        places = command.positions
        is_plain = command.text[self.begin : self.end] == self.text
        positions = places[self.begin : self.end] if is_plain else (places[self.begin],) * len(self.text)
        end = places[self.end]
        return entry.Word(self.text, (*positions, end), places[self.begin], end, self.is_certain)


@dataclass(frozen=True)
class Expanded:
    """A word, and the text that it stands for, with its positions in the text of the command: it may be a command."""

    word: Word
    made: Text


@dataclass
class _Field:
    """One word while it is made."""

    chars: list[str] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    is_certain: bool = True
    end: int = 0  # of its last character, without a quote behind it

    def expanded(self, begin: int, end: int) -> Expanded:
        text = "".join(self.chars)
        return Expanded(Word(text, self.is_certain, begin, end), Text(text, (*self.positions, self.end)))


def expand(node: Node, source: Text, lookup: Lookup) -> list[Expanded]:
    """The words that the shell makes of one of its own: none or several, if a variable without quotes is in it. The
    positions of `source` are those in the text of the command."""
    maker = _Maker(source, lookup)
    maker.add(node, False)
    begin, end = source.positions[node.start_byte], source.positions[node.end_byte]
    return [each.expanded(begin, end) for each in maker.fields]


def joined(node: Node | None, source: Text, lookup: Lookup, at: int) -> Expanded:
    """One word, as behind = and behind >: nothing is split."""
    if node is None:
        return Expanded(Word("", True, at, at), Text("", (at,)))
    maker = _Maker(source, lookup, splits=False)
    maker.add(node, False)
    begin, end = source.positions[node.start_byte], source.positions[node.end_byte]
    made = maker.fields[0] if maker.fields else _Field(end=end)
    return made.expanded(begin, end)


class _Maker:
    def __init__(self, source: Text, lookup: Lookup, splits: bool = True) -> None:
        self.source, self.lookup, self.splits = source, lookup, splits
        self.fields: list[_Field] = []
        self.is_open = False

    def _field(self) -> _Field:
        if not self.is_open:
            self.fields.append(_Field())
            self.is_open = True
        return self.fields[-1]

    def _put(self, text: str, begin: int, end: int) -> None:
        """What the characters of the source from `begin` to `end` have become."""
        made = self._field()
        made.chars += text
        made.positions += [self.source.positions[begin]] * len(text)
        made.end = self.source.positions[end]

    def add(self, node: Node, is_quoted: bool) -> None:
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

    def _parts(self, node: Node, is_quoted: bool) -> None:
        at = node.start_byte
        for child in node.children:
            self._plain(at, child.start_byte)
            self.add(child, is_quoted)
            at = child.end_byte
        self._plain(at, node.end_byte)

    def _literally(self, begin: int, end: int) -> None:
        self._field().end = self.source.positions[begin]
        for at in range(begin, end):
            self._put(self.source.text[at], at, at + 1)

    def _string(self, node: Node) -> None:
        """Between its expansions stands literal text; what the parser has made of that does not matter."""
        self._field()
        at = node.start_byte + self.source.text[node.start_byte : node.end_byte].index('"') + 1
        for child in node.children:
            if child.is_named and child.type != "string_content":
                self._in_quotes(at, child.start_byte)
                self.add(child, True)
                at = child.end_byte
        self._in_quotes(at, node.end_byte - 1)

    def _in_quotes(self, at: int, end: int) -> None:
        text = self.source.text
        while at < end:
            begin = at
            if text[at] == "\\" and at + 1 < end and text[at + 1] in '$`"\\\n':
                at += 1
            if text[at] != "\n" or begin == at:
                self._put(text[at], begin, at + 1)
            at += 1

    def _ansi(self, begin: int, end: int) -> None:
        escaped = "\\" in self.source.text[begin:end]
        self._literally(begin if escaped else begin + 2, end if escaped else end - 1)
        self._field().is_certain &= not escaped

    def _plain(self, at: int, end: int) -> None:
        text = self.source.text
        first = at
        while at < end:
            begin = at
            if text[at] == "\\" and at + 1 < end:
                at += 1
            elif text[at] in "*?[":
                self._field().is_certain = False
            elif text[at] == "~" and at == first and not self.is_open and text[at + 1 : at + 2] in ("/", ""):
                self._home(at)
                at += 1
                continue
            self._put(text[at], begin, at + 1)
            at += 1

    def _home(self, at: int) -> None:
        home = self.lookup("HOME")
        self._put("~" if home is None else home, at, at + 1)
        self._field().is_certain &= home is not None

    def _variable(self, begin: int, end: int, is_quoted: bool) -> None:
        name = re.fullmatch(r"\$(?:(\w+)|\{(\w+)\})", self.source.text[begin:end], re.ASCII)
        value = self.lookup(name.group(1) or name.group(2)) if name else None
        if value is None:
            self._unknown(begin, end)
        elif is_quoted or not self.splits:
            self._put(value, begin, end)
        else:
            self._split(value, begin, end)

    def _split(self, value: str, begin: int, end: int) -> None:
        for number, part in enumerate(re.split(r"[ \t\n]+", value)):
            self.is_open = self.is_open and number == 0
            if part:
                self._put(part, begin, end)

    def _unknown(self, begin: int, end: int) -> None:
        self._literally(begin, end)
        self._field().is_certain = False
