"""Making the password file: asked for at a terminal alone, written only after the server has proved itself, whole, for
its owner, never over another one, and with nothing left beside it.
"""

from __future__ import annotations

import os
import signal
import stat
import threading
from unittest.mock import Mock

import bcrypt
import pytest

from headless.client import password_prompt
from headless.client.password_prompt import NewSecret
from headless.client.waiting import DeadlinePassed, Waiter
from headless.errors import ParameterError, RemoteProtocolError, SessionError
from headless.password_file import NewFile, Taken
from headless.server.accounts import Account, keys_from_hash
from support.credentials import HASH, PASSWORD, SALT
from support.dialogues import challenging
from support.job_server import QuickServer
from support.process import PATIENCE
from support.unreliable_relay import Ends, UnreliableRelay

needs_terminal = pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals on Windows")
if os.name != "nt":
    from support.terminal import Terminal


@pytest.fixture
def folder(tmp_path):
    """Where the password file is to be, and nothing else may stay."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    return folder


@pytest.fixture
def at_terminal(tmp_path, folder):
    """Starts a challenge login of R41 with the missing file secrets/r41 at a terminal."""
    if os.name == "nt":
        pytest.skip("there are no pseudo-terminals on Windows")

    def start(server, *argv, **options):
        line = ("-s", server.address, "-u", "R41", "-p", str(folder / "r41"), "-c", "pass")
        return Terminal(tmp_path, *line, *argv, **options)

    return start


def assert_made(folder, content=HASH):
    path = folder / "r41"
    assert [entry.name for entry in folder.iterdir()] == ["r41"]
    assert path.read_text() == content + "\n"
    status = path.lstat()
    assert stat.S_ISREG(status.st_mode)
    assert os.name == "nt" or stat.S_IMODE(status.st_mode) == 0o400
    assert status.st_nlink == 1


def assert_nothing_made(folder):
    assert list(folder.iterdir()) == []


# It is made


@pytest.mark.slow
def test_the_first_use_asks_without_echo_and_makes_the_file_which_the_next_one_uses(
    scripted, at_terminal, here, folder
):
    server = scripted(challenging())
    with at_terminal(server, umask=0o777) as terminal:
        terminal.answer(PASSWORD + "\n")
        assert terminal.end() == 0
        assert PASSWORD not in terminal.shown
        assert terminal.echoes
    assert_made(folder)
    assert here("-s", server.address, "-u", "R41", "-p", str(folder / "r41"), "-c", "pass").returncode == 0


@pytest.fixture(scope="module")
def real_server(tmp_path_factory):
    accounts = (Account("R42", None, keys_from_hash(HASH.encode())),)
    with QuickServer(tmp_path_factory.mktemp("home") / "home", accounts=accounts) as server:
        yield server


@needs_terminal
@pytest.mark.slow
def test_the_real_server_is_satisfied_and_what_it_refuses_then_does_not_undo_the_file(tmp_path, folder, real_server):
    line = ("-s", real_server.address, "-u", "R42", "-p", str(folder / "r41"), "-m", "009XXX")
    with Terminal(tmp_path, *line) as terminal:
        terminal.answer("wrong\n")
        assert terminal.end() == 2
    assert_nothing_made(folder)
    with Terminal(tmp_path, *line) as terminal:
        terminal.answer(PASSWORD + "\n")
        assert terminal.end() == 2
    assert "009XXX" in terminal.shown
    assert_made(folder)


@needs_terminal
@pytest.mark.slow
def test_a_connection_that_is_lost_asks_for_no_password_again(tmp_path, folder, gate, real_server):
    ends = Ends(server=700)  # behind the acceptance, in the middle of what the job prints
    with UnreliableRelay(lambda: real_server.address, lambda n: ends if n == 0 else Ends()) as line:
        code = f"print('x' * 1000, flush=True)\n{gate.code}"
        argv = ("-s", line.address, "-u", "R42", "-p", str(folder / "r41"), "-t", "-1", "-v", "-c", code)
        with Terminal(tmp_path, *argv) as terminal:
            terminal.answer(PASSWORD + "\n")
            terminal.wait_for("attached to session")
            gate.open()
            assert terminal.end() == 0
    assert (terminal.shown.count("Password for"), terminal.shown.count("was made")) == (1, 1)
    assert_made(folder)


# It is not made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "code", "word"),
    [("a\x00b\n", 2, "NUL"), ("\x04", 2, "no password"), ("\x03", 2, "no password"), (signal.SIGTERM, -15, "")],
    ids=repr,
)
def test_without_a_password_it_ends_before_any_connection_with_the_echo_on(  # noqa: PLR0917
    at_terminal, folder, scripted, typed, code, word
):
    """What else is none: test_bcrypt_hash.py."""
    server = scripted(challenging())
    with at_terminal(server) as terminal:
        terminal.answer(typed if isinstance(typed, str) else "half a pass")
        if not isinstance(typed, str):
            terminal.process.send_signal(typed)
        assert (terminal.end(), word in terminal.shown, terminal.echoes) == (code, True, True)
    assert server.peers == []
    assert_nothing_made(folder)


def test_a_cost_outside_the_window_is_not_computed(folder, monkeypatch):
    monkeypatch.setattr(bcrypt, "hashpw", lambda *_: pytest.fail("it was computed"))
    with Waiter() as waiter, pytest.raises(RemoteProtocolError, match="cost"):
        NewSecret(b"x", NewFile(str(folder / "r41")), waiter).hash_for("$2b$31$" + "u" * 22)


@needs_terminal
@pytest.mark.parametrize(
    "path", ["missing/r41", "file/r41", "secrets/", "secrets/link", "closed/r41", "/proc/self/r41"]
)
def test_a_place_where_no_file_can_be_is_found_before_the_password_is_asked_for(tmp_path, folder, monkeypatch, path):
    if path.startswith("/proc") and not os.path.isdir("/proc/self"):
        pytest.skip("there is no /proc here")
    if path.startswith("closed") and os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "closed").mkdir(mode=0o500)
    (tmp_path / "file").touch()
    (folder / "link").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(password_prompt, "_ask", lambda *_: pytest.fail("it was asked for"))
    with Waiter() as waiter, pytest.raises(ParameterError):
        password_prompt.ask(path, "R41", waiter)


@pytest.mark.slow
@pytest.mark.version("how an interpreter imports")
def test_a_missing_bcrypt_is_a_2_before_the_password_is_asked_for(at_terminal, folder, scripted, tmp_path):
    (tmp_path / "bcrypt").mkdir()
    (tmp_path / "bcrypt" / "__init__.py").write_text("raise ImportError('no bcrypt here', name='bcrypt')")
    with at_terminal(scripted(challenging()), env={**os.environ, "PYTHONPATH": str(tmp_path)}) as terminal:
        assert terminal.end() == 2
        assert "pip install" in terminal.shown
        assert "Password" not in terminal.shown
    assert_nothing_made(folder)


# Races and full disks


@pytest.fixture
def new_file(folder):
    """The one that is to be made."""
    return NewFile(str(folder / "r41"))


def test_a_file_that_somebody_else_made_meanwhile_stays_as_it_is(new_file, folder):
    (folder / "r41").write_text("theirs")
    with pytest.raises(Taken, match="left as it is"):
        new_file.write(HASH.encode() + b"\n")
    assert (folder / "r41").read_text() == "theirs"
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_the_file_is_for_its_owner_whatever_the_umask(folder, umask):
    before = os.umask(umask)
    try:
        NewFile(str(folder / "r41")).write(HASH.encode() + b"\n")
    finally:
        os.umask(before)
    assert_made(folder)


@pytest.mark.slow
def test_processes_at_once_make_one_file(at_terminal, folder, scripted):
    server = scripted(challenging())
    terminals = [at_terminal(server).__enter__() for _ in range(3)]
    for terminal in terminals:
        terminal.answer(PASSWORD)
    for terminal in terminals:
        terminal.type("\n")
    assert [terminal.end() for terminal in terminals] == [0] * 3
    for terminal in terminals:
        terminal.__exit__()
    assert_made(folder)


@pytest.mark.parametrize("step", ["write", "fsync", "link"])
def test_a_disk_that_is_full_or_broken_leaves_nothing(new_file, folder, monkeypatch, step):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    if os.name == "nt" and step != "fsync":
        pytest.skip("this platform makes the file otherwise")
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(SessionError, match="No space left"):
        new_file.write(HASH.encode() + b"\n")
    assert_nothing_made(folder)


@pytest.mark.skipif(os.name == "nt", reason="this platform makes the file otherwise")
def test_the_content_is_on_the_disk_before_the_file_has_its_name(new_file, monkeypatch):
    steps = Mock()
    for name in ("fsync", "link"):
        monkeypatch.setattr(os, name, getattr(steps, name))
    new_file.write(HASH.encode() + b"\n")
    assert [name for name, _, _ in steps.mock_calls] == ["fsync", "link"]


def test_the_hash_is_computed_under_the_deadline(new_file, monkeypatch):
    is_over = threading.Event()
    with Waiter() as waiter:
        new = NewSecret(PASSWORD.encode(), new_file, waiter)
        assert new.hash_for(SALT) == HASH.encode()
        monkeypatch.setattr(password_prompt, "_bcrypt_hash", lambda *_: is_over.wait(PATIENCE))
        waiter.set_deadline(0)
        with pytest.raises(DeadlinePassed):
            new.hash_for(SALT)
    is_over.set()
