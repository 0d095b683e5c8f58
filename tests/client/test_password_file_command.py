"""headless password-file: makes the file as the command does, without a job, also for a loop over many users."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys

import pytest

from headless.server.accounts import Account, keys_from_hash
from support.command_here import headless
from support.credentials import HASH, PASSWORD, SALT, hash_of
from support.dialogues import challenging
from support.example_server import serve_example
from support.job_server import QuickServer
from support.process import PATIENCE, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="modes of files, pseudo-terminals")]
HEADLESS = [sys.executable, str(ROOT / "headless")]
NOWHERE = "127.0.0.1:1"  # no server listens there: a connection is a 1
OTHER_PASSWORD = "fifty words"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One with R42, who has PASSWORD, and R50, who has OTHER_PASSWORD."""
    accounts = (
        Account("R42", None, keys_from_hash(HASH.encode())),
        Account("R50", None, keys_from_hash(hash_of(OTHER_PASSWORD, SALT))),
    )
    with QuickServer(tmp_path_factory.mktemp("home") / "home", accounts=accounts) as server:
        yield server


def make(folder, address, *argv, stdin=PASSWORD + "\n", user="R42"):
    """What `headless password-file` does with the file `secret` of this folder."""
    line = ("password-file", "-s", address, "-u", user, "-p", str(folder / "secret"), "--password-stdin", *argv)
    return headless(*line, stdin=stdin if isinstance(stdin, bytes) else stdin.encode())


def test_the_file_is_the_one_that_the_command_uses_and_no_job_is_run(server, here, tmp_path):
    before = server.query("SELECT count(*) FROM jobs")
    done = make(tmp_path, server.address)
    path = tmp_path / "secret"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"the password file {str(path)!r} was made\n", "")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (HASH + "\n", 0o400)
    assert server.query("SELECT count(*) FROM jobs") == before
    assert here("-s", server.address, "-u", "R42", "-p", str(path), "-c", "pass").returncode == 0


def test_what_is_no_password_is_a_2_before_any_connection_that_shows_none_of_it(tmp_path):
    for stdin, reason in (
        ("\n", "the password has 0 bytes"),
        (f"{PASSWORD}\n\n", "it has more than one line"),
        ("a\0", "the password has a NUL character"),
        ("\ufeffa\n", "it begins with a byte order mark"),
        (b"hunt\xe9r\n", "the password is not text in UTF-8"),
        ("x" * 100_000, "the password has 4096 bytes"),
    ):
        done = make(tmp_path, NOWHERE, stdin=stdin)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), stdin[:20]
        assert done.stderr.startswith(f"headless password-file: error: standard input: {reason}")
        assert "hunt" not in done.stderr
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "password", "code", "reason"),
    [
        (None, PASSWORD, 1, "no connection"),
        (challenging(signature="x" * 44), PASSWORD, 1, "cannot prove that it knows the password"),
        ("the real server", "wrong\n", 2, "the server refused the login"),
        (challenging(), PASSWORD, 0, ""),
        (challenging(), f"{PASSWORD}\r\n", 0, ""),  # the end of the line is no part of it
    ],
)
def test_only_a_login_that_is_granted_and_proved_makes_a_file(  # noqa: PLR0917
    scripted, server, tmp_path, script, password, code, reason
):
    user = "R42" if isinstance(script, str) else "R41"
    address = NOWHERE if script is None else server.address if isinstance(script, str) else scripted(script).address
    done = make(tmp_path, address, stdin=password, user=user)
    assert (done.returncode, done.stderr.count("\n"), reason in done.stderr) == (code, int(code > 0), True)
    assert [path.name for path in tmp_path.iterdir()] == ([] if code else ["secret"])


