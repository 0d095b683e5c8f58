"""For each way in which the command can fail, the last line of `-v` shows whether the jobs were not submitted,
submitted, or that this is unknown; a code of 2 is one line on stderr as well. By calls in this process, and as
processes where memory, descriptors, libraries or a terminal matter. The list of these ways is complete, by the code and
by the documents."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from itertools import product

import pytest

from headless.errors import HeadlessError
from headless.password_file import PasswordFileError
from robustness.failures.of_a_dialect import NOT_LOADED, OUR_FAULT, WAYS_OF_A_DIALECT
from robustness.failures.of_other_protocols import WAYS_OF_OTHER_PROTOCOLS
from robustness.failures.of_the_session import OVER_TLS, WAYS_TO_FAIL
from robustness.failures.way import NOT, SUBMITTED, Way, go
from support.process import ROOT, manage

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="signals, limits and pseudo-terminals"),
]

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} info (.+); jobs: (.+)")


WAYS = {way.name: way for way in (*WAYS_TO_FAIL, *WAYS_OF_A_DIALECT, *WAYS_OF_OTHER_PROTOCOLS)}
# As a process, one for each kind of end: 2, 1, 3 and a signal.
KINDS = ("login refused", "closed after the jobs", "out of time while a job runs", "signal after accepted")


def assert_goes(way: Way, command, scripted, as_process: bool = False) -> None:
    """The way ends as it says, and says so in its last line."""
    failure = go(way, command, scripted, as_process)
    last = LINE.fullmatch(failure.shown[-1] if failure.shown else "")
    assert last, failure
    assert (failure.code, last[2]) == (way.code, way.jobs), failure
    assert re.search(way.reason, last[1]), failure
    assert (OUR_FAULT in last[1]) == (OUR_FAULT in way.reason), failure
    assert len(failure.complaints) == (1 if way.code == 2 else 0)
    assert all(last[1] in complaint for complaint in failure.complaints)
    assert way.script is not None or failure.connections == 0
    has_jobs = any(document.startswith(way.hands_over) for document in failure.received)
    assert has_jobs or way.jobs != SUBMITTED
    assert not has_jobs or way.jobs != NOT or "refused" in last[1]


of_a_version = pytest.mark.version("errors of ssl, of what is imported, and of lxml")
OF_A_VERSION = {way.name for way in (*OVER_TLS, *NOT_LOADED, *WAYS_OF_OTHER_PROTOCOLS)}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=of_a_version if name in OF_A_VERSION else ()) for name in WAYS]
)
def test_the_last_line_shows_what_happened_to_the_jobs(command, scripted, name):
    assert_goes(WAYS[name], command, scripted)


@pytest.mark.version("how a process ends")
@pytest.mark.parametrize("name", KINDS)
def test_so_does_the_last_line_of_a_process(command, scripted, name):
    assert_goes(WAYS[name], command, scripted, as_process=True)


# A rehearsal shows it as the command does


@pytest.mark.parametrize(
    ("argv", "code", "jobs"),
    [
        (("-m", "009ABC"), 2, NOT),
        (("-t", "-1", "-c", "raise SystemExit(1)"), 1, SUBMITTED),
    ],
)
def test_a_rehearsal_shows_what_happened_to_the_jobs(tmp_path, argv, code, jobs):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = manage("rehearse", "-v", *argv, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == code
    assert done.stdout.endswith(f"; jobs: {jobs}\n")


# The list is complete

# Errors that no way of the list meets, by words that say which: the test that asks for these words, or why there is
# none. A word is no more than what that test needs.
NOT_MET = {
    "heartbeat that is not": "client/test_sloppy_dialects.py",
    "heartbeat_seconds is not": "client/test_heartbeats.py",
    "remark is no text": "client/test_loading.py",
    "is a terminal": "client/test_password_file_command.py",
    "more than one line": "client/test_password_file_command.py",
    "come to its end": "client/test_password_prompt.py",
    "given within": "client/test_password_prompt.py",
    "exists": "client/test_password_file_command.py",
    "answered in time": "test_wait_and_cancel.py",
    "to make a new one": "the advice behind what bcrypt_hash.py finds in a password file",
    "before the query had left": "client/test_verdict.py",
    "no answer to the query": "client/test_verdict.py",
    "nonce": "dialects/test_login.py",
    "or none of them": "what a server says of a message of a client",
    "there is no terminal": "of password-file, which the text of another error names",
    "name of the user who runs this": "a kind of error that test_system.py asks for",
    "access control": "said in other words to the caller",
    "not taken in time": "of a dialect that is sloppy, after thirty seconds",
    "TLS cannot be used": "an OpenSSL that is not fit for anything",
    "answered within": "a line of -v: another connection is tried after that",
    "other side sends": "a mistake of the caller of `send`",
    "cannot cancel": "of a dialect that `cancel` is not for",
    "cannot list": "of a dialect that `sessions` is not for",
}
# Files that have no part in a call of the command: those of other commands, and of the server's side. Mistakes in the
# options come before there is anything that -v could show: test_options.py. What other protocols do not allow, and what
# a site has not settled: test_planta.py, test_framing.py.
OTHERS = (
    "arguments.py",
    "cli.py",
    "options.py",
    "query.py",
    "example.py",
    "framing.py",
    "planta.py",
    "xml_messages.py",
    "server_connection.py",
    "system.py",
)


def names(kind: type) -> set[str]:
    """Returns those of the class and of all that inherit from it."""
    return {kind.__name__}.union(*map(names, kind.__subclasses__()))


# The last two end as the text of one of ours; `error` is what order.py calls the one that it is given.
ERRORS = names(HeadlessError) | names(PasswordFileError) | {"error", "FrameTooLong", "ValueError"}
FILES = sorted(
    path
    for folder in ("", "client", "dialects", "dialects/own")
    for path in (ROOT / "headless" / folder).glob("*.py")
    if path.name not in OTHERS
)


def errors_in(code: str) -> Iterator[str]:
    """The text of each error that is made there, without the values in it: of a choice of two texts, both."""
    for call in ast.walk(ast.parse(code)):
        if isinstance(call, ast.Call) and getattr(call.func, "id", getattr(call.func, "attr", "")) in ERRORS:
            for arguments in product(*map(texts_of, call.args)):
                text = "".join(arguments)
                if re.search("[a-z]{2}", text):  # else it passes on the text of another error
                    yield text


def texts_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.IfExp):
        return texts_of(node.body) + texts_of(node.orelse)
    return ["".join(parts) for parts in product(*map(texts_of, ast.iter_child_nodes(node)))]


def not_listed(texts: list[str]) -> list[str]:
    parts = {part for way in WAYS.values() for part in re.split(r"\||\.\*", way.reason) if len(part) > 9}
    return [text for text in texts if not any(re.search(part, text) for part in parts)]


def test_every_error_in_the_code_is_in_the_list():
    texts = [text for path in FILES for text in errors_in(path.read_text(encoding="utf-8"))]
    assert len(texts) > 80
    missing = not_listed(texts)
    assert [text for text in missing if not any(words in text for words in NOT_MET)] == []
    assert [words for words in NOT_MET if not any(words in text for text in missing)] == []


def test_what_is_not_in_the_list_is_asked_for_elsewhere():
    for words, where in NOT_MET.items():
        if where.endswith(".py"):
            assert words in (ROOT / "tests" / where).read_text(encoding="utf-8"), where


def test_an_error_that_is_not_in_the_list_is_found():
    text = "the protocol of the server was changed, not in time"
    for error in (
        "SessionError('{}')",
        "ParameterError(f'{}')",
        "errors.JobFailed('{}')",
        "errors.UnsupportedCall(f'{} {{x}}')",
        "RemoteProtocolError('{}' + x)",
        "errors.LocalProtocolError('{}')",
        "error('{}')",
        "frames.FrameTooLong('{}')",
        "ParameterError('is not a regular file' if x else '{}')",
    ):
        code = f"def f(x):\n    try:\n        raise {error.format(text)}\n    finally:\n        pass\n"
        assert [each.strip() for each in not_listed(list(errors_in(code)))] == [text], error


def rows(document: str, heading: str) -> list[list[str]]:
    """The cells of the rows of the table with this heading."""
    lines = (ROOT / document).read_text(encoding="utf-8").split(f"\n{heading}\n")[1].splitlines()
    table = lines[1 : lines.index("")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_documents_know_the_same_codes_and_words_as_the_list():
    listed = {(way.code, way.jobs) for way in WAYS_TO_FAIL if way.code > 0}
    protocol = rows("headless/dialects/own/PROTOCOL.md", "| | return code of planta_headless.py | jobs |")
    assert {(int(code), jobs) for _, codes, jobs in protocol for code in re.findall(r"\b\d\b", codes)} == listed
    readme = rows("README.md", "| code | means | what a script should do |")
    assert {int(row[0]) for row in readme} == {0} | {code for code, _ in listed}
    words = re.findall(r"^\| `jobs: (.+?)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(words) == {jobs for _, jobs in listed}
