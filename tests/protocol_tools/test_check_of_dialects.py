"""`headless protocol check` finds nothing in a dialect that is right, says what it has tried, and how that ended."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from headless.dialects.vocabulary import MODULE, OSUSER, PY_CODE, Job
from headless.protocol_tools.recordings import CALLS, CLIENT, SERVER, Piece, RecordedCall, line_of
from support.checked import CHECKED, calls_of, check, recorded, secret_in
from support.credentials import HASH
from support.example_server import EXAMPLE
from support.sampling import EXHAUSTIVE, one_of
from support.vendors.literal import END, talk
from support.vendors.recorded import KILLED, labelled, record, write

FEW = ("challenge", "osuser", "a wrong password", "the second fails", "no -t", "-t 1", KILLED)
FEWER = ("osuser", "the second fails", "-t 1")
OTHERS = ("the second fails", "challenge", "a wrong password", "no -t", KILLED)
RIGHT = pytest.mark.parametrize("name", one_of(2, CHECKED))


def findings_in(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("remark: ")][:-1]


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    return secret_in(tmp_path)


@RIGHT
def test_nothing_is_found_in_a_dialect_that_is_right(name, tmp_path, secret_file, capsys):
    status = check(CHECKED[name].dialect, recorded(name, tmp_path / "talk", FEWER), secret_file)
    shown = capsys.readouterr().out
    assert (status, findings_in(shown)) == (0, [])
    assert "is long" not in shown
    assert re.search(r"^3 recordings, [0-9,]+ cases, 0 findings$", shown.splitlines()[-1])


@pytest.mark.large
@pytest.mark.timeout(300)
@RIGHT
def test_nor_if_it_was_recorded_in_other_pieces(name, tmp_path, secret_file, capsys):
    calls = tuple(call.label for call in calls_of(name)) if EXHAUSTIVE else OTHERS
    status = check(CHECKED[name].dialect, recorded(name, tmp_path / "talk", calls, seed=11), secret_file)
    assert (status, findings_in(capsys.readouterr().out)) == (0, [])


@pytest.mark.parametrize("name", ["own", "example"])
def test_without_the_password_the_rest_is_checked_and_that_is_said(name, tmp_path, capsys):
    assert check(CHECKED[name].dialect, recorded(name, tmp_path / "talk", FEW)) == 0
    shown = capsys.readouterr().out
    assert findings_in(shown) == []
    assert "remark: proofs not checked: give -p" in shown
    assert ("without -p not checked at all" in shown) == (name == "own")  # whose server proves itself, too


def test_a_thousand_cases_take_less_than_ten_seconds_of_the_processor(tmp_path, secret_file, capsys):
    folder = recorded("length", tmp_path / "talk", ("challenge", "three jobs"))
    begun = time.process_time()
    check(CHECKED["length"].dialect, folder, secret_file)
    took = time.process_time() - begun
    (counted,) = re.findall(r"([0-9,]+) cases", capsys.readouterr().out)
    cases = int(counted.replace(",", ""))
    assert cases > 300
    assert took / cases * 1000 < 3 * 10  # on whatever machine


def test_an_orderly_end_that_counts_as_success_is_repeated_as_a_remark(tmp_path, secret_file, capsys):
    check(CHECKED["bare"].dialect, recorded("bare", tmp_path / "talk", ("osuser",)), secret_file)
    shown = capsys.readouterr().out
    assert "remark: an orderly end counts as success" in shown


def test_a_dialect_that_has_met_no_failure_which_the_server_told_is_not_right(tmp_path, secret_file, capsys):
    """A server that was killed has reported none."""
    for labels, finding in ((("osuser", KILLED), True), (("osuser", "the second fails"), False)):
        folder = recorded("length", tmp_path / labels[1], labels)
        status = check(CHECKED["length"].dialect, folder, secret_file)
        found = findings_in(capsys.readouterr().out)
        assert (status, len(found)) == (finding, finding)
        assert all("no recording of a job that fails and ends in order" in line for line in found)


def test_nor_is_one_whose_site_has_not_said_which_job_fails_where_the_server_does_not(tmp_path, capsys):
    call = next(call for call in calls_of("bare") if call.label == "osuser")
    calls = {
        name: [call, replace(call, label="it fails", expected=expected)]
        for name, expected in (("said", 0), ("not known", None))
    }
    for name, each in calls.items():
        status = check(CHECKED["bare"].dialect, record(CHECKED["bare"].vendor, tmp_path / name, each).path)
        shown = capsys.readouterr().out
        assert status == (name != "said")
        assert ("no recording of a job that fails" in shown) == (name != "said")
        assert "remark: an orderly end counts as success: a job that fails may be a 0" in shown


ORDERLY = """
from headless.dialects import planta
from headless.dialects.framing import Delimiter, Transport
from headless.dialects.xml_messages import element

