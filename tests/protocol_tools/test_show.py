"""`headless protocol show` prints what was said, for people, and nothing that could prove a password."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from base64 import b64encode

import pytest

from headless.dialects.vocabulary import CHALLENGE, MODULE, OSUSER, PY_CODE, Job
from headless.protocol_tools.login_search import logins_of
from headless.protocol_tools.recordings import CALLS, SERVER, RecordedCall
from headless.protocol_tools.survey import Survey
from support.command_here import headless
from support.credentials import HASH
from support.process import PATIENCE, ROOT
from support.sampling import one_of
from support.vendors import delta, epsilon, eta, gamma, zeta
from support.vendors.literal import talk
from support.vendors.recorded import labelled, record

A = "9c1185a5c5e9fc54612808977ee8f548b2258d31"  # values of 16 characters and more
B = "0f3a1bd90f3a1bd90f3a1bd90f3a1bd90f3a1bd9"
WORDS = "Of-words-that-are-said"
OTHER_WORDS = "Of-other-words-that-are"


def show(folder, *options):
    done = headless("protocol", "show", str(folder.path), *options)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def call(
    *jobs: Job, login: str = CHALLENGE, right: bool = True, label: str = "", status=0, expected=None
) -> RecordedCall:
    user, os_user = ("R41", "") if login == CHALLENGE else (None, "jdoe")
    return RecordedCall(label, login, user, os_user, jobs, -1, right, status, expected)


MODULE_CALL = call(Job(MODULE, "009ABC"))


# What is shown


def test_calls_and_messages_are_shown_with_times_and_sides(tmp_path):
    said: list[bytes | float] = [
        b"<login user='R41' response='abc'/>\0",
        1.5,
        b"<ok/>\0<log>did x</log>\0",
        b"<run><id>009ABC</id></run>\0",
    ]
    calls = [
        call(Job(MODULE, "009ABC"), label="first", expected=0),
        call(Job(PY_CODE, "print(1)\nprint(2)"), login=OSUSER, right=False, status=None),
    ]
    text = show(talk(tmp_path / "talk", [said, [b"<a/>\0"]], calls))
    assert text == (
        r"""client: Transport(Delimiter(end=b'\x00'))
server: Transport(Delimiter(end=b'\x00'))

Call 1 "first": challenge R41, -t -1, module 009ABC; the old client returned 0, expected 0
  Connection 0000
     0.000  client  <login user="R41" response="(not shown)"/>
     1.501  server  <ok/>
     1.501  server  <log>did x</log>
     1.502  client  <run>
                      <id>009ABC</id>
                    </run>

Call 2: osuser jdoe, a wrong password, -t -1, py_code print(1)\nprint(2)
  Connection 0001
     0.000  client  <a/>
