"""What the tests share: the real command as a process, the real server as one, and a peer that sends literal bytes.
Helpers that are no fixtures are in support/. They are imported where they are used: a run of a few quick tests takes
half of the time."""

from __future__ import annotations

import re
import signal

import pytest

QUICK = "not slow"
SLOW_FILE = re.compile(r"^pytestmark = (\[\s*)?pytest\.mark\.slow\b", re.MULTILINE)
SLOW_FIXTURES = {"command", "job_server", "server", "own_server"}  # which start processes


def pytest_configure(config):
    let_signals_arrive()
    if config.option.markexpr == QUICK:  # no quick test uses it, and its summary imports all of it: a second
        config.pluginmanager.unregister(name="hypothesispytest")


def let_signals_arrive():
    """In the background of a shell, and under nohup, signals are ignored that the tests send to processes. A handler,
    even one that does nothing, is none of what a process inherits."""
    for name in ("SIGINT", "SIGHUP"):
        signum = getattr(signal, name, None)  # Windows has no SIGHUP
        if signum is not None and signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, lambda *_: None)


def pytest_ignore_collect(collection_path, config):
    """With -m "not slow" a file that is slow as a whole is not even read: half of the time goes into reading."""
    if config.option.markexpr == QUICK and collection_path.suffix == ".py":
        return True if SLOW_FILE.search(collection_path.read_text(encoding="utf-8")) else None
    return None


def pytest_collection_modifyitems(items):
    for item in items:
        if SLOW_FIXTURES.intersection(item.fixturenames) or item.get_closest_marker("large"):
            item.add_marker("slow")
        for marker in item.iter_markers("version"):
            assert marker.args, f"{item.nodeid}: the marker 'version' says why"


@pytest.fixture
def command(tmp_path):
    """The real planta_headless.py, run as a process."""
    from support.process import Command

    return Command(tmp_path)


@pytest.fixture
def here(tmp_path):
    """The command in the process of the tests."""
    from support.command_here import CommandHere

    return CommandHere(tmp_path)


@pytest.fixture
def rehearse(tmp_path):
    """Runs rehearsals, and looks whether they leave something behind."""
    from support.rehearsal import Rehearse

    (tmp_path / "work").mkdir()
    (tmp_path / "temporary").mkdir(mode=0o700)
    return Rehearse(tmp_path / "work", tmp_path / "temporary")


@pytest.fixture
def scripted():
    """Makes servers that follow a script, and ends them."""
    from support.scripted_server import ScriptedServer

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
    from support.job_code import Gate

    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


@pytest.fixture
def job_server(tmp_path):
    """The real server as a process, with an account for the user of the tests."""
    from support.job_server import JobServer

    with JobServer(tmp_path / "home") as server:
        yield server
