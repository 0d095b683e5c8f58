"""Finds the commands in a text of the shell, as long as there is no doubt how a shell reads it.

The grammar is that of bash. What dash reads differently, or what the grammar may have parsed wrongly, is a doubt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from tree_sitter import Node

from headless.admin.calls import Text, Word
from headless.admin.shell_tree import parse
from headless.admin.shell_words import expand, joined
from headless.errors import HeadlessError
from headless.options import REHEARSAL

_KNOWN = re.compile(
    "program|comment|list|pipeline|command|command_name|word|string|string_content|raw_string|ansi_c_string|concatenation|"
    "number|simple_expansion|expansion|variable_name|special_variable_name|variable_assignments?|declaration_command|"
    "unset_command|redirected_statement|file_redirect|file_descriptor|command_substitution|process_substitution|subshell|"
    "compound_statement|if_statement|elif_clause|else_clause|while_statement|for_statement|do_group|case_statement|"
    "case_item|extglob_pattern|function_definition|negated_command|test_command|unary_expression|binary_expression|"
    "parenthesized_expression|test_operator|arithmetic_expansion|regex"
)
_WORDS = ("word", "string", "raw_string", "ansi_c_string", "concatenation", "number", "simple_expansion", "expansion",
          "command_substitution", "process_substitution", "arithmetic_expansion", "command_name", "=~", "==",
          "$")  # fmt: skip
# A word without quotes, and blanks between two of them.
_PLAIN_WORD = re.compile(r"(?:\\.|[^\\\s;&|<>()`\"'])*", re.DOTALL)
# Text in which neither the grammar nor a shell finds a command.
_NO_COMMAND = re.compile(r"(?:\\.|[^\\`$<>]|[$<>](?!\())*", re.DOTALL)
_GAP = re.compile(r"(?:[ \t]|\\\n)+")
_BLANKS = re.compile(r"(?:[ \t\n]|\\\n)*")
# By type of a node, what its text must be. In $((...)) a ( could begin a command.
_UNDERSTOOD = {
    "arithmetic_expansion": re.compile(r"\$\(\([\w\s$+*/%<>=!?:{}#-]*\)\)"),
    "command_substitution": re.compile(r"\$\(.*|`[^\\]*", re.DOTALL),
    "expansion": re.compile(r"(?!\$\{!|.*@\w\}$)[^'\"\\]*"),
    "extglob_pattern": _NO_COMMAND,
    "raw_string": re.compile("'[^']*'"),
    "regex": _NO_COMMAND,
    "string_content": re.compile(r"(?:\\.|[^\\`$]|\$(?!\())*", re.DOTALL),
}
_OF_BASH = ("ansi_c_string", "[[", "&>", "&>>", "process_substitution")
# What makes another program, or other code, of a command that is otherwise known.
_HARMFUL_NAME = re.compile(
    rf"{REHEARSAL}|IFS|PS4|BASH_\w+|BASHOPTS|SHELLOPTS|LD_PRELOAD|LD_AUDIT|PERL5OPT|PERL5DB"
    r"|PYTHON(?:HOME|SAFEPATH|STARTUP|PLATLIBDIR|INSPECT|EXECUTABLE|USERBASE|PYCACHEPREFIX)"
)
# By type of a node that sets variables without an assignment: the part of its text that has the names.
_SETS = {
    "arithmetic_expansion": re.compile(r".*(?:=|[+][+]|--).*", re.DOTALL),
    "command": re.compile(r"\b(?:read|getopts)\b.*", re.DOTALL),
    "expansion": re.compile(r".*=.*", re.DOTALL),
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Doubt(HeadlessError):
    """Says in one sentence why a text is not run."""


@dataclass
class ShellText:
    """Holds what is in a text: `commands`, each with its program as the first word; `settings`, which are all
    assignments; `targets`, the files that redirections write to; and the names of variables that are `assigned`."""

    commands: list[tuple[Word, ...]] = field(default_factory=list)
    settings: list[tuple[str, Word]] = field(default_factory=list)
    targets: list[Word] = field(default_factory=list)
    functions: set[str] = field(default_factory=set)
    assigned: set[str] = field(default_factory=set)


def check_name(name: str) -> None:
    """Raises Doubt for a variable that may change what commands do."""
    if not _NAME.fullmatch(name) or _HARMFUL_NAME.fullmatch(name):
        raise Doubt(f"it sets {name[:80]}, which changes what its commands do")


def read(text: str, shell: str, known: Mapping[str, str]) -> ShellText:
    """Reads a text for sh, dash or bash, given variables with these values. Raises Doubt."""
    if REHEARSAL in text:
        raise Doubt(f"it names {REHEARSAL}, which keeps it in the rehearsal")
    reader = _Reader(text, shell == "bash", known)
    try:
        nodes = reader.nodes()
        for step in (reader.check, reader.note_variables, reader.note_commands):
            for node in nodes:
                step(node)
    except RecursionError:
        raise Doubt("its commands are nested too deeply") from None
    return reader.found


class _Reader:
    """Reads one text in three steps, each of which gets all nodes in their order. Its methods raise Doubt."""

    def __init__(self, text: str, is_bash: bool, known: Mapping[str, str]) -> None:
        self.found = ShellText()
        self._source = Text(text, tuple(range(len(text) + 1)))
        self._is_bash = is_bash
        self._known = known
        self._values: dict[str, tuple[int, str | None]] = {}  # of variables: from which position on which value

    def nodes(self) -> list[Node]:
        text = self._source.text
        root = parse(text)
        if root.has_error or not all(map(_BLANKS.fullmatch, (text[: root.start_byte], text[root.end_byte :]))):
            raise Doubt("its syntax is not understood")
        return list(_all(root))

    # The first step: doubts

    def check(self, node: Node) -> None:
        # The grammar skips some other text as if it were blank.
        is_whole = node.type == "string" or all(map(_BLANKS.fullmatch, self._gaps(node)))
        if not (is_whole and self._is_understood(node)):
            raise Doubt(f"it has something that is not understood: {self._shown(node)}")
        if node.type in _OF_BASH and not self._is_bash:
            raise Doubt(f"sh does not know {self._shown(node)}, and reads something else")
        if node.type == "file_redirect" and len(node.children_by_field_name("destination")) != 1:
            raise Doubt(f"words follow a redirection: {self._shown(node)}")

    def _is_understood(self, node: Node) -> bool:
        text = self._text(node)
        if node.type in _UNDERSTOOD:
            return _UNDERSTOOD[node.type].fullmatch(text) is not None
        if node.type == "word" and not node.children:
            # In a pattern of case or ${...}, a word may be anything that starts nothing.
            is_pattern = node.parent is not None and node.parent.type in ("expansion", "case_item")
            return (_NO_COMMAND if is_pattern else _PLAIN_WORD).fullmatch(text) is not None
        if node.type == "comment":
            before = self._source.text[max(0, node.start_byte - 2) : node.start_byte]
            return re.search(r"(?:^|(?<!\\)[ \t]|[\n;&|()])$", before) is not None
        if node.type == "test_command":
            return text.startswith("[[") or self._is_simple_test(node)
        if node.type == "command":
            return self._has_blanks(node)
        return bool(_KNOWN.fullmatch(node.type)) if node.is_named else node.type != "(("

    def _is_simple_test(self, node: Node) -> bool:
        """For sh, [ is a program like any other, whose words end with the line."""
        outside = ("string", "command_substitution")
        parts = list(_all(node, outside))
        gaps = [gap for each in parts if each.type not in outside for gap in self._gaps(each)]
        is_one_line = not any("\n" in gap.replace("\\\n", "") for gap in gaps)
        return is_one_line and not any(each.type in ("&&", "||", "|", "&", ";", "(", "<", ">") for each in parts)

    def _has_blanks(self, node: Node) -> bool:
        """Words side by side without a blank are one word for a shell."""
        for one, other in zip(node.children, node.children[1:]):
            between = self._source.text[one.end_byte : other.start_byte]
            if not (_GAP.fullmatch(between) or "file_redirect" in (one.type, other.type)):
                return False
        return self._source.text[node.end_byte : node.end_byte + 1] in ("", *" \t\n;&|()<>`\\")

    # The second step: variables

    def note_variables(self, node: Node) -> None:
        """Notes which variables are set, and which have one value that is certain from there on."""
        names = [self._text(each) for each in node.children if each.type == "variable_name"]
        if node.type == "variable_assignment":
            self._note_assignment(node, self._text(node.children[0]))
        elif node.type == "declaration_command":
            self._check_declaration(node, names)
        elif node.type in ("for_statement", "unset_command"):
            self._forget(names)
            for each in node.children[1:] if node.type == "unset_command" else ():
                if not re.fullmatch(r"-\w+|[A-Za-z_]\w*", self._text(each)):  # the shell makes another name of it
                    raise self._unsure(node)
        elif node.type in _SETS and (match := _SETS[node.type].search(self._text(node))):
            self._forget(_NAME.findall(match[0]))

    def _note_assignment(self, node: Node, name: str) -> None:
        if name == "IFS" and node.parent is not None and self._text(node.parent).partition(" ")[2].startswith("read "):
            return
        check_name(name)
        self.found.assigned.add(name)
        value = self._joined(node.child_by_field_name("value"), node)
        value = replace(value, is_certain=value.is_certain and node.children[1].type == "=")
        is_certain = value.is_certain and name not in self._values and _is_always_run(node)
        self._values[name] = node.end_byte, value.text if is_certain else None
        self.found.settings.append((name, value))

    def _check_declaration(self, node: Node, names: Iterable[str]) -> None:
        for each in node.children[1:]:
            is_option = each.type == "word" and re.fullmatch("-[rxg]+", self._text(each))
            if not (each.type in ("variable_assignment", "variable_name") or is_option):
                raise self._unsure(node)
        if self._text(node.children[0]) not in ("export", "readonly"):
            self._forget(names)

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            check_name(name)
            if name == "PATH":
                raise Doubt("in which folders programs are, is not certain")
            self.found.assigned.add(name)
            self._values[name] = 0, None

    # The third step: commands

    def note_commands(self, node: Node) -> None:
        if node.type == "command":
            self._note_command(node)
        elif node.type == "function_definition":
            self.found.functions.add(self._text(node.child_by_field_name("name") or node.children[0]))
        elif node.type == "file_redirect" and any(">" in each.type for each in node.children):
            (target,) = node.children_by_field_name("destination")
            word = self._with_its_end(self._joined(target, node))
            if not any(each.type == ">&" for each in node.children) or not re.fullmatch(r"\d+|-", word.text):
                self.found.targets.append(word)

    def _with_its_end(self, word: Word) -> Word:
        """Replaces a variable by the only value that is assigned to it: how that ends may be certain."""
        name = re.fullmatch(r"\$(?:(\w+)|\{(\w+)\})", word.text)
        values = [value.text for each, value in self.found.settings if name and each in name.groups()]
        return replace(word, text=values[0]) if len(values) == 1 else word

    def _note_command(self, node: Node) -> None:
        words: list[Word] = []
        for each in node.children:
            if each.type in _WORDS:
                braces = "{" in self._text(each).replace("${", "") and each.type not in ("string", "raw_string")
                made = expand(each, self._source, self._lookup(node.start_byte))
                words += [replace(word, is_certain=word.is_certain and not braces) for word in made]
            elif each.type != "variable_assignment" and not each.type.endswith("redirect"):
                raise Doubt(f"it has something that is not understood: {self._shown(node)}")
        if not words:
            return
        if words[0].text in ("read", "getopts"):  # a shell may read other names than were noted: `PA\TH` is PATH
            names = {name for word in words[1:] for name in _NAME.findall(word.text)}
            if not names <= self.found.assigned:
                raise self._unsure(node)
        self.found.commands.append(tuple(words))

    # Parts of the text

    def _text(self, node: Node) -> str:
        return self._source.text[node.start_byte : node.end_byte]

    def _gaps(self, node: Node) -> list[str]:
        """Returns the text in front of each of its parts."""
        ends = [node.start_byte, *(child.end_byte for child in node.children)]
        return [self._source.text[end : child.start_byte] for end, child in zip(ends, node.children)]

    def _shown(self, node: Node) -> str:
        text = " ".join(self._text(node).split())
        return text if len(text) <= 60 else f"{text[:57]}..."

    def _unsure(self, node: Node) -> Doubt:
        return Doubt(f"which variables it changes is not certain: {self._shown(node)}")

    def _joined(self, part: Node | None, node: Node) -> Word:
        """Returns the word that is a part of this node."""
        return joined(part, self._source, self._lookup(node.start_byte), node.end_byte)

    def _lookup(self, at: int) -> Callable[[str], str | None]:
        """Returns a function for the values that are certain at this position."""

        def value(name: str) -> str | None:
            if name not in self.found.assigned:
                return self._known.get(name)
            begin, text = self._values.get(name, (0, None))
            return text if begin <= at else None

        return value


def _is_always_run(assignment: Node) -> bool:
    """Returns whether no condition, loop, function or subshell is around it."""
    parent = assignment.parent
    if parent is not None and parent.type in ("declaration_command", "variable_assignments"):
        assignment, parent = parent, parent.parent
    following = assignment.next_sibling
    in_background = following is not None and following.type == "&"
    return parent is not None and parent.type == "program" and not in_background


def _all(node: Node, outside: tuple[str, ...] = ()) -> Iterator[Node]:
    """Yields the node and all below it, in their order, but nothing inside of these types."""
    yield node
    for child in node.children:
        if child.type not in outside:
            yield from _all(child, outside)
