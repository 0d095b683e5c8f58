"""What `-v` shows, line by line, and that nothing which comes from the other side can spoil it."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest

from headless import terminal
from headless.client import session
from headless.client.connection import Connection
from headless.client.output import Console, ThreadedOutput, open_stdout
from headless.client.waiting import Waiter
from headless.errors import Interrupted
from support.credentials import HASH
from support.dialogues import ACCEPTED, DONE, ENDED, FINISHED, STARTED, WELCOME, attribute, challenging, serving
from support.process import PATIENCE
from support.scripted_server import ScriptedServer

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (info|sent|received) (.+)")


def lines(done):
    """The lines as (kind, text); fails for one that is not of the form."""
    matches = [LINE.fullmatch(line) for line in done.stdout.split("\n")[:-1]]
    assert all(matches), done.stdout
    return [(match[1], match[2]) for match in matches if match]


@pytest.fixture(scope="module")
def good_server():
    """One whose job prints nothing and ends well."""
    server = ScriptedServer(serving(*DONE))
    yield server
    server.close()


def show(here, server, *argv):
    return here("-s", server.address, "-t", "-1", "-c", "pass", *argv)


def test_without_v_there_is_no_output_at_all(here, scripted):
    done = show(here, scripted(serving(STARTED, '<output job="1" stream="stderr">x</output>', FINISHED, ENDED)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert here("-s", "127.0.0.1:1", "-c", "pass").stderr == ""


@pytest.mark.parametrize(("flag", "kinds"), [("-v", {"info"}), ("-vv", {"info", "sent"}),
                                             ("-vvv", {"info", "sent", "received"})])  # fmt: skip
def test_each_v_adds_a_kind_of_line(here, good_server, flag, kinds):
    done = show(here, good_server, flag)
    assert {kind for kind, _ in lines(done)} == kinds
    assert done.stderr == ""


def test_each_line_begins_with_the_local_date_and_time(here, good_server):
    before = datetime.now() - timedelta(milliseconds=1)  # the line has whole milliseconds
    done = show(here, good_server, "-v")
    times = [datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S.%f") for line in done.stdout.splitlines()]
    in_order = [before, *times, datetime.now()]
    assert in_order == sorted(in_order)


def test_vvv_shows_the_xml_of_both_sides_in_the_order_in_which_it_was_sent(here, good_server):
    shown = lines(show(here, good_server, "-vvv"))
    xml = [text for kind, text in shown if kind != "info"]
    assert re.fullmatch(
        '<login version="1" client="planta_headless.py 39 Mars" auth_type="osuser" os_user="[^"]+"/>', xml[0]
    )
    assert xml[1:] == [WELCOME, "<jobs><py_code>pass</py_code></jobs>", ACCEPTED, *DONE]


def test_output_is_shown_line_by_line_while_the_job_runs(here, scripted):
    output = '<output job="1" stream="stdout">one\r\ntwo\n\nfour</output>'
    done = show(here, scripted(serving(STARTED, output, FINISHED, ENDED)), "-v")
    texts = [text for _, text in lines(done) if "stdout" in text]
    assert texts == ["job 1 stdout: one", "job 1 stdout: two", "job 1 stdout: ", "job 1 stdout: four"]


def test_the_line_of_a_start_says_which_job_it_is(here, good_server):
    for argv, title in (
        (["-m", "009ABC"], "module 009ABC"),
        (["-f", "night/run.py"], "py_file night/run.py"),
        (["-c", "\n  print(42)  \nprint(43)"], "py_code print(42)"),
        (["-c", "x" * 61], "py_code " + "x" * 60),
        (["-m", "\x85\u202e\n"], "module \\x85\\u202e\\n"),
        (["-m", "x" * 2000], "module " + "x" * 993 + "... (2007 characters)"),
    ):
        done = here("-s", good_server.address, "-t", "-1", "-v", *argv)
        assert [text for _, text in lines(done) if "started" in text] == [f"job 1 started: {title}"]


NOT_STARTED = "accepted, not started yet"


@pytest.fixture
def said_of_a_late_start(here, scripted, monkeypatch):
    """What -v says of a call whose job starts so many seconds late, or as soon as that was mentioned, and could have
    been once more."""
    monkeypatch.setattr(session, "_START_SECONDS", 0.1)
    is_mentioned = threading.Event()
    info = Console.info

    def watch(console, text):
        info(console, text)
        if text == NOT_STARTED:
            is_mentioned.set()

    monkeypatch.setattr(Console, "info", watch)

    def said(welcome, accepted, seconds):
        def script(peer):
            peer.receive()
            peer.send(welcome)
            peer.receive()
            peer.send(accepted)
            if is_mentioned.wait(seconds):
                peer.send("<alive/>")
                time.sleep(0.2)
            peer.send(*DONE)
            peer.wait_for_disconnect()

        return [text for _, text in lines(show(here, scripted(script), "-v"))]

    return said


@pytest.mark.slow
def test_a_start_that_does_not_come_is_mentioned_once(said_of_a_late_start):
    said = said_of_a_late_start('<welcome session="s1" journal="9ae1"/>', '<accepted session="s1"/>', PATIENCE)
    begin = said.index("the server has accepted the jobs")
    assert said[begin + 1 : begin + 3] == [NOT_STARTED, "job 1 started: py_code pass"]


def test_a_start_that_comes_is_shown_instead(said_of_a_late_start, monkeypatch):
    monkeypatch.setattr(session, "_START_SECONDS", PATIENCE)
    said = said_of_a_late_start('<welcome session="s1" journal="9ae1"/>', '<accepted session="s1"/>', 0)
    begin = said.index("the server has accepted the jobs")
    assert said[begin + 1] == "job 1 started: py_code pass"


def test_it_is_mentioned_after_a_second(here, scripted, monkeypatch):
    asked = []
    monkeypatch.setattr(Connection, "next_event_within", lambda _, seconds: asked.append(seconds))  # nothing has come

    def script(peer):
        peer.receive()
        peer.send('<welcome session="s1" journal="9ae1"/>')
        peer.receive()
        peer.send('<accepted session="s1"/>')
        peer.send(*DONE)
        peer.wait_for_disconnect()

    said = [text for _, text in lines(show(here, scripted(script), "-v"))]
    assert (asked, said.count(NOT_STARTED)) == ([1], 1)


@pytest.mark.slow
def test_where_it_is_not_known_whether_starts_are_reported_nothing_is_said_of_them(said_of_a_late_start):
    assert NOT_STARTED not in said_of_a_late_start(WELCOME, ACCEPTED, 0.3)


def test_neither_proof_nor_hash_is_shown_at_any_level(here, scripted):
    server = scripted(challenging(*DONE))
    done = show(here, server, "-vvv", "-u", "R41", "-p", here.secret_file())
    server.close()
    assert done.returncode == 0
    proof = attribute(server.peers[0].received[1], "proof")
    for secret in (proof, HASH, HASH[29:]):
        assert secret not in done.stdout + done.stderr
    assert 'proof="(not shown)"' in done.stdout
    assert 'signature="(not shown)"' in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="modes mean nothing on Windows")
def test_a_password_file_that_the_group_can_read_is_mentioned(here, scripted):
    server = scripted(challenging(*DONE))
    done = show(here, server, "-v", "-u", "R41", "-p", here.secret_file(mode=0o440))
    assert done.returncode == 0
    assert "group" in done.stdout.splitlines()[0]


# Through a thread, as only Windows needs it


@pytest.fixture
def waiter():
    with Waiter() as waiter:
        yield waiter


@pytest.fixture
def pipe():
    """A pipe's first end, and what writes to the second, which stays open: a thread may still have its number."""
    reader, writer = os.pipe()
    yield reader, lambda data: os.write(writer, data)
    os.close(reader)


