"""PLANTA_PROTOCOL: the command speaks another dialect, and a dialect that cannot be loaded or is none is a mistake in
the call. With the example of PORTING.md and its server."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess

import pytest

from support.dialogues import serving
from support.example_server import serve_example
from support.process import PATIENCE, ROOT, manage
from support.scripted_server import ScriptedServer

EXAMPLE = ROOT / "headless" / "dialects" / "example.py"
PORTING = (ROOT / "headless" / "dialects" / "PORTING.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server():
    """The server of the example dialect."""
    server = ScriptedServer(serve_example)
    yield server
    server.close()


def environment_with(dialect):
    return {**os.environ, "PLANTA_PROTOCOL": str(dialect)}


@pytest.fixture
def call(here, server):
    """Runs the command with the example dialect against its server."""

    def run(*argv, dialect=EXAMPLE):
        return here("-s", server.address, *argv, env=environment_with(dialect))

    return run


@pytest.fixture
def secret(here):
    """A password file with the right hash."""
    return here.secret_file()


def messages_of(done) -> list[str]:
    """The lines of -v without their time."""
    return [line[len("2026-11-24 18:35:41.707 ") :] for line in done.stdout.splitlines()]


# The example


@pytest.mark.parametrize("login", ["osuser", "challenge"])
def test_the_four_return_codes(call, secret, login, time_out):
    who = ["-u", "R41", "-p", secret] if login == "challenge" else []
    for argv, code, last in (
        (["-c", "a", "-m", "009ABC", "-f", "x.py", "-t", "-1"], 0, "info session ended: ok"),
        (["-c", "a", "-m", "009ABC"], 0, "info the server has accepted the jobs"),
        (["-c", "a", "-m", "fail", "-f", "x.py", "-t", "-1"], 1,
         "info job 2 failed: item failed: fail; jobs: submitted"),
        (["-c", "a", "-m", "nope"], 2, "info the server refused the jobs: no such item: nope; jobs: not submitted"),
        (["-c", "sleep 0.3", "-t", "1"], 3, "info the jobs have not ended within 0.1 s, and go on; jobs: submitted"),
    ):  # fmt: skip
        if code == 3:
            time_out(0.1)
        done = call("-v", *who, *argv)
        assert (done.returncode, messages_of(done)[-1]) == (code, last)
        assert messages_of(done)[0] == f"info speaking the dialect of {EXAMPLE}"


def test_each_job_is_shown_in_its_turn_and_all_that_is_sent_but_the_proof(call, secret):
    done = call("-vvv", "-u", "R41", "-p", secret, "-t", "-1", "-c", "print('a')\nprint('ü')", "-m", "009ABC")
    assert [line for line in messages_of(done) if line.startswith("info job ")] == [
        "info job 1 started: py_code print('a')",
        "info job 1 stdout: did print('a')",
        "info job 1 stdout: print('ü')",
        "info job 1 ok",
        "info job 2 started: module 009ABC",
        "info job 2 stdout: did 009ABC",
        "info job 2 ok",
    ]
    assert 'sent <answer answer="(not shown)"/>' in messages_of(done)
    assert [line.split()[0] for line in messages_of(done)].count("received") == 5
    assert "answer=" not in done.stdout.replace('answer="(not shown)"', "")


def test_a_wrong_password_or_an_old_file_is_a_2(call, here):
    for salt, text in (
        ("ab", "the server refused the login: access denied"),
        ("zb", "the password of R41 was changed"),
    ):
        other = here.secret_file(f"$2b$10${salt}cdefghijklmnopqrstuu" + "a" * 30 + ".\n", name=salt)
        done = call("-v", "-u", "R41", "-p", other, "-c", "a")
        assert (done.returncode, text in done.stderr, done.stderr.count("\n")) == (2, True, 1)
        assert messages_of(done)[-1].endswith("jobs: not submitted")


def test_the_page_shows_the_example_as_it_is():
    assert EXAMPLE.read_text(encoding="utf-8") in PORTING


# What is no dialect


@pytest.fixture
def dialect_file(tmp_path):
    """Writes a file for PLANTA_PROTOCOL: another one each time, since Python knows a changed file by its second."""
    numbers = itertools.count()

    def write(code: str) -> str:
        path = tmp_path / f"dialect{next(numbers)}.py"
        path.write_text("from headless import errors\nfrom headless.dialects import base\n" + code)
        return str(path)

    return write


NO_DIALECTS = [
    ("x = (", 2, "SyntaxError"),
    ("raise ValueError('why')", 2, "ValueError: why (line 3 of "),
    ("import sys; sys.exit(0)", 2, "SystemExit: 0"),
    ("raise KeyboardInterrupt", 2, "KeyboardInterrupt"),
    ("def __getattr__(name): raise SystemExit(0)", 2, "SystemExit: 0"),
    ("from headless.errors import Interrupted\nraise Interrupted(0)", 2, "no signal has come"),
    ("import no_such_module", 2, "No module named 'no_such_module'"),
    *((code, 2, "it has no class Dialect") for code in (
        "", "Dialect = 1", "class Dialect: pass", "Dialect = base.Dialect")),
    # What cannot be loaded now
    ("raise OSError(24, 'Too many open files')", 1, "Too many open files"),
    ("raise MemoryError", 1, "MemoryError"),
    ("raise ImportError('x.so: Input/output error', name='x')", 1, "x.so: Input/output error"),
    # What can be loaded, and is wrong
    ("class Dialect(base.Dialect):\n    def __init__(self, call): raise errors.UnsupportedCall('no')", 2, "no"),
    ("class Dialect(base.Dialect):\n    def log_in(self): self.report(base.LoggedIn('s', '30'))\n", 1,
     "LoggedIn.heartbeat has to be int | None, and is a value of str"),
]  # fmt: skip


@pytest.mark.version("importlib")
def test_a_file_that_is_no_dialect_is_a_2_with_the_reason_and_one_that_cannot_be_loaded_now_a_1(call, dialect_file):
    for content, code, reason in NO_DIALECTS:
        done = call("-v", "-c", "a", dialect=dialect_file(content))
        last = messages_of(done)[-1]
        assert (done.returncode, reason in last, done.stderr.count("\n")) == (code, True, int(code == 2)), content
        assert code == 1 or done.stderr.startswith("planta_headless.py: error: "), content


def test_a_name_of_nothing_is_a_2(call, tmp_path):
    names = ["no/such/file.py", "no_such_file.py", "no_such_module", "no_such.module", "."]
    if os.name != "nt":
        os.mkfifo(tmp_path / "fifo.py")  # which is not waited for
        names.append(str(tmp_path / "fifo.py"))
    for name in names:
        done = call("-c", "a", dialect=name)
        assert done.returncode == 2, name
        assert done.stderr.startswith(f"planta_headless.py: error: PLANTA_PROTOCOL: {name!r} cannot be loaded: ")


def test_a_module_can_be_named_and_an_empty_name_is_our_own_dialect(call, here, scripted):
    done = call("-v", "-c", "a", dialect="headless.dialects.example")
    assert (done.returncode, messages_of(done)[0]) == (0, "info speaking the dialect of headless.dialects.example")
    done = here("-s", scripted(serving()).address, "-v", "-c", "a", env=environment_with(""))
    assert done.returncode == 0
    assert messages_of(done)[0].startswith("info connecting to ")


def test_help_and_mistakes_in_the_options_come_first(call):
    assert call("--version", dialect="no/such/file.py").returncode == 0
    assert "PLANTA_PROTOCOL" not in call("-x", dialect="no/such/file.py").stderr


def test_a_remark_is_a_text_in_the_first_line(call, dialect_file):
    code = "from headless.dialects.example import Dialect as Example\nclass Dialect(Example):\n    @classmethod\n"
    done = call("-v", "-c", "a", dialect=dialect_file(code + "    def remark(cls): return 'for tests'\n"))
    assert (done.returncode, messages_of(done)[0].endswith("; for tests")) == (0, True)
    for remark in ("1", "None", "type('Text', (str,), {})()"):
        done = call("-v", "-c", "a", dialect=dialect_file(code + f"    def remark(cls): return {remark}\n"))
        assert (done.returncode, "remark is no text" in done.stdout) == (1, True), remark


def failing(method: str, body: str) -> str:
    """The code of the example dialect with a method that does this."""
    parameters = {"__init__": "self, call", "receive": "self, data"}.get(method, "self")
    example = "from headless.dialects.example import Dialect as Example\n"
    return f"{example}class Dialect(Example):\n    def {method}({parameters}): {body}\n"


@pytest.mark.parametrize(
    ("method", "jobs"), [("__init__", "not submitted"), ("log_in", "not submitted"), ("receive", "unknown")]
)
def test_a_method_that_raises_is_a_1_and_says_where(call, dialect_file, method, jobs):
    done = call("-v", "-c", "a", dialect=dialect_file(failing(method, "raise ValueError('$2b$10$secret')")))
    assert done.returncode == 1
    assert messages_of(done)[-1].endswith(f"; jobs: {jobs}")
    assert "the dialect failed: ValueError (line 5 of " in messages_of(done)[-1]
    assert "secret" not in done.stdout + done.stderr


QUITTING = """
from headless.errors import Interrupted, RemoteProtocolError
def quit(*_): raise SystemExit(0)
class Quitter:
    __class__ = property(quit)
