"""What this project's wire cannot carry: it is found before a password file is opened or a connection is made, without
lxml, and is one line on stderr. What the options themselves forbid is in test_options.py."""

from __future__ import annotations

import os

import pytest

from headless.protocol.version1 import Wire
from headless.protocol.vocabulary import CHALLENGE, OSUSER, Job
from headless.protocol.wire import RANDOM_BYTES, Call, UnsupportedCall
from support.dialogues import serving

LONG_NAME = ("-u", "x" * 257, "-c", "pass")
MANY_JOBS = ("-c", "pass") * 10_001
UNSUPPORTED = [
    pytest.param(LONG_NAME, "-u has 257 characters, at most 256 are allowed", id="long name"),
    pytest.param(
        MANY_JOBS,
        "there are 10001 jobs, at most 10000 are allowed",
        id="many jobs",
        marks=pytest.mark.skipif(os.name == "nt", reason="no command line of Windows is so long"),
    ),
    pytest.param(("-u", "a\x1b[2Jb", "-c", "pass"), "-u has a control character", id="-u"),
    pytest.param(("-m", "009\x08ABC"), "--module has a control character", id="-m"),
    pytest.param(("-f", "a\x1b.py"), "--py_file has a control character", id="-f"),
    pytest.param(("-c", "login('hunter2')\x01"), "--py_code has a control character", id="-c"),
    pytest.param(("-c", "pass", "-m", "009ABC", "-c", "\ufffe"), "--py_code has a control character", id="third job"),
]


@pytest.fixture
def without_libraries(tmp_path):
    """An environment in which neither lxml nor bcrypt can be imported."""
    for library in ("lxml", "bcrypt"):
        (tmp_path / library).mkdir()
        (tmp_path / library / "__init__.py").write_text(f"raise ImportError('no {library} here', name='{library}')")
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


@pytest.mark.parametrize(("argv", "text"), UNSUPPORTED)
def test_it_is_a_2_on_one_line_before_any_connection_and_without_libraries(
    command, scripted, without_libraries, argv, text
):
    server = scripted(serving())
    done = command("-s", server.address, "-v", *argv, env=without_libraries)
    server.close()
    assert (done.returncode, server.peers) == (2, [])
    assert done.stderr.startswith(f"planta_headless.py: error: {text}")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stdout + done.stderr
    (last,) = done.stdout.splitlines()
    assert f" info {text}" in last
    assert last.endswith("; jobs: not submitted")


def test_it_is_found_before_the_password_file_is_opened(command):
    done = command("-s", "127.0.0.1:1", "-p", "missing", *LONG_NAME)
    assert (done.returncode, done.stdout) == (2, "")
    assert "-u has 257 characters" in done.stderr
    assert "missing" not in done.stderr


def call_of(user: str | None, *jobs: Job, login: str = OSUSER) -> Call:
    return Call("client", login, user, "jdoe" if login == OSUSER else "", jobs, bytes(RANDOM_BYTES))


PASS = Job("py_code", "pass")
PLAIN = "\t\n\r ~\x7f\x85\xa0ü\ud7ff\ue000\ufffd\U0010ffff"  # all that XML can carry


@pytest.mark.parametrize("login", [OSUSER, CHALLENGE])
def test_a_call_at_the_limits_is_supported(login):
    Wire(call_of("x" * 256, *[PASS] * 10_000, login=login))
    Wire(call_of(PLAIN, *(Job(kind, PLAIN) for kind in ("module", "py_file", "py_code")), login=login))


@pytest.mark.parametrize(
    "call",
    [
        *(call_of("x" * 257, PASS, login=login) for login in (OSUSER, CHALLENGE)),
        call_of(None, *[PASS] * 10_001),
        *(call_of(f"a{c}b", PASS) for c in "\x00\x1f\ud800\ufffe\uffff"),
        *(call_of(None, PASS, Job(kind, "\x0b")) for kind in ("module", "py_file", "py_code")),
    ],
)
def test_a_call_beyond_the_limits_is_not(call):
    with pytest.raises(UnsupportedCall):
        Wire(call)
