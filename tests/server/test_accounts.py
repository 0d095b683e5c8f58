"""`python -m headless user`: what is printed, and the exit status. Then the command lines of all commands that must be
corrected."""

from __future__ import annotations

import pytest

from support.credentials import PASSWORD
from support.in_process import run_here
from support.management import fails, prints
from support.process import current_user
from support.raw_client import connect, osuser_login


def listed(home: str) -> list[str]:
    return prints("user", "list", "--home", home)


def test_accounts_are_listed_by_name_with_the_ways_to_log_in(home):
    stdin = f"{PASSWORD}\nnot this\n".encode()
    prints("user", "add", "R43", "--os-user", "jdoe", "--password-stdin", "--home", home, stdin=stdin)
    prints("user", "add", "R40", "--os-user", "jdoe", "--home", home)
    assert listed(home) == ["R40 osuser=jdoe", f"R41 osuser={current_user()}", "R43 challenge osuser=jdoe"]


def test_the_first_account_makes_the_home(tmp_path):
    home = str(tmp_path / "new" / "home")
    assert prints("user", "add", "R41", "--os-user", "jdoe", "--home", home) == []
    assert listed(home) == ["R41 osuser=jdoe"]


def test_a_removed_account_is_gone_and_can_be_added_again(home):
    prints("user", "remove", "R41", "--home", home)
    assert listed(home) == []
    fails("R41", "user", "remove", "R41", "--home", home)
    prints("user", "add", "R41", "--os-user", "jdoe", "--home", home)
    assert listed(home) == ["R41 osuser=jdoe"]


def test_a_user_has_one_account_and_the_second_changes_nothing(home):
    fails("R41", "user", "add", "R41", "--os-user", "jdoe", "--home", home)
    assert listed(home) == [f"R41 osuser={current_user()}"]


def test_a_running_server_knows_a_change_at_once(server):
    def answer() -> str:
        with connect(server) as client:
            return client.ask(osuser_login(user="R60")).tag

    assert answer() == "refused"
    prints("user", "add", "R60", "--os-user", current_user(), "--home", str(server.home))
    assert answer() == "welcome"
    prints("user", "remove", "R60", "--home", str(server.home))
    assert answer() == "refused"


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
def test_a_password_is_refused_that_is(home, password, word):
    fails(word, "user", "add", "R42", "--password-stdin", "--home", home, stdin=password)
    assert listed(home) == [f"R41 osuser={current_user()}"]


def test_a_password_of_72_bytes_is_the_longest(home):
    prints("user", "add", "R42", "--password-stdin", "--home", home, stdin="ü".encode() * 36 + b"\r\n")
    assert "R42 challenge" in listed(home)


def test_without_a_terminal_nothing_is_asked(home):
    fails("--password-stdin", "user", "add", "R42", "--home", home)


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("start",),
        ("user",),
        ("user", "change", "R41"),
        ("user", "add"),
        ("user", "add", ""),
        ("user", "add", "x" * 257),
        ("user", "add", "a\x1bb"),
        ("user", "add", "R42", "--os-user", ""),
        ("user", "add", "R42", "--password", "secret"),
        ("user", "remove"),
        ("user", "list", "R41"),
        ("jobs", "one", "two"),
        ("serve", "--listen", "nonsense"),
        ("serve", "--listen", "127.0.0.1:70000"),
        ("serve", "--listen", ":20000"),
        ("serve", "--workers", "0"),
        ("serve", "--grace", "-1"),
        ("serve", "--grace", "soon"),
        ("serve", "--log-level", "loud"),
        ("serve", "--daemon"),
        ("serve", "--tls-cert", "cert.pem"),
        ("serve", "--tls-key", "key.pem"),
    ],
)
def test_a_command_line_that_must_be_corrected_is_a_2(tmp_path, argv):
    done = run_here(*argv, *(("--home", str(tmp_path / "home")) if len(argv) > 1 else ()))
    assert (done.status, done.stdout) == (2, "")
    assert " error: " in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