def read(descriptor: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += os.read(descriptor, count - len(data))
    return data


# In a thread


def test_what_is_written_in_a_thread_arrives_in_order(waiter, pipe):
    reader, write = pipe
    output = ThreadedOutput(write, waiter)
    pieces = [b"%d\n" % number for number in range(1000)]
    assert [output.write(piece) for piece in pieces] == [len(piece) for piece in pieces]
    assert read(reader, len(b"".join(pieces))) == b"".join(pieces)


def test_a_thread_that_no_one_reads_is_waited_for_until_the_deadline(waiter, pipe):
    reader, write = pipe
    output = ThreadedOutput(write, waiter)
    large = b"x" * 1_000_000
    waiter.set_deadline(0.1)
    begun = time.monotonic()
    assert output.write(large) == len(large)  # it is with the thread
    assert output.write(b"next") == 0
    assert begun + 0.1 <= time.monotonic() < begun + PATIENCE
    waiter.set_deadline(PATIENCE)
    assert read(reader, len(large)) == large
    assert output.write(b"next") == 4
    assert read(reader, 4) == b"next"


def test_a_signal_ends_the_waiting_for_a_thread(waiter, pipe):
    _, write = pipe
    output = ThreadedOutput(write, waiter)
    waiter.set_deadline(0.1)
    output.write(b"x" * 1_000_000)
    waiter.set_deadline(PATIENCE)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(Interrupted):
        output.write(b"next")


def test_an_error_of_a_thread_is_raised_for_each_piece(waiter):
    def write(_: bytes) -> int:
        raise OSError(22, "Invalid argument")  # which Windows says of a pipe that has no reader any more

    output = ThreadedOutput(write, waiter)
    for _ in range(2):
        with pytest.raises(OSError, match="Invalid argument"):
            output.write(b"x")


# A console of Windows


class Raw(io.RawIOBase):
    """Stands in for what Python has for a console of Windows."""

    def __init__(self) -> None:
        self.written = b""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 99999  # to which no bytes may go

    def write(self, data: Any) -> int:
        self.written += bytes(data)
        return len(data)


def test_python_itself_writes_to_a_console_of_windows_which_takes_unicode(monkeypatch):
    stream = io.TextIOWrapper(io.BufferedWriter(raw := Raw()), encoding="utf-8")
    monkeypatch.setattr("headless.terminal.os.name", "nt")
    terminal.write(stream, "Prüfung\n")
    assert raw.written.decode() == f"Prüfung{os.linesep}"


def test_elsewhere_nothing_stands_between_us_and_the_descriptor():
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        terminal.write(stream, "Prüfung\n")
        assert os.read(reader, 99).decode() == f"Prüfung{os.linesep}"
    os.close(reader)


# A stdout that is not read: what the deadline has cut off is not taken for written


@contextmanager
def full_stdout() -> Iterator[int]:
    """The first end of a pipe whose second one, standard output, is full."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with open(writer, "w", encoding="utf-8") as stdout, patch.object(sys, "stdout", stdout):
        for piece in (b"x" * 4096, b"x"):
            with suppress(BlockingIOError):
                while True:
                    os.write(writer, piece)
        yield reader
    os.close(reader)


def drain(reader):
    return os.read(reader, 1 << 20).lstrip(b"x")


@pytest.mark.skipif(os.name == "nt", reason="there a thread writes")
def test_nothing_is_written_once_the_deadline_has_passed():
    with full_stdout() as reader, Waiter() as waiter:
        output = open_stdout(waiter)
        assert output is not None
        waiter.set_deadline(0.0)
        assert output.write(b"one\n") == 0
        assert drain(reader) == b""
        waiter.set_deadline(None)
        assert output.write(b"two\n") == 4
        assert drain(reader) == b"two\n"


@pytest.mark.skipif(os.name == "nt", reason="there a thread writes")
def test_a_line_that_did_not_get_out_leaves_the_next_one_whole():
    with full_stdout() as reader, Waiter() as waiter:
        console = Console(1, waiter)
        waiter.set_deadline(0.0)
        console.info("one")
        drain(reader)
        waiter.set_deadline(None)
        console.info("two")
        assert drain(reader).split(maxsplit=2)[2] == b"info two\n"
