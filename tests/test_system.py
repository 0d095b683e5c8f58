"""What client, server and checks have in common: addresses, durations, files, locks, users, and whether there is a
terminal. A user is missing only if the name service has answered."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headless import system
from headless.client import preparation
from headless.errors import CONNECTION_ERROR, PARAMETER_ERROR, ParameterError, SessionError, explain
from headless.server import peer
from headless.system import host_and_port, is_final, open_at_once, open_regular, seconds_of, try_lock
from headless.terminal import is_at_terminal
from support.process import PATIENCE, ROOT

posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has another name service")


ADDRESSES = {
    "host:1": ("host", 1),
    "host.:65535": ("host.", 65535),
    "192.0.2.1:020": ("192.0.2.1", 20),
    "[::1]:20000": ("::1", 20000),
    "[fe80::1%eth0]:1": ("fe80::1%eth0", 1),
    "bücher.example:1": ("xn--bcher-kva.example", 1),
}
NO_HOST_AND_PORT = [
    "", "host", ":1", "host:", "host:0", "host:65536", "::1:1", "[::1]", "a@b:1", "a/b:1", "a b:1", "host:²", "host:٣",
    "host:000001", "host:-1", " h:1", "h:1/", "[::1]5",
]  # fmt: skip
NO_ADDRESSES = {
    **dict.fromkeys(NO_HOST_AND_PORT, "is not HOST:PORT"),
    **dict.fromkeys(["[host]:1", "[1.2.3.4]:1", "[::g]:1", "[\0]:1", "[ü]:1"], "IPv6"),
    "[fe80::1%]:1": "network interface",
    **dict.fromkeys(["a..b:1", ".:1", f"{'a' * 64}:1", f"{'a.' * 128}:1", "\0:1", "ü" * 64 + ":1"], "host name"),
}


def test_an_address_has_a_host_and_a_port_which_is_0_only_where_the_caller_says_so() -> None:
    assert {text: host_and_port(text) for text in ADDRESSES} == ADDRESSES
    assert host_and_port("host:0", 0) == ("host", 0)


@pytest.mark.parametrize(("text", "reason"), NO_ADDRESSES.items())
def test_anything_else_is_none(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        host_and_port(text)


def test_a_duration_is_a_number_and_a_unit() -> None:
    assert [seconds_of(text) for text in ("1m", "012h", "99999d")] == [60.0, 43200.0, 99999 * 86400.0]
    for text in ("", "m", "1", "0d", "1s", "-1d", "1.5h", "1 d", "100000m", "²h", "1d "):
        with pytest.raises(ValueError, match="is not a time such as 90m, 26h or 8d"):
            seconds_of(text)


def test_a_lock_is_exclusive_or_shared_until_the_file_is_closed(tmp_path: Path) -> None:
    first, second, third = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(3))
    assert try_lock(first)
    assert not try_lock(second)
    assert not try_lock(second, shared=True)
    os.close(first)
    assert try_lock(second, shared=True)
    assert try_lock(third, shared=True)
    os.close(third)
    assert try_lock(second)
    os.close(second)


def test_only_a_regular_file_is_opened_and_no_other_end_is_waited_for(tmp_path: Path) -> None:
    os.close(open_regular(str(tmp_path / "new"), os.O_WRONLY | os.O_CREAT))
    if os.name != "nt":
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
        os.mkfifo(tmp_path / "fifo")
        for path in (tmp_path / "fifo", tmp_path):
            with pytest.raises(OSError, match="not a regular file"):
                open_regular(str(path))
        os.close(open_at_once(str(tmp_path / "fifo")))


def test_no_answer_comes_where_standard_input_is_missing_closed_or_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stdin in (None, closed, io.StringIO("y\n")):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert is_at_terminal() is False


@pytest.mark.skipif(sys.platform == "win32", reason="there the console is asked")
def test_an_answer_may_come_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert is_at_terminal() is True


# Users

NO_USER = 0x7FFF1234  # the number of no user
# Runs expressions as a process does that has no descriptor left.
WITHOUT_DESCRIPTORS = """
import os, resource, sys
from headless import system
from headless.client import preparation
from headless.server import peer
{first}
resource.setrlimit(resource.RLIMIT_NOFILE, (32, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try:
    while True:
        os.dup(1)
except OSError:
    pass
for what in {expressions}:
    try:
        print(repr(eval(what)))
    except Exception as error:
        print(type(error).__name__, error)
"""


def said_by(code: str) -> str:
    """What a new process prints that runs this."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout


@posix_only
def test_who_is_there_is_found_by_name_and_by_number():
    user = system.user_by_number(os.geteuid())
    assert user is not None
    assert system.user_by_name(user.pw_name) == user
    assert system.shown_user(os.geteuid()) == user.pw_name == preparation.effective_user()


@posix_only
@pytest.mark.parametrize("name", ["nobody-has-this-name", "", "a\0b", "\ud800", "ä"])
def test_who_is_not_there_is_not_found(name):
    assert system.user_by_name(name) is None
    assert not peer.is_user(0, name)


@posix_only
def test_a_number_without_a_user_is_shown_as_a_number():
    assert system.user_by_number(NO_USER) is None
    assert system.shown_user(NO_USER) == f"user number {NO_USER}"


@posix_only
@pytest.mark.slow
@pytest.mark.version("ctypes")
@pytest.mark.parametrize("first", ["", "import ctypes; ctypes.CDLL(None)"], ids=["ctypes not loaded", "ctypes loaded"])
def test_a_process_that_has_no_descriptor_left_concludes_nothing(first):
    errors = {
        "system.user_by_name('root')": "BlockingIOError",
        "system.user_by_number(0)": "BlockingIOError",
        "system.user_by_name('nobody-has-this-name')": "BlockingIOError",
        "peer.is_user(0, 'root')": "Busy",
        "preparation.effective_user()": "SessionError",
        "system.shown_user(0)": "'user number 0'",
    }
    said = said_by(WITHOUT_DESCRIPTORS.format(first=first, expressions=list(errors)))
    words = [line if line.startswith("'") else line.split()[0] for line in said.splitlines()]
    assert words == list(errors.values()), said


@posix_only
def test_only_an_answer_makes_a_user_missing(monkeypatch):
    for number, is_found in ((errno.ENOENT, False), (0, True), (errno.EIO, False), (errno.EACCES, False)):
        monkeypatch.setattr(system, "_ask", lambda _, answer=(number, is_found): answer)
        with pytest.raises(OSError, match="name service does not answer") as caught:
            system.confirm_missing_user("R41")
        assert not is_final(caught.value)
    for number in (0, errno.ESRCH, errno.ENOENT):
        if number == errno.ENOENT:  # a machine without users has nothing to ask
            monkeypatch.setattr(os.path, "exists", lambda _: False)
        monkeypatch.setattr(system, "_ask", lambda _, answer=(number, False): answer)
        system.confirm_missing_user("R41")


@posix_only
@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [(0, ParameterError, PARAMETER_ERROR), (errno.EMFILE, SessionError, CONNECTION_ERROR)],
)
def test_a_call_without_a_user_is_to_be_corrected_only_if_that_is_known(monkeypatch, answer, error, code):
    monkeypatch.setattr(os, "geteuid", lambda: NO_USER)
    monkeypatch.setattr(system, "_ask", lambda _: (answer, False))
    with pytest.raises(error) as caught:
        preparation.effective_user()
    assert explain(caught.value)[0] == code
