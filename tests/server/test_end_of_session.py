"""Windows closes the console of a server, logs its user off, or goes down; or somebody presses Ctrl-Break: the server
stops as it does for other requests."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from importlib import import_module
from typing import Any

import pytest

from support.process import PATIENCE, ROOT

if os.name != "nt":
    pytest.skip("only Windows has these events; elsewhere see test_shutdown.py", allow_module_level=True)
end_of_session: Any = import_module("headless.windows")  # which only Windows can import

pytestmark = pytest.mark.slow

# Wine sends no Ctrl-Break to another process, so the server gets it from within.
SERVE = """
import signal, sys, threading
def on_line():
    sys.stdin.readline()
    signal.raise_signal(signal.SIGBREAK)
threading.Thread(target=on_line, daemon=True).start()
from headless.cli import tools_main as main
sys.exit(main(["serve", "--home", sys.argv[1], "--listen", "127.0.0.1:0"]))
"""


def test_ctrl_break_stops_a_server_as_ctrl_c_does(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path / "home")],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("listening on ")
        _, log = server.communicate("now\n", PATIENCE)
        assert server.returncode == 0
        assert log.rstrip().endswith(" INFO stopped")


@pytest.mark.parametrize(("event", "is_end"), [(0, False), (1, False), (2, True), (5, True), (6, True)])
def test_the_end_of_a_session_is_a_request_and_ctrl_c_is_left_to_the_signals(monkeypatch, event, is_end):
    requested = threading.Event()
    monkeypatch.setattr(end_of_session, "_SECONDS", 0.0)
    end_of_session.on_end(requested.set)
    assert bool(end_of_session._handlers[-1](event)) == is_end
    assert requested.is_set() == is_end
