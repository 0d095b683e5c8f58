"""How -v writes to stdout where only Windows needs it so: that works everywhere. See also test_process.py."""

from __future__ import annotations

import io
import os
import signal
import time
from typing import Any

import pytest

from headless import terminal
from headless.client.output import ThreadedOutput
from headless.client.waiting import Waiter
from headless.errors import Interrupted
from support.process import PATIENCE


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


def test_a_thread_that_nobody_reads_is_waited_for_until_the_deadline(waiter, pipe):
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
        raise OSError(22, "Invalid argument")  # which Windows says of a pipe that nobody will read

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
