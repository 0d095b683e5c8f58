"""A user is missing only if the name service has answered: where it could not be asked, nothing is concluded."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

pytest.importorskip("pwd", reason="Windows has another name service")

from headless import system
from headless.client import preparation
from headless.errors import CONNECTION_ERROR, PARAMETER_ERROR, ParameterError, SessionError, explain
from headless.server import peer
from headless.system import is_final
from support.process import PATIENCE, ROOT

NOBODY = 0x7FFF1234  # the number of no user
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


def test_who_is_there_is_found_by_name_and_by_number():
    user = system.user_by_number(os.geteuid())
    assert user is not None
    assert system.user_by_name(user.pw_name) == user
    assert system.shown_user(os.geteuid()) == user.pw_name == preparation.effective_user()


@pytest.mark.parametrize("name", ["nobody-has-this-name", "", "a\0b", "\ud800", "ä"])
def test_who_is_not_there_is_not_found(name):
    assert system.user_by_name(name) is None
    assert not peer.is_user(0, name)


def test_a_number_without_a_user_is_shown_as_a_number():
    assert system.user_by_number(NOBODY) is None
    assert system.shown_user(NOBODY) == f"user number {NOBODY}"


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


@pytest.mark.parametrize(
    ("answer", "is_missing"),
    [
        ((0, False), True),
        ((errno.ESRCH, False), True),
        ((errno.ENOENT, False), False),  # for there is an /etc/passwd
        ((0, True), False),
        ((errno.EIO, False), False),
        ((errno.ENOMEM, False), False),
        ((errno.EACCES, False), False),
    ],
)
def test_only_an_answer_makes_a_user_missing(monkeypatch, answer, is_missing):
    monkeypatch.setattr(system, "_ask", lambda _: answer)
    if is_missing:
        system.confirm_missing_user("R41")
    else:
        with pytest.raises(OSError, match="name service does not answer") as caught:
            system.confirm_missing_user("R41")
        assert not is_final(caught.value)


def test_only_a_machine_without_users_has_nothing_to_ask(monkeypatch):
    monkeypatch.setattr(system, "_ask", lambda _: (errno.ENOENT, False))
    monkeypatch.setattr(os.path, "exists", lambda _: False)
    system.confirm_missing_user("R41")


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [(0, ParameterError, PARAMETER_ERROR), (errno.EMFILE, SessionError, CONNECTION_ERROR)],
)
def test_a_call_without_a_user_is_to_be_corrected_only_if_that_is_known(monkeypatch, answer, error, code):
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    monkeypatch.setattr(system, "_ask", lambda _: (answer, False))
    with pytest.raises(error) as caught:
        preparation.effective_user()
    assert explain(caught.value)[0] == code


@pytest.mark.slow
def test_a_call_asks_no_more_than_it_did_where_the_user_is_there():
    said = said_by("from headless.client.preparation import effective_user as f; import sys; f(); print(*sys.modules)")
    assert "pwd" in said.split()
    assert "ctypes" not in said.split()