class Dialect(planta.Dialect):
    settled = planta.ASSUMPTIONS
    to_server = to_client = Transport(Delimiter())
    prolog = ""
    accepted, ended = "Cmd", "Shutdown"
    ok, failed, no_result = "EvLogMsg[@level='ok']", "EvLogMsg[@level='error']", planta.ORDERLY_END
    refused = {"jobs": "MessageBox"}

    def handshake(self):
        return [element("Env")]
"""


@pytest.mark.parametrize("tells_success", [False, True])
def test_a_server_that_tells_failures_alone_is_a_remark_and_one_that_tells_results_needs_no_decision(
    tells_success, tmp_path, capsys
):
    def said(*parts):
        first = (b"<Message><Env/></Message>\0", b"<Message><Env/></Message>\0", b'<Message><ModC id="A"/></Message>\0')
        return [*first, b"".join(b"<Message>%s</Message>\0" % each for each in parts if each)]

    good = said(b"<Cmd/>", b"<EvLogMsg level='ok'/>" * tells_success, b"<Shutdown/>")
    failed = said(b"<Cmd/>", b"<EvLogMsg level='error'/>", b"<Shutdown/>")
    calls = [RecordedCall("", OSUSER, None, "jdoe", (Job(MODULE, "A"),), -1, expected=code) for code in (0, 1)]
    (tmp_path / "site.py").write_text(ORDERLY)
    status = check(tmp_path / "site.py", talk(tmp_path / "talk", [good, failed], calls).path)
    lines = [line for line in capsys.readouterr().out.splitlines() if "unchanged with 1" in line]
    assert lines
    assert status == tells_success
    assert all(line.startswith("remark: ") != tells_success for line in lines)


SWALLOWED = """
    def receive(self, data):
        try:
            super().receive(data)
        except Exception:
            pass