"""
    )


@pytest.mark.parametrize(
    "vendor", one_of(2, [gamma, delta, epsilon, zeta, eta]), ids=lambda each: each.__name__.rpartition(".")[2]
)
def test_all_messages_of_a_vendor_are_shown_and_nothing_secret(vendor, tmp_path):
    folder = record(vendor, tmp_path / "talk")
    text = show(folder)
    assert "no framing" not in text
    assert "no message" not in text
    survey = Survey(folder)
    messages = sum(answer.evidence.messages for answer in survey.answers.values())
    assert len(re.findall(r"^ +[0-9.]+  (?:client|server)  <", text, re.MULTILINE)) == messages
    secrets = {HASH, HASH[29:], hashlib.sha256(HASH.encode()).hexdigest(), hashlib.md5(HASH.encode()).hexdigest()}
    for login in logins_of(survey.facts):
        secrets |= {
            proof
            for key, proof in login.proofs.items()
            if key[2] in ("response", "key") or key[1][-1].endswith("proof")
        }
    assert len(secrets) > 10
    assert [secret for secret in secrets if secret in text] == []
    everything = show(folder, "--all")
    assert len([secret for secret in secrets if secret in everything]) > 5
    assert max(map(len, text.splitlines())) < 1200
    assert max(map(len, everything.splitlines())) > 70_000


def test_long_texts_and_messages_are_shortened_unless_all_is_asked_for(tmp_path):
    long = b"<a>" + b"x " * 3000 + b"</a>\0"
    wide = b"<b>" + b"<c/>" * 300 + b"</b>\0"
    folder = talk(tmp_path / "talk", [[b"<q/>\0", long + wide]])
    text = show(folder)
    assert "x ... (6000 characters)</a>" in text
    assert text.count("<c/>") < 50
    assert "... (302 lines)" in text
    everything = show(folder, "--all")
    assert "x " * 3000 in everything
    assert everything.count("<c/>") == 300


def test_control_characters_are_escaped_in_all_that_is_shown(tmp_path):
    evil = "\u202e\x9b31m\u2028\n"
    said = [f"<a b='{evil}'><!--{evil}-->{evil}</a>\0".encode(), f"<c\u200d d='{evil}'/>\0".encode(), b"\x1b[31m<"]
    calls = [call(Job(MODULE, evil), label=evil)]
    for options in ((), ("--all",)):
        text = show(talk(tmp_path / f"talk{len(options)}", [said], calls), *options)
        assert [each for each in text if not (each.isprintable() or each == "\n")] == []
        assert r"\u202e" in text


def test_an_end_and_what_was_cut_are_shown(tmp_path):
    folder = talk(tmp_path / "talk", [[b"<a/>\0<b/>\0<c", b"<d/>\0"]])
    with open(folder.path / "0000.talk", "a") as file:
        file.write('[1.0, "server", ""]\n[1.5, "cli')  # the last line was cut
    text = show(folder)
    assert "     1.000  server  ends\n     1.000  client  cut: <c\n" in text
    assert "cli\n" not in text


def test_an_empty_message_is_shown_as_one(tmp_path):
    said = [[b"\x04<a/>\x05<ab/>", b"\x04<b/>", b"\0\x06<abc/>\x07<abcd/>"], [b"\x06<abc/>\x04<a/>\x07<abcd/>"]]
    text = show(talk(tmp_path / "talk", said))
    assert "client: Transport(Length(size=1, order='big'))" in text
    assert text.count("client  an empty message\n") == 1


def test_a_message_that_is_no_xml_is_shown_as_text(tmp_path):
    good = [[b"<a/>\0<ab/>\0", b"<b/>\0"]] * 16
    text = show(talk(tmp_path / "talk", [*good, [b"<a/>\0hello\0", b"<b/>\0"]]))
    assert text.count("client  no XML: hello\n") == 1


# What has no framing


def test_what_no_framing_explains_is_shown_as_bytes_and_that_is_said(tmp_path):
    said = [b"GET x\r\n" + b"y" * 5, b"\x00\x01begins " + bytes(range(128, 168)) + b" ends " + b"z " * 2000]
    text = show(talk(tmp_path / "talk", [said] * 2))
    assert text.startswith(
        "client: its bytes are shown: no framing explains them\nserver: its bytes are shown: no framing explains them\n"
    )
    assert r"client  no message: GET x\r\nyyyyy" in text
    assert r"server  no message: \x00\x01begins (40 bytes) ends z z" in text
    assert "characters)" in text
    everything = show(talk(tmp_path / "talk2", [said] * 2), "--all")
    assert r"\x80\x81" in everything
    assert "z " * 2000 in everything


def test_what_one_side_says_without_frames_is_shown_as_one_until_the_other_one_speaks(tmp_path):
    folder = talk(tmp_path / "talk", [[b"abc", b"", b"def", b"", b"ghi", b"jkl", b"mno"]])
    text = show(folder)
    assert [line.split("no message: ")[1] for line in text.splitlines() if "no message" in line] == [
        "abcdefghi", "jkl", "mno",
    ]  # fmt: skip


def test_what_is_no_message_after_others_is_shown_as_bytes_from_there_on(tmp_path):
    good = [[b"\0\0\0\x04<a/>\0\0\0\x09<a>12</a>", b"\0\0\0\x04<b/>"]] * 16
    text = show(talk(tmp_path / "talk", [*good, [b"\0\0\0\x04<a/>\xff\xff\xff\xff???", b"\0\0\0\x04<b/>", b"more"]]))
    assert "client: Transport(Length(size=4, order='big'))" in text
    last = text.partition("Connection 0016\n")[2]
    assert last == (
        "     0.000  client  <a/>\n"
        "     0.000  client  no message: \\xff\\xff\\xff\\xff???\n"
        "     0.001  server  <b/>\n"
        "     0.002  client  no message: more\n"
    )


def test_nothing_secret_of_a_client_without_framing_is_shown(tmp_path):
    said = [
        [f"user=R41 name=PLANTA-Headless key={key} {HASH}\n".encode(), f"you said {key}\n".encode(), b"\x00" + raw]
        for key, raw in ((WORDS, bytes(range(130, 150))), (OTHER_WORDS, bytes(range(160, 180))))
    ]
    text = show(talk(tmp_path / "talk", said))
    assert "user=R41 name=PLANTA-Headless key=(not shown) (not shown)" in text
    assert "(21 bytes)" in text
    for secret in (WORDS, OTHER_WORDS, HASH[:20], r"\x83\x84"):
        assert secret not in text


# What is hidden


def test_long_values_of_the_client_that_differ_are_hidden_and_the_others_are_not(tmp_path):
    said = [
        [f"<in w='{words}' v='PLANTA Headless 39.5'><t>{words}</t>{words}<!--{words}--></in>\0".encode(), b"<ok/>\0"]
        for words in (WORDS, OTHER_WORDS)
    ]
    text = show(talk(tmp_path / "talk", said))
    assert text.count('v="PLANTA Headless 39.5"') == 2
    assert WORDS not in text
    assert OTHER_WORDS not in text
    assert text.count("(not shown)") == 8
    everything = show(talk(tmp_path / "talk2", said), "--all")
    assert everything.count(WORDS) == everything.count(OTHER_WORDS) == 4


def test_values_of_the_server_are_shown_unless_the_client_has_kept_them_secret(tmp_path):
    said = [
        [
            b"<hello/>\0",
            f"<c challenge='{words}'/>\0".encode(),
            f"<in w='{key}'/>\0".encode(),
            f"<ok s='{key}'/>\0".encode(),
        ]
        for words, key in ((WORDS, A), (OTHER_WORDS, B))
    ]
    text = show(talk(tmp_path / "talk", said))
    assert f'challenge="{WORDS}"' in text
    assert f'challenge="{OTHER_WORDS}"' in text
    assert text.count('<ok s="(not shown)"/>') == 2
    assert A not in text


def test_what_has_the_name_of_a_secret_is_hidden_on_either_side(tmp_path):
    said = [
        b"<in password='horse'><auth-digest><v n='1'>horse</v></auth-digest></in>\0",
        b"<out code='7' signature='mule'><pwd>mule</pwd></out>\0",
    ]
    text = show(talk(tmp_path / "talk", [said]))
    assert "horse" not in text
    assert "mule" not in text
    assert 'code="7"' in text


def test_a_hash_and_what_looks_random_is_hidden_even_if_it_is_always_the_same(tmp_path):
    said = [f"<in k='{A}' n='{HASH}'/>\0".encode(), f"<ok n='{HASH}'/>\0".encode()]
    text = show(talk(tmp_path / "talk", [said] * 2))
    assert A not in text
    assert HASH[:20] not in text


def test_a_short_password_that_is_sent_as_it_is_is_hidden_if_a_wrong_one_was_recorded(tmp_path):
    said = [[f"<in who='R41' k='{password}'>009ABC</in>\0".encode(), b"<ok/>\0"] for password in ("horse", "mule")]
    calls = [MODULE_CALL, call(Job(MODULE, "009ABC"), right=False)]
    text = show(talk(tmp_path / "talk", said, calls))
    assert text.count('<in who="R41" k="(not shown)">009ABC</in>') == 2


def test_the_texts_of_the_call_s_jobs_are_named_where_they_are_hidden(tmp_path):
    codes = ("import night; night.load()", "import day; day.load(1, 2)")
    said = [[f"<run>{code}</run>\0".encode(), f"<log>did {code}</log>\0".encode()] for code in codes]
    text = show(talk(tmp_path / "talk", said, [call(Job(PY_CODE, code)) for code in codes]))
    assert text.count("<run>(a job's text)</run>") == 2
    assert f"<log>did {codes[0]}</log>" in text


# What cannot be shown


def test_without_recordings_there_is_nothing_to_show(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing"):
        done = headless("protocol", "show", str(tmp_path / name))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"headless protocol show: error: there are no recordings in {tmp_path / name}\n"


CALL = json.loads(MODULE_CALL.to_json())


@pytest.mark.parametrize(
    "calls",
    [
        b"\xff\xfe\x00",
        b"[]",
        b"5",
        b"{}",
        b"[" * 100_000,
        json.dumps({**CALL, "more": 1}).encode(),
        json.dumps({**CALL, "label": 5}).encode(),
        json.dumps({**CALL, "timeout": "1"}).encode(),
        json.dumps({**CALL, "status": 1e400}).encode(),
        json.dumps({**CALL, "jobs": [{"kind": 1, "text": "x"}]}).encode(),
        json.dumps({**CALL, "jobs": "x"}).encode(),
        json.dumps({**CALL, "connections": ["../talk/0000"]}).encode(),
        json.dumps({**CALL, "connections": ["0000\0"]}).encode(),
        json.dumps({**CALL, "connections": [0]}).encode(),
        json.dumps({**CALL, "connections": 5}).encode(),
        b'{"label": "' + b"x" * 17_000_000,
    ],
    ids=range(16),
)
def test_a_hostile_list_of_calls_is_one_line(calls, tmp_path):
    folder = talk(tmp_path / "talk", [])
    (folder.path / CALLS).write_bytes(calls + b"\n")
    done = headless("protocol", "show", str(folder.path))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"headless protocol show: error: .*calls.jsonl, line 1: .{1,300}\n", done.stderr)


@pytest.mark.parametrize(
    "line",
    [
        b"\xff",
        b"{}",
        b"[1, 2]",
        b'[0.0, "nobody", ""]',
        b'[NaN, "client", ""]',
        b'[-1, "client", ""]',
        b'[1e99, "client", ""]',
        b'[0.0, "client", "*"]',
        b'[0.0, "client", 5]',
        b'[[], "client", ""]',
        b'[0.0, ["client"], ""]',
        b'[0.0, "' + b"x" * 100_000 + b'", ""]',
        b"[" * 100_000,
    ],
    ids=range(13),
)
def test_a_hostile_recording_is_one_line(line, tmp_path):
    folder = talk(tmp_path / "talk", [[b"<a/>\0", b"<b/>\0"]])
    with open(folder.path / "0000.talk", "ab") as file:
        file.write(line + b"\n")
    done = headless("protocol", "show", str(folder.path))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"headless protocol show: error: .*0000.talk, line 3: .{1,300}\n", done.stderr)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no FIFOs")
def test_a_recording_that_is_no_file_is_not_waited_for(tmp_path):
    folder = talk(tmp_path / "talk", [[b"<a/>\0", b"<b/>\0"]])
    (folder.path / "0000.talk").unlink()
    os.mkfifo(folder.path / "0000.talk")
    done = headless("protocol", "show", str(folder.path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("0000.talk cannot be read: it is not a regular file\n")


@pytest.mark.parametrize(
    "data",
    [
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b"<a" * 20_000,
        b"<a>" * 300 + b"</a>" * 300,
        bytes(range(256)) * 200,
        b"\xff\xfe" * 500,
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n<a/>",
    ],
)
def test_hostile_bytes_are_shown_as_bytes(data, tmp_path):
    text = show(talk(tmp_path / "talk", [[data, data], [data]]))
    assert text.count("no message: ") == 3
    assert len(text) < 10_000


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs a pipe of POSIX")
def test_it_ends_if_nobody_reads_it(tmp_path):
    folder = record(gamma, tmp_path / "talk", labelled("challenge", "70 kB"))
    argv = (sys.executable, str(ROOT / "headless"), "protocol", "show", str(folder.path), "--all")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(argv, stdout=stdout, stderr=subprocess.PIPE, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_piece_may_be_long(tmp_path):
    folder = talk(tmp_path / "talk", [[b"<a>" + b"x" * 3_000_000 + b"</a>\0", b"<b/>\0"]])
    assert "(3000000 characters)</a>" in show(folder)
    assert b64encode(b"<b/>\0") in (folder.path / "0000.talk").read_bytes()


def test_the_server_may_speak_first(tmp_path):
    text = show(talk(tmp_path / "talk", [[b"<a/>\0", b"<b/>\0"]], first=SERVER))
    assert text.index("server  <a/>") < text.index("client  <b/>")
