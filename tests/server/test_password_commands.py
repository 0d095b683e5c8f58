"""`user add` and `user passwd`: they give an account a password, and change nothing else. What is taken for one is in
test_new_keys.py."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from functools import partial

import pytest

from headless.server.accounts import COST, Accounts
from headless.server.home import Home
from support.command_here import headless
from support.credentials import HASH, PASSWORD, hash_of
from support.management import fails, prints
from support.new_keys import OTHER_HASH, keys_of, lets_in, make_cheap, secret_file_in
from support.process import ROOT, current_user, manage
from support.waiting import wait_until

pytestmark = pytest.mark.slow

posix_only = pytest.mark.skipif(os.name == "nt", reason="modes mean nothing on Windows")
STDIN = f"{PASSWORD}\n".encode()


@pytest.fixture
def cheap(monkeypatch):
    make_cheap(monkeypatch)


@pytest.fixture
def secret_file(tmp_path):
    """Makes a password file."""
    return partial(secret_file_in, tmp_path)


class Give:
    """The words of a command that gives R42 a password, and what was there before."""

    def __init__(self, home: str, command: str) -> None:
        self.home = home
        self._command = command
        self.before = self.state()

    def __call__(self, *argv: str) -> tuple[str, ...]:
        return ("user", self._command, "R42", *argv, "--home", self.home)

    def state(self) -> tuple[object, ...]:
        with closing(Home(self.home).database()) as database:
            return tuple(Accounts(database).all())


@pytest.fixture(params=["add", "passwd"])
def give(request, home):
    """For a new account, and for one that has another password."""
    if request.param == "passwd":
        prints("user", "add", "R42", "--secret-file", "-", "--home", home, stdin=OTHER_HASH)
    return Give(home, request.param)


def test_the_account_gets_it_and_neither_password_nor_hash_is_in_the_home(give, secret_file):
    assert prints(*give("--secret-file", secret_file())) == []
    keys = keys_of(give.home, "R42")
    assert lets_in(keys, HASH.encode())
    assert not lets_in(keys, OTHER_HASH)
    for name in os.listdir(give.home):
        path = os.path.join(give.home, name)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                content = file.read()
            assert HASH[29:].encode() not in content
            assert PASSWORD.encode() not in content


def test_what_is_refused_changes_nothing(give, secret_file):
    for argv, stdin, word in [
        (("--secret-file", secret_file(PASSWORD)), b"", "does not hold one bcrypt hash"),
        (("--secret-file", "-"), STDIN, "does not hold one bcrypt hash"),
        (("--password-stdin",), b"a\0b\n", "NUL"),
        ((), b"", "no terminal"),
    ]:
        fails(word, *give(*argv), stdin=stdin)
        assert give.state() == give.before


def test_a_password_comes_from_one_place(give):
    for argv in [("--password-stdin", "--secret-file", "secret"), ("--secret-file",), ("-p", "secret")]:
        done = headless(*give(*argv), stdin=STDIN)
        assert (done.returncode, done.stdout) == (2, ""), argv
    assert give.state() == give.before


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("way", ["--password-stdin", "--secret-file"])
def test_an_account_can_have_an_os_user_and_a_password(home, secret_file, way):
    argv = [way, secret_file()] if way == "--secret-file" else [way]
    prints("user", "add", "R42", "--os-user", current_user(), *argv, "--home", home, stdin=STDIN)
    assert prints("user", "list", "--home", home)[1] == f"R42 challenge osuser={current_user()}"


@pytest.mark.usefixtures("cheap")
def test_another_password_leaves_the_rest_of_the_account(home):
    prints("user", "limit", "R41", "--no-code", "--home", home)
    prints("user", "passwd", "R41", "--password-stdin", "--home", home, stdin=STDIN)
    assert prints("user", "list", "--home", home) == [f"R41 challenge osuser={current_user()} no-code"]


def test_a_user_without_an_account_gets_no_password_and_is_not_asked(home):
    fails("there is no account 'R99'", "user", "passwd", "R99", "--home", home)
    fails("there is no account 'R99'", "user", "passwd", "R99", "--password-stdin", "--home", home, stdin=STDIN)


@pytest.mark.usefixtures("cheap")
def test_a_password_makes_no_home(tmp_path):
    fails("absent", "user", "passwd", "R41", "--password-stdin", "--home", str(tmp_path / "absent"), stdin=STDIN)
    assert list(tmp_path.iterdir()) == []


def test_the_secret_is_not_asked_of_the_home_before_it_is_right(tmp_path):
    fails("does not exist", "user", "add", "R41", "--secret-file", "missing", "--home", str(tmp_path / "home"))
    assert list(tmp_path.iterdir()) == []


# As processes


def test_the_command_as_a_process_takes_a_password_file(home, secret_file):
    done = manage("user", "add", "R42", "--secret-file", secret_file(), "--home", home)
    assert (done.stdout, done.stderr) == ("", "")
    assert lets_in(keys_of(home, "R42"), HASH.encode())


@pytest.fixture
def terminal(home):
    """Runs `user add` at a terminal."""
    from support.terminal import Terminal  # not on Windows

    with Terminal(ROOT, *Give(home, "add")(), program=("-m", "headless")) as terminal:
        yield terminal


@posix_only
@pytest.mark.version("getpass")
def test_at_a_terminal_the_password_is_not_shown(home, terminal):
    terminal.answer(f"{PASSWORD}\n", "Password: ")
    terminal.answer(f"{PASSWORD}\n", "The same again: ")
    assert terminal.end() == 0
    assert PASSWORD not in terminal.shown
    keys = keys_of(home, "R42")
    assert keys is not None
    assert keys.salt.startswith(f"$2b${COST}$")
    assert lets_in(keys, hash_of(PASSWORD, keys.salt))


@posix_only
@pytest.mark.version("getpass")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_at_the_question_ends_the_command_by_itself_and_gives_the_echo_back(terminal, name):
    terminal.wait_for("Password: ")
    wait_until(lambda: not terminal.echoes)
    signum = getattr(signal, name)
    os.kill(terminal.process.pid, signum)
    assert terminal.end() in (-signum, 256 - signum)
    assert terminal.echoes
