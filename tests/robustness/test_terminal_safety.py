"""What a server, a client or a job sends cannot move the cursor, forge a line or end one early: in what the command
prints, in the log of the server, and in what its journal and accounts are shown as.
"""

from __future__ import annotations

import re
from xml.sax.saxutils import quoteattr

import pytest

from headless.server.accounts import Account
from support.command_here import headless
from support.dialogues import ENDED_FAILED, STARTED, answering_login, serving
from support.job_server import QuickServer
from support.process import current_user
from support.raw_client import RawClient, challenge_login, connect, in_jobs, osuser_login, py_code

pytestmark = pytest.mark.slow

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (info|sent|received) (.*)")

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


def in_xml(text: str) -> str:
    """The text in XML, so that every character arrives as it is."""
    return "".join(c if c.isascii() and c.isalnum() else f"&#{ord(c)};" for c in text)


def element(start: str, text: str) -> str:
    return f"<{start}>{in_xml(text)}</{start.split(maxsplit=1)[0]}>"


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


@pytest.mark.version("how the streams of a process are encoded")
@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1", "cp1252", "cp437"])
def test_whatever_the_server_sends_is_shown_on_one_line(command, scripted, encoding):
    """What the session is called, a job prints, and why it failed; what is no message; why a login is refused."""
    environment = {"PYTHONIOENCODING": encoding}
    if encoding == "ascii":
        environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    def call(script, level):
        line = ("-s", scripted(script).address, "-t", "-1", "-c", "pass", level)
        done = command(*line, env=environment, encoding=encoding, errors="strict")
        return done.returncode, events(done.stdout), done.stderr

    welcome = f'<welcome session="{in_xml(HOSTILE[:256])}"/>'
    printed = element('output job="1" stream="stdout"', HOSTILE + "\x9b" * 70_000)  # longer than what is shown at once
    failed = element('finished job="1" status="failed"', HOSTILE)
    code, shown, complaint = call(serving(STARTED, printed, failed, ENDED_FAILED, welcome=welcome), "-v")
    assert (code, complaint) == (1, "")
    beginnings = ["connecting", "connected", "logged in, session ", "the server has accepted", "job 1 started"]
    beginnings += ["job 1 stdout: "] * (HOSTILE.count("\n") + 1)
    beginnings += ["job 1 failed", "session ended: failed", "job 1 failed"]
    assert len(shown) == len(beginnings)
    assert all(text.startswith(beginning) for (_, text), beginning in zip(shown, beginnings))
    assert shown[-1][1].endswith("; jobs: submitted")

    for payload in (
        f"<{HOSTILE}".encode(),
        f'<started job="{HOSTILE}"/>'.encode(),
        b"\x1b]0;title\x07\r\n\x9b2J\xff\x00",
    ):
        code, shown, complaint = call(answering_login(payload), "-vvv")
        assert (code, complaint) == (1, "")
        assert [kind for kind, _ in shown] == ["info", "info", "sent", "received", "sent", "info"]

    for reason, code in (("login", 2), ("version", 1), ("busy", 1)):
        ended, shown, complaint = call(answering_login(element(f'refused reason="{reason}"', HOSTILE)), "-v")
        assert (ended, len(shown), len(printable_lines(complaint))) == (code, 3, int(code == 2))
        assert shown[-1][1].startswith("the server refused the ")
        assert shown[-1][1].endswith("; jobs: not submitted")


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
    printed = HOSTILE.encode() + b"\x1b[2J\xff"
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
        with RawClient(server.address) as client:
            client.ask(attributes(osuser_login(user=NAME)))
            client.submit(py_code(f"import sys; sys.stderr.buffer.write({printed!r})"))
            client.report()

        def shown(*argv: str) -> list[str]:
            return printable_lines(headless(*argv, "--home", str(server.home)).stdout)

        _, *sessions = shown("jobs")
        details = [shown("jobs", line.split()[0]) for line in sessions]
        for line, (_, first, *rest) in zip(sessions, details):
            assert first.split() == line.split()
            assert all(each.startswith("  1 stderr: ") for each in rest)
            assert len(shown("jobs", line.split()[0], "--json")) == 1
        assert max(map(len, details)) == 2 + HOSTILE.count("\n") + 1
        assert len(shown("user", "list")) == 2
        log = log_of(server)
    assert len(sessions) == 3
    for word, count in (("refused (login)", 2), ("wrong login", 1), ("refused (protocol)", 3), ("refused (jobs)", 2)):
        assert sum(word in line for line in log) == count, word
    assert sum("job 1 failed: " in line for line in log) == 1
    assert sum("logged in" in line for line in log) == 7
