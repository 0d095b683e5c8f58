"""Decides whether what a shell runs after a failure tells anybody of it: prints something, or starts a program that may
send a message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tree_sitter import Node

from headless.admin.calls import Text
from headless.admin.programs import base_name

# Programs and parts of the shell that tell nobody anything.
_NAMES = """
    : [ alias bg break cd chgrp chmod chown continue cp declare exit export false fg kill let ln local mkdir mv pkill
    read return rm rmdir set shift sleep test touch trap true ulimit umask unset wait
"""
_MUTE = frozenset(_NAMES.split())
_PRINTS = frozenset(
    ("cat", "cut", "date", "echo", "grep", "head", "hostname", "ls", "printf", "pwd", "sed", "sort", "tail")
)
_MAX_DEPTH = 10

Functions = Mapping[str, tuple[Node, Text]]


def tells(node: Node | None, source: Text, functions: Functions, is_heard: bool, depth: int = 0) -> bool:
    """Returns whether a command in this node tells anybody. `is_heard`: what is printed there is mailed."""
    return node is not None and any(
        _tells(command, source, functions, is_heard and not _is_in_a_file(command, node), depth)
        for command in _commands(node)
    )


def _tells(command: Node, source: Text, functions: Functions, is_heard: bool, depth: int) -> bool:
    name_node = command.child_by_field_name("name")
    if name_node is None:
        return False
    name = base_name(source.text[name_node.start_byte : name_node.end_byte])
    if name in functions and depth < _MAX_DEPTH:
        definition, inner = functions[name]
        return tells(definition.child_by_field_name("body"), inner, functions, is_heard, depth + 1)
    return name not in _MUTE and (is_heard or name not in _PRINTS)


def _commands(node: Node) -> Iterator[Node]:
    if node.type == "command":
        yield node
        return
    for child in node.children:
        if child.type != "function_definition":
            yield from _commands(child)


def _is_in_a_file(command: Node, top: Node) -> bool:
    """Returns whether a redirection from the command up to this node takes away what it prints."""
    node: Node | None = command
    while node is not None:
        redirections = [each for each in node.children if each.type == "file_redirect"]
        if any(takes_stdout(each) for each in redirections):
            return True
        node = None if node == top else node.parent
    return False


def takes_stdout(redirection: Node) -> bool:
    """Returns whether this redirection puts what is printed into a file."""
    number = redirection.child_by_field_name("descriptor")
    operator = next((each.type for each in redirection.children if not each.is_named), "")
    is_stdout = number is None or number.text == b"1"
    return is_stdout and operator in (">", ">>", ">|", "&>", "&>>")
