"""The question for a password as Windows needs it, where it can only be guessed whether somebody sees the console; and
standard input in its place. At a real console of Windows: test_windows_console.py; at a terminal elsewhere:
test_hidden_input.py, test_password_creation.py."""

from __future__ import annotations

import errno
import getpass
import os
import signal
import sys
import threading
import time

import pytest

from headless.client import password_prompt
from headless.client.waiting import Waiter
from headless.errors import Interrupted, ParameterError, SessionError
from support.process import PATIENCE


@pytest.fixture
def waiter(monkeypatch):
    monkeypatch.setattr("headless.client.password_prompt.os.name", "nt")
    monkeypatch.setattr("headless.client.password_prompt.NewFile", lambda path: path)  # there are two kinds of it
    with Waiter() as waiter:
        yield waiter


@pytest.fixture
def unanswered(monkeypatch):
    """Nobody answers before the test has ended."""
    end = threading.Event()
    monkeypatch.setattr(getpass, "getpass", lambda _: str(end.wait(PATIENCE)))
    yield
    end.set()


@pytest.mark.usefixtures("unanswered")
def test_a_question_that_nobody_answers_ends(waiter, monkeypatch):
    monkeypatch.setattr(password_prompt, "_SECONDS_TO_ANSWER", 0.1)
    begun = time.monotonic()
    with pytest.raises(ParameterError, match="no password was given within"):
        password_prompt.ask("secret", "R41", waiter)
    assert begun + 0.1 <= time.monotonic() < begun + PATIENCE
    assert not waiter.has_deadline()  # what comes then has a time of its own


@pytest.mark.usefixtures("unanswered")
def test_a_signal_ends_the_question(waiter):
    timer = threading.Timer(0.05, signal.raise_signal, (signal.SIGTERM,))
    timer.start()
    with pytest.raises(Interrupted):
        password_prompt.ask("secret", "R41", waiter)
    timer.join()


def test_ctrl_c_is_a_character_there_and_no_password(waiter, monkeypatch):
    def ctrl_c(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(getpass, "getpass", ctrl_c)
    with pytest.raises(ParameterError, match="no password was given"):
        password_prompt.ask("secret", "R41", waiter)


def test_what_is_typed_is_the_password(waiter, monkeypatch):
    monkeypatch.setattr(getpass, "getpass", lambda prompt: f"{prompt}secret")
    assert password_prompt.ask("secret", "R41", waiter)._password == b"Password for R41: secret"


@pytest.fixture
def endless_stdin(monkeypatch):
    """Standard input in which nothing comes, and no end."""
    reader, writer = os.pipe()
    with open(reader, encoding="utf-8") as stdin, open(writer, "wb"):
        monkeypatch.setattr(sys, "stdin", stdin)
        yield
        os.write(writer, b"x\n")  # lets the thread go that reads


@pytest.mark.usefixtures("endless_stdin")
def test_standard_input_without_an_end_is_no_password(waiter, monkeypatch):
    monkeypatch.setattr(password_prompt, "_SECONDS_TO_ANSWER", 0.05)
    with pytest.raises(ParameterError, match="has not come to its end within"):
        password_prompt.take_from_stdin("secret", waiter)


@pytest.mark.usefixtures("endless_stdin")
def test_a_signal_ends_the_reading_of_standard_input(waiter):
    timer = threading.Timer(0.05, signal.raise_signal, (signal.SIGTERM,))
    timer.start()
    with pytest.raises(Interrupted):
        password_prompt.take_from_stdin("secret", waiter)
    timer.join()


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EIO, SessionError), (errno.ENOMEM, SessionError), (errno.EBADF, ParameterError)]
)
def test_standard_input_that_cannot_be_read_now_is_no_mistake_in_the_call(waiter, monkeypatch, number, kind):
    class Stdin:
        buffer = property(lambda self: self)

        def isatty(self):
            return False

        def read(self, _size):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(sys, "stdin", Stdin())
    with pytest.raises(kind, match=os.strerror(number)):
        password_prompt.take_from_stdin("secret", waiter)
