"""The list of the ways to fail is complete, by the code and by the documents."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator

import pytest

from headless.outcome import HeadlessError
from headless.protocol.errors import ProtocolError
from support.failures_of_a_wire import WAYS_OF_A_WIRE
from support.failures_of_the_call import OPTIONS
from support.failures_of_the_session import WAYS_TO_FAIL
from support.process import ROOT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals, limits and pseudo-terminals")

# Errors that a call of the command cannot meet, by their texts.
NOT_MET = (
    "there is no folder for the password file",  # Windows
    "no password was given within",  # five minutes; see test_hidden_input.py
    ":  is a FIFO, and not a file with certificates",  # see test_tls.py
    "TLS cannot be used",  # an OpenSSL that is not fit for anything
    "'' is what the other side sends",  # a mistake of the caller of `send`
    "'' is not allowed when the other side broke the protocol",  # likewise
    "the client's nonce is not",  # the server's view of a login
    "a challenge login has user",
    "an osuser login has os_user",
    "'attach' has job",  # likewise
    "the server has accepted the jobs, and not taken in time",  # after 30 s; see test_sloppy_wires.py
    # Of `wait`, `cancel` and `sessions`; see test_wait_and_cancel.py.
    "this server has no such command",
    "the list cannot be written",
    " is not a time",
    "'' is no answer to what was asked",
    "the server has not answered in time",
    " needs one SESSIONno argument",
    " is not the name of a session",
    "this wire cannot",
    "a heartbeat that is not",  # of a wire; see test_sloppy_wires.py
    "an unknown version of access control lists",  # is said in other words; see test_password_file.py
    # Of `password-file`; see test_password_file_command.py.
    "standard input",
    "it cannot be read",
    "it has not come to its end within",
    "it has more than one line",
    "it begins with a byte order mark",
    " exists: delete it",
    "there is no terminal to ask for the password at",
    "the name of the user who runs this cannot be had now",  # see test_users.py
    "this is a rehearsal",  # of commands; see test_rehearsal_containment.py
    "the server has not answered within",  # a line of -v: another connection is tried after that
)


def names(kind: type) -> set[str]:
    """Of the class and all that inherit from it."""
    return {kind.__name__}.union(*map(names, kind.__subclasses__()))


# The last two end as the text of one of ours; `error` is what order.py calls the one that it is given.
ERRORS = names(HeadlessError) | names(ProtocolError) | {"UnsupportedCall", "error", "FrameTooLong", "ValueError"}
FILES = sorted(
    path
    for folder in ("", "client", "protocol")
    for path in (ROOT / "headless" / folder).glob("*.py")
    if path.name not in ("arguments.py", "commands.py", "example_wire.py", "monitor.py")  # they are no part of a call
)


def errors_in(code: str) -> Iterator[str]:
    """The text of each error that is made there, without the values in it."""
    for call in ast.walk(ast.parse(code)):
        if isinstance(call, ast.Call) and getattr(call.func, "id", getattr(call.func, "attr", "")) in ERRORS:
            nodes = [node for argument in call.args for node in ast.walk(argument)]
            text = "".join(str(node.value) for node in nodes if isinstance(node, ast.Constant))
            if re.search("[a-z]{2}", text):  # else it passes on the text of another error
                yield text


def not_listed(texts: list[str]) -> list[str]:
    reasons = [way.reason for way in (*WAYS_TO_FAIL, *WAYS_OF_A_WIRE)] + [reason for _, _, reason in OPTIONS]
    parts = {part for reason in reasons for part in re.split(r"\||\.\*", reason) if len(part) > 9}
    listed = [text for text in texts if any(re.search(part, text) for part in parts)]
    return [text for text in texts if text not in listed and not text.startswith(NOT_MET)]


def test_every_error_in_the_code_is_in_the_list():
    texts = [text for path in FILES for text in errors_in(path.read_text(encoding="utf-8"))]
    assert len(texts) > 80
    assert not_listed(texts) == []
    assert [text for text in NOT_MET if not any(each.startswith(text) for each in texts)] == []


@pytest.mark.parametrize(
    "error",
    ["SessionError('{}')", "ParameterError(f'{}')", "outcome.JobFailed('{}')", "wire.UnsupportedCall(f'{} {{x}}')",
     "RemoteProtocolError('{}' + x)", "errors.LocalProtocolError('{}')", "error('{}')", "frames.FrameTooLong('{}')"],
)  # fmt: skip
def test_an_error_that_is_not_in_the_list_is_found(error):
    text = "the protocol of the server was changed, not in time"
    code = f"def f():\n    try:\n        raise {error.format(text)}\n    finally:\n        pass\n"
    assert [each.strip() for each in not_listed(list(errors_in(code)))] == [text]


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
