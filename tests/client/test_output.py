"""What `-v` shows, line by line, and that nothing which comes from the other side can spoil it."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest

from headless import terminal
from headless.client import session
from headless.client.output import Console, ThreadedOutput
from headless.client.waiting import Waiter
from headless.errors import Interrupted
from support.dialogues import ACCEPTED, DONE, ENDED, FINISHED, STARTED, WELCOME, challenging, serving
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


@pytest.mark.parametrize(("flag", "kinds"), [("-q", set()), ("-v", {"info"}), ("-vv", {"info", "sent"}),
                                             ("-vvv", {"info", "sent", "received"})])  # fmt: skip
def test_each_v_adds_a_kind_of_line_and_without_one_there_is_none(here, scripted, flag, kinds):
    done = show(here, scripted(serving(STARTED, '<output job="1" stream="stderr">x</output>', FINISHED, ENDED)), flag)
    assert (done.returncode, {kind for kind, _ in lines(done)}, done.stderr) == (0, kinds, "")


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


def test_a_line_that_comes_in_parts_is_one_line_and_one_without_an_end_is_shown_before_what_follows(capfd, waiter):
    console = Console(1, waiter)
    for source, text in (
        ("job 1 stdout", "on"),
        ("job 1 stderr", "war"),
        ("job 1 stdout", "e\r"),
        ("job 1 stdout", "\ntwo\nthr"),
        ("job 1 stderr", "ning"),
    ):
        console.output(source, text)
    console.info("job 1 ok")
    shown = [line.split(" ", 2)[2] for line in capfd.readouterr().out.splitlines()]
    assert shown == [
        "info job 1 stdout: one",
        "info job 1 stdout: two",
        "info job 1 stdout: thr",
        "info job 1 stderr: warning",
        "info job 1 ok",
    ]


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("welcome", "seconds", "is_mentioned"),
    [
        ('<welcome session="s1" journal="9ae1"/>', 1.0, True),
        ('<welcome session="s1" journal="9ae1"/>', PATIENCE, False),
        (WELCOME, 0.1, False),  # it is not known whether this server reports the start
    ],
    ids=["late", "in time", "unknown"],
)
def test_a_start_that_does_not_come_within_a_second_is_mentioned_once(  # noqa: PLR0917
    here, scripted, monkeypatch, welcome, seconds, is_mentioned
):
    assert session._START_SECONDS == 1
    monkeypatch.setattr(session, "_START_SECONDS", seconds / 10)

    def script(peer):
        peer.receive()
        peer.send(welcome)
        peer.receive()
        peer.send('<accepted session="s1"/>' if "journal" in welcome else ACCEPTED)
        if seconds < PATIENCE:
            time.sleep(0.4)
            peer.send("<alive/>")
            time.sleep(0.2)
        peer.send(*DONE)
        peer.wait_for_disconnect()

    said = [text for _, text in lines(show(here, scripted(script), "-v"))]
    begin = said.index("job 1 started: py_code pass")
    assert (said.count(NOT_STARTED), said[begin - 1] == NOT_STARTED) == (is_mentioned, is_mentioned)


@pytest.mark.skipif(os.name == "nt", reason="modes mean nothing on Windows")
def test_a_password_file_that_the_group_can_read_is_mentioned(here, scripted):
    done = show(here, scripted(challenging(*DONE)), "-v", "-u", "R41", "-p", here.secret_file(mode=0o440))
    assert (done.returncode, "group" in done.stdout.splitlines()[0]) == (0, True)


# In a thread, as only Windows needs it


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
def test_a_line_that_the_pipe_takes_gets_out_even_if_a_busy_machine_comes_to_it_after_the_deadline():
    with full_stdout() as reader, Waiter() as waiter:
        console = Console(1, waiter)
        drain(reader)
        waiter.set_deadline(0.0)
        console.info("last")
        assert drain(reader).split(maxsplit=2)[2] == b"info last\n"


@pytest.mark.skipif(os.name == "nt", reason="there a thread writes")
def test_a_line_that_did_not_get_out_or_not_to_its_end_leaves_the_next_one_whole():
    with full_stdout() as reader, Waiter() as waiter:
        console = Console(1, waiter)
        waiter.set_deadline(0.0)
        console.info("one")
        drain(reader)
        waiter.set_deadline(None)
        console.info("two")
        assert drain(reader).split(maxsplit=2)[2] == b"info two\n"
        waiter.set_deadline(0.05)
        console.info("y" * 1_000_000)
        assert drain(reader).endswith(b"y")
        waiter.set_deadline(None)
        console.info("three")
        assert drain(reader).startswith(b"\n")
