"""`headless serve`: its options, where it listens, its log, its standard files, TLS, and the service manager."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import shlex
import socket
import ssl
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from cryptography.hazmat.primitives import serialization

from headless.cli import tools_main as main
from headless.server import settings as settings_module
from headless.server.commands import serve
from headless.server.commands.serve import notify
from headless.server.settings import MIB, Settings
from support.command_here import headless
from support.fork_server import start
from support.homes import fails, posix, prints
from support.job_server import TRUST, QuickServer
from support.process import PATIENCE, ROOT
from support.raw_client import RawClient, connect, osuser_login, py_code, run

pytestmark = pytest.mark.slow


def test_serve_listens_on_ipv6(tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no ::1 here")
    with QuickServer(tmp_path / "home", "--listen", "[::1]:0") as server:
        assert server.address.startswith("[::1]:")
        assert run(server, py_code("print(6)")).output == {(1, "stdout"): "6\n"}


def test_serve_ends_with_a_1_where_another_process_listens(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        fails("listen", "serve", "--listen", address, "--home", str(tmp_path / "home"))


@pytest.mark.parametrize("level", ["info", "warning"])
def test_the_log_is_on_stderr_as_detailed_as_wanted_and_warns_once_of_root(tmp_path, level):
    with QuickServer(tmp_path / "home", "--log-level", level) as server:
        assert run(server, py_code("1")).ended == "ok"
        server.stop()
    assert ("logged in" in server.log) == (level == "info")
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    assert server.log.count("runs as root") == is_root


def test_with_until_eof_the_server_ends_with_its_standard_input_which_no_job_shares(home_path):
    command = ["-m", "headless", "serve", "--listen", "127.0.0.1:0", "--home", home_path, "--until-eof", *TRUST]
    with start(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().removeprefix("listening on ").strip()
        with RawClient(address).log_in() as client:
            client.submit(py_code("import sys; print(repr(sys.stdin.read()))"))
            assert client.report().output == {(1, "stdout"): "''\n"}
        assert process.communicate(timeout=PATIENCE)[0] == ""
        assert process.returncode == 0


@posix
def test_the_end_of_standard_input_after_a_signal_is_a_second_request_without_a_traceback(home_path, gate):
    listen = ("--listen", "127.0.0.1:0", "--home", home_path)
    command = ["-m", "headless", "serve", *listen, "--until-eof", "--grace", "600", "--end-jobs", *TRUST]
    pipe = subprocess.PIPE
    with start(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None and process.stderr is not None
        address = process.stdout.readline().removeprefix("listening on ").strip()
        with RawClient(address).log_in() as client:
            client.submit(py_code(gate.code))
            client.expect("started")
            process.terminate()
            while "stopping: " not in process.stderr.readline():
                pass
            log = process.communicate(timeout=PATIENCE)[1]
            assert client.report().ended == "failed"
    assert (process.returncode, "Traceback" in log) == (0, False)


@pytest.mark.version("ssl")
def test_with_a_certificate_every_connection_is_tls_from_its_first_byte(tmp_path, certificate):
    authority, cert, key = certificate
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with QuickServer(tmp_path / "home", "--tls-cert", cert, "--tls-key", key) as server:
        with connect(server) as client:
            client.sock = context.wrap_socket(client.sock, server_hostname="127.0.0.1")
            client.log_in().submit(py_code("print(1)"))
            assert client.report().ended == "ok"
        with connect(server) as plain:
            plain.send(osuser_login())
            plain.wait_for_disconnect()
            assert plain.received == []


def test_serve_ends_with_a_1_for_a_certificate_or_key_that_cannot_be_used(home_path, certificate, tmp_path):
    _, cert, key = certificate
    plain = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"hunter2")
    pem = plain.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    (tmp_path / "locked.pem").write_bytes(pem)
    cases = [("absent.pem", key, "certificate"), (cert, "absent.pem", "certificate"), (key, cert, "certificate")]
    cases.append((cert, str(tmp_path / "locked.pem"), "passphrase"))
    if os.name != "nt":
        fifo = str(tmp_path / "fifo")
        os.mkfifo(fifo)
        cases += [(fifo, key, "not a regular file"), (cert, fifo, "not a regular file")]
    for each_cert, each_key, word in cases:
        options = ("--tls-cert", each_cert, "--tls-key", each_key)
        fails(word, "serve", "--home", home_path, "--listen", "127.0.0.1:0", *options)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no service manager of this kind")
def test_the_service_manager_learns_when_the_server_is_ready_and_when_it_stops(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # a name that the kernel makes, and that is in no folder
        manager.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname().decode().replace("\0", "@"))
        with QuickServer(tmp_path / "home") as server:
            assert manager.recv(100) == b"READY=1"
            report = run(server, py_code("import os; print('NOTIFY_SOCKET' in os.environ)"))
            assert report.output == {(1, "stdout"): "False\n"}
            server.stop()
            assert manager.recv(100) == b"STOPPING=1"


# Standard files that were closed before a command began


def run_with(redirections: str, *argv: str) -> tuple[int, str, str]:
    command = shlex.join([sys.executable, str(ROOT / "headless"), *argv])
    done = subprocess.run(
        ["sh", "-c", f"exec {command} {redirections}"], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return done.returncode, done.stdout, done.stderr


def without(stream: str, *argv: str) -> tuple[int, str]:
    """Runs the command without a standard file, for which Python has None."""
    with patch.object(sys, stream, None), redirect_stderr(io.StringIO()) as stderr:
        return main(argv), stderr.getvalue()


def test_a_command_that_cannot_print_its_answer_or_read_a_password_is_a_1(home_path):
    error = "headless user: error: standard {} is closed\n".format
    assert without("stdout", "user", "list", "--home", home_path) == (1, error("output"))
    assert without("stdin", "user", "add", "R50", "--password-stdin", "--home", home_path) == (1, error("input"))


@pytest.mark.version("standard files that are closed")
@pytest.mark.skipif(os.name == "nt", reason="no shell of Windows closes them")
def test_a_process_without_standard_files_fails_by_what_it_needs_of_them_alone(home_path):
    error = "headless user: error: standard {} is closed\n".format
    of_home = ("--home", home_path)
    assert run_with(">&-", "user", "list", *of_home) == (1, "", error("output"))
    assert run_with("<&- >&- 2>&-", "user", "add", "R50", "--os-user", "root", *of_home) == (0, "", "")
    assert run_with("<&-", "user", "add", "R51", "--secret-file", "-", *of_home) == (1, "", error("input"))
    assert prints("user", "list", *of_home)[1:] == ["R50 osuser=root"]
    serve = ("serve", "--listen", "127.0.0.1:0", "--until-eof")  # which ends at once
    assert run_with("<&- >&- 2>&-", *serve, *of_home) == (0, "", "")


# Options


OPTIONS: dict[str, dict[str, Any]] = {
    "--listen 127.0.0.2:77": {"host": "127.0.0.2", "port": 77},
    "--workers 3": {"workers": 3},
    "--grace 5": {"grace": 5.0},
    "--end-jobs": {"end_jobs": True},
    "--keep 3": {"retention_days": 3},
    "--limit 7": {"time_limit": 7.0},
    "--dry-run": {"dry_run": True},
    "--import-from headless": {"import_from": os.path.abspath("headless")},
    "--trust-osuser": {"trust_osuser": True},
    "--max-output 2": {"output_limit": 2 * MIB},
    "--max-connections 11": {"max_connections": 11},
    "--max-connections-per-address 12": {"max_connections_per_address": 12},
    "--max-connections-per-account 13": {"max_connections_per_account": 13},
    "--until-eof": {},
    "": {},
}


@pytest.fixture
def served(monkeypatch):
    """Home, settings and --until-eof of each call of `serve`, which returns at once."""
    calls: list[tuple[Any, Settings, bool]] = []

    async def run(home, settings, _writer, until_eof, _load_tls) -> None:
        calls.append((home, settings, until_eof))

    monkeypatch.setattr(serve, "_run_until_stopped", run)
    monkeypatch.setattr(sys, "setswitchinterval", lambda _: None)
    monkeypatch.setattr(settings_module, "_raise_limit", lambda: 1_000_000)
    level = logging.getLogger().level
    yield calls
    logging.getLogger().setLevel(level)


@pytest.mark.version("argparse")
def test_each_option_sets_what_it_says_and_nothing_else(tmp_path, served):
    for name in ("code", "modules"):
        (tmp_path / name).mkdir()
    for options, changes in OPTIONS.items():
        done = headless("serve", "--home", str(tmp_path / "home"), "--trust-folders", *options.split())
        assert done.returncode == 0, (options, done.stderr)
        home, settings, until_eof = served.pop()
        ends_jobs = {"end_jobs": os.name == "nt"}  # where no job outlives the server
        assert settings == Settings()._replace(**{**ends_jobs, **changes}), options
        assert home.folder == tmp_path / "home"
        assert home.py.is_dir() and home.modules.is_dir()
        assert (home.py, home.modules) == (home.folder / "py", home.folder / "modules")
        assert until_eof == ("until-eof" in options)
    folders = ("--py", str(tmp_path / "code"), "--modules", str(tmp_path / "modules"))
    assert headless("serve", "--home", str(tmp_path / "home"), "--trust-folders", *folders).returncode == 0
    home, _, _ = served.pop()
    assert (home.py, home.modules) == (tmp_path / "code", tmp_path / "modules")


@pytest.mark.parametrize(("descriptors", "connections"), [(1000, 1000 - 128 - 2 * 8), (10, 1), (10**6, 10_000)])
def test_there_are_no_more_connections_than_descriptors_allow(tmp_path, served, monkeypatch, descriptors, connections):
    """Some are set aside, and some for each worker."""
    monkeypatch.setattr(settings_module, "_raise_limit", lambda: descriptors)
    assert headless("serve", "--home", str(tmp_path / "home"), "--trust-folders", "--workers", "2").returncode == 0
    assert served.pop()[1].max_connections == connections


def test_a_second_signal_leaves_some_seconds_and_more_where_jobs_have_to_end(monkeypatch):
    left: list[float] = []
    monkeypatch.setattr(serve, "_end_process_after", left.append)

    async def ask_twice(end_jobs: bool) -> None:
        signals = serve.Signals(end_jobs)
        signals.request_stop()
        await asyncio.sleep(0)
        assert (signals.stop.is_set(), signals.force_stop.is_set(), len(left)) == (True, False, int(end_jobs))
        signals.request_stop()
        await asyncio.sleep(0)
        assert signals.force_stop.is_set()

    asyncio.run(ask_twice(False))
    asyncio.run(ask_twice(True))
    assert left == [3, 10]


# The service manager


with_unix_sockets = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no such sockets here")


@with_unix_sockets
def test_the_service_manager_gets_each_state_also_at_a_path(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
        notify("STOPPING=1\nSTATUS=fünf jobs")
        assert manager.recv(100).decode() == "STOPPING=1\nSTATUS=fünf jobs"


@with_unix_sockets
@pytest.mark.parametrize("name", [None, "", "relative", "@", "/" + "x" * 300, "@" + "x" * 300, "/dev/null", "/\udcff"])
def test_where_there_is_no_service_manager_nothing_happens(monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if name is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", name)
    notify("READY=1")
    assert list(tmp_path.iterdir()) == []


@with_unix_sockets
def test_a_service_manager_that_does_not_listen_is_not_waited_for(tmp_path, monkeypatch):
    name = str(tmp_path / "notify")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other,
    ):
        manager.bind(name)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                other.sendto(b"x", name)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        monkeypatch.setattr(serve, "_NOTIFY_SECONDS", 0.1)
        notify("READY=1")