"""


@pytest.mark.parametrize("more", ["", SWALLOWED])
def test_what_nobody_knows_is_no_success(more, tmp_path, capsys):
    begin = [b"<Message><Env/></Message>\0", b"<Message><Env/></Message>\0", b'<Message><ModC id="A"/></Message>\0']
    good, failed = (
        [*begin, b"<Message><Cmd/></Message>\0%s<Message><Shutdown/></Message>\0" % each]
        for each in (b"", b"<Message><EvLogMsg level='error'/></Message>\0")
    )
    calls = [RecordedCall("", OSUSER, None, "jdoe", (Job(MODULE, "A"),), -1, expected=code) for code in (0, 1)]
    (tmp_path / "site.py").write_text(ORDERLY + more)
    status = check(tmp_path / "site.py", talk(tmp_path / "talk", [good, failed], calls).path)
    shown = capsys.readouterr().out
    assert (status == 1) == bool(more), shown
    assert ("0001, the server's message 3: if an unknown message comes in the place of" in shown) == bool(more)


@pytest.mark.parametrize(
    ("failed", "is_found"),
    [("EvLogMsg[normalize-space(text())='job 1 failed']", True), ("EvLogMsg[contains(., 'failed')]", False)],
)
def test_a_failure_of_one_job_by_its_number_is_no_failure_of_the_next_one(failed, is_found, tmp_path, capsys):
    begin = [b"<Message><Env/></Message>\0", b"<Message><Env/></Message>\0", b'<Message><ModC id="A"/></Message>\0']
    good, bad = (
        [*begin, b"<Message><Cmd/></Message>\0%s<Message><Shutdown/></Message>\0" % each]
        for each in (b"", b"<Message><EvLogMsg>job 1 failed</EvLogMsg></Message>\0")
    )
    calls = [RecordedCall("", OSUSER, None, "jdoe", (Job(MODULE, "A"),), -1, expected=code) for code in (0, 1)]
    site = re.sub("ok, failed, no_result = .*", f'failed, no_result = "{failed}", planta.ORDERLY_END', ORDERLY)
    (tmp_path / "site.py").write_text(site)
    assert check(tmp_path / "site.py", talk(tmp_path / "talk", [good, bad], calls).path) == is_found
    found = findings_in(capsys.readouterr().out)
    text = "if there are other numbers in the texts of this message the call ends with 0, and unchanged with 1"
    assert found == [f"0001, the server's message 3: {text}"] * is_found


@pytest.mark.parametrize(
    ("patterns", "findings"), [("\"EvLogMsg[@rc='0']\", \"EvLogMsg[@rc!='0']\"", 0), ("'EvLogMsg', ''", 1)]
)
def test_a_failure_at_which_the_old_client_has_left_has_to_be_seen(patterns, findings, tmp_path, capsys):
    """A server that goes on may say a good end, which no recording has."""
    begin = [b"<Message><Env/></Message>\0", b"<Message><Env/></Message>\0", b'<Message><ModC id="A"/></Message>\0']
    accepted, end = b"<Message><Cmd/></Message>\0", b"<Message><Shutdown/></Message>\0"
    good = [*begin, accepted + b"<Message><EvLogMsg rc='0'/></Message>\0" + end]
    failed = [*begin, accepted + b"<Message><EvLogMsg rc='8'/></Message>\0", END]
    killed = [*begin, accepted, b"", END]
    calls = [RecordedCall("", OSUSER, None, "jdoe", (Job(MODULE, "A"),), -1, expected=code) for code in (0, 1, 1)]
    site = re.sub("ok, failed, no_result = .*", f"result_of, ok, failed = planta.JOB, {patterns}", ORDERLY)
    (tmp_path / "site.py").write_text(site)
    check(tmp_path / "site.py", talk(tmp_path / "talk", [good, failed, killed], calls).path)
    shown = capsys.readouterr().out
    found = findings_in(shown)
    assert len(found) == findings
    assert ("remark: 0001, the server's message 3: the old client leaves here" in shown) == bool(findings)
    assert [line for line in found if "the old client leaves here, and the call ends with 0" not in line] == []


def test_what_is_expected_follows_from_the_old_client_where_that_is_not_said(tmp_path, secret_file, capsys):
    calls = [replace(call, expected=None) for call in calls_of("example") if call.label in FEW]
    folder = record(CHECKED["example"].vendor, tmp_path / "talk", calls).path
    assert check(EXAMPLE, folder, secret_file) == 1
    shown = capsys.readouterr().out
    (found,) = findings_in(shown)
    assert "no recording of a job that fails" in found
    assert shown.count("it is not known what to expect") == 2  # a 1 of the old client may be anything


@pytest.mark.large
def test_of_a_long_recording_fewer_cases_are_made_and_that_is_said(tmp_path, capsys):
    (call,) = [call for call in calls_of("example") if call.label == "osuser"]
    jobs = tuple(Job(MODULE, f"A{number}") for number in range(80))
    folder = record(CHECKED["example"].vendor, tmp_path / "talk", [replace(call, jobs=jobs)]).path
    check(EXAMPLE, folder)
    shown = capsys.readouterr().out
    (found,) = findings_in(shown)
    assert "no recording of a job that fails" in found
    assert "is long: cases are made of some of its messages" in shown
    (cases,) = re.findall(r"([0-9,]+) cases", shown)
    assert int(cases.replace(",", "")) < 400


def test_messages_that_are_longer_than_a_sample_hide_no_framing(tmp_path, capsys):
    (call,) = [call for call in calls_of("example") if call.label == "osuser"]
    calls = [replace(call, jobs=(Job(PY_CODE, "x = 1\n" * 20_000),)), *labelled("the second fails")]
    folder = record(CHECKED["example"].vendor, tmp_path / "talk", calls).path
    assert check(EXAMPLE, folder) == 0
    assert "they are not compared" not in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
@pytest.mark.parametrize(
    ("mode", "folder_mode", "is_found"),
    [(0o600, 0o755, 0), (0o644, 0o1777, 0), (0o646, 0o755, 1), (0o644, 0o757, 1), (0o666, 0o777, 2)],
)
def test_a_dialect_that_others_may_change_is_a_finding(mode, folder_mode, is_found, tmp_path, capsys):
    folder = recorded("length", tmp_path / "talk", FEWER)
    site = tmp_path / "site" / "site.py"
    site.parent.mkdir()
    site.write_text("from support.sites.length import Dialect as Right\nclass Dialect(Right):\n    pass\n")
    site.chmod(mode)
    site.parent.chmod(folder_mode)
    check(site, folder, secret_in(tmp_path))
    found = [line for line in findings_in(capsys.readouterr().out) if "others may write to" in line]
    assert len(found) == is_found


def test_what_was_never_recorded_is_said_in_one_remark(tmp_path, secret_file, capsys):
    folder = recorded("length", tmp_path / "talk", FEW)
    check(CHECKED["length"].dialect, folder, secret_file)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "never recorded" in line]
    wished, missing = line.split(": ", 2)[1:]
    assert wished == f"never recorded (record --talk {folder})"
    assert "an osuser login, twice" in missing
    assert "a job of 180 s" in missing
    assert "a wrong password" not in missing


# What cannot be checked


def test_what_is_no_dialect_or_no_recording_is_misuse(tmp_path, capsys):
    folder = recorded("example", tmp_path / "talk", ("osuser",))
    (tmp_path / "none.py").write_text("x = 1\n")
    (tmp_path / "wrong.py").write_text("x =\n")
    (tmp_path / "empty").mkdir(mode=0o700)
    for dialect, path in (
        (tmp_path / "missing.py", folder),
        (tmp_path / "none.py", folder),
        (tmp_path / "wrong.py", folder),
        (EXAMPLE, tmp_path / "empty"),
        (EXAMPLE, tmp_path / "missing"),
    ):
        assert check(dialect, path) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert check(EXAMPLE, folder, tmp_path / "missing.secret") == 2


def test_recordings_of_calls_that_are_not_known_are_misuse(tmp_path, capsys):
    folder = recorded("example", tmp_path / "talk", ("osuser",))
    (folder / CALLS).unlink()
    write(folder / CALLS, RecordedCall(connections=("001-1",)).to_json().encode() + b"\n")
    assert check(EXAMPLE, folder) == 2
    assert "it is known which call it was" in capsys.readouterr().err


# What comes from elsewhere


def test_what_a_recording_holds_cannot_harm_a_terminal(tmp_path, capsys):
    folder = recorded("example", tmp_path / "talk", ("osuser",))
    call = json.loads((folder / CALLS).read_text())
    (folder / CALLS).unlink()
    write(folder / CALLS, json.dumps({**call, "label": "\x1b[2J\nok", "expected": 3}).encode() + b"\n")
    assert check(EXAMPLE, folder) == 1
    shown = capsys.readouterr().out
    assert "\\x1b[2J\\nok" in shown
    assert "\x1b" not in shown


def test_a_server_that_said_nothing_is_a_call_without_an_end(tmp_path, capsys):
    call = RecordedCall("silent", OSUSER, None, "jdoe", (Job(MODULE, "009ABC"),), -1, True, 1, 1, ("1",))
    (tmp_path / "talk").mkdir(mode=0o700)
    write(tmp_path / "talk" / "1.talk", line_of(Piece(0.0, CLIENT, b"<request/>\0")) + line_of(Piece(0.1, SERVER, b"")))
    write(tmp_path / "talk" / CALLS, call.to_json().encode() + b"\n")
    assert check(EXAMPLE, tmp_path / "talk") == 1
    (found,) = findings_in(capsys.readouterr().out)
    assert found.startswith('1 "silent", our message 1: <request> is')


# A protocol that is no XML


LINES = """
from headless.dialects import base
from headless.dialects.base import *
from headless.errors import RemoteProtocolError


