"""The command as a process: signals, closed and full streams, missing libraries and Pythons, imports."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from support.dialogues import ACCEPTED, DONE, STARTED, WELCOME, answering_jobs, answering_login, challenging, serving
from support.fork_server import start
from support.process import ENDING_SIGNALS, PATIENCE, ROOT, SCRIPT
from support.raw_client import connect
from support.stalls import stalls
from support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.version("how an interpreter starts, ends and imports")]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/net/tcp")
posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")

# Signals


@posix_only
@pytest.mark.parametrize("signum", ENDING_SIGNALS)
@pytest.mark.parametrize(
    ("stage", "submission"),
    [
        (answering_login(), "not submitted"),
        (answering_jobs("<alive/>"), "unknown"),
        (serving(STARTED), "submitted"),
    ],
)
def test_a_signal_ends_the_process_by_that_signal_after_a_logout(command, scripted, signum, stage, submission):
    server = scripted(stage)
    with command.start("-s", server.address, "-vvv", "-t", "-1", "-c", "pass") as process:
        expected = {"not submitted": "sent <login", "unknown": "received <alive", "submitted": "job 1 started"}
        for line in process.stdout:
            if expected[submission] in line:
                break
        with stalls() as late:
            sent_at = time.monotonic()
            process.send_signal(signum)
            rest = process.communicate(timeout=PATIENCE)[0]
            took = time.monotonic() - sent_at
        assert took < 1 + late()
    assert process.returncode == -signum
    assert rest.endswith(f"jobs: {submission}\n")
    server.close()
    assert server.peers[0].received[-1] == "<logout/>"


@posix_only
def test_a_signal_that_nohup_ignores_stays_ignored(command, scripted):
    ignored = threading.Event()

    def script(peer):
        serving_until_started(peer)
        assert ignored.wait(PATIENCE)
        peer.send(*DONE[1:])
        peer.wait_for_disconnect()

    line = ("-s", scripted(script).address, "-v", "-t", "-1", "-c", "pass")
    with command.start(*line, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as process:
        assert any("job 1 started" in line for line in iter(process.stdout.readline, ""))
        process.send_signal(signal.SIGHUP)
        ignored.set()
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def serving_until_started(peer):
    peer.receive()
    peer.send(WELCOME)
    peer.receive()
    peer.send(ACCEPTED, STARTED)


def printing_without_end(peer):
    """A script: a job that prints until the client leaves."""
    serving_until_started(peer)
    while True:
        peer.send('<output job="1" stream="stdout">' + "x" * 60000 + "</output>")


@posix_only
def test_a_signal_ends_a_process_whose_output_is_not_read(command, scripted):
    with command.start("-s", scripted(printing_without_end).address, "-v", "-t", "-1", "-c", "pass") as process:
        assert process.stdout.readline()
        wait_until_blocked(process.pid)
        with stalls() as late:
            sent_at = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=PATIENCE)
            took = time.monotonic() - sent_at
        assert process.returncode == -signal.SIGTERM
        assert took < 1 + late()
        process.stdout.close()


def wait_until_blocked(pid):
    """Until the process has slept through 20 looks in a row: it waits for its full pipe."""
    asleep = 0
    deadline = time.monotonic() + PATIENCE
    while asleep < 20 and time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] if Path("/proc").is_dir() else "S"
        asleep = asleep + 1 if state == "S" else 0
        time.sleep(0.005)


# The command with a time-out of less than a second, which counts from the acceptance on.
SHORT = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from headless import cli
from headless.client import session
from headless.options import parse
cli.parse = lambda *argv: parse(*argv).replace(timeout=0.3)
session.acceptance_seconds = lambda _: {PATIENCE}
cli.end_process(cli.main(sys.argv[1:]))
"""


def test_the_deadline_holds_when_the_output_is_not_read(scripted, tmp_path):
    (tmp_path / "short.py").write_text(SHORT)
    line = [tmp_path / "short.py", "-s", scripted(printing_without_end).address, "-v", "-t", "1", "-c", "pass"]
    with start(line, stdout=subprocess.PIPE) as process:
        assert process.wait(timeout=PATIENCE) == 3
        process.communicate()


# Keep-alive, as the kernel shows it


def keep_alive_is_on(local: tuple[str, int], remote: tuple[str, int]) -> bool:
    """Whether the kernel's timer for the socket with these ends is the one of keep-alive. proc(5), /proc/net/tcp."""
    ports = [f"{address[1]:04X}" for address in (local, remote)]
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(
        [address.rpartition(":")[2] for address in row[1:3]] == ports and row[5].startswith("02:") for row in rows
    )


