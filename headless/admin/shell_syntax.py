"""Checks the syntax of a shell text: what the shell itself reports, and what of bash the sh of Debian does not know."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

from tree_sitter import Node

from headless.admin.calls import Entry, Text
from headless.admin.files import File
from headless.admin.programs import STRICT
from headless.admin.rules import Edit, Finding, finding
from headless.admin.shell_found import Found
from headless.admin.shell_tree import shown

_OF_BASH = re.compile(r"\|&|<<<|\[\[")
_BAD_SUBSTITUTION = re.compile(r"\$\{(?:!|#?\w+\[|(?:\w+|[@*])(?::[^-=?+]|[/^,@]))")
_UNKNOWN_TO_SH = re.compile(
    r"(?:builtin|declare|dirs|disown|let|mapfile|popd|pushd|readarray|shopt|typeset)\b"
    r"|printf +-v|read +-[adnNstu]+|type +-[aPpt]|wait +-n|trap\b.*\bERR\b"
)


def check_syntax(file: File, source: Text, shell: str, has_error: bool) -> Iterator[Finding]:
    """Asks the shell itself. `has_error`: the grammar finds a mistake, too."""
    if not has_error and shell in STRICT and _OF_BASH.search(source.text):  # there is a better finding
        return
    message = _syntax_error(source.text, shell)
    if message:
        yield finding("syntax", file, source.offsets[0], shell=shell, message=message)
    elif message is None and has_error:
        yield finding("unreadable", file, source.offsets[0], shell=shell)


def _syntax_error(text: str, shell: str) -> str | None:
    """Returns what the shell of this machine reports of a text without running it; "" if nothing; None if it cannot be
    asked. A shell that a file names is never started by its path."""
    if shell not in ("sh", "dash", "bash", "ksh"):
        return None
    try:
        done = subprocess.run(
            [f"/bin/{shell}", "-n"], input=text.encode("utf-8", "surrogateescape"), env={}, timeout=5,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode == 0:
        return ""
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    return re.sub(r"^\S+: (?:line )?(?:\d+: )?", "", lines[0]) if lines else "syntax error"


def check_line_ends(entry: Entry) -> Iterator[Finding]:
    """Checks a script for lines that end as on Windows."""
    text, offsets = entry.command.text, entry.command.offsets
    if "\r\n" in text:
        ends = [offsets[match.start()] for match in re.finditer("\r(?=\n|$)", text)]
        yield finding("line-ends/script", entry.file, ends[0], tuple(Edit(at, at + 1, "") for at in ends))


def find_words_of_bash(root: Node, source: Text, found: Found) -> None:
    """Finds what sh of Debian does not know."""
    for node in _all_in(root):
        text, begin = source.text[node.start_byte : node.end_byte], source.offsets[node.start_byte]
        if node.type == "|&":
            found.find("pipe-ampersand", begin, found.edits((begin, "|&", "2>&1 |")))
        elif node.type == "herestring_redirect":
            found.find("here-string", begin)
        elif node.type == "test_command" and text.startswith("[["):
            found.find("double-bracket", begin)
        elif node.type == "expansion" and _BAD_SUBSTITUTION.match(text):
            found.find("bad-substitution", begin, text=text)
        elif node.type == "==" and _is_in_test(node, source):
            found.find("test-equals", begin, found.edits((begin, "==", "=")))
        elif node.type in ("command", "declaration_command") and (unknown := _UNKNOWN_TO_SH.match(text)):
            found.find("unknown-to-sh", begin, text=shown(unknown[0]))


def _all_in(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _all_in(child)


def _is_in_test(node: Node, source: Text) -> bool:
    parent = node.parent
    while parent is not None and parent.type == "binary_expression":
        parent = parent.parent
    return parent is not None and re.compile(r"(?:\[|test)\s").match(source.text, parent.start_byte) is not None
