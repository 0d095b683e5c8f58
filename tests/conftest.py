"""What the tests share: the real command as a process, the real server as one, and a peer that sends literal bytes.
Helpers that are no fixtures are in support/."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from support.job_code import Gate
from support.job_server import JobServer
from support.process import Command
from support.rehearsal import Rehearse
from support.scripted_server import ScriptedServer

HERE = Path(__file__).parent
# What is marked as slow: it starts processes, or waits. The few others that do have the marker themselves.
SLOW_FOLDERS = ("robustness", "server")
SLOW_FIXTURES = {"command", "scripted", "job_server", "tls_server", "rehearse"}
QUICK_FILES = ("test_notify.py", "test_peer.py", "test_throttle.py")  # of these folders


def pytest_configure():
    """In the background of a shell, and under nohup, signals are ignored that the tests send to processes. A handler,
    even one that does nothing, is none of what a process inherits."""
    for name in ("SIGINT", "SIGHUP"):
        signum = getattr(signal, name, None)  # Windows has no SIGHUP
        if signum is not None and signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, lambda *_: None)


def pytest_collection_modifyitems(items):
    for item in items:
        is_in_slow_folder = item.path.relative_to(HERE).parts[0] in SLOW_FOLDERS and item.path.name not in QUICK_FILES
        if is_in_slow_folder or SLOW_FIXTURES.intersection(item.fixturenames) or item.get_closest_marker("large"):
            item.add_marker("slow")
        for marker in item.iter_markers("version"):
            assert marker.args, f"{item.nodeid}: the marker 'version' says why"


@pytest.fixture
def command(tmp_path):
    """The real planta_headless.py, run as a process."""
    return Command(tmp_path)


@pytest.fixture
def rehearse(tmp_path):
    """Runs rehearsals, and looks whether they leave something behind."""
    (tmp_path / "work").mkdir()
    (tmp_path / "temporary").mkdir(mode=0o700)
    return Rehearse(tmp_path / "work", tmp_path / "temporary")


@pytest.fixture
def scripted():
    """Makes servers that follow a script, and ends them."""
    servers = []

    def make(script):
        servers.append(ScriptedServer(script))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def gate(tmp_path):
    """What a job waits for, at the longest until the test ends."""
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


@pytest.fixture
def job_server(tmp_path):
    """The real server as a process, with an account for whoever runs the tests."""
    with JobServer(tmp_path / "home") as server:
        yield server
