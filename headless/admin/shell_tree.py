"""Parses a shell text into a tree, and answers what its statements are, what is behind and within them, and whether
a failure is reported."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from headless.admin.calls import Redirection, Text, Word, heard_behind
from headless.admin.programs import STARTS_NOTHING, base_name

# Programs and parts of the shell that report nothing.
_NAMES = """
    : [ alias bg break cd chgrp chmod chown continue cp declare exit export false fg kill let ln local mkdir mv pkill
    read return rm rmdir set shift sleep test touch trap true ulimit umask unset wait
"""
_MUTE = frozenset(_NAMES.split())
_PRINTS = frozenset(
    ("cat", "cut", "date", "echo", "grep", "head", "hostname", "ls", "printf", "pwd", "sed", "sort", "tail", "tee")
)
_MAX_DEPTH = 10

Functions = Mapping[str, tuple[Node, Text]]
_SUBSHELLS = ("pipeline", "subshell", "command_substitution")


@lru_cache(maxsize=4)
def last_wait(text: str) -> int:
    """Returns where the shell last waits for a process by its number; -1 if it does not."""
    return max((match.start() for match in re.finditer(r"\bwait\b(?=.*\$)", text)), default=-1)


@lru_cache(maxsize=1)
def _parser() -> Parser:
    return Parser(Language(tree_sitter_bash.language()))


def parse(text: str) -> Node:
    """Returns the tree, in which an offset of bytes is one of characters: those that are not ASCII, which mean nothing
    to a shell, are replaced."""
    return _parser().parse(re.sub(r"[^\t\n -~]", ".", text).encode("ascii")).root_node


def text_of(node: Node | None) -> str:
    """Returns the text of a node, in which a character that is not ASCII is a dot."""
    return "" if node is None or node.text is None else node.text.decode()


def name_in(node: Node, text: str) -> str:
    """Returns the name of a function or an assignment, "" if it has none."""
    name = node.child_by_field_name("name")
    return "" if name is None else text[name.start_byte : name.end_byte]


def assigned_in(node: Node, text: str) -> set[str]:
    """Returns the variables that are set anywhere in a node."""
    names = set()
    for child in node.children:
        if child.type == "variable_assignment":
            names.add(name_in(child, text))
        names |= assigned_in(child, text)
    return names


def is_condition(node: Node) -> bool:
    parent = node.parent
    while parent is not None and parent.type in ("pipeline", "redirected_statement"):
        parent = parent.parent
    return parent is not None and parent.type in ("if_statement", "elif_clause", "while_statement", "list")


def inside(node: Node) -> list[Node]:
    """Returns the statements in a node, and each & behind one."""
    return [child for child in node.children if child.is_named or child.type == "&"]


def ends_shell(node: Node) -> bool:
    """Returns whether the shell ends with a statement, whatever it returns: exit, and exec with a command."""
    node = first_of(node)
    name = name_of(node)
    return name == "exit" or (name == "exec" and bool(node.children_by_field_name("argument")))


def users_of(name: str, assignment: Node) -> list[Node]:
    """Returns the statements behind that use what a variable has got there. A pipe or ( ) forgets it at its end."""
    users: list[Node] = []
    node: Node | None = assignment
    while node is not None and node.type not in _SUBSHELLS:
        following = node.next_named_sibling
        while following is not None:
            users += [following] if _uses_of(name).search(text_of(following)) else []
            if ends_shell(following):
                return users
            following = following.next_named_sibling
        node = node.parent
    return users


def is_used_before(name: str, assignment: Node) -> bool:
    """Returns whether a function, or the next round of a loop, may use what a variable has got there."""
    node = assignment
    while node.parent is not None and node.type not in _SUBSHELLS:
        node = node.parent
    return _uses_of(name).search(text_of(node)[: assignment.start_byte - node.start_byte]) is not None


def _uses_of(name: str) -> re.Pattern[str]:
    return re.compile(rf"\$\{{?{name}\b|\b{name}\b[^\n]*\)\)")


def leaves_on_success(node: Node) -> bool:
    """Returns whether a statement ends the shell or the function if its command succeeds, and does no more if not."""
    is_if = node.type == "if_statement" and not text_of(node.child_by_field_name("condition")).startswith("!")
    is_and = node.type == "list" and any(child.type == "&&" for child in node.children)
    last = node.named_children[-1] if is_if or is_and else None
    if last is not None and last.type == "compound_statement" and last.named_children:
        last = last.named_children[-1]
    return re.fullmatch(r"(?:exit|return)(?:\s+\S+)?", text_of(last)) is not None


def further_words(redirection: Node) -> tuple[Node, ...]:
    """Returns the words of the command that the grammar has given to a redirection."""
    targets = redirection.children_by_field_name("destination")
    return tuple(each for each in targets if targets and each.start_byte > end_of_target(targets))


def end_of_target(targets: list[Node]) -> int:
    """Returns where the target of a redirection ends. The grammar makes a new one of a ` in it."""
    ends = (node.end_byte for node, following in zip(targets, targets[1:]) if node.end_byte < following.start_byte)
    return next(ends, targets[-1].end_byte)


def first_of(node: Node) -> Node:
    while node.type in ("redirected_statement", "list") and node.children:
        node = node.children[0]
    return node


def name_of(node: Node) -> str:
    return text_of(node.child_by_field_name("name")) if node.type == "command" else ""


def first_word(text: str) -> str:
    return shown(text).split(" ")[0]


def shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else text[:37] + "..."


def is_only_read(root: Node, at: int) -> bool:
    """Returns whether a place of the text is a comment, or in a here-document for a program that starts nothing."""
    node = root.descendant_for_byte_range(at, at)
    while node is not None and node.type not in ("comment", "redirected_statement"):
        node = node.parent
    if node is None or node.type == "comment":
        return node is not None
    body = node.child_by_field_name("body")
    is_here = any(child.type == "heredoc_redirect" and child.start_byte <= at for child in node.children)
    is_written = any(child.type == "file_redirect" for child in node.children)
    text = "" if body is None or body.text is None else body.text.decode()
    return is_here and not is_written and "|" not in text and base_name(first_word(text)) in STARTS_NOTHING


# -- whether a failure is reported: something is printed, or a program starts that may send a message --


def reports(node: Node | None, source: Text, functions: Functions, heard: frozenset[int], depth: int = 0) -> bool:
    """Returns whether a command in this node reports something. `heard`: the descriptors whose output is read."""
    return node is not None and any(
        _reports(command, source, functions, heard_behind(heard, _redirections(command, node, source)), depth)
        for command in _commands(node)
    )


def _reports(command: Node, source: Text, functions: Functions, heard: frozenset[int], depth: int) -> bool:
    name_node = command.child_by_field_name("name")
    if name_node is None:
        return False
    name = base_name(source.text[name_node.start_byte : name_node.end_byte])
    if name in functions and depth < _MAX_DEPTH:
        definition, inner = functions[name]
        return reports(definition.child_by_field_name("body"), inner, functions, heard, depth + 1)
    return name not in _MUTE and (1 in heard or name not in _PRINTS)


def _commands(node: Node) -> Iterator[Node]:
    if node.type == "command":
        yield node
        return
    for child in node.children:
        if child.type != "function_definition":
            yield from _commands(child)


def _redirections(command: Node, top: Node, source: Text) -> list[Redirection]:
    """Returns those from this node down to the command, in the order in which the shell makes them."""
    found: list[Redirection] = []
    node: Node | None = command
    while node is not None:
        made = (each for each in node.children if each.type == "file_redirect")
        found[:0] = [_redirection(each, source) for each in made]
        node = None if node == top else node.parent
    return found


def _redirection(node: Node, source: Text) -> Redirection:
    number = node.child_by_field_name("descriptor")
    operator = next((each.type for each in node.children if not each.is_named), "")
    target = node.child_by_field_name("destination")
    text = "" if target is None else source.text[target.start_byte : target.end_byte]
    descriptor = int(number.text or b"1") if number is not None and (number.text or b"").isdigit() else 1
    word = Word(text, True, node.start_byte, node.end_byte)
    return Redirection(descriptor, operator, word, node.start_byte, node.end_byte)
