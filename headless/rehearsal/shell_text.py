"""The commands in a text of the shell, as long as there is no doubt how a shell reads it.

The grammar is that of bash. What dash reads otherwise, or what the grammar may have taken apart wrongly, is a doubt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from headless.admin.entry import Text
from headless.admin.shell_words import Word, expand, joined
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
# Text in which the grammar has found no command, and a shell finds none either.
_NO_COMMAND = re.compile(r"(?:\\.|[^\\`$<>]|[$<>](?!\())*", re.DOTALL)
_GAP = re.compile(r"(?:[ \t]|\\\n)+")
_BLANKS = re.compile(r"(?:[ \t\n]|\\\n)*")
# What the text of a node must be. In $((...)) a ( could begin a command.
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
# What sets variables besides an assignment, with the names behind it or around it.
_SETS = {
    "arithmetic_expansion": re.compile(r".*(?:=|[+][+]|--).*", re.DOTALL),
    "command": re.compile(r"\b(?:read|getopts)\b.*", re.DOTALL),
    "expansion": re.compile(r".*=.*", re.DOTALL),
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Doubt(Exception):
    """Why a text is not run, in one sentence."""


@dataclass
class ShellText:
    """What stands in a text. `words` of a command include its program; `settings` are all assignments, and `targets`
    the files that redirections write to."""

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
    """What stands in a text for sh, dash or bash, given variables that have these values. Raises Doubt."""
    if REHEARSAL in text:
        raise Doubt(f"it names {REHEARSAL}, which keeps it in the rehearsal")
    reader = _Reader(Text(text, tuple(range(len(text) + 1))), shell == "bash", known)
    try:
        reader.read()
    except RecursionError:
        raise Doubt("its commands stand in one another too deeply") from None
    return reader.found


class _Reader:
    def __init__(self, source: Text, is_bash: bool, known: Mapping[str, str]) -> None:
        self.found = ShellText()
        self._source = source
        self._is_bash = is_bash
        self._known = known
        self._values: dict[str, tuple[int, str | None]] = {}  # of variables: from where on they have which value

    def read(self) -> None:
        readable = re.sub(r"[^\t\n -~]", ".", self._source.text)  # what is not ASCII means nothing to a shell
        root = Parser(Language(tree_sitter_bash.language())).parse(readable.encode("ascii")).root_node
        around = (self._source.text[: root.start_byte], self._source.text[root.end_byte :])
        if root.has_error or not all(map(_BLANKS.fullmatch, around)):
            raise Doubt("it cannot be taken apart")
        nodes = list(_all(root))
        for node in nodes:
            self._check(node)
        for node in nodes:
            self._note_variables(node)
        for node in nodes:
            self._note(node)

    def _text(self, node: Node) -> str:
        return self._source.text[node.start_byte : node.end_byte]

    # -- doubts --

    def _check(self, node: Node) -> None:
        """Raises Doubt where a shell may read something else."""
        if not (self._is_understood(node) and self._is_whole(node)):
            raise Doubt(f"it has something that is not understood: {self._shown(node)}")
        if node.type in _OF_BASH and not self._is_bash:
            raise Doubt(f"sh does not know {self._shown(node)}, and reads something else")
        if node.type == "file_redirect" and len(node.children_by_field_name("destination")) != 1:
            raise Doubt(f"words stand behind a redirection: {self._shown(node)}")

    def _is_understood(self, node: Node) -> bool:
        if node.type in _UNDERSTOOD:
            return _UNDERSTOOD[node.type].fullmatch(self._text(node)) is not None
        if node.type == "word" and not node.children:
            return self._is_plain(node)
        if node.type == "comment":
            return re.search(r"(?:^|(?<!\\)[ \t]|[\n;&|()])$", self._before(node)) is not None
        if node.type == "test_command":
            return self._text(node).startswith("[[") or self._is_simple_test(node)
        if node.type == "command":
            return self._has_blanks(node)
        return bool(_KNOWN.fullmatch(node.type)) if node.is_named else node.type != "(("

    def _is_whole(self, node: Node) -> bool:
        """Whether only blanks stand between its parts: the grammar passes over some other text as if it were blank."""
        return node.type == "string" or all(map(_BLANKS.fullmatch, self._gaps(node)))

    def _gaps(self, node: Node) -> list[str]:
        """What stands before each of its parts."""
        ends = [node.start_byte, *(child.end_byte for child in node.children)]
        begins = [child.start_byte for child in node.children]
        return [self._source.text[end:begin] for end, begin in zip(ends, begins)]

    def _is_plain(self, node: Node) -> bool:
        """In a pattern of case or ${...}, a word may be anything that starts nothing."""
        parent = node.parent
        inside = parent is not None and parent.type in ("expansion", "case_item")
        return (_NO_COMMAND if inside else _PLAIN_WORD).fullmatch(self._text(node)) is not None

    def _is_simple_test(self, node: Node) -> bool:
        """For sh, [ is a program like any other, whose words end with the line."""
        outside = ("string", "command_substitution")
        parts = list(_all(node, outside))
        gaps = [gap for each in parts if each.type not in outside for gap in self._gaps(each)]
        is_one_line = not any("\n" in gap.replace("\\\n", "") for gap in gaps)
        return is_one_line and not any(each.type in ("&&", "||", "|", "&", ";", "(", "<", ">") for each in parts)

    def _has_blanks(self, node: Node) -> bool:
        """Words that stand side by side without a blank are one word for a shell."""
        for one, other in zip(node.children, node.children[1:]):
            between = self._source.text[one.end_byte : other.start_byte]
            if not (_GAP.fullmatch(between) or "file_redirect" in (one.type, other.type)):
                return False
        return self._source.text[node.end_byte : node.end_byte + 1] in ("", *" \t\n;&|()<>`\\")

    def _before(self, node: Node) -> str:
        return self._source.text[max(0, node.start_byte - 2) : node.start_byte]

    def _shown(self, node: Node) -> str:
        text = " ".join(self._text(node).split())
        return text if len(text) <= 60 else f"{text[:57]}..."

    # -- variables --

    def _note_variables(self, node: Node) -> None:
        """Which variables are set, and which have one value that is certain from there on."""
        if node.type == "variable_assignment":
            self._note_assignment(node)
        elif node.type in ("for_statement", "unset_command"):
            self._forget(self._text(each) for each in node.children if each.type == "variable_name")
        elif node.type == "declaration_command":
            self._check_declaration(node)
        elif node.type in _SETS and (match := _SETS[node.type].search(self._text(node))):
            self._forget(_NAME.findall(match[0]))
        if node.type in ("unset_command", "for_statement"):
            self._check_names(node)

    def _note_assignment(self, node: Node) -> None:
        name = self._text(node.children[0])
        if name == "IFS" and node.parent is not None and self._text(node.parent).partition(" ")[2].startswith("read "):
            return
        check_name(name)
        self.found.assigned.add(name)
        value = self._value(node)
        self.found.settings.append((name, value))
        is_certain = value.is_certain and name not in self._values and _is_always_run(node)
        self._values[name] = node.end_byte, value.text if is_certain else None

    def _value(self, node: Node) -> Word:
        lookup = self._lookup(node.start_byte)
        value = joined(node.child_by_field_name("value"), self._source, lookup, node.end_byte).word
        is_whole = node.children[1].type == "="
        return Word(value.text, value.is_certain and is_whole, value.begin, value.end)

    def _forget(self, names: Iterator[str] | list[str]) -> None:
        for name in names:
            check_name(name)
            if name == "PATH":
                raise Doubt("in which folders programs are, is not certain")
            self.found.assigned.add(name)
            self._values[name] = 0, None

    def _check_declaration(self, node: Node) -> None:
        for each in node.children[1:]:
            is_option = each.type == "word" and re.fullmatch("-[rxg]+", self._text(each))
            if not (each.type in ("variable_assignment", "variable_name") or is_option):
                raise Doubt(f"which variables it changes is not certain: {self._shown(node)}")
        if self._text(node.children[0]) not in ("export", "readonly"):
            self._forget(self._text(each) for each in node.children if each.type == "variable_name")

    def _check_names(self, node: Node) -> None:
        for each in node.children[1:]:
            is_plain = re.fullmatch(r"-\w+|[A-Za-z_]\w*", self._text(each))  # else the shell makes another name of it
            if node.type == "unset_command" and not is_plain:
                raise Doubt(f"which variables it changes is not certain: {self._shown(node)}")
            if each.type == "variable_name":
                check_name(self._text(each))

    def _check_names_read(self, words: list[Word], node: Node) -> None:
        """Raises Doubt if a shell reads other names than those that have been noted: `PA\\TH` is PATH."""
        if words[0].text in ("read", "getopts"):
            names = {name for word in words[1:] for name in _NAME.findall(word.text)}
            if not names <= self.found.assigned:
                raise Doubt(f"which variables it changes is not certain: {self._shown(node)}")

    def _lookup(self, at: int) -> Callable[[str], str | None]:
        """The values that are certain at this place."""

        def value(name: str) -> str | None:
            if name not in self.found.assigned:
                return self._known.get(name)
            begin, text = self._values.get(name, (0, None))
            return text if begin <= at else None

        return value

    # -- commands --

    def _note(self, node: Node) -> None:
        if node.type == "command":
            self._note_command(node)
        elif node.type == "function_definition":
            self.found.functions.add(self._text(node.child_by_field_name("name") or node.children[0]))
        elif node.type == "file_redirect" and any(">" in each.type for each in node.children):
            (target,) = node.children_by_field_name("destination")
            word = self._with_its_end(joined(target, self._source, self._lookup(node.start_byte), node.end_byte).word)
            if not any(each.type == ">&" for each in node.children) or not re.fullmatch(r"\d+|-", word.text):
                self.found.targets.append(word)

    def _with_its_end(self, word: Word) -> Word:
        """A variable in the place of a word with what has been put together for it: how that ends may be certain."""
        name = re.fullmatch(r"\$(?:(\w+)|\{(\w+)\})", word.text)
        values = [value.text for each, value in self.found.settings if name and each in name.groups()]
        return Word(values[0], word.is_certain, word.begin, word.end) if len(values) == 1 else word

    def _note_command(self, node: Node) -> None:
        words: list[Word] = []
        for each in node.children:
            if each.type in _WORDS:
                braces = "{" in self._text(each).replace("${", "") and each.type not in ("string", "raw_string")
                made = [part.word for part in expand(each, self._source, self._lookup(node.start_byte))]
                words += [Word(w.text, w.is_certain and not braces, w.begin, w.end) for w in made]
            elif each.type != "variable_assignment" and not each.type.endswith("redirect"):
                raise Doubt(f"it has something that is not understood: {self._shown(node)}")
        if words:
            self._check_names_read(words, node)
            self.found.commands.append(tuple(words))


def _is_always_run(assignment: Node) -> bool:
    """Whether no condition, loop, function or subshell stands around it."""
    parent = assignment.parent
    if parent is not None and parent.type in ("declaration_command", "variable_assignments"):
        assignment, parent = parent, parent.parent
    following = assignment.next_sibling
    in_background = following is not None and following.type == "&"
    return parent is not None and parent.type == "program" and not in_background


def _all(node: Node, outside: tuple[str, ...] = ()) -> Iterator[Node]:
    """The node and all below it, in their order, but nothing inside of these kinds."""
    yield node
    for child in node.children:
        if child.type not in outside:
            yield from _all(child, outside)
