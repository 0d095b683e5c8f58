"""PLANTA_PATIENCE: a server that is not there yet is waited for, before anything was submitted and never after it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from support.credentials import PASSWORD
from support.dialogues import ACCEPTED, DONE, WELCOME, serving
from support.job_server import QuickServer
from support.process import PATIENCE, ROOT
from support.sockets import reset

LONG = {**os.environ, "PLANTA_PATIENCE": str(PATIENCE)}
SHORT = {**os.environ, "PLANTA_PATIENCE": "1"}
BUSY = '<refused reason="busy">too many connections</refused>'


@pytest.fixture
def closed_port():
    """A port that refuses connections, and that nobody else gets."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved


def address_of(sock):
    return "{}:{}".format(*sock.getsockname())


def after(misfortune, times, script):
    """A script by which the first connections end with a misfortune."""
    peers = []

    def run(peer):
        peers.append(peer)
        (misfortune if len(peers) <= times else script)(peer)

    return run


def busy(peer):
    peer.receive()
    peer.send(BUSY)
    peer.wait_for_disconnect()


def lost_at_the_login(peer):
    peer.receive()
    reset(peer.sock)


@pytest.mark.parametrize("timeout", [("-t", "-1"), ("-t", "15"), ()], ids=" ".join)
def test_a_server_that_is_down_is_waited_for_and_the_job_runs_once(command, closed_port, tmp_path, timeout):
    address, trace = address_of(closed_port), tmp_path / "trace"
    code = f"print('ran', file=open({str(trace)!r}, 'a'))"
    with command.start("-s", address, "-v", *timeout, "-c", code, env=LONG) as process:
        assert process.stdout is not None
        while "connecting again in" not in process.stdout.readline():
            pass
        closed_port.close()
        with QuickServer(tmp_path / "home", "--listen", address):
            assert process.wait(PATIENCE) == 0
            deadline = time.monotonic() + PATIENCE
            while not (trace.exists() and trace.read_text()):
                assert time.monotonic() < deadline
    assert trace.read_text() == "ran\n"


@pytest.mark.parametrize("misfortune", [busy, lost_at_the_login, lambda peer: reset(peer.sock)],
                         ids=["busy", "lost at the login", "lost at once"])  # fmt: skip
def test_what_goes_wrong_before_the_login_is_tried_again(command, scripted, misfortune):
    server = scripted(after(misfortune, 2, serving(*DONE)))
    done = command("-s", server.address, "-v", "-t", "-1", "-c", "pass", env=LONG)
    server.close()
    assert (done.returncode, len(server.peers)) == (0, 3), done.stdout
    assert done.stdout.count("connecting again in") == 2


@pytest.mark.parametrize(
    ("documents", "submission"),
    [((WELCOME,), "unknown"), ((WELCOME, ACCEPTED), "submitted"), ((WELCOME, BUSY), "not submitted")],
    ids=["jobs", "acceptance", "refusal of the jobs"],
)
def test_what_goes_wrong_after_the_login_is_not_tried_again(command, scripted, documents, submission):
    def script(peer):
        for document in documents:
            peer.receive()
            peer.send(document)
        if len(documents) == 1:
            peer.receive()
        reset(peer.sock)

    server = scripted(script)
    done = command("-s", server.address, "-v", "-t", "-1", "-c", "pass", env=LONG)
    server.close()
    assert (done.returncode, len(server.peers)) == (1, 1), done.stdout
    assert done.stdout.endswith(f"jobs: {submission}\n")


@pytest.mark.parametrize("variable", [None, ""])
def test_without_patience_a_refused_connection_is_the_end_at_once(command, closed_port, variable):
    environment = {name: value for name, value in os.environ.items() if name != "PLANTA_PATIENCE"}
    begin = time.monotonic()
    done = command(
        "-s", address_of(closed_port), "-v", "-t", "-1", "-c", "pass",
        env=environment if variable is None else {**environment, "PLANTA_PATIENCE": variable},
    )  # fmt: skip
    assert (done.returncode, time.monotonic() - begin < 10) == (1, True)
    assert "connecting again" not in done.stdout


@pytest.mark.parametrize("timeout", ["-1", "0", "60"])
def test_when_patience_is_over_the_last_line_says_why_the_server_was_not_there(command, closed_port, timeout):
    begin = time.monotonic()
    done = command("-s", address_of(closed_port), "-v", "-t", timeout, "-c", "pass", env=SHORT)
    assert done.returncode == 1
    assert 1 <= time.monotonic() - begin < 10
    last = done.stdout.splitlines()[-1]
    assert "the server has not accepted the jobs in time (no connection to 127.0.0.1 port" in last
    assert last.endswith("; jobs: not submitted")


def test_t_ends_a_patience_that_is_longer(command, closed_port):
    begin = time.monotonic()
    assert command("-s", address_of(closed_port), "-t", "1", "-c", "pass", env=LONG).returncode == 1
    assert 1 <= time.monotonic() - begin < 10


def test_a_login_that_is_refused_is_a_2_at_once(command, scripted):
    def refuse(peer):
        peer.receive()
        peer.send('<refused reason="login">no such user</refused>')

    server = scripted(after(busy, 1, refuse))
    done = command("-s", server.address, "-t", "-1", "-c", "pass", env=LONG)
    server.close()
    assert (done.returncode, len(server.peers)) == (2, 2)


def test_wait_has_the_same_patience(command, tmp_path):
    with QuickServer(tmp_path / "home") as server:
        done = command("-s", server.address, "-v", "-t", "-1", "-c", "print(42)")
        session = done.stdout.partition("logged in, session ")[2].split()[0]
    wait = [sys.executable, ROOT / "headless", "wait", session, "-v", "-s", server.address]
    with subprocess.Popen(wait, env=LONG, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "connecting again in" not in process.stdout.readline():
            pass
        with QuickServer(tmp_path / "home", "--listen", server.address):
            stdout, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, "job 1 stdout: 42" in stdout) == (0, True)


@pytest.mark.skipif(os.name == "nt", reason="there is no pseudo-terminal")
@pytest.mark.slow
def test_the_password_is_asked_for_once(tmp_path):
    from support.terminal import Terminal

    with QuickServer(tmp_path / "home", "--listen", "127.0.0.1:0") as server:
        server.manage("user", "add", "R42", "--password-stdin", input=PASSWORD + "\n")
        address = server.address
    argv = ("-s", address, "-u", "R42", "-p", "secret", "-v", "-t", "-1", "-c", "print(42)")
    with Terminal(tmp_path, *argv, env=LONG) as terminal:
        terminal.answer(PASSWORD + "\n")
        terminal.wait_for("connecting again in")
        with QuickServer(tmp_path / "home", "--listen", address):
            assert terminal.end() == 0
    assert terminal.shown.count("Password for") == 1
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o400


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "ten", " 5", "5s", "1" * 10, "\udcff"])
def test_a_value_that_cannot_be_used_names_the_variable(command, value):
    done = command("-s", "127.0.0.1:1", "-c", "pass", env={**os.environ, "PLANTA_PATIENCE": value})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("planta_headless.py: error: PLANTA_PATIENCE ")
