"""Passwords of accounts: which ones `user add` and `user passwd` take, asked for, given or from a file."""

from __future__ import annotations

import getpass
import io
import os
import signal
import sys
from argparse import Namespace
from contextlib import closing
from unittest.mock import patch

import pytest

from headless.dialects import bcrypt_hash
from headless.dialects.own import scram
from headless.errors import CommandFailed, Interrupted
from headless.server import accounts
from headless.server.accounts import COST, Account, Accounts
from headless.server.commands import user as user_command
from headless.server.home import Home
from support.checks import assert_harmless
from support.command_here import headless
from support.credentials import HASH, PASSWORD, SALT, hash_of
from support.homes import fails, posix, prints
from support.process import ROOT, current_user
from support.waiting import wait_until

pytestmark = pytest.mark.slow


OTHER_HASH = b"$2b$10$abcdefghijklmnopqrstuu3OXnChv9rsS38y2T8H/NPI6EHTr4uGS"  # of another password
IF_TRUSTED = "if no other user has read it, give it to standard input: --secret-file - < FILE"
STDIN = f"{PASSWORD}\n".encode()


def state(home_path: str) -> list[Account]:
    with closing(Home(home_path).database()) as database:
        return Accounts(database).all()


def keys_of(home_path: str, user: str) -> scram.Keys | None:
    (account,) = (each for each in state(home_path) if each.user == user)
    return account.keys


def lets_in(keys: scram.Keys | None, secret: bytes) -> bool:
    """Returns whether the server lets in, with these keys, a client that has this hash."""
    assert keys is not None
    return scram.proof_is_right(keys.stored_key, b"message", scram.client_proof(secret, b"message"))


@pytest.fixture
def cheap(monkeypatch):
    """New salts have the lowest cost there is."""
    monkeypatch.setattr(accounts, "COST", 4)
    monkeypatch.setattr(bcrypt_hash, "MIN_COST", 4)


@pytest.fixture
def secret_file(tmp_path):
    """Makes a password file."""

    def make(content: str = HASH + "\n", mode: int = 0o400) -> str:
        path = tmp_path / "secret"
        path.unlink(missing_ok=True)
        path.write_bytes(content.encode())
        path.chmod(mode)
        return str(path)

    return make


def keys_from(secret_file: str | None = None, stdin: bytes = b"", password_stdin: bool = False) -> scram.Keys:
    with patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")):
        return user_command.read_keys(Namespace(secret_file=secret_file, password_stdin=password_stdin))


def refuses(word: str, secret_file: str | None = None, stdin: bytes = b"", password_stdin: bool = False) -> None:
    """Expects one line with this word, which shows no secret."""
    with pytest.raises(CommandFailed) as refusal:
        keys_from(secret_file, stdin, password_stdin)
    complaint = str(refusal.value)
    assert word in complaint
    assert "\n" not in complaint
    assert_harmless(complaint)
    assert HASH[29:] not in complaint
    assert PASSWORD not in complaint


# A password file


def test_an_old_password_file_logs_in_as_it_is(secret_file):
    spaces = ("", "\n", "\r\n", " \t\n\n")
    for algorithm, space in [("2a", ""), ("2y", "\n"), *(("2b", space) for space in spaces)]:
        secret = f"${algorithm}{HASH[3:]}"
        keys = keys_from(secret_file(space + secret + space))
        assert keys.salt == secret[:29]
        assert lets_in(keys, secret.encode()), (algorithm, space)
        assert not lets_in(keys, OTHER_HASH)


@posix
def test_what_is_no_password_file_is_refused_and_the_mend_leaves_it_as_it_is(secret_file, tmp_path):
    refuses("does not hold one bcrypt hash", secret_file(PASSWORD))
    refuses("does not hold one bcrypt hash", "-", f"R42:{HASH}".encode())
    refuses("more than 4096 bytes", "-", HASH.encode() + b" " * 10_000_000)
    refuses("missing' does not exist", str(tmp_path / "missing"))
    refuses(f"(mode 0644): {IF_TRUSTED}", secret_file(mode=0o644))


# A password


@pytest.mark.usefixtures("cheap")
def test_a_password_on_standard_input_has_a_new_salt():
    salts = set()
    for _ in range(2):
        keys = keys_from(stdin=STDIN, password_stdin=True)
        salts.add(keys.salt)
        assert keys.salt.startswith("$2b$04$")
        assert lets_in(keys, hash_of(PASSWORD, keys.salt))
        assert not lets_in(keys, hash_of("another", keys.salt))
    assert len(salts | {SALT}) == 3
    longest = "ü" * 36  # 72 bytes
    keys = keys_from(stdin=f"{longest}\r\n".encode(), password_stdin=True)
    assert lets_in(keys, hash_of(longest, keys.salt))


def test_a_password_is_refused_that_is():
    for password, word in [
        (b"x" * 73 + b"\n", "73 bytes"),
        ("ü".encode() * 37 + b"\n", "74 bytes"),
        (b"\n", "0 bytes"),
        (b"", "0 bytes"),
        (b"a\0b\n", "NUL"),
        (b"\xff\n", "UTF-8"),
    ]:
        refuses(word, stdin=password, password_stdin=True)


@pytest.fixture
def at_terminal(monkeypatch):
    """Gives these answers and returns the questions. An answer may be a function, as while a user types."""

    def answer(*answers):
        left, asked = list(answers), []

        def ask(prompt):
            asked.append(prompt)
            answer = left.pop(0)
            return answer() if callable(answer) else answer

        monkeypatch.setattr(getpass, "getpass", ask)
        monkeypatch.setattr(user_command, "is_at_terminal", lambda: True)
        return asked

    return answer


