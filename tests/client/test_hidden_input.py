"""The question for a password at a terminal: it ends in time and at every signal, and the terminal is afterwards as it
was, also while somebody has stopped the command."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from headless.client import password_prompt
from support.credentials import PASSWORD
from support.dialogues import challenging
from support.process import ROOT, SCRIPT
from support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals on Windows"),
]
if os.name != "nt":
    from support.terminal import Terminal

# Runs the command as a job, as a shell with job control does. At its prompt it can be told fg, bg and end.
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
    told = input("$ ")
    if told == "fg":
        os.tcsetpgrp(0, job)
    if told == "end":
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


def ask_again(terminal, told):
    terminal.type(f"{told}\n")
    wait_until(lambda: not terminal.echoes)


def stop(terminal):
    terminal.wait_for("Password for R41: ")
    wait_until(lambda: not terminal.echoes)
    terminal.type("half\x1a")
    terminal.wait_for(f"stopped by {signal.SIGTSTP:d}\r\n$ ")
    assert terminal.echoes


def test_ctrl_z_gives_the_terminal_back_and_the_question_comes_again(at_shell, tmp_path):
    stop(at_shell)
    ask_again(at_shell, "fg")
    at_shell.wait_for("fg\r\nPassword for R41: ")
    at_shell.type(PASSWORD + "\n")
    assert at_shell.end() == 0
    assert (PASSWORD in at_shell.shown, at_shell.echoes, (tmp_path / "r41").exists()) == (False, True, True)


def test_in_the_background_the_command_waits_for_the_terminal_and_takes_nothing(at_shell):
    stop(at_shell)
    at_shell.type("bg\n")
    at_shell.wait_for(f"stopped by {signal.SIGTTOU:d}\r\n$ ")
    assert at_shell.echoes
    ask_again(at_shell, "fg")
    at_shell.wait_for("fg\r\nPassword for R41: ")
    at_shell.type(PASSWORD + "\n")
    assert at_shell.end() == 0


def test_a_signal_ends_a_command_that_was_stopped_without_touching_the_terminal(at_shell):
    stop(at_shell)
    at_shell.type("end\n")
    assert at_shell.end() == 256 - signal.SIGTERM
    assert at_shell.echoes


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


def test_a_question_that_nobody_answers_ends(tmp_path, scripted):
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


def test_a_signal_between_the_prompt_and_the_reading_is_not_noticed_at_the_next_key_only(tmp_path, scripted):
    line = line_for(scripted(challenging()), tmp_path)
    with Terminal(tmp_path, *line, program=("-c", BEFORE_READING)) as terminal:
        assert terminal.end() == -signal.SIGHUP
        assert terminal.echoes