@linux_only
def test_keep_alive_is_on_at_the_end_of_the_client(command, scripted):
    server = scripted(serving(STARTED))
    with command.start("-s", server.address, "-v", "-t", "-1", "-c", "pass") as process:
        try:
            assert any("job 1 started" in line for line in process.stdout)
            sock = server.peers[0].sock
            wait_until(lambda: keep_alive_is_on(sock.getpeername(), sock.getsockname()))
        finally:
            process.kill()


@linux_only
def test_keep_alive_is_on_at_the_end_of_the_server(job_server):
    with connect(job_server).log_in() as client:
        wait_until(lambda: keep_alive_is_on(client.sock.getpeername(), client.sock.getsockname()))


# Streams


def full_stream():
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    return open("/dev/full", "w")


@posix_only
@pytest.mark.parametrize(
    ("stream", "argv", "code"),
    [
        ("stdout", ("--help",), 0),
        ("stdout", ("--version",), 0),
        ("stderr", ("-x",), 2),
        ("stdout", ("-vvv", "-t", "-1", "-c", "pass"), 0),
        ("stdout", ("-vvv", "-t", "1", "-c", "pass", "-c", "pass"), 1),
        ("stderr", ("-vvv", "-t", "-1", "-c", "pass"), 0),  # which writes nothing to it
    ],
)
def test_no_stream_changes_a_return_code(command, scripted, stream, argv, code):
    argv = argv if argv[0].startswith("--") or argv == ("-x",) else ("-s", scripted(serving(*DONE)).address, *argv)
    other = {"stdout": "stderr", "stderr": "stdout"}[stream]
    with full_stream() as full:
        assert command(*argv, **{stream: full, other: subprocess.DEVNULL}).returncode == code
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert command(*argv, **{stream: writer, other: subprocess.DEVNULL}).returncode == code
    finally:
        os.close(writer)
    closing = {"preexec_fn": lambda: os.close({"stdout": 1, "stderr": 2}[stream])}
    assert command(*argv, **{stream: subprocess.DEVNULL}, **closing).returncode == code


def closed_streams(_folder):
    return {"preexec_fn": lambda: os.closerange(0, 3)}


def gone_folder(folder):
    (gone := folder / "gone").mkdir()
    return {"preexec_fn": lambda: os.rmdir(gone), "cwd": gone}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(lambda _: {"env": {}}, id="no variables"),
        pytest.param(lambda _: {"env": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}}, id="C"),
        pytest.param(lambda _: {"env": {"PYTHONIOENCODING": "ascii"}}, id="ASCII"),
        pytest.param(closed_streams, id="all streams closed", marks=posix_only),
        pytest.param(gone_folder, id="the folder is gone", marks=posix_only),
    ],
)
def test_the_environment_changes_no_return_code(command, scripted, tmp_path, options):
    server = scripted(serving(STARTED, '<output job="1" stream="stdout">ü\u20ac</output>', *DONE[1:]))
    given = options(tmp_path)
    done = command("-s", server.address, "-v", "-t", "-1", "-c", "pass", executed="env" in given, **given)
    assert done.returncode == 0
    assert options is closed_streams or "job 1 stdout: " in done.stdout
    server.close()
    assert server.peers[0].received[1:] == ["<jobs><py_code>pass</py_code></jobs>"]


# Pythons and libraries


