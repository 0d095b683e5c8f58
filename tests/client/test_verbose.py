"""What `-v` shows, line by line, and that nothing which comes from the other side can spoil it."""

from __future__ import annotations

import os
import re
import threading
import time
from datetime import datetime, timedelta

import pytest

from support.credentials import HASH
from support.dialogues import ACCEPTED, DONE, ENDED, FINISHED, STARTED, WELCOME, attribute, challenging, serving
from support.process import PATIENCE

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (info|sent|received) (.+)")


def lines(done):
    """The lines as (kind, text); fails for one that is not of the form."""
    matches = [LINE.fullmatch(line) for line in done.stdout.split("\n")[:-1]]
    assert all(matches), done.stdout
    return [(match[1], match[2]) for match in matches if match]


def show(command, server, *argv):
    return command("-s", server.address, "-t", "-1", "-c", "pass", *argv)


def test_without_v_there_is_no_output_at_all(command, scripted):
    done = show(command, scripted(serving(STARTED, '<output job="1" stream="stderr">x</output>', FINISHED, ENDED)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert command("-s", "127.0.0.1:1", "-c", "pass").stderr == ""


@pytest.mark.parametrize(("flag", "kinds"), [("-v", {"info"}), ("-vv", {"info", "sent"}),
                                             ("-vvv", {"info", "sent", "received"})])  # fmt: skip
def test_each_v_adds_a_kind_of_line(command, scripted, flag, kinds):
    done = show(command, scripted(serving(*DONE)), flag)
    assert {kind for kind, _ in lines(done)} == kinds
    assert done.stderr == ""


def test_each_line_begins_with_the_local_date_and_time(command, scripted):
    before = datetime.now() - timedelta(milliseconds=1)  # the line has whole milliseconds
    done = show(command, scripted(serving(*DONE)), "-v")
    times = [datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S.%f") for line in done.stdout.splitlines()]
    in_order = [before, *times, datetime.now()]
    assert in_order == sorted(in_order)


def test_vvv_shows_the_xml_of_both_sides_in_the_order_in_which_it_was_sent(command, scripted):
    shown = lines(show(command, scripted(serving(*DONE)), "-vvv"))
    xml = [text for kind, text in shown if kind != "info"]
    assert re.fullmatch(
        '<login version="1" client="planta_headless.py 39 Mars" auth_type="osuser" os_user="[^"]+"/>', xml[0]
    )
    assert xml[1:] == [WELCOME, "<jobs><py_code>pass</py_code></jobs>", ACCEPTED, *DONE]


def test_output_is_shown_line_by_line_while_the_job_runs(command, scripted):
    output = '<output job="1" stream="stdout">one\r\ntwo\n\nfour</output>'
    done = show(command, scripted(serving(STARTED, output, FINISHED, ENDED)), "-v")
    texts = [text for _, text in lines(done) if "stdout" in text]
    assert texts == ["job 1 stdout: one", "job 1 stdout: two", "job 1 stdout: ", "job 1 stdout: four"]


@pytest.mark.parametrize(
    ("argv", "title"),
    [
        (["-m", "009ABC"], "module 009ABC"),
        (["-f", "night/run.py"], "py_file night/run.py"),
        (["-c", "\n  print(42)  \nprint(43)"], "py_code print(42)"),
        (["-c", "x" * 61], "py_code " + "x" * 60),
        (["-m", "\x85\u202e\n"], "module \\x85\\u202e\\n"),
        (["-m", "x" * 2000], "module " + "x" * 993 + "... (2007 characters)"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_line_of_a_start_says_which_job_it_is(command, scripted, argv, title):
    done = command("-s", scripted(serving(*DONE)).address, "-t", "-1", "-v", *argv)
    assert [text for _, text in lines(done) if "started" in text] == [f"job 1 started: {title}"]


def test_a_start_that_does_not_come_is_mentioned_once(command, scripted):
    is_shown = threading.Event()

    def script(peer):
        peer.receive()
        peer.send('<welcome session="s1" journal="9ae1"/>')
        peer.receive()
        peer.send('<accepted session="s1"/>')
        is_shown.wait(PATIENCE)
        peer.send("<alive/>")
        time.sleep(1.2)  # after which it could be said again
        peer.send(*DONE)
        peer.wait_for_disconnect()

    shown = []
    with command.start("-s", scripted(script).address, "-t", "-1", "-c", "pass", "-v") as process:
        for line in process.stdout:
            shown.append(line[24:].rstrip())
            if "not started yet" in line:
                is_shown.set()
    begin = shown.index("info the server has accepted the jobs")
    assert shown[begin + 1 : begin + 3] == ["info accepted, not started yet", "info job 1 started: py_code pass"]


def test_where_it_is_not_known_whether_starts_are_reported_nothing_is_said_of_them(command, scripted):
    def script(peer):
        peer.receive()
        peer.send(WELCOME)
        peer.receive()
        peer.send(ACCEPTED)
        time.sleep(1.2)
        peer.send(*DONE)
        peer.wait_for_disconnect()

    assert "not started yet" not in show(command, scripted(script), "-v").stdout


def test_neither_proof_nor_hash_is_shown_at_any_level(command, scripted):
    server = scripted(challenging(*DONE))
    done = show(command, server, "-vvv", "-u", "R41", "-p", command.secret_file())
    server.close()
    assert done.returncode == 0
    proof = attribute(server.peers[0].received[1], "proof")
    for secret in (proof, HASH, HASH[29:]):
        assert secret not in done.stdout + done.stderr
    assert 'proof="(not shown)"' in done.stdout
    assert 'signature="(not shown)"' in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="modes mean nothing on Windows")
def test_a_password_file_that_the_group_can_read_is_mentioned(command, scripted):
    server = scripted(challenging(*DONE))
    done = show(command, server, "-v", "-u", "R41", "-p", command.secret_file(mode=0o440))
    assert done.returncode == 0
    assert "group" in done.stdout.splitlines()[0]
