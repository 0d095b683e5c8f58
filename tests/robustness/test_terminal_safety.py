"""What a server, a client or a job sends cannot move the cursor, forge a line or end one early: in what the command
prints, in the log of the server, and in what its journal and accounts are shown as.
"""

from __future__ import annotations

import os
import re
import select
import sys
import tempfile
from contextlib import closing
from unittest.mock import patch
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headless import cli
from headless.client.output import Console
from headless.client.waiting import Waiter
from headless.dialects.vocabulary import FAILED, Job
from headless.server.accounts import Account, Accounts
from headless.server.journal import JobEnd
from headless.server.session import NewSession
from support.command_here import headless
from support.dialogues import ACCEPTED, ENDED_FAILED, STARTED, answering_login, serving
from support.homes import make_home
from support.hypothesis_settings import examples
from support.job_server import QuickServer
from support.journals import Record, silent
from support.process import current_user
from support.raw_client import RawClient, challenge_login, connect, in_jobs, osuser_login, py_code
from support.sampling import EXHAUSTIVE
from support.scripted_server import Peer, ScriptedServer

pytestmark = pytest.mark.slow

TIMES = 20 if EXHAUSTIVE else 1
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (info|sent|received) (.*)")
ENCODINGS = ("utf-8", "ascii", "latin-1", "cp1252", "cp437", "utf-16-le")

# DEL, C1 controls with NEL and CSI, soft hyphen, marks that combine, Arabic letter mark, Hangul filler, zero-width
# characters, bidi marks, embeddings, overrides and isolates, line and paragraph separators, word joiner, variation
# selectors, byte order mark, interlinear annotation, replacement, private use, unassigned, tags, musical controls.
NASTY = (
    "\t\n\r\x7f\x80\x84\x85\x8d\x90\x9b\x9c\x9d\x9f\xa0\xad\u0300\u034f\u061c\u115f\u180e\u200b\u200c\u200d\u200e\u200f"
    "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\u206f\u3164\ue000\ufe0f\ufeff\ufff9\ufffd"
    "\u0378\U0001d173\U000e0001\U000e0041\U000e0100\U0010fffd"
)
FORGED = "2026-11-24 12:00:00.000 info session ended: ok; jobs: submitted"
HOSTILE = f"a\n{FORGED}\r\n\r{NASTY}[2J"
XML_CHARACTERS = st.one_of(
    st.sampled_from(NASTY),
    st.characters(exclude_categories=["Cs"]).filter(lambda c: c in "\t\n\r" or " " <= c not in "\ufffe\uffff"),
)
TEXTS = st.lists(st.one_of(st.text(XML_CHARACTERS), st.just(FORGED)), max_size=4).map("".join)
NAMES = st.text(XML_CHARACTERS, min_size=1, max_size=40)


def in_xml(text: str) -> str:
    """The text in XML, so that every character arrives as it is."""
    return "".join(c if c.isascii() and c.isalnum() else f"&#{ord(c)};" for c in text)


def element(start: str, text: str) -> str:
    return f"<{start}>{in_xml(text)}</{start.split(maxsplit=1)[0]}>"


def refused(reason: str, text: str) -> str:
    return element(f'refused reason="{reason}"', text)


def output(text: str) -> str:
    return element('output job="1" stream="stdout"', text)


def failed(text: str) -> str:
    return element('finished job="1" status="failed"', text)


def printable_lines(text: str) -> list[str]:
    """The lines of the text. Fails if there is anything that is not shown as it is, or a line that does not end."""
    *lines, rest = text.split("\n")
    assert rest == ""
    assert all(line.isprintable() for line in lines), text
    return lines


def events(text: str) -> list[tuple[str, str]]:
    """The lines of -v as (kind, text). Fails if one of them is not of that form."""
    matches = [LINE.fullmatch(line) for line in printable_lines(text)]
    assert all(matches), text
    return [(match[1], match[2]) for match in matches if match]


# What the command prints


class Stage:
    """A server to which the test gives the answers, and the command in this process, with streams of any encoding."""

    def __init__(self) -> None:
        self.answers: list[list[str | bytes]] = []
        self.server = ScriptedServer(self._play)

    def _play(self, peer: Peer) -> None:
        for answer in self.answers:
            peer.receive()
            peer.send(*answer)
        peer.wait_for_disconnect()

    def __call__(self, *answers: list[str | bytes], level: str, encoding: str) -> tuple[int, str, str]:
        """The return code and what is printed when the server answers the login, and the jobs, with these."""
        self.answers = list(answers)
        line = ["-s", self.server.address, "-t", "-1", "-c", "pass", level]
        with (
            tempfile.TemporaryFile("w", encoding=encoding) as out,
            tempfile.TemporaryFile("w", encoding="utf-8") as err,
        ):
            with patch.object(sys, "stdout", out), patch.object(sys, "stderr", err):
                code = cli.main(line)
            printed = [os.pread(file.fileno(), 10_000_000, 0) for file in (out, err)]
        return code, printed[0].decode(encoding), printed[1].decode()