def end_of_input():
    raise EOFError


@pytest.mark.usefixtures("cheap")
def test_a_password_is_asked_for_twice_and_refused_if_it_is_not_typed_twice(at_terminal):
    asked = at_terminal(PASSWORD, PASSWORD)
    keys = keys_from()
    assert lets_in(keys, hash_of(PASSWORD, keys.salt))
    assert asked == ["Password: ", "The same again: "]
    for answers, word in [
        ((PASSWORD, "other"), "two different passwords"),
        ((PASSWORD, end_of_input), "no password was given"),
        ((end_of_input,), "no password was given"),
    ]:
        at_terminal(*answers)
        refuses(word)


@posix
def test_a_signal_at_the_question_interrupts_it_and_what_it_did_before_is_back(at_terminal):
    for name in ("SIGTERM", "SIGHUP"):
        signum = getattr(signal, name)
        before = signal.getsignal(signum)
        for handler in (signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(signum, handler)
            try:
                at_terminal(lambda signum=signum: os.kill(os.getpid(), signum), PASSWORD)
                if handler is signal.SIG_DFL:
                    with pytest.raises(Interrupted) as interrupted:
                        keys_from()
                    assert interrupted.value.signum == signum
                else:
                    refuses("two different passwords")
                assert signal.getsignal(signum) is handler
            finally:
                signal.signal(signum, before)


# For an account


@pytest.fixture(params=["add", "passwd"])
def give(request, home_path):
    """Makes the words of a command that gives R42, who has no account or another password, a password."""
    if request.param == "passwd":
        prints("user", "add", "R42", "--secret-file", "-", "--home", home_path, stdin=OTHER_HASH)
    return lambda *argv: ("user", request.param, "R42", *argv, "--home", home_path)


def test_the_account_gets_the_password(give, home_path, secret_file):
    assert prints(*give("--secret-file", secret_file())) == []
    keys = keys_of(home_path, "R42")
    assert lets_in(keys, HASH.encode())
    assert not lets_in(keys, OTHER_HASH)


def test_what_is_refused_changes_nothing(give, home_path, secret_file):
    before = state(home_path)
    for argv, stdin, word in [
        (("--secret-file", secret_file(PASSWORD)), b"", "does not hold one bcrypt hash"),
        (("--secret-file", "-"), STDIN, "does not hold one bcrypt hash"),
        (("--password-stdin",), b"a\0b\n", "NUL"),
        ((), b"", "no terminal"),
    ]:
        fails(word, *give(*argv), stdin=stdin)
    for argv in [("--password-stdin", "--secret-file", "secret"), ("--secret-file",), ("-p", "secret")]:
        done = headless(*give(*argv), stdin=STDIN)
        assert (done.returncode, done.stdout) == (2, ""), argv
    assert state(home_path) == before


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("option", ["--password-stdin", "--secret-file"])
def test_an_account_can_have_an_os_user_and_a_password_and_another_one_leaves_the_rest(home_path, secret_file, option):
    argv = [option, secret_file()] if option == "--secret-file" else [option]
    of_home = ("--home", home_path)
    prints("user", "add", "R42", "--os-user", current_user(), *argv, *of_home, stdin=STDIN)
    prints("user", "limit", "R41", "--no-code", *of_home)
    prints("user", "passwd", "R41", *argv, *of_home, stdin=STDIN)
    assert prints("user", "list", *of_home) == [
        f"R41 challenge osuser={current_user()} no-code",
        f"R42 challenge osuser={current_user()}",
    ]


def test_a_user_without_an_account_gets_no_password_and_is_not_asked(home_path):
    for argv in ((), ("--password-stdin",)):
        fails("there is no account 'R99'", "user", "passwd", "R99", *argv, "--home", home_path, stdin=STDIN)


@pytest.mark.usefixtures("cheap")
def test_neither_another_password_nor_a_secret_that_is_refused_makes_a_home(tmp_path):
    home_path = str(tmp_path / "absent")
    fails("absent", "user", "passwd", "R41", "--password-stdin", "--home", home_path, stdin=STDIN)
    fails("does not exist", "user", "add", "R41", "--secret-file", "missing", "--home", home_path)
    assert list(tmp_path.iterdir()) == []


# As a process


@pytest.fixture
def terminal(home_path):
    """Runs `user add` at a terminal."""
    from support.terminal import Terminal  # not on Windows

    with Terminal(ROOT, "user", "add", "R42", "--home", home_path, program=("-m", "headless")) as terminal:
        yield terminal


@posix
@pytest.mark.version("getpass")
def test_at_a_terminal_the_password_is_not_shown(home_path, terminal):
    terminal.answer(f"{PASSWORD}\n", "Password: ")
    terminal.answer(f"{PASSWORD}\n", "The same again: ")
    assert terminal.end() == 0
    assert PASSWORD not in terminal.shown
    keys = keys_of(home_path, "R42")
    assert keys is not None
    assert keys.salt.startswith(f"$2b${COST}$")
    assert lets_in(keys, hash_of(PASSWORD, keys.salt))


@posix
@pytest.mark.version("getpass")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_at_the_question_ends_the_command_by_itself_and_gives_the_echo_back(terminal, name):
    terminal.wait_for("Password: ")
    wait_until(lambda: not terminal.echoes)
    signum = getattr(signal, name)
    os.kill(terminal.process.pid, signum)
    assert terminal.end() in (-signum, 256 - signum)
    assert terminal.echoes