def without(tmp_path, *libraries):
    """An environment in which these libraries cannot be imported."""
    for library in libraries:
        (tmp_path / library).mkdir()
        (tmp_path / library / "__init__.py").write_text(f"raise ImportError('no {library} here', name='{library}')")
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def test_a_missing_library_is_a_2_that_says_how_to_install_it(command, tmp_path):
    done = command("-s", "127.0.0.1:1", "-c", "pass", env=without(tmp_path, "lxml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert f"{sys.executable} -m pip install" in done.stderr
    assert done.stderr.rstrip().endswith("lxml")


def test_a_script_without_its_folder_is_a_2(tmp_path):
    script = tmp_path / "planta_headless.py"
    script.write_bytes(SCRIPT.read_bytes())
    line = [sys.executable, "-I", str(script), "--version"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=PATIENCE, cwd=tmp_path)
    if done.returncode == 0:
        pytest.skip("the package is installed here as well")
    assert (done.returncode, "headless" in done.stderr, done.stderr.count("\n")) == (2, True, 1)


class Ended(BaseException):
    """In the place of os._exit."""


@pytest.fixture
def broken_package(tmp_path):
    """Makes a copy of the script whose package raises this. Returns the script."""
    (tmp_path / "headless").mkdir()
    script = tmp_path / "planta_headless.py"
    script.write_bytes(SCRIPT.read_bytes())

    def make(problem):
        (tmp_path / "headless" / "__init__.py").write_text(f"raise {problem}")
        return script

    return make


def test_a_package_that_cannot_be_loaded_now_is_not_for_a_person(broken_package, monkeypatch, capsys):
    def end(code):
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("_signal.signal", lambda *_: None)
    monkeypatch.setattr("gc.set_threshold", lambda *_: None)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # or a changed file of the same second would not be read
    for name in [name for name in sys.modules if name.partition(".")[0] == "headless"]:
        monkeypatch.delitem(sys.modules, name)
    for problem, code in (
        ("OSError(24, 'Too many open files')", 1),
        ("OSError(2, 'No such file or directory')", 2),
        ("ImportError('x.so: cannot open shared object file: Input/output error')", 1),
        ("ImportError('cannot import name')", 2),
        ("MemoryError()", 1),
        ("ValueError('Input/output error')", 2),
        ("SyntaxError('invalid syntax')", 2),
    ):
        script = broken_package(problem)
        monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
        with pytest.raises(Ended) as ended:
            runpy.run_path(str(script), run_name="planta_headless")
        assert ended.value.args == (code,), problem
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", code - 1), problem


# Imports

PROBE = f"""
import json, sys
sys.path.insert(0, {str(ROOT)!r})
from headless.cli import main
print(*map(main, json.loads(sys.argv[1])))
print(*sys.modules)
"""


def imported_by(*calls):
    """The return codes of these calls in one process, and what that has imported then."""
    done = subprocess.run([sys.executable, "-c", PROBE, json.dumps(calls)], capture_output=True, text=True, check=True,
                          timeout=PATIENCE)  # fmt: skip
    *_, codes, modules = done.stdout.splitlines()
    return [int(code) for code in codes.split()], set(modules.split())


NEVER_NEEDED = {
    "asyncio", "dataclasses", "getpass", "importlib.metadata", "logging", "ssl", "subprocess", "threading",
    "typing_extensions", "urllib", "bcrypt",
    "headless.client.loading", "headless.client.password_prompt",
    "headless.client.query", "headless.client.receipt",
    "headless.dialects.example", "headless.dialects.own.server_connection", "headless.libraries", "ctypes",
    "headless.rehearsal", "headless.server",
}  # fmt: skip
ONLY_FOR_A_CHALLENGE = {
    "hashlib", "hmac", "headless.password_file", "headless.dialects.bcrypt_hash", "headless.dialects.own.scram",
}  # fmt: skip


@pytest.mark.parametrize("login", ["osuser", "challenge"])
def test_a_job_costs_no_import_that_the_client_can_do_without(command, scripted, login):
    server = scripted(serving(*DONE) if login == "osuser" else challenging(*DONE))
    argv = [] if login == "osuser" else ["-u", "R41", "-p", command.secret_file()]
    codes, modules = imported_by(["-s", server.address, "-t", "-1", "-c", "pass", *argv])
    assert codes == [0]
    assert not modules & NEVER_NEEDED
    assert modules & ONLY_FOR_A_CHALLENGE == (set() if login == "osuser" else ONLY_FOR_A_CHALLENGE)
    assert {"lxml.etree", "headless.client.session", "headless.dialects.own.dialect"} <= modules
    assert not [module for module in modules if module.startswith("headless.server")]


def test_help_and_mistakes_in_the_options_import_neither_sockets_client_protocol_nor_libraries():
    codes, modules = imported_by(["--help"], ["--version"], ["-x"], ["-t", "x"])
    assert codes == [0, 0, 2, 2]
    assert "headless.options" in modules
    assert not modules & {"socket", "_socket", "selectors", "lxml", "bcrypt", "headless.client"}
    assert not modules & {"headless.dialects.own.messages", "headless.dialects.own.dialect"}


def test_a_call_that_cannot_be_made_imports_neither_session_nor_libraries():
    line = ["-s", "127.0.0.1:1", "-c", "pass"]
    codes, modules = imported_by(
        [*line, "-u", "x" * 257], [*line, "-u", "a\x01b"], [*line, "-p", "missing", "-u", "R41"]
    )
    assert codes == [2, 2, 2]
    assert "headless.dialects.own.dialect" in modules
    assert not modules & {"lxml", "bcrypt", "headless.client.session", "headless.client.stream"}