@pytest.fixture(scope="module")
def stage():
    stage = Stage()
    yield stage
    stage.server.close()


@settings(examples, max_examples=25 * TIMES)
@example(name="s1", printed=FORGED + "\n", why="", encoding="ascii")
@example(name=HOSTILE, printed=HOSTILE, why=HOSTILE, encoding="utf-8")
@given(name=NAMES, printed=TEXTS, why=TEXTS, encoding=st.sampled_from(ENCODINGS))
def test_every_message_is_one_line_and_every_line_of_output(stage, name, printed, why, encoding):
    """Whatever the session is called, a job prints, and it failed for."""
    welcome = f'<welcome session="{in_xml(name[:256])}"/>'
    answers = [ACCEPTED, STARTED, output(printed), failed(why), ENDED_FAILED]
    code, shown, complaint = stage([welcome], answers, level="-v", encoding=encoding)
    assert (code, complaint) == (1, "")
    lines = [text for _, text in events(shown)]
    count = printed.count("\n") + (not printed.endswith("\n")) if printed else 0
    beginnings = ["connecting", "connected", "logged in, session ", "the server has accepted", "job 1 started"]
    beginnings += ["job 1 stdout: "] * count + ["job 1 failed", "session ended: failed", "job 1 failed"]
    assert len(lines) == len(beginnings)
    assert all(line.startswith(beginning) for line, beginning in zip(lines, beginnings))
    assert lines[-1].endswith("; jobs: submitted")


@settings(examples, max_examples=15 * TIMES)
@example(reason="login", text=HOSTILE, encoding="utf-8")
@given(reason=st.sampled_from(["login", "version", "busy"]), text=TEXTS, encoding=st.sampled_from(ENCODINGS))
def test_a_refusal_is_one_line_on_stdout_and_stderr(stage, reason, text, encoding):
    code, shown, complaint = stage([refused(reason, text)], level="-v", encoding=encoding)
    *_, (_, last) = lines = events(shown)
    assert len(lines) == 3
    assert last.startswith("the server refused the ")
    assert last.endswith("; jobs: not submitted")
    assert code == (2 if reason == "login" else 1)
    assert len(printable_lines(complaint)) == (1 if code == 2 else 0)


@settings(examples, max_examples=25 * TIMES)
@example(
    payload=b"\x1b[2J\x1b]0;title\x07\r\n2026-11-24 12:00:00.000 info x\x9b2J\xff\xe2\x80\xae\x00", encoding="utf-8"
)
@example(payload=f"<{HOSTILE}".encode(), encoding="latin-1")
@example(payload=f'<started job="{HOSTILE}"/>'.encode(), encoding="ascii")
@given(
    payload=st.one_of(st.binary(min_size=1, max_size=300), NAMES.map(str.encode)), encoding=st.sampled_from(ENCODINGS)
)
def test_what_is_no_message_at_all_is_one_line_received(stage, payload, encoding):
    code, shown, _ = stage([payload], level="-vvv", encoding=encoding)
    assert code == 1
    assert [kind for kind, _ in events(shown)] == ["info", "info", "sent", "received", "sent", "info"]


@pytest.mark.version("how the streams of a process are encoded")
@pytest.mark.parametrize(
    ("environment", "encoding"),
    [
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "ascii"),
        ({"PYTHONIOENCODING": "latin-1"}, "latin-1"),
        ({"LC_ALL": "C.UTF-8"}, "utf-8"),
    ],
    ids=["C", "latin-1", "UTF-8"],
)
def test_no_locale_lets_through_what_the_server_sends(command, scripted, environment, encoding):
    """Neither the output of a job nor why it failed nor what is no message nor why a login was refused."""
    options = {"env": environment, "encoding": encoding, "errors": "strict"}
    documents = (STARTED, output(HOSTILE), failed(HOSTILE), f"<{HOSTILE}")
    done = command("-s", scripted(serving(*documents)).address, "-t", "-1", "-c", "pass", "-vvv", **options)
    assert (done.returncode, done.stderr) == (1, "")
    shown = events(done.stdout)
    assert sum(text.startswith("job 1 stdout: ") for _, text in shown) == HOSTILE.count("\n") + 1
    assert sum(text.startswith("job 1 failed: ") for _, text in shown) == 1
    assert sum(kind == "received" for kind, _ in shown) == 2 + len(documents)
    server = scripted(answering_login(refused("login", HOSTILE)))
    done = command("-s", server.address, "-c", "pass", **options)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(printable_lines(done.stderr)) == 1


