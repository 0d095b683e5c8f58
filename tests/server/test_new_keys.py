"""`user add` and `user passwd`: the ways to give an account a password, and every mistake that can be made."""

from __future__ import annotations

import os
import signal
import struct
from argparse import Namespace
from contextlib import closing
from unittest.mock import patch

import pytest

from headless.protocol import scram
from headless.server.accounts import COST, Accounts
from headless.server.commands import new_keys
from headless.server.home import Home
from support.advice import assert_harmless
from support.credentials import HASH, PASSWORD, SALT, hash_of
from support.in_process import run_here
from support.management import fails, prints
from support.process import ROOT, current_user, manage
from support.waiting import wait_until

posix_only = pytest.mark.skipif(os.name == "nt", reason="modes mean nothing on Windows")
OTHER_HASH = hash_of("another", SALT)
IF_TRUSTED = "if nobody else has read it, give it to standard input: --secret-file - < FILE"
STDIN = f"{PASSWORD}\n".encode()


def keys_of(home: str, user: str) -> scram.Keys | None:
    with closing(Home(home).database()) as database:
        account = Accounts(database).of_user(user)
    assert account is not None
    return account.keys


def lets_in(keys: scram.Keys | None, secret: bytes) -> bool:
    """Whether the server would believe, with these keys, whoever has this hash."""
    assert keys is not None
    return scram.proof_is_right(keys.stored_key, b"message", scram.client_proof(secret, b"message"))


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


def refuses(give: Give, word: str, *argv: str, stdin: bytes = b"") -> None:
    """The command fails with one line, which shows no secret, and changes nothing."""
    done = run_here(*give(*argv), stdin=stdin)
    assert (done.status, done.stdout) == (1, "")
    (complaint,) = done.stderr.splitlines()
    assert word in complaint
    assert_harmless(complaint)
    assert HASH[29:] not in complaint
    assert PASSWORD not in complaint
    assert give.state() == give.before


@pytest.mark.parametrize("algorithm", ["2a", "2b", "2y"])
@pytest.mark.parametrize("space", ["", "\n", "\r\n", " \t\n\n"])
def test_an_old_password_file_logs_in_as_it_is(give, command, algorithm, space):
    secret = f"${algorithm}{HASH[3:]}"
    assert prints(*give("--secret-file", command.secret_file(space + secret + space))) == []
    keys = keys_of(give.home, "R42")
    assert keys is not None
    assert keys.salt == secret[:29]
    assert lets_in(keys, secret.encode())
    assert not lets_in(keys, hash_of("wrong", SALT))


def test_a_password_file_may_come_on_standard_input(give):
    assert prints(*give("--secret-file", "-"), stdin=f"{HASH}\n".encode()) == []
    assert lets_in(keys_of(give.home, "R42"), HASH.encode())


def test_a_password_on_standard_input_has_a_new_salt(give):
    assert prints(*give("--password-stdin"), stdin=STDIN) == []
    keys = keys_of(give.home, "R42")
    assert keys is not None
    assert keys.salt.startswith(f"$2b${COST}$")
    assert keys.salt != SALT
    assert lets_in(keys, hash_of(PASSWORD, keys.salt))


def test_neither_the_password_nor_the_hash_is_in_the_home(give, command):
    prints(*give("--secret-file", command.secret_file()))
    for name in os.listdir(give.home):
        path = os.path.join(give.home, name)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                content = file.read()
            assert HASH[29:].encode() not in content
            assert PASSWORD.encode() not in content


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "does not hold one bcrypt hash"),
        (PASSWORD, "does not hold one bcrypt hash"),
        (HASH[:-1], "does not hold one bcrypt hash"),
        (f"{HASH}\n{HASH}", "does not hold one bcrypt hash"),
        (f"R42:{HASH}", "does not hold one bcrypt hash"),
        ("\ufeff" + HASH, "byte order mark"),
        (HASH.replace("$10$", "$09$"), "a cost of 9"),
        (HASH.replace("$10$", "$16$"), "a cost of 16"),
    ],
)
@pytest.mark.parametrize("by", ["file", "standard input"])
def test_anything_but_one_hash_is_refused(give, command, content, word, by):
    if by == "file":
        refuses(give, word, "--secret-file", command.secret_file(content))
    else:
        refuses(give, word, "--secret-file", "-", stdin=content.encode())


