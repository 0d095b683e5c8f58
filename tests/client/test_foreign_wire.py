"""PLANTA_WIRE: the command speaks another wire, and a wire that cannot be loaded or is none is a mistake in the call.
The real command as a process, with the example of PORTING.md and its server."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from support.dialogues import serving
from support.example_server import serve_example
from support.process import PATIENCE, ROOT

EXAMPLE = ROOT / "headless" / "protocol" / "example_wire.py"
PORTING = (ROOT / "headless" / "protocol" / "PORTING.md").read_text(encoding="utf-8")


@pytest.fixture
def call(command, scripted):
    """Runs the command with the example wire against its server."""
    server = scripted(serve_example)

    def run(*argv, wire=EXAMPLE):
        return command("-s", server.address, *argv, env={**os.environ, "PLANTA_WIRE": str(wire)})

    return run


@pytest.fixture
def secret(command):
    """A password file with the right hash."""
    return command.secret_file()


def messages_of(done) -> list[str]:
    """The lines of -v without their time."""
    return [line[len("2026-11-24 18:35:41.707 ") :] for line in done.stdout.splitlines()]


# The example


@pytest.mark.parametrize("login", ["osuser", "challenge"])
@pytest.mark.parametrize(
    ("argv", "code", "last"),
    [
        (["-c", "a", "-m", "009ABC", "-f", "x.py", "-t", "-1"], 0, "info session ended: ok"),
        (["-c", "a", "-m", "009ABC"], 0, "info the server has accepted the jobs"),
        (["-c", "a", "-m", "fail", "-f", "x.py", "-t", "-1"], 1,
         "info job 2 failed: item failed: fail; jobs: submitted"),
        (["-c", "a", "-m", "nope"], 2, "info the server refused the jobs: no such item: nope; jobs: not submitted"),
        (["-c", "sleep 5", "-t", "1"], 3, "info the jobs have not ended within 1 s, and go on; jobs: submitted"),
    ],
)  # fmt: skip
def test_the_four_return_codes(call, secret, login, argv, code, last):  # noqa: PLR0917
    who = ["-u", "R41", "-p", secret] if login == "challenge" else []
    done = call("-v", *who, *argv)
    assert (done.returncode, messages_of(done)[-1]) == (code, last)
    assert messages_of(done)[0] == f"info speaking the wire of {EXAMPLE}"


def test_each_job_is_shown_in_its_turn(call):
    done = call("-v", "-t", "-1", "-c", "print('a')\nprint('ü')", "-m", "009ABC")
    assert [line for line in messages_of(done) if " job " in line] == [
        "info job 1 started: py_code print('a')",
        "info job 1 stdout: did print('a')",
        "info job 1 stdout: print('ü')",
        "info job 1 ok",
        "info job 2 started: module 009ABC",
        "info job 2 stdout: did 009ABC",
        "info job 2 ok",
    ]


def test_what_is_sent_and_received_is_shown_without_the_proof(call, secret):
    done = call("-vvv", "-u", "R41", "-p", secret, "-c", "a")
    assert 'sent <answer answer="(not shown)"/>' in messages_of(done)
    assert [line.split()[0] for line in messages_of(done)].count("received") == 2
    assert "answer=" not in done.stdout.replace('answer="(not shown)"', "")


def test_a_wrong_password_is_a_2(call, command, secret):
    other = command.secret_file("$2b$10$abcdefghijklmnopqrstuu" + "a" * 30 + ".\n", name="other")
    done = call("-v", "-u", "R41", "-p", other, "-c", "a")
    assert done.returncode == 2
    assert done.stderr == "planta_headless.py: error: the server refused the login: access denied\n"
    assert call("-u", "X", "-p", secret, "-c", "a").returncode == 2


def test_an_old_password_file_is_a_2_before_anything_is_answered(call, command):
    other = command.secret_file("$2b$10$zbcdefghijklmnopqrstuu" + "a" * 30 + ".\n", name="other")
    done = call("-v", "-u", "R41", "-p", other, "-c", "a")
    assert done.returncode == 2
    assert "another salt" in done.stderr
    assert messages_of(done)[-1].endswith("jobs: not submitted")


def test_a_character_that_the_wire_cannot_carry_is_a_2(call):
    done = call("-v", "-c", "\x01")
    assert done.returncode == 2
    assert "a character that XML cannot carry" in done.stderr


def test_the_page_shows_the_example_as_it_is():
    assert EXAMPLE.read_text(encoding="utf-8") in PORTING


def test_the_page_s_last_example_plays_a_record():
    script = re.findall(r"```python\n(.*?)```", PORTING, re.DOTALL)[-1]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert done.stdout.splitlines()[-1] == "< Ended(status='ok', text='')"


# What is no wire


@pytest.fixture
def wire_file(tmp_path):
    """Writes a file for PLANTA_WIRE."""

    def write(code: str) -> str:
        path = tmp_path / "a_wire.py"
        path.write_text("from headless.protocol import wire\n" + code)
        return str(path)

    return write


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise OSError(24, 'Too many open files')", "Too many open files"),
        ("raise MemoryError", "MemoryError"),
        ("raise ImportError('x.so: Input/output error', name='x')", "x.so: Input/output error"),
    ],
)
def test_a_file_that_cannot_be_loaded_now_is_a_1(call, wire_file, code, reason):
    done = call("-v", "-c", "a", wire=wire_file(code))
    assert (done.returncode, done.stderr) == (1, "")
    assert reason in messages_of(done)[-1]
    assert messages_of(done)[-1].endswith("; jobs: not submitted")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("x = (", "SyntaxError"),
        ("raise ValueError('why')", "ValueError: why (line 2 of "),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("", "it has no class Wire"),
        ("Wire = 1", "it has no class Wire"),
        ("class Wire: pass", "it has no class Wire"),
        ("Wire = wire.Wire", "it has no class Wire"),
    ],
)
def test_a_file_that_is_no_wire_is_a_2_with_the_reason(call, wire_file, code, reason):
    done = call("-v", "-c", "a", wire=wire_file(code))
    assert done.returncode == 2
    assert done.stderr.startswith("planta_headless.py: error: PLANTA_WIRE: ")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert messages_of(done)[-1].endswith("; jobs: not submitted")


@pytest.mark.parametrize("name", ["no/such/file.py", "no_such_file.py", "no_such_module", "no_such.module", "."])
def test_a_name_of_nothing_is_a_2(call, name):
    done = call("-c", "a", wire=name)
    assert done.returncode == 2
    assert done.stderr.startswith(f"planta_headless.py: error: PLANTA_WIRE: {name!r} cannot be loaded: ")


def test_an_empty_name_is_our_own_wire(command, scripted):
    done = command("-s", scripted(serving()).address, "-v", "-c", "a", env={**os.environ, "PLANTA_WIRE": ""})
    assert done.returncode == 0
    assert messages_of(done)[0].startswith("info connecting to ")


def test_a_module_can_be_named(call):
    done = call("-v", "-c", "a", wire="headless.protocol.example_wire")
    assert done.returncode == 0
    assert messages_of(done)[0] == "info speaking the wire of headless.protocol.example_wire"


def test_help_and_mistakes_in_the_options_come_first(call):
    assert call("--version", wire="no/such/file.py").returncode == 0
    assert "PLANTA_WIRE" not in call("-x", wire="no/such/file.py").stderr


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(3600)"], ids=["busy", "asleep"])
def test_a_file_that_is_never_loaded_is_a_1_by_the_deadline(call, wire_file, code):
    done = call("-v", "-t", "1", "-c", "a", wire=wire_file(code))
    assert done.returncode == 1
    assert messages_of(done)[-1].endswith("was not loaded in time; jobs: not submitted")


@pytest.mark.parametrize(
    ("method", "jobs"),
    [("__init__", "not submitted"), ("log_in", "not submitted"), ("receive", "unknown")],
)
@pytest.mark.parametrize("ends", [True, False], ids=["raises", "never ends"])
def test_a_method_that_fails_is_a_1_by_the_deadline_and_says_where(call, wire_file, method, jobs, ends):
    parameters = {"__init__": "self, call", "receive": "self, data"}.get(method, "self")
    body = "raise ValueError('$2b$10$secret')" if ends else "\n        while True: pass"
    example = "from headless.protocol.example_wire import Wire as Example\n"
    code = f"{example}class Wire(Example):\n    def {method}({parameters}): {body}\n"
    done = call("-v", "-t", "1", "-c", "a", wire=wire_file(code))
    assert done.returncode == 1
    assert messages_of(done)[-1].endswith(f"; jobs: {jobs}")
    if ends:
        assert "the wire failed: ValueError (line 4 of " in messages_of(done)[-1]
        assert "secret" not in done.stdout + done.stderr


def test_a_method_that_swallows_every_exception_ends_with_the_process(call, wire_file):
    body = """
        while True:
            try: time.sleep(60)
            except BaseException: pass
"""
    code = f"import time\nclass Wire(wire.Wire):\n    def log_in(self):{body}"
    assert call("-v", "-t", "1", "-c", "a", wire=wire_file(code)).returncode == 1


def test_a_field_of_a_wrong_type_is_named(call, wire_file):
    code = "class Wire(wire.Wire):\n    def log_in(self): self.tell(wire.LoggedIn('s', '30'))\n"
    done = call("-v", "-c", "a", wire=wire_file(code))
    assert done.returncode == 1
    assert "LoggedIn.heartbeat has to be int | None, and is a value of str" in done.stdout
