"""The database: its version, many that open it, and its backup while a server runs."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from headless.errors import HomeError
from headless.server.accounts import Accounts
from headless.server.home import VERSION
from support.command_here import headless
from support.credentials import HASH
from support.homes import R41
from support.job_code import Gate
from support.job_server import QuickServer, journal
from support.process import PATIENCE, ROOT, manage
from support.raw_client import connect, py_code, run
from support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("version", [0, VERSION + 1, 1000])
def test_a_database_of_another_version_is_refused_in_one_line_and_not_touched(home, version):
    path = home.folder / "planta.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
        connection.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    for command in (("serve", "--listen", "127.0.0.1:0"), ("user", "list"), ("jobs",)):
        done = headless(*command, "--home", str(home.folder))
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert f"has version {version} and this program knows version {VERSION} alone" in line
        assert line.endswith("use the program that wrote it, or begin with a new --home")
        assert path.read_bytes() == before
    with pytest.raises(HomeError, match=f"version {version}"):
        home.database()


def test_two_connections_of_one_process_go_on_after_a_command_of_another_one(home):
    of_home = ("--home", str(home.folder))
    with closing(home.database()) as first, closing(home.database()) as second:
        for number in range(2):
            manage("user", "add", f"R5{number}", "--secret-file", "-", *of_home, input=HASH)
            with first:
                assert Accounts(first).remove(f"R5{number}")
            assert Accounts(second).all() == [R41]
            assert len(manage("user", "list", *of_home).stdout.splitlines()) == 1


# Backup, as SERVER.md says


def back_up(server: QuickServer, target: str) -> None:
    """Runs the command of SERVER.md."""
    text = (ROOT / "headless" / "server" / "SERVER.md").read_text(encoding="utf-8")
    (code,) = re.findall(r'python -c "(import sqlite3; .*backup.*)"\n', text)
    code = code.replace("planta-home", str(server.home)).replace("planta-backup.sqlite", target)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


def restore(server: QuickServer, backup: str) -> None:
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
