"""The list of the ways to fail is complete, by the code and by the documents."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator

import pytest

from headless.outcome import HeadlessError
from support.failures_of_the_call import OPTIONS
from support.failures_of_the_session import WAYS_TO_FAIL
from support.process import ROOT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals, limits and pseudo-terminals")

# Errors that a call of the command cannot meet, by their texts.
NOT_MET = (
    "there is no folder for the password file",  # Windows
    "TLS cannot be used",  # an OpenSSL that is not fit for anything
    "'' is what the other side says",  # a mistake of the caller of `send`
    "'' is not allowed when the other side broke the protocol",  # likewise
    "the client's nonce is not",  # the server's view of a login
    "a challenge login has user",
    "an osuser login has os_user",
)


def names(kind: type) -> set[str]:
    """Of the class and all that inherit from it."""
    return {kind.__name__}.union(*map(names, kind.__subclasses__()))


ERRORS = names(HeadlessError) | {"FrameTooLong", "ValueError"}  # the last two end as the text of one of ours


def texts_of_errors() -> Iterator[tuple[str, str]]:
    """The text of each error in the client's code, without the values in it, and the file that it is in."""
    for path in sorted([*(ROOT / "headless").glob("*.py"), *(ROOT / "headless" / "protocol").glob("*.py")]):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ERRORS:
                nodes = [node for argument in call.args for node in ast.walk(argument)]
                text = "".join(str(node.value) for node in nodes if isinstance(node, ast.Constant))
                if re.search("[a-z]{2}", text):  # else it passes on the text of another error
                    yield path.name, text


def test_every_error_in_the_code_is_in_the_list():
    reasons = [*(way.reason for way in WAYS_TO_FAIL), *(reason for _, _, reason in OPTIONS)]
    known = {part for reason in reasons for part in re.split(r"\||\.\*", reason) if len(part) > 6}
    texts = list(texts_of_errors())
    assert len(texts) > 50
    listed = [text for _, text in texts if any(re.search(part, text) for part in known)]
    assert [error for error in texts if error[1] not in listed and not error[1].startswith(NOT_MET)] == []


def rows(document: str, heading: str) -> list[list[str]]:
    """The cells of the rows of the table with this heading."""
    lines = (ROOT / document).read_text(encoding="utf-8").split(f"\n{heading}\n")[1].splitlines()
    table = lines[1 : lines.index("")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_documents_know_the_same_codes_and_words_as_the_list():
    listed = {(way.code, way.jobs) for way in WAYS_TO_FAIL if way.code > 0}
    protocol = rows("headless/protocol/PROTOCOL.md", "| | return code of planta_headless.py | jobs |")
    assert {(int(code), jobs) for _, codes, jobs in protocol for code in re.findall(r"\b\d\b", codes)} == listed
    readme = rows("README.md", "| code | means | what a script should do |")
    assert {int(row[0]) for row in readme} == {0} | {code for code, _ in listed}
    words = re.findall(r"^\| `jobs: (.+?)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(words) == {jobs for _, jobs in listed}
