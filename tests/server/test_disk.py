"""A full disk: what was accepted runs and is journaled, output is cut, new sessions are refused until there is room."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headless.errors import Busy
from headless.server import disk as disk_module
from headless.server import queue
from headless.server import server as server_module
from headless.server.commands import cancel
from headless.server.disk import Disk
from support.command_here import headless
from support.crashes import printed
from support.job_code import Gate
from support.job_server import QuickServer, journal, states
from support.raw_client import connect, in_jobs, py_code, run
from support.server_here import ServerHere
from support.waiting import wait_until

pytestmark = pytest.mark.slow


MIB = 1024 * 1024
SET_ASIDE = MIB
FLOOR = 4 * MIB  # that accepted sessions leave
PRINT = "print('.')\n"  # a session is said to have started before its job has
ENDLESS = "import os\nwhile True: os.write(1, b'x' * 65536)\n"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A server sets a quarter aside, and looks often whether there is room for that."""
    monkeypatch.setattr(disk_module, "_RESERVE_BYTES", SET_ASIDE)
    monkeypatch.setattr(server_module, "_STATUS_SECONDS", 0.1)
    monkeypatch.setattr(queue, "_REQUESTS_SECONDS", 0.05)
    monkeypatch.setattr(cancel, "_POLL_SECONDS", 0.02)


class SmallDisk:
    """A file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filling = folder / "filling"

    @property
    def free(self) -> int:
        """Bytes."""
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize

    def fill(self, leaving: int = 0) -> None:
        """Fills it until so many bytes are left."""
        with open(self._filling, "ab") as file:
            while self.free > leaving:
                try:
                    os.write(file.fileno(), bytes(min(65536, self.free - leaving)))
                except OSError:
                    return

    def make_room(self) -> None:
        self._filling.unlink()


@pytest.fixture
def disk(tmp_path):
    """A mounted one of 10 MiB, which only root can make, and on Linux."""
    folder, size = tmp_path / "disk", 10 * MIB
    folder.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root can make a small disk, and on Linux")
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(folder)]
    mounted = subprocess.run(mounting, capture_output=True, text=True, timeout=10, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk can be made here: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], timeout=10, check=True)


@pytest.fixture
def server(disk):
    with ServerHere(disk.folder / "home", workers=2, disk_floor=FLOOR) as server:
        wait_until(lambda: reserve(server) == SET_ASIDE)
        yield server


def reserve(server: QuickServer) -> int:
    path = server.home / "reserve"
    return path.stat().st_size if path.exists() else 0


def submit_refused(server: QuickServer) -> str:
    with connect(server).log_in() as client:
        client.send(in_jobs(py_code("1")))
        return client.expect_refusal("busy")


def test_on_a_full_disk_a_new_session_is_refused_and_with_room_again_accepted(server, disk):
    disk.fill(leaving=FLOOR - MIB)
    assert submit_refused(server) == "the disk of the server is full"
    disk.make_room()
    assert run(server, py_code("print(1)")).ended == "ok"
    assert len(journal(server)) == 1


def test_what_was_accepted_is_journaled_and_reported_although_no_byte_is_left_by_the_reserve(server, disk, tmp_path):
    gate = Gate(tmp_path / "gate")
    with connect(server).log_in() as good, connect(server).log_in() as bad:
        good.submit(py_code(PRINT + gate.code))
        bad.submit(py_code(f"{PRINT}{gate.code}raise SystemExit(3)"), py_code("1"))
        for client in (good, bad):
            printed(client)
        disk.fill()
        gate.open()
        assert [status for status, _ in good.report().finished] == ["ok"]
        assert [status for status, _ in bad.report().finished] == ["failed", "skipped"]
        wait_until(lambda: reserve(server) == 0)
        disk.make_room()
        wait_until(lambda: reserve(server) == SET_ASIDE)
    assert states(server, good.session) == ["ok"]
    assert states(server, bad.session) == ["failed", "skipped"]


def test_a_session_that_begins_on_a_full_disk_runs_without_a_restart_and_what_output_is_missing_is_said(
    server, disk, tmp_path
):
    gate = Gate(tmp_path / "gate")
    clients = [connect(server).log_in() for _ in range(5)]
    for client in clients[:2]:
        client.submit(py_code(PRINT + gate.code))
        printed(client)
    for client in clients[2:]:
        client.submit(py_code("print(1)"))
    disk.fill()
    gate.open()
    for client in clients[:2]:
        assert client.report().ended == "ok"
    disk.fill()  # what was set aside, too
    assert "disk" in submit_refused(server)
    disk.make_room()
    reports = {client.session: client.report() for client in clients[2:]}
    server.stop()
    for session, report in reports.items():
        assert report.ended == "ok"
        stored = report.output.get((1, "stdout"), "")
        # The job writes two bytes, one at a time, and there may be room for the second one. Where there was no room for
        # the line that says so in the output, only the log does.
        found = re.search(rf"session {session}: job 1: (\d) bytes of its output were not stored", server.log)
        lost = int(found[1]) if found else 0
        line = rf"(.*\b{lost} bytes of output were not stored: .*\n)?" if lost else ""
        assert re.fullmatch(line + "1\n"[lost:], stored), (lost, stored)


def test_output_without_end_is_cut_and_leaves_room_for_the_journal_alone(server, disk):
    with connect(server).log_in() as endless:
        endless.submit(py_code(ENDLESS))
        endless.expect("started")
        wait_until(lambda: disk.free < FLOOR + MIB)
        with connect(server).log_in() as client:
            wait_until(lambda: disk.free < FLOOR + 65536)
            client.send(in_jobs(py_code("x" * 65536)))
            assert client.expect_refusal("busy") == "the disk of the server is full"
        assert disk.free > FLOOR - MIB
        assert headless("jobs", "cancel", endless.session, "--home", str(server.home)).returncode == 0
        report = endless.report()
    assert report.ended == "failed"
    assert "the disk is full" in report.output[1, "stdout"].splitlines()[-1]
    assert states(server, endless.session) == ["cancelled"]


# What is set aside


def test_room_is_left_twice_for_a_session_and_nothing_is_set_aside_that_would_take_it(tmp_path, monkeypatch):
    free = FLOOR + 2000
    monkeypatch.setattr(disk_module.Disk, "free", lambda _: free)
    disk = Disk(tmp_path, FLOOR)
    disk.check_room(1000)
    with pytest.raises(Busy):
        disk.check_room(1001)
    free = FLOOR + SET_ASIDE - 1
    disk.set_aside()
    assert not (tmp_path / "reserve").exists()
    free += 1
    disk.set_aside()
    assert (tmp_path / "reserve").stat().st_size == SET_ASIDE
    if os.name != "nt":
        assert (tmp_path / "reserve").stat().st_blocks * 512 >= SET_ASIDE  # no hole
    disk.make_room()
    assert (tmp_path / "reserve").stat().st_size == 0
    gone = Disk(tmp_path / "gone", FLOOR)  # which raises nothing
    gone.set_aside()
    gone.make_room()