@pytest.mark.parametrize("is_right", [True, False])
def test_it_works_with_another_dialect(scripted, tmp_path, monkeypatch, is_right):
    monkeypatch.setenv("PLANTA_PROTOCOL", str(ROOT / "headless" / "dialects" / "example.py"))
    done = make(tmp_path, scripted(serve_example).address, stdin=PASSWORD if is_right else "wrong", user="R41")
    assert done.returncode == (0 if is_right else 2), done.stderr
    if is_right:
        assert (tmp_path / "secret").read_text() == HASH + "\n"
        assert "warning: the server has not proved that it knows the password" in done.stderr
    else:
        assert ("access denied" in done.stderr, list(tmp_path.iterdir())) == (True, [])


@pytest.mark.parametrize("kind", ["file", "folder", "link that leads nowhere"])
def test_what_exists_is_a_2_before_any_connection_and_stays_as_it_is(tmp_path, kind):
    path = tmp_path / "secret"
    if kind == "file":
        path.write_text("old")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    done = make(tmp_path, NOWHERE)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "exists: delete it if the password was changed" in done.stderr
    assert kind != "file" or path.read_text() == "old"


def test_a_file_that_somebody_else_makes_meanwhile_stays_and_is_a_2(scripted, tmp_path):
    path = tmp_path / "secret"

    def script(peer):
        path.write_text("theirs")
        challenging()(peer)

    done = make(tmp_path, scripted(script).address, user="R41")
    assert (done.returncode, path.read_text()) == (2, "theirs")
    assert "was made by somebody else meanwhile" in done.stderr


def test_a_mistake_in_the_call_is_one_line_and_a_2_before_any_connection():
    for argv, reason in (
        (("-u", "R42"), "needs both -u USER_NAME and -p SECRET_FILE"),
        (("-p", "f"), "needs both -u"),
        (("-u", "R42", "-p", "f", "x"), "password-file needs no argument"),
        (("-m", "009ABC"), "no such option: -m"),
        (("-u", "R42", "-p", "f"), "there is no terminal to ask for the password at; give --password-stdin"),
        (("-u", "R42", "-p", "no/f", "--password-stdin"), "cannot be made in its folder"),
    ):
        done = headless("password-file", "-s", NOWHERE, *argv)
        assert (done.returncode, done.stderr.count("\n"), reason in done.stderr) == (2, 1, True), argv


def at_terminal(folder, *argv):
    from support.terminal import Terminal

    return Terminal(folder, "password-file", *argv, program=(str(ROOT / "headless"),))


def test_at_a_terminal_the_password_is_asked_for_without_echo_and_not_read_with_password_stdin(scripted, tmp_path):
    argv = ("-s", scripted(challenging()).address, "-u", "R41", "-p", "secret")
    with at_terminal(tmp_path, *argv, "--password-stdin") as terminal:
        assert terminal.end() == 2
    assert "standard input is a terminal" in terminal.shown
    with at_terminal(tmp_path, *argv) as terminal:
        terminal.answer(PASSWORD + "\n")
        assert terminal.end() == 0
    assert PASSWORD not in terminal.shown
    assert (tmp_path / "secret").read_text() == HASH + "\n"


def test_the_loop_of_the_page_makes_a_file_for_each_user(server, tmp_path):
    page = (ROOT / "headless" / "client" / "COMMAND.md").read_text(encoding="utf-8")
    (loop,) = re.findall(r"^ +(while read -r user.*?done < \S+)$", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "users").write_text(f"R42 {PASSWORD}\nR50 wrong\nR50 {OTHER_PASSWORD}")  # without an end of the line
    line = re.sub(r"\S*headless password-file", " ".join(HEADLESS) + " password-file", loop)
    line = line.replace("planta:20000", server.address).replace("/planta/jobs/", f"{tmp_path}/")
    done = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr.count("\n"), "R50: no file\n" in done.stdout) == (0, 1, True)
    assert sorted(path.name for path in tmp_path.glob("*.secret")) == ["R42.secret", "R50.secret"]
    assert PASSWORD not in line
    assert HASH not in done.stdout
