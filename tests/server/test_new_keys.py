"""Where the keys of an account come from: a password, asked for or given, or a password file; and all that can go wrong
with them. The commands that give them to an account are in test_password_commands.py."""

from __future__ import annotations

import getpass
import io
import os
import signal
import sys
from argparse import Namespace
from functools import partial
from unittest.mock import patch

import pytest

from headless.dialects.own import scram
from headless.errors import CommandFailed, Interrupted
from headless.server.commands import new_keys
from support.access_lists import GROUP, USER, set_access_list
from support.advice import assert_harmless
from support.credentials import HASH, PASSWORD, SALT, hash_of
from support.new_keys import OTHER_HASH, lets_in, make_cheap, secret_file_in

posix_only = pytest.mark.skipif(os.name == "nt", reason="modes mean nothing on Windows")
IF_TRUSTED = "if no other user has read it, give it to standard input: --secret-file - < FILE"
STDIN = f"{PASSWORD}\n".encode()


@pytest.fixture
def cheap(monkeypatch):
    make_cheap(monkeypatch)


@pytest.fixture
def secret_file(tmp_path):
    """Makes a password file."""
    return partial(secret_file_in, tmp_path)


def keys_from(secret_file: str | None = None, stdin: bytes = b"", password_stdin: bool = False) -> scram.Keys:
    with patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")):
        return new_keys.read(Namespace(secret_file=secret_file, password_stdin=password_stdin))


def refuses(word: str, secret_file: str | None = None, stdin: bytes = b"", password_stdin: bool = False) -> None:
    """No keys come of it, but one line, which shows no secret."""
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


def test_a_password_file_may_come_on_standard_input():
    assert lets_in(keys_from("-", HASH.encode() + b"\n"), HASH.encode())


def test_what_is_no_password_file_is_refused(secret_file, tmp_path):
    """By the rules of the command, which tests/client/test_password_file.py has."""
    for content, word in (
        (PASSWORD, "does not hold one bcrypt hash"), (f"R42:{HASH}", "does not hold one bcrypt hash"),
        ("\ufeff" + HASH, "byte order mark"), (HASH.replace("$10$", "$09$"), "a cost of 9"),
    ):  # fmt: skip
        refuses(word, secret_file(content))
        refuses(word, "-", content.encode())
    refuses("4097 bytes", secret_file(HASH + " " * (4097 - 60)))
    refuses("more than 4096 bytes", "-", HASH.encode() + b" " * 10_000_000)
    refuses("missing' does not exist", str(tmp_path / "missing"))
    refuses("is not a regular file", str(tmp_path))
    refuses("cannot be opened", "a\0b")


@posix_only
def test_a_file_that_is_open_to_others_is_refused_and_the_mend_leaves_it_as_it_is(secret_file):
    refuses(f"(mode 0644): {IF_TRUSTED}", secret_file(mode=0o644))
    path = secret_file(mode=0o640)
    assert lets_in(keys_from(path), HASH.encode())
    set_access_list(path, (GROUP, 4, 12345), group=0, mask=4)
    assert lets_in(keys_from(path), HASH.encode())
    set_access_list(path, (USER, 4, 12345), group=0, mask=4)
    refuses(f"opens it to user number 12345: {IF_TRUSTED}", path)


@posix_only
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused_unless_that_is_root(secret_file):
    path = secret_file()
    os.chown(path, 12345, -1)
    refuses("belongs to user number 12345", path)
    os.chown(path, 0, -1)
    with patch.object(os, "geteuid", lambda: 12345):
        keys = keys_from(path)
    assert lets_in(keys, HASH.encode())


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


@pytest.mark.usefixtures("cheap")
def test_a_password_of_72_bytes_is_the_longest():
    password = "ü" * 36
    keys = keys_from(stdin=f"{password}\r\n".encode(), password_stdin=True)
    assert lets_in(keys, hash_of(password, keys.salt))


class Questions:
    """A terminal at which these answers are given. Functions are called, as by whoever types."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.asked = []

    def __call__(self, prompt):
        self.asked.append(prompt)
        answer = self._answers.pop(0)
        return answer() if callable(answer) else answer


@pytest.fixture
def at_terminal(monkeypatch):
    """The answers to the next questions."""

    def answer(*answers):
        questions = Questions(*answers)
        monkeypatch.setattr(getpass, "getpass", questions)
        monkeypatch.setattr(new_keys, "is_at_terminal", lambda: True)
        return questions

    return answer


def end_of_input():
    raise EOFError


@pytest.mark.usefixtures("cheap")
def test_a_password_is_asked_for_twice(at_terminal):
    questions = at_terminal(PASSWORD, PASSWORD)
    keys = keys_from()
    assert lets_in(keys, hash_of(PASSWORD, keys.salt))
    assert questions.asked == ["Password: ", "The same again: "]


def test_a_password_that_is_not_typed_twice_is_refused(at_terminal):
    for answers, word in [
        ((PASSWORD, "other"), "two different passwords"),
        ((PASSWORD, end_of_input), "no password was given"),
        ((end_of_input,), "no password was given"),
    ]:
        at_terminal(*answers)
        refuses(word)


@posix_only
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


def test_without_a_terminal_nothing_is_asked():
    refuses("no terminal")
