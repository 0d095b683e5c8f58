"""What this project's dialect cannot carry: it is found before a password file is opened or a connection is made, and
is one line on stderr. That no library is needed for that is in test_process.py, what the options themselves forbid in
test_options.py."""

from __future__ import annotations

import pytest

from headless.dialects.base import RANDOM_BYTES, Call
from headless.dialects.own.dialect import Dialect
from headless.dialects.vocabulary import CHALLENGE, OSUSER, Job
from headless.errors import UnsupportedCall
from support.dialogues import serving

LONG_NAME = ("-u", "x" * 257, "-c", "pass")


def test_it_is_a_2_on_one_line_before_any_connection(here, scripted):
    server = scripted(serving())
    for argv, text in (
        (("-p", "missing", *LONG_NAME), "-u has 257 characters, at most 256 are allowed"),  # before the file is opened
        (LONG_NAME, "-u has 257 characters, at most 256 are allowed"),
        (("-u", "a\x1b[2Jb", "-c", "pass"), "-u has a control character"),
        (("-m", "009\x08ABC"), "--module has a control character"),
        (("-f", "a\x1b.py"), "--py_file has a control character"),
        (("-c", "login('hunter2')\x01"), "--py_code has a control character"),
        (("-c", "pass", "-m", "009ABC", "-c", "\ufffe"), "--py_code has a control character"),
    ):
        done = here("-s", server.address, "-v", *argv)
        assert done.returncode == 2, text
        assert done.stderr.startswith(f"planta_headless.py: error: {text}")
        assert done.stderr.count("\n") == 1
        assert "hunter2" not in done.stdout + done.stderr
        (last,) = done.stdout.splitlines()
        assert f" info {text}" in last
        assert last.endswith("; jobs: not submitted")
    server.close()
    assert server.peers == []


def call_of(user: str | None, *jobs: Job, login: str = OSUSER) -> Call:
    return Call("client", login, user, "jdoe" if login == OSUSER else "", jobs, bytes(RANDOM_BYTES))


PASS = Job("py_code", "pass")
PLAIN = "\t\n\r ~\x7f\x85\xa0ü\ud7ff\ue000\ufffd\U0010ffff"  # all that XML can carry


@pytest.mark.parametrize("login", [OSUSER, CHALLENGE])
def test_a_call_at_the_limits_is_supported(login):
    Dialect(call_of("x" * 256, *[PASS] * 10_000, login=login))
    Dialect(call_of(PLAIN, *(Job(kind, PLAIN) for kind in ("module", "py_file", "py_code")), login=login))


def test_a_call_beyond_the_limits_is_not():
    for call in (
        *(call_of("x" * 257, PASS, login=login) for login in (OSUSER, CHALLENGE)),
        *(call_of(f"a{c}b", PASS) for c in "\x00\x1f\ud800\ufffe\uffff"),
        *(call_of(None, PASS, Job(kind, "\x0b")) for kind in ("module", "py_file", "py_code")),
    ):
        with pytest.raises(UnsupportedCall):
            Dialect(call)
    with pytest.raises(UnsupportedCall, match="there are 10001 jobs, at most 10000 are allowed"):
        Dialect(call_of(None, *[PASS] * 10_001))
