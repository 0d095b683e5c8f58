"""The command at a console of Windows: the password, Ctrl-C, and letters beyond ASCII."""

from __future__ import annotations

import os
import subprocess
import time

import bcrypt
import pytest

pytest.importorskip("msvcrt", reason="only Windows has such consoles")
from support.credentials import PASSWORD, SALT
from support.dialogues import STARTED, challenging, serving
from support.process import ROOT
from support.windows_console import WindowsConsole

pytestmark = pytest.mark.slow

STATUS_CONTROL_C_EXIT = 0xC000013A


# No console of a test has a window: here somebody sees it nevertheless.
SEEN = "import headless.windows\nheadless.windows.console.can_be_answered = lambda _: True\n"


@pytest.fixture
def at_console(tmp_path):
    """Starts a challenge login of R41 with the missing file r41, where somebody sees the console, or nobody does."""
    place = tmp_path / "seen"
    place.mkdir()
    (place / "sitecustomize.py").write_text(SEEN)

    def start(server, *argv, is_seen=True):
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), str(ROOT)])} if is_seen else None
        line = ("-s", server.address, "-u", "R41", "-p", "r41", "-c", "pass")
        return WindowsConsole(tmp_path, *line, *argv, env=env)

    return start


def test_a_console_that_nobody_sees_is_asked_nothing_and_a_missing_password_file_is_a_2(scripted, at_console):
    with at_console(scripted(challenging()), is_seen=False) as console:
        assert console.end() == 2
    assert "the password file 'r41' does not exist" in console.shown
    assert "Password for" not in console.shown


def test_nul_is_no_terminal(command, scripted):
    server = scripted(challenging())
    done = command("-s", server.address, "-u", "R41", "-p", "r41", "-c", "pass", stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "the password file 'r41' does not exist" in done.stderr


@pytest.mark.parametrize("password", [PASSWORD, "Zoë Ångström", "пароль€"])
def test_the_first_use_asks_without_echo_and_makes_the_file(scripted, at_console, tmp_path, password):
    wanted = bcrypt.hashpw(password.encode(), SALT.encode()).decode()
    with at_console(scripted(challenging(secret=wanted))) as console:
        console.answer(password + "\r")
        assert console.end() == 0
    assert console.shown == "Password for R41:"
    assert (tmp_path / "r41").read_text() == wanted + "\n"


def test_the_real_server_is_satisfied(job_server, at_console, tmp_path):
    for answer, code in (("wrong", 2), (PASSWORD, 0)):
        with at_console(job_server, "-u", "R42", "-t", "-1") as console:
            console.answer(answer + "\r")
            assert console.end() == code
        assert (tmp_path / "r41").exists() == (code == 0)


@pytest.mark.parametrize("answer", ["\r", "\x03"], ids=["nothing", "Ctrl-C"])
@pytest.mark.parametrize("seconds", [0, 1])
def test_who_gives_no_password_gets_a_2(scripted, at_console, tmp_path, answer, seconds):
    """Ctrl-C is a signal until the first key is waited for, and then a key."""
    with at_console(scripted(challenging())) as console:
        console.wait_for("Password for ")
        time.sleep(seconds)
        console.type(answer)
        assert console.end() == 2
    assert "planta_headless.py: error: " in console.shown
    assert not (tmp_path / "r41").exists()


def test_ctrl_c_ends_a_call_that_waits_at_once(scripted, tmp_path):
    server = scripted(serving(STARTED))
    with WindowsConsole(tmp_path, "-s", server.address, "-t", "-1", "-v", "-c", "1") as console:
        console.wait_for("job 1 started")
        console.press_ctrl_c()
        assert console.end() % 2**32 == STATUS_CONTROL_C_EXIT
    assert console.shown.endswith("jobs: submitted")


def test_letters_are_shown_as_they_are(scripted, tmp_path):
    text = "Zoë Ångström пароль €"
    server = scripted(serving(STARTED, f'<output job="1" stream="stdout">{text}\n</output>'))
    with WindowsConsole(tmp_path, "-s", server.address, "-t", "-1", "-v", "-c", "1") as console:
        console.wait_for(f"job 1 stdout: {text}")
