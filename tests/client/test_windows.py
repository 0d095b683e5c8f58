"""The command at a console of Windows: the password, Ctrl-C, and letters beyond ASCII; and the access lists of what is
made there, as the system shows them."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from importlib import import_module
from typing import Any

import bcrypt
import pytest

pytest.importorskip("msvcrt", reason="only Windows has such consoles")
from headless.errors import ParameterError
from headless.password_file import NewFile, Taken
from support.credentials import PASSWORD, SALT
from support.dialogues import STARTED, challenging, serving
from support.process import ROOT
from support.windows_console import WindowsConsole

pytestmark = pytest.mark.slow

windows: Any = import_module("headless.windows")  # which only Windows can import
STATUS_CONTROL_C_EXIT = 0xC000013A


# No console of a test has a window: here somebody sees it nevertheless.
SEEN = "import headless.windows\nheadless.windows.can_be_answered = lambda _: True\n"


@pytest.fixture
def at_console(tmp_path):
    """Starts a challenge login of R41 with the missing file r41, where the console is seen, or is not."""
    place = tmp_path / "seen"
    place.mkdir()
    (place / "sitecustomize.py").write_text(SEEN)

    def start(server, *argv, is_seen=True):
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), str(ROOT)])} if is_seen else None
        line = ("-s", server.address, "-u", "R41", "-p", "r41", "-c", "pass")
        return WindowsConsole(tmp_path, *line, *argv, env=env)

    return start


def test_a_console_that_no_one_sees_is_asked_nothing_and_a_missing_password_file_is_a_2(scripted, at_console):
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


# Access lists

_SE_FILE_OBJECT, _DACL = 1, 4


def entries_of(path: object) -> list[str]:
    """The entries of the access list in SDDL, without brackets."""
    advapi = ctypes.WinDLL("advapi32")  # type: ignore[attr-defined]
    descriptor, text = ctypes.c_void_p(), ctypes.c_void_p()
    pointer = ctypes.byref(descriptor)
    assert advapi.GetNamedSecurityInfoW(str(path), _SE_FILE_OBJECT, _DACL, None, None, None, None, pointer) == 0
    assert advapi.ConvertSecurityDescriptorToStringSecurityDescriptorW(descriptor, 1, _DACL, ctypes.byref(text), None)
    return ctypes.wstring_at(text.value or 0).partition("(")[2].rstrip(")").split(")(")


def users_in(entries: list[str]) -> set[str]:
    return {entry.rpartition(";")[2] for entry in entries}


def test_a_secret_file_names_this_user_by_sid_and_no_one_but_the_system_beside_it(tmp_path):
    path = tmp_path / "secret"
    descriptor = windows.create_secret_file(str(path))
    os.write(descriptor, b"secret\r\n")
    os.close(descriptor)
    assert path.read_bytes() == b"secret\r\n"
    sid = windows.user_sid()
    assert sid.startswith("S-1-")
    assert sid in users_in(entries_of(path)) <= {sid, "SY"}  # Wine adds the system


def test_a_secret_file_replaces_no_other(tmp_path):
    (tmp_path / "secret").write_text("another")
    with pytest.raises(FileExistsError):
        windows.create_secret_file(str(tmp_path / "secret"))
    assert (tmp_path / "secret").read_text() == "another"


def test_a_private_folder_is_for_this_user_the_system_and_the_administrators(tmp_path):
    windows.create_private_folder(str(tmp_path / "home"))
    entries = entries_of(tmp_path / "home")
    sid = windows.user_sid()
    assert sid in users_in(entries) <= {sid, "SY", "BA"}
    assert all(entry.startswith("A;OICI;") for entry in entries)  # for what will be in it, too
    with pytest.raises(FileExistsError):
        windows.create_private_folder(str(tmp_path / "home"))


def test_a_password_file_is_made_whole_and_over_no_other(tmp_path):
    path = tmp_path / "secret"
    assert "was made" in NewFile(str(path)).write(b"hash\n")
    assert windows.user_sid() in users_in(entries_of(path))
    with pytest.raises(Taken):
        NewFile(str(path)).write(b"another\n")
    assert path.read_bytes() == b"hash\n"


def test_a_password_file_needs_its_folder(tmp_path):
    with pytest.raises(ParameterError, match="cannot be made in its folder"):
        NewFile(str(tmp_path / "nowhere" / "secret"))
