"""Making the password file: asked for at a terminal alone, written only after the server has proved itself, whole, for
its owner, never over another one, and with nothing left beside it.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import unicodedata
from typing import Any

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
from support.process import PATIENCE, ROOT
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


@pytest.mark.slow
def test_composed_and_decomposed_forms_of_a_password_give_the_same_hash(scripted, at_terminal, folder):
    wanted = bcrypt.hashpw(unicodedata.normalize("NFC", "Zoë Ångström").encode(), SALT.encode()).decode()
    with at_terminal(scripted(challenging(secret=wanted))) as terminal:
        terminal.answer(unicodedata.normalize("NFD", "Zoë Ångström") + "\n")
        assert terminal.end() == 0
    assert_made(folder, wanted)


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
    ("typed", "word"), [("a\x00b\n", "NUL"), ("\x04", "no password"), ("\x03", "no password")], ids=repr
)
def test_what_is_no_password_is_a_2_before_any_connection(at_terminal, folder, scripted, typed, word):
    """What else is none: test_bcrypt_hash.py."""
    server = scripted(challenging())
    with at_terminal(server) as terminal:
        terminal.answer(typed)
        assert terminal.end() == 2
        assert word in terminal.shown
        assert terminal.echoes
    assert server.peers == []
    assert_nothing_made(folder)


@pytest.mark.slow
def test_a_signal_at_the_prompt_ends_the_process_by_it_and_restores_the_echo(at_terminal, folder, scripted):
    with at_terminal(scripted(challenging())) as terminal:
        terminal.answer("half a pass")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.end() == -signal.SIGTERM
        assert terminal.echoes
    assert_nothing_made(folder)


@pytest.mark.slow
def test_a_server_that_cannot_prove_itself_makes_no_file(at_terminal, folder, scripted):
    server = scripted(challenging(signature="A" * 43 + "="))
    with at_terminal(server) as terminal:
        terminal.answer(PASSWORD + "\n")
        assert terminal.end() == 1
    assert_nothing_made(folder)


def test_a_cost_outside_the_window_is_not_computed(folder, monkeypatch):
    monkeypatch.setattr(bcrypt, "hashpw", lambda *_: pytest.fail("it was computed"))
    with Waiter() as waiter:
        new = NewSecret(b"x", NewFile(str(folder / "r41")), waiter)
        for salt in ("$2b$09$abcdefghijklmnopqrstuu", "$2b$16$abcdefghijklmnopqrstuu", "$2b$31$" + "u" * 22):
            with pytest.raises(RemoteProtocolError, match="cost"):
                new.hash_for(salt)


@pytest.mark.slow
@pytest.mark.parametrize("stdin", ["null", "pipe", "closed"])
def test_without_a_terminal_no_one_is_asked(command, folder, scripted, stdin):
    if os.name == "nt" and stdin == "closed":
        pytest.skip("Windows cannot start a program in this way")
    server = scripted(challenging())
    reader, writer = os.pipe()
    os.write(writer, PASSWORD.encode() + b"\n")
    options: dict[str, dict[str, Any]] = {
        "null": {},
        "pipe": {"stdin": reader},
        "closed": {"preexec_fn": lambda: os.close(0)},
    }
    done = command("-s", server.address, "-u", "R41", "-p", str(folder / "r41"), "-c", "pass", **options[stdin])
    assert (done.returncode, done.stdout) == (2, "")
    assert "terminal" in done.stderr
    assert server.peers == []
    os.close(reader)
    os.close(writer)
    assert_nothing_made(folder)


@needs_terminal
@pytest.mark.parametrize("path", ["missing/r41", "file/r41", "secrets/", "secrets/link", "/proc/self/r41"])
def test_a_place_where_no_file_can_be_is_found_before_the_password_is_asked_for(tmp_path, folder, monkeypatch, path):
    if path.startswith("/proc") and not os.path.isdir("/proc/self"):
        pytest.skip("there is no /proc here")
    (tmp_path / "file").touch()
    (folder / "link").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(password_prompt, "_ask", lambda *_: pytest.fail("it was asked for"))
    with Waiter() as waiter, pytest.raises(ParameterError):
        password_prompt.ask(path, "R41", waiter)


@pytest.mark.slow
def test_that_is_a_2_before_any_connection(at_terminal, folder, scripted):
    folder.rmdir()
    server = scripted(challenging())
    with at_terminal(server) as terminal:
        assert terminal.end() == 2
        assert "Password" not in terminal.shown
    assert server.peers == []


@pytest.mark.slow
def test_a_folder_that_may_not_be_written_to_is_found_before_the_password_is_asked_for(at_terminal, folder, scripted):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder.chmod(0o500)
    server = scripted(challenging())
    with at_terminal(server) as terminal:
        assert terminal.end() == 2
        assert "Password" not in terminal.shown
    assert server.peers == []


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


# Races, kills and full disks: the part that writes, as a process where it is killed


@pytest.fixture(params=["without a name", "under another name"])
def new_file(request, monkeypatch):
    """Makes the file that is to be written, in both of the ways that platforms allow."""
    if request.param == "under another name":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("this platform has no files without a name")
    return lambda path: NewFile(str(path))


def test_a_file_that_somebody_else_made_meanwhile_stays_as_it_is(new_file, folder):
    file = new_file(folder / "r41")
    (folder / "r41").write_text("theirs")
    with pytest.raises(Taken, match="left as it is"):
        file.write(HASH.encode() + b"\n")
    assert (folder / "r41").read_text() == "theirs"
    assert len(list(folder.iterdir())) == 1


def test_six_at_once_make_one_file(new_file, folder):
    files = [new_file(folder / "r41") for _ in range(6)]
    files[0].write(HASH.encode() + b"\n")
    for file in files[1:]:
        with pytest.raises(Taken):
            file.write(HASH.encode() + b"\n")
    assert_made(folder)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_the_file_is_for_its_owner_whatever_the_umask(new_file, folder, umask):
    before = os.umask(umask)
    try:
        new_file(folder / "r41").write(HASH.encode() + b"\n")
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
    file = new_file(folder / "r41")
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(SessionError, match="No space left"):
        file.write(HASH.encode() + b"\n")
    assert_nothing_made(folder)


# Tries each step in a child that is killed there, and prints how the child has ended, and what there is then.
KILLED = """
import os, signal, sys
from headless.password_file import NewFile
def killed(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)
for step in sys.argv[2:]:
    child = os.fork()
    if not child:
        file = NewFile(sys.argv[1])
        setattr(os, step, killed)
        file.write(b"hash")
        os._exit(0)
    print(step, -os.WTERMSIG(os.waitpid(child, 0)[1]), *os.listdir(os.path.dirname(sys.argv[1])), flush=True)
