"""Decides whether what a shell runs after a failure tells anybody of it: prints something, or starts a program that may
send a message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tree_sitter import Node

from headless.admin.calls import Redirection, Text, Word, heard_behind
from headless.admin.programs import base_name

# Programs and parts of the shell that tell nobody anything.
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


def tells(node: Node | None, source: Text, functions: Functions, heard: frozenset[int], depth: int = 0) -> bool:
    """Returns whether a command in this node tells anybody. `heard`: the descriptors whose output is told there."""
    return node is not None and any(
        _tells(command, source, functions, heard_behind(heard, _redirections(command, node, source)), depth)
        for command in _commands(node)
    )


def _tells(command: Node, source: Text, functions: Functions, heard: frozenset[int], depth: int) -> bool:
    name_node = command.child_by_field_name("name")
    if name_node is None:
        return False
    name = base_name(source.text[name_node.start_byte : name_node.end_byte])
    if name in functions and depth < _MAX_DEPTH:
        definition, inner = functions[name]
        return tells(definition.child_by_field_name("body"), inner, functions, heard, depth + 1)
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