class Dialect(base.Dialect):
    received, submitted = b"", 0

    def log_in(self):
        self.send(f"HELLO {self.call.os_user}\\n".encode(), "HELLO")

    def submit(self):
        job = self.call.jobs[self.submitted]
        self.submitted += 1
        self.send(f"RUN {job.text}\\n".encode(), f"RUN {job.text}", jobs=1)

    def receive(self, data):
        *lines, self.received = (self.received + data).split(b"\\n")
        for line in lines:
            word = line.decode()
            if word == "WELCOME":
                self.report(LoggedIn(""))
            elif word == "QUEUED" and self.submitted < len(self.call.jobs):
                self.submit()
            elif word == "QUEUED":
                self.report(Accepted())
            elif word in ("DONE", "FAILED"):
                self.report(Ended("ok" if word == "DONE" else "failed"))
            else:
                raise RemoteProtocolError("what is that?")
"""


def recorded_lines(path: Path) -> Path:
    path.mkdir(mode=0o700)
    said = [
        (CLIENT, b"HELLO jdoe\n"), (SERVER, b"WELCOME\n"), (CLIENT, b"RUN A1\n"), (SERVER, b"QUEUED\n"),
        (CLIENT, b"RUN fail\n"), (SERVER, b"QUEUED\nFAILED\n"),
    ]  # fmt: skip
    write(path / "1.talk", b"".join(line_of(Piece(number / 10, *each)) for number, each in enumerate(said)))
    jobs = (Job(MODULE, "A1"), Job(MODULE, "fail"))
    call = RecordedCall("lines", OSUSER, None, "jdoe", jobs, -1, True, 1, 1, ("1",))
    write(path / CALLS, call.to_json().encode() + b"\n")
    return path


def test_a_protocol_that_is_no_xml_is_played_and_its_messages_are_not_compared(tmp_path, capsys):
    folder = recorded_lines(tmp_path / "talk")
    (tmp_path / "lines.py").write_text(LINES)
    assert check(tmp_path / "lines.py", folder) == 0
    assert "they are not compared" in capsys.readouterr().out
    (tmp_path / "hides.py").write_text(LINES.replace('"ok" if word == "DONE" else "failed"', '"ok"'))
    assert check(tmp_path / "hides.py", folder) == 1
    (found,) = findings_in(capsys.readouterr().out)
    assert "ends with 0, and 1 is expected" in found
    (tmp_path / "early.py").write_text(LINES.replace('(LoggedIn(""))', '(LoggedIn("")); self.log("")'))
    assert check(tmp_path / "early.py", folder) == 1
    assert "the dialect failed: AttributeError" in capsys.readouterr().out


def test_what_the_server_said_is_shown_without_the_salt_and_the_same_finding_is_one(tmp_path, capsys):
    folder = recorded("length", tmp_path / "talk", ("challenge", "challenge, the same again"))
    (tmp_path / "site.py").write_text(
        "from support.sites.length import Dialect as Right\nclass Dialect(Right):\n    challenge = 'None'\n"
    )
    assert check(tmp_path / "site.py", folder, secret_in(tmp_path)) == 1
    (found,) = [line for line in findings_in(capsys.readouterr().out) if "where A7 expects None" in line]
    assert 'salt="(not shown)"' in found
    assert "(and in 1 more)" in found
    assert HASH[:29] not in found


def test_no_secret_is_shown(tmp_path, secret_file, capsys):
    folder = recorded("example", tmp_path / "talk", ("challenge", "a wrong password"))
    (tmp_path / "shows.py").write_text(
        "from headless.dialects.example import *\nRight = Dialect\nclass Dialect(Right):\n"
        "    def answer_salt(self, hash_):\n        raise RemoteProtocolError(hash_.decode())\n"
    )
    assert check(tmp_path / "shows.py", folder, secret_file) == 1
    assert HASH[29:] not in capsys.readouterr().out
