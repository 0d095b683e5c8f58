"""A backup of a home while its server runs, as SERVER.md says it is made; what a restored and a moved home do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from headless.server.home import Home
from support.command_here import headless
from support.job_code import Gate
from support.job_server import QuickServer, journal
from support.process import PATIENCE, ROOT
from support.raw_client import connect, py_code, run
from support.waiting import wait_until

pytestmark = pytest.mark.slow


def back_up(server: QuickServer, target: str) -> None:
    """With the command of SERVER.md, for this home."""
    text = (ROOT / "headless" / "server" / "SERVER.md").read_text(encoding="utf-8")
    (code,) = re.findall(r'python -c "(import sqlite3; .*backup.*)"\n', text)
    code = code.replace("planta-home", str(server.home)).replace("planta-backup.sqlite", target)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


def restore(server: QuickServer, backup: str) -> None:
    """As SERVER.md says."""
    shutil.copyfile(backup, server.home / "planta.sqlite")
    for name in ("planta.sqlite-wal", "planta.sqlite-shm"):
        (server.home / name).unlink(missing_ok=True)


def test_a_backup_of_a_running_server_has_all_accounts_and_all_that_was_reported(tmp_path):
    backup = str(tmp_path / "backup.sqlite")
    with QuickServer(tmp_path / "home") as server:
        assert run(server, py_code("1"), py_code("2")).ended == "ok"
        back_up(server, backup)
        expected = journal(server)
        assert run(server, py_code("3")).ended == "ok"
        server.stop()
        restore(server, backup)
        assert journal(server) == expected
        server.start()
        assert run(server, py_code("4")).ended == "ok"
        assert [entry["state"] for entry in journal(server)] == ["ok"] * 3


def test_what_waited_in_a_restored_journal_can_be_cancelled_before_it_runs_again(tmp_path):
    backup, gate = str(tmp_path / "backup.sqlite"), Gate(tmp_path / "gate")
    trace = py_code(f"open({str(tmp_path / 'trace')!r}, 'a').write('x')")
    with QuickServer(tmp_path / "home", "--workers", "1") as server:
        with connect(server).log_in() as running, connect(server).log_in() as waiting:
            running.submit(py_code(gate.code), trace)
            running.expect("started")
            waiting.submit(trace)
            back_up(server, backup)
            gate.open()
            assert waiting.report().ended == "ok"
        server.stop()
        restore(server, backup)
        for client in (running, waiting):
            done = headless("jobs", "cancel", client.session, "--home", str(server.home))
            assert (done.returncode, done.stdout.split(":")[0]) == (0, "requested")
        server.start()
        wait_until(lambda: {entry["state"] for entry in journal(server)} == {"cancelled", "skipped"})
    assert (tmp_path / "trace").read_text() == "xx"


def test_a_home_can_be_moved(tmp_path):
    with QuickServer(tmp_path / "home") as server:
        assert run(server, py_code("print(42)")).ended == "ok"
        server.stop()
        shutil.copytree(server.home, tmp_path / "elsewhere")
        Home(str(tmp_path / "elsewhere")).check_trust()
        server.home = tmp_path / "elsewhere"
        server.start()
        assert run(server, py_code("print(43)")).ended == "ok"
        first = journal(server)[0]["session"]
        assert [entry["stdout"] for entry in journal(server, first)] == [f"42{os.linesep}"]