"""


@pytest.mark.slow
def test_a_kill_at_any_step_leaves_nothing(folder):
    if not hasattr(os, "O_TMPFILE"):
        pytest.skip("this platform has no files without a name: a kill can leave one under another name")
    steps = ("write", "fchmod", "fsync", "link")
    line = [sys.executable, "-c", KILLED, str(folder / "r41"), *steps]
    done = subprocess.run(line, timeout=PATIENCE, check=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"{step} {-signal.SIGKILL}" for step in steps]


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot be asked to write a folder to the disk")
def test_file_and_folder_are_on_disk_when_it_is_done(new_file, folder, monkeypatch):
    synced = []
    fsync = os.fsync

    def noted(descriptor):
        synced.append(os.fstat(descriptor).st_mode)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    new_file(folder / "r41").write(HASH.encode() + b"\n")
    assert [stat.S_ISREG(mode) for mode in synced] == [True, False]
    assert stat.S_ISDIR(synced[-1])


def test_the_hash_is_computed_under_the_deadline(folder, monkeypatch):
    is_over = threading.Event()
    with Waiter() as waiter:
        new = NewSecret(PASSWORD.encode(), NewFile(str(folder / "r41")), waiter)
        assert new.hash_for(SALT) == HASH.encode()
        monkeypatch.setattr(password_prompt, "_bcrypt_hash", lambda *_: is_over.wait(PATIENCE))
        waiter.set_deadline(0)
        with pytest.raises(DeadlinePassed):
            new.hash_for(SALT)
    is_over.set()
