"""Answers questions about the tree of a text for the shell: what a statement is, and what is behind and within it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tree_sitter import Node

_BAD_SUBSTITUTION = re.compile(r"\$\{(?:!|#?\w+\[|(?:\w+|[@*])(?::[^-=?+]|[/^,@]))")
_UNKNOWN_TO_SH = re.compile(
    r"(?:builtin|declare|dirs|disown|let|mapfile|popd|pushd|readarray|shopt|typeset)\b"
    r"|printf +-v|read +-[adnNstu]+|type +-[aPpt]|wait +-n|trap\b.*\bERR\b"
)
_SUBSHELLS = ("pipeline", "subshell", "command_substitution")


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


def _all_in(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _all_in(child)


def _is_in_test(node: Node) -> bool:
    parent = node.parent
    while parent is not None and parent.type == "binary_expression":
        parent = parent.parent
    return parent is not None and re.match(r"(?:\[|test)\s", text_of(parent)) is not None


def _uses_of(name: str) -> re.Pattern[str]:
    return re.compile(rf"\$\{{?{name}\b|\b{name}\b[^\n]*\)\)")


def words_of_bash(root: Node) -> Iterator[tuple[str, Node, str]]:
    """Yields what the syntax of sh allows, and sh of Debian does not know: the rule, where, and the text of it."""
    for node in _all_in(root):
        text = text_of(node)
        unknown = _UNKNOWN_TO_SH.match(text) if node.type in ("command", "declaration_command") else None
        if node.type == "expansion" and _BAD_SUBSTITUTION.match(text):
            yield "bad-substitution", node, text
        elif node.type == "==" and _is_in_test(node):
            yield "test-equals", node, text
        elif unknown:
            yield "unknown-to-sh", node, " ".join(unknown[0].split())
