"""The question for a password as Windows needs it, where it can only be guessed whether somebody sees the console; and
standard input in its place. At a real console of Windows: test_windows.py; at a terminal elsewhere:
below, and in test_password_creation.py."""

from __future__ import annotations

import errno
import getpass
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from headless.client import password_prompt
from headless.client.waiting import Waiter
from headless.errors import Interrupted, ParameterError, SessionError
from support.credentials import PASSWORD
from support.dialogues import challenging
from support.process import PATIENCE, ROOT, SCRIPT
from support.waiting import wait_until


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
def test_a_question_that_is_not_answered_ends(waiter, monkeypatch):
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


# At a terminal

if os.name != "nt":
    from support.terminal import Terminal

# Runs the command as a job, as a shell with job control does. Its prompt takes fg, bg and end.
SHELL = """
import os, runpy, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if not job:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    sys.argv = sys.argv[1:]
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")
while True:
    status = os.waitpid(job, os.WUNTRACED)[1]
    os.tcsetpgrp(0, os.getpgrp())
    if not os.WIFSTOPPED(status):
        sys.exit(os.waitstatus_to_exitcode(status) % 256)
    print("stopped by", os.WSTOPSIG(status), flush=True)
    answer = input("$ ")
    if answer == "fg":
        os.tcsetpgrp(0, job)
    if answer == "end":
        os.kill(job, signal.SIGTERM)
    os.kill(job, signal.SIGCONT)
"""


def line_for(server, folder, *argv):
    return ("-s", server.address, "-u", "R41", "-p", str(folder / "r41"), *argv, "-c", "pass")


@pytest.fixture
def at_shell(tmp_path, scripted):
    with Terminal(
        tmp_path, str(SCRIPT), *line_for(scripted(challenging()), tmp_path), program=("-c", SHELL)
    ) as terminal:
        yield terminal


def ask_again(terminal, answer):
    terminal.type(f"{answer}\n")
    wait_until(lambda: not terminal.echoes)


def stop(terminal):
    terminal.wait_for("Password for R41: ")
    wait_until(lambda: not terminal.echoes)
    terminal.type("half\x1a")
    terminal.wait_for(f"stopped by {signal.SIGTSTP:d}\r\n$ ")
    assert terminal.echoes


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals on Windows")
def test_ctrl_z_gives_the_terminal_back_and_the_question_comes_again(at_shell, tmp_path):
    stop(at_shell)
    ask_again(at_shell, "fg")
    at_shell.wait_for("fg\r\nPassword for R41: ")
    at_shell.type(PASSWORD + "\n")
    assert at_shell.end() == 0
    assert (PASSWORD in at_shell.shown, at_shell.echoes, (tmp_path / "r41").exists()) == (False, True, True)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals on Windows")
def test_in_the_background_the_command_waits_for_the_terminal_and_takes_nothing(at_shell):
    stop(at_shell)
    at_shell.type("bg\n")
    at_shell.wait_for(f"stopped by {signal.SIGTTOU:d}\r\n$ ")
    assert at_shell.echoes
    ask_again(at_shell, "fg")
    at_shell.wait_for("fg\r\nPassword for R41: ")
    at_shell.type(PASSWORD + "\n")
    assert at_shell.end() == 0


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals on Windows")
def test_a_signal_ends_a_command_that_was_stopped_without_touching_the_terminal(at_shell):
    stop(at_shell)
    at_shell.type("end\n")
    assert at_shell.end() == 256 - signal.SIGTERM
    assert at_shell.echoes


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals on Windows")
def test_a_stop_that_another_program_asks_for_leaves_no_echo_behind_when_the_command_goes_on(at_shell):
    """SIGSTOP cannot be caught: the shell may have set the terminal anew."""
    at_shell.wait_for("Password for R41: ")
    wait_until(lambda: not at_shell.echoes)
    shell = at_shell.process.pid
    (job,) = map(int, Path(f"/proc/{shell}/task/{shell}/children").read_text().split())
    os.kill(job, signal.SIGSTOP)
    at_shell.wait_for(f"stopped by {signal.SIGSTOP:d}")
    at_shell.echo()
    ask_again(at_shell, "fg")
    at_shell.type(PASSWORD + "\n")
    assert at_shell.end() == 0
    assert PASSWORD not in at_shell.shown


LIMITED = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from headless import cli
from headless.client import password_prompt
password_prompt._SECONDS_TO_ANSWER = 0.1
cli.end_process(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals on Windows")
def test_a_question_at_a_terminal_that_is_not_answered_ends(tmp_path, scripted):
    line = line_for(scripted(challenging()), tmp_path, "-t", "3")
    with Terminal(tmp_path, *line, program=("-c", LIMITED)) as terminal:
        terminal.wait_for("Password for R41: ")
        assert terminal.end() == 2
        assert (terminal.echoes, "no password was given within" in terminal.shown) == (True, True)
    assert password_prompt._SECONDS_TO_ANSWER == 300
    assert not (tmp_path / "r41").exists()


BEFORE_READING = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from headless import cli
from headless.client.waiting import READ, Waiter
wait = Waiter.wait
def struck(self, file, event, *timeout):
    if event == READ:
        os.kill(os.getpid(), signal.SIGHUP)
    return wait(self, file, event, *timeout)
Waiter.wait = struck
cli.end_process(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals on Windows")
def test_a_signal_between_the_prompt_and_the_reading_is_not_noticed_at_the_next_key_only(tmp_path, scripted):
    line = line_for(scripted(challenging()), tmp_path)
    with Terminal(tmp_path, *line, program=("-c", BEFORE_READING)) as terminal:
        assert terminal.end() == -signal.SIGHUP
        assert terminal.echoes
