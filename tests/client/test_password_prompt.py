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
from support.process import ROOT, SCRIPT
from support.waiting import wait_until


@pytest.fixture
def waiter(monkeypatch):
    monkeypatch.setattr("headless.client.password_prompt.os.name", "nt")
    monkeypatch.setattr("headless.client.password_prompt.NewFile", lambda path: path)
    with Waiter() as waiter:
        yield waiter


@pytest.fixture(params=["at the console", "from standard input"])
def question(request, waiter, monkeypatch):
    """Asks for a password that does not come before the test has ended."""
    reader, writer = os.pipe()
    with open(reader, encoding="utf-8") as stdin, open(writer, "wb"):
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(getpass, "getpass", lambda _: stdin.readline())
        if request.param == "at the console":
            yield lambda: password_prompt.ask("secret", "R41", waiter)
        else:
            yield lambda: password_prompt.take_from_stdin("secret", waiter)
        os.write(writer, b"x\n")  # lets the thread go that reads


def test_a_question_that_is_not_answered_ends(question, waiter, monkeypatch):
    monkeypatch.setattr(password_prompt, "_SECONDS_TO_ANSWER", 0.1)
    begun = time.monotonic()
    with pytest.raises(ParameterError, match=r"no password was given within|has not come to its end within"):
        question()
    assert begun + 0.1 <= time.monotonic()
    assert not waiter.has_deadline()  # what comes then has a time of its own


def test_a_signal_ends_the_question(question):
    timer = threading.Timer(0.05, signal.raise_signal, (signal.SIGTERM,))
    timer.start()
    with pytest.raises(Interrupted):
        question()
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


at_terminal_only = pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals on Windows")


@pytest.fixture
def at_shell(tmp_path, scripted):
    """The question, of a job of a shell."""
    line = line_for(scripted(challenging()), tmp_path)
    with Terminal(tmp_path, str(SCRIPT), *line, program=("-c", SHELL)) as terminal:
        terminal.wait_for("Password for R41: ")
        wait_until(lambda: not terminal.echoes)
        yield terminal


@pytest.fixture
def stopped(at_shell):
    """The same, stopped by SIGSTOP, which cannot be caught. The shell has set the terminal anew."""
    shell = at_shell.process.pid
    (job,) = map(int, Path(f"/proc/{shell}/task/{shell}/children").read_text().split())
    os.kill(job, signal.SIGSTOP)
    at_shell.wait_for(f"stopped by {signal.SIGSTOP:d}\r\n$ ")
    at_shell.echo()
    return at_shell


@pytest.mark.slow
@at_terminal_only
@pytest.mark.parametrize("is_in_background", [False, True])
def test_a_command_that_was_stopped_reads_the_password_in_the_foreground_without_echo(stopped, is_in_background):
    if is_in_background:  # where it waits for the terminal, and takes nothing
        stopped.type("bg\n")
        stopped.wait_for(f"stopped by {signal.SIGTTOU:d}\r\n$ ")
        assert stopped.echoes
    stopped.type("fg\n")
    wait_until(lambda: not stopped.echoes)
    stopped.type(PASSWORD + "\n")
    assert stopped.end() == 0
    assert (PASSWORD in stopped.shown, stopped.echoes) == (False, True)


@pytest.mark.slow
@at_terminal_only
def test_a_signal_ends_a_command_that_was_stopped_without_touching_the_terminal(stopped):
    stopped.type("end\n")
    assert stopped.end() == 256 - signal.SIGTERM
    assert stopped.echoes


@pytest.mark.slow
@at_terminal_only
def test_ctrl_z_does_not_stop_it_and_forgets_what_was_typed(at_shell):
    at_shell.type("half\x1a")
    at_shell.type(PASSWORD + "\n")
    assert at_shell.end() == 0


# Runs the command with a change.
CHANGED = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from headless import cli
from headless.client import password_prompt
from headless.client.waiting import READ, Waiter
{{change}}
cli.end_process(cli.main(sys.argv[1:]))
"""
STRIKE = """
wait = Waiter.wait
def struck(self, file, event, *timeout):
    if event == READ:
        os.kill(os.getpid(), signal.SIGHUP)
    return wait(self, file, event, *timeout)
Waiter.wait = struck
"""


@pytest.mark.slow
@at_terminal_only
@pytest.mark.parametrize(
    ("change", "code", "text"),
    [("password_prompt._SECONDS_TO_ANSWER = 0.1", 2, "no password was given within"), (STRIKE, -1, "")],
    ids=["no answer in time", "a signal between the prompt and the reading"],
)
def test_what_ends_the_question_restores_the_echo(tmp_path, scripted, change, code, text):
    line = line_for(scripted(challenging()), tmp_path, "-t", "3")
    with Terminal(tmp_path, *line, program=("-c", CHANGED.format(change=change))) as terminal:
        assert terminal.end() == code
        assert (terminal.echoes, text in terminal.shown) == (True, True)
    assert password_prompt._SECONDS_TO_ANSWER == 300
    assert not (tmp_path / "r41").exists()