def test_a_line_that_is_not_read_in_time_does_not_run_into_the_next():
    reader, writer = os.pipe()

    def clock() -> float:
        """Time passes only while the pipe is full."""
        return 0.0 if select.select([], [writer], [], 0)[1] else 10.0

    with open(reader, "rb", buffering=0) as pipe, open(writer, "w") as stdout, Waiter(clock) as waiter:
        with patch.object(sys, "stdout", stdout):
            console = Console(1, waiter)
        waiter.set_deadline(5)
        console.info("x" * 1_000_000)
        shown = pipe.read(1_000_000)
        waiter.set_deadline(5)
        console.info("the last words")
        shown += pipe.read(1_000_000)
    assert events(shown.decode())[-1] == ("info", "the last words")


# What the server shows of its clients and jobs

LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) .+")
NAME = HOSTILE.replace("\r", "\u2029")[:250]


def attributes(document: str) -> str:
    """The document with line breaks that stay what they are in an attribute."""
    return document.replace("\n", "&#10;").replace("\r", "&#13;").replace("\t", "&#9;")


LOG_IN = osuser_login(user="R41")
SENT_TO_THE_SERVER = (
    [osuser_login(os_user=NAME)],
    [osuser_login(user=NAME)],
    [challenge_login(NAME), f"<response nonce={quoteattr(NAME)} proof='x'/>"],
    [f"<login x={quoteattr(HOSTILE)}/>"],
    [f"<{HOSTILE}"],
    [LOG_IN, f"<{HOSTILE}"],
    [LOG_IN, in_jobs(element("module", HOSTILE))],
    [LOG_IN, in_jobs(element("py_file", HOSTILE))],
)


def log_of(server: QuickServer) -> list[str]:
    """The lines of the log of a server that is done to end. Fails if one of them is not an event."""
    server.stop()
    lines = printable_lines(server.log)
    assert [line for line in lines if not LOG_LINE.fullmatch(line)] == []
    return lines


def test_what_clients_and_jobs_send_is_one_line_in_log_and_journal(tmp_path):
    """Also if an account has such a name."""
    with QuickServer(tmp_path / "home", accounts=(Account(NAME, current_user(), None),)) as server:
        for documents in SENT_TO_THE_SERVER:
            with RawClient(server.address) as client:
                for document in documents:
                    client.ask(attributes(document))
        with connect(server).log_in() as client:
            client.submit(py_code(f"raise SystemExit({HOSTILE!r})"))
            client.report()
        with RawClient(server.address) as client:
            client.ask(attributes(osuser_login(user=NAME)))
            client.submit(py_code("pass"))
            client.report()
        journal = printable_lines(headless("jobs", "--home", str(server.home)).stdout)
        log = log_of(server)
    assert len(journal) == 2
    for word, count in (("refused (login)", 2), ("wrong login", 1), ("refused (protocol)", 3), ("refused (jobs)", 2)):
        assert sum(word in line for line in log) == count, word
    assert sum("job 1 failed: " in line for line in log) == 1
    assert sum("logged in" in line for line in log) == 6


@settings(examples, max_examples=8 * TIMES)
@given(user=NAMES, os_user=NAMES, message=TEXTS, printed=st.one_of(st.binary(max_size=200), TEXTS.map(str.encode)))
@example(user=NAME, os_user=NAME, message=HOSTILE, printed=HOSTILE.encode() + b"\x1b[2J\xff")
def test_journal_and_accounts_show_one_line_for_each(tmp_path_factory, user, os_user, message, printed):
    home = make_home(tmp_path_factory.mktemp("home"))
    with closing(home.database()) as database, database:
        Accounts(database).add(Account(user, os_user, None))
        journal = Record(database)
        journal.accept(NewSession("5f0c", 1, user, (Job("module", "009ABC"),)))
        journal.begin("5f0c")
        journal.finish("5f0c", 1, JobEnd(FAILED, message))
    silent(home, "5f0c")
    home.output("5f0c", 1, "stderr").write_bytes(printed)
    assert len(printable_lines(headless("user", "list", "--home", str(home.folder)).stdout)) == 1
    (line,) = printable_lines(headless("jobs", "--home", str(home.folder)).stdout)
    assert line.split()[:3] == ["5f0c", "1", "failed"]
    first, *rest = printable_lines(headless("jobs", "5f0c", "--home", str(home.folder)).stdout)
    assert first == line
    assert all(line.startswith("  1 stderr: ") for line in rest)
    assert len(printable_lines(headless("jobs", "5f0c", "--json", "--home", str(home.folder)).stdout)) == 1