def test_a_hash_that_windows_has_written_as_utf_16_is_refused(give, tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(HASH.encode("utf-16"))
    path.chmod(0o400)
    refuses(give, "byte order mark", "--secret-file", str(path))


def test_a_file_that_is_too_long_is_refused(give, command):
    refuses(give, "5060 bytes", "--secret-file", command.secret_file(HASH + " " * 5000))
    refuses(give, "more than 4096 bytes", "--secret-file", "-", stdin=HASH.encode() + b" " * 10_000_000)


def test_a_file_that_is_missing_is_refused(give, tmp_path):
    refuses(give, "missing' does not exist", "--secret-file", str(tmp_path / "missing"))
    refuses(give, "cannot be read", "--secret-file", "x" * 5000)
    refuses(give, "cannot be read", "--secret-file", "a\0b")


@posix_only
@pytest.mark.parametrize("mode", [0o404, 0o402, 0o401, 0o420, 0o644, 0o666, 0o777])
def test_a_file_that_is_open_to_others_is_refused_with_the_mode_and_the_mend(give, command, mode):
    refuses(give, f"(mode {mode:04o}): {IF_TRUSTED}", "--secret-file", command.secret_file(mode=mode))


@posix_only
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_a_file_for_its_owner_and_at_most_its_group_is_fine(give, command, mode):
    assert prints(*give("--secret-file", command.secret_file(mode=mode))) == []


@posix_only
def test_a_link_is_followed_and_what_it_leads_to_is_checked(give, command, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(command.secret_file(mode=0o444))
    refuses(give, "0444", "--secret-file", str(link))
    link.unlink()
    link.symlink_to(command.secret_file(name="closed"))
    assert prints(*give("--secret-file", str(link))) == []


@posix_only
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused_unless_that_is_root(give, command):
    path = command.secret_file()
    os.chown(path, 12345, -1)
    refuses(give, "belongs to user number 12345", "--secret-file", path)
    os.chown(path, 0, -1)
    with patch.object(os, "geteuid", lambda: 12345):
        keys = new_keys.read(Namespace(secret_file=path))
    assert lets_in(keys, HASH.encode())


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="access control lists are Linux's here")
def test_a_file_with_an_access_control_list_is_refused(give, command):
    path = command.secret_file()
    entries = [(0x01, 4, 2**32 - 1), (0x02, 4, 12345), (0x04, 0, 2**32 - 1), (0x10, 4, 2**32 - 1), (0x20, 0, 2**32 - 1)]
    access_list = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", access_list)
    except OSError as error:
        pytest.skip(f"there are none in this file system: {error}")
    refuses(give, f"access control list: {IF_TRUSTED}", "--secret-file", path)


@posix_only
def test_what_is_no_regular_file_is_refused_and_nothing_hangs(give, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o400)
    for path in (str(fifo), str(tmp_path), "/dev/zero", "/dev/null"):
        refuses(give, "is not a regular file", "--secret-file", path)


@pytest.mark.parametrize(
    ("password", "word"),
    [
        pytest.param(b"x" * 73 + b"\n", "73 bytes", id="73 bytes"),
        pytest.param("ü".encode() * 37 + b"\n", "74 bytes", id="37 characters in 74 bytes"),
        pytest.param(b"\n", "0 bytes", id="an empty line"),
        pytest.param(b"", "0 bytes", id="nothing"),
        pytest.param(b"a\0b\n", "NUL", id="with a NUL"),
        pytest.param(b"\xff\n", "UTF-8", id="not UTF-8"),
    ],
)
def test_a_password_is_refused_that_is(give, password, word):
    refuses(give, word, "--password-stdin", stdin=password)


def test_a_password_of_72_bytes_is_the_longest(give):
    password = "ü" * 36
    prints(*give("--password-stdin"), stdin=f"{password}\r\n".encode())
    keys = keys_of(give.home, "R42")
    assert keys is not None
    assert lets_in(keys, hash_of(password, keys.salt))


@pytest.fixture
def terminal(give):
    """Runs the command at a terminal."""
    from support.terminal import Terminal  # not on Windows

    with Terminal(ROOT, *give(), program=("-m", "headless")) as terminal:
        yield terminal


@posix_only
def test_at_a_terminal_the_password_is_asked_for_twice_and_not_shown(give, terminal):
    terminal.answer(f"{PASSWORD}\n", "Password: ")
    terminal.answer(f"{PASSWORD}\n", "The same again: ")
    assert terminal.end() == 0
    assert PASSWORD not in terminal.shown
    keys = keys_of(give.home, "R42")
    assert keys is not None
    assert lets_in(keys, hash_of(PASSWORD, keys.salt))


@posix_only
@pytest.mark.parametrize(("again", "word"), [("other\n", "two different passwords"), ("\x04", "no password was given")])
def test_a_password_that_is_not_typed_twice_is_refused(give, terminal, again, word):
    terminal.answer(f"{PASSWORD}\n", "Password: ")
    terminal.answer(again, "The same again: ")
    assert terminal.end() == 1
    assert word in terminal.shown
    assert PASSWORD not in terminal.shown
    assert give.state() == give.before


@posix_only
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_at_the_question_ends_the_command_by_itself_and_gives_the_echo_back(terminal, name):
    terminal.wait_for("Password: ")
    wait_until(lambda: not terminal.echoes)
    signum = getattr(signal, name)
    os.kill(terminal.process.pid, signum)
    assert terminal.end() in (-signum, 256 - signum)
    assert terminal.echoes


def test_without_a_terminal_nothing_is_asked(give):
    refuses(give, "no terminal")


@pytest.mark.parametrize(
    "argv", [("--password-stdin", "--secret-file", "secret"), ("--secret-file",), ("-p", "secret")]
)
def test_a_password_comes_from_one_place(give, argv):
    done = run_here(*give(*argv), stdin=STDIN)
    assert (done.status, done.stdout) == (2, "")


@pytest.mark.parametrize("way", ["--password-stdin", "--secret-file"])
def test_an_account_can_have_an_os_user_and_a_password(home, command, way):
    argv = [way, command.secret_file()] if way == "--secret-file" else [way]
    prints("user", "add", "R42", "--os-user", current_user(), *argv, "--home", home, stdin=STDIN)
    assert prints("user", "list", "--home", home)[1] == f"R42 challenge osuser={current_user()}"


def test_another_password_leaves_the_rest_of_the_account(home):
    prints("user", "limit", "R41", "--no-code", "--home", home)
    prints("user", "passwd", "R41", "--password-stdin", "--home", home, stdin=STDIN)
    assert prints("user", "list", "--home", home) == [f"R41 challenge osuser={current_user()} no-code"]


def test_the_old_password_does_not_let_in_any_more(home, command):
    prints("user", "add", "R42", "--secret-file", command.secret_file(), "--home", home)
    prints("user", "passwd", "R42", "--password-stdin", "--home", home, stdin=b"another\n")
    assert not lets_in(keys_of(home, "R42"), HASH.encode())


def test_a_user_without_an_account_gets_no_password_and_is_not_asked(home):
    fails("there is no account 'R99'", "user", "passwd", "R99", "--home", home)
    fails("there is no account 'R99'", "user", "passwd", "R99", "--password-stdin", "--home", home, stdin=STDIN)


def test_a_password_makes_no_home(tmp_path):
    fails("absent", "user", "passwd", "R41", "--password-stdin", "--home", str(tmp_path / "absent"), stdin=STDIN)
    assert list(tmp_path.iterdir()) == []


def test_the_secret_is_not_asked_of_the_home_before_it_is_right(tmp_path):
    fails("does not exist", "user", "add", "R41", "--secret-file", "missing", "--home", str(tmp_path / "home"))
    assert list(tmp_path.iterdir()) == []


def test_the_command_as_a_process_takes_a_password_file(home, command):
    done = manage("user", "add", "R42", "--secret-file", command.secret_file(), "--home", home)
    assert (done.stdout, done.stderr) == ("", "")
    assert lets_in(keys_of(home, "R42"), HASH.encode())
