"""What the tests share: the real command as a process, the real server as one, and a peer that says literal bytes."""

from __future__ import annotations

import pytest
from support import Command, JobServer, ScriptedServer


@pytest.fixture
def command(tmp_path):
    """The real planta_headless.py, run as a process."""
    return Command(tmp_path)


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
def job_server(tmp_path):
    """The real server as a process, with an account for whoever runs the tests."""
    with JobServer(tmp_path / "home") as server:
        yield server