class QuittingEvent(base.Event):
    check_types = quit
class QuittingError(RemoteProtocolError):
    __str__ = quit
class Dialect(base.Dialect):
"""


@pytest.mark.parametrize(
    "body",
    [
        "counts_osuser_logins = property(quit)",
        "raise QuittingError",
        "def log_in(self): raise Interrupted(0)",
        "def log_in(self): raise QuittingError",
        "def log_in(self): self.report(Quitter())",
        "def log_in(self): self.report(QuittingEvent())",
    ],
)
def test_a_dialect_that_ends_the_process_makes_no_0(command, server, dialect_file, body):
    """Nothing that it raises, where it is not asked for, is a return code or a signal."""
    environment = environment_with(dialect_file(QUITTING + "    " + body))
    assert command("-s", server.address, "-c", "a", env=environment).returncode == 1
    assert manage("cancel", "-s", server.address, "0" * 16, env=environment, check=False).returncode == 1


NEVER_ENDING = "\n        print('looping', flush=True)\n        while True: pass"


@pytest.mark.slow
@pytest.mark.version("signals in code of others")
@pytest.mark.skipif(os.name == "nt", reason="there a signal only kills")
@pytest.mark.parametrize(
    ("method", "jobs"), [(None, "not submitted"), ("log_in", "not submitted"), ("receive", "unknown")]
)
def test_a_dialect_that_never_ends_is_ended_by_a_signal(command, server, dialect_file, method, jobs):
    """The file itself, or one of its methods. Nothing else ends it."""
    code = failing(method, NEVER_ENDING) if method else "print('looping', flush=True)\nwhile True: pass"
    line = ("-s", server.address, "-v", "-t", "1", "-c", "a")
    with command.start(*line, env=environment_with(dialect_file(code)), stdout=subprocess.PIPE) as process:
        while "looping" not in process.stdout.readline():
            pass
        process.terminate()
        last = process.communicate(timeout=PATIENCE)[0].splitlines()[-1]
    assert process.returncode == -signal.SIGTERM
    assert last.endswith(f"ended by signal {int(signal.SIGTERM)}; jobs: {jobs}")
