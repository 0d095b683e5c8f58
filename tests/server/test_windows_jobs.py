"""A server on Windows and its jobs: what is recorded, shown and told of how they end, and that they outlive a server.
How their processes do that is in test_windows_shims.py."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys

import pytest

from support.job_code import Gate
from support.job_processes import Lock, is_running, with_child
from support.job_server import QuickServer, journal, states
from support.process import PATIENCE, SCRIPT
from support.raw_client import connect, py_code, run
from support.waiting import wait_until

if sys.platform != "win32":
    pytest.skip("what is tested here is Windows' own", allow_module_level=True)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("jobs") / "home"
    with QuickServer(home, "--workers", "4", "--trust-osuser") as server:
        yield server


@pytest.fixture
def own_server(tmp_path):
    with QuickServer(tmp_path / "home", "--workers", "1", "--trust-osuser", ends_jobs=False) as server:
        yield server


# Exit statuses of 32 bits

STATUSES = {"256": 256, "0xC0000005 - 2**32": 3221225477, "-1": 4294967295, "1": 1}


@pytest.mark.parametrize(("status", "shown"), STATUSES.items())
def test_a_job_has_failed_whatever_its_exit_status_is(server, status, shown):
    with connect(server).log_in() as client:
        client.submit(py_code(f"import os; os._exit({status})"), py_code("pass"))
        report = client.report()
    assert report.finished == [("failed", f"exit status {shown}"), ("skipped", "")]
    assert report.ended == "failed"
    entry = journal(server, client.session)[0]
    assert (entry["state"], entry["exit_status"], entry["signal"]) == ("failed", shown, None)


@pytest.mark.parametrize("status", STATUSES)
def test_and_the_command_returns_1(server, status):
    code = f"import os; os._exit({status})"
    command = [sys.executable, str(SCRIPT), "-s", server.address, "-u", "R41", "-t", "-1", "-c", code]
    assert subprocess.run(command, check=False, stdin=subprocess.PIPE, timeout=PATIENCE).returncode == 1


# What a job finds


def test_a_job_knows_who_it_runs_as(server):
    report = run(server, py_code("import getpass; print(getpass.getuser())"))
    assert report.output[1, "stdout"].strip() == getpass.getuser()
    assert report.ended == "ok"


def test_a_job_finds_what_programs_of_windows_expect(server):
    names = ("SYSTEMROOT", "WINDIR", "SYSTEMDRIVE", "USERNAME", "USERPROFILE", "HOMEDRIVE", "HOMEPATH", "PROGRAMFILES")
    expected = {name: os.environ[name] for name in names if name in os.environ}
    report = run(server, py_code(f"import os; print({{name: os.environ.get(name) for name in {list(expected)}}})"))
    assert report.output[1, "stdout"].strip() == str(expected)
    assert len(expected) > 4


# A server that ends, and the next one


def test_a_job_goes_on_without_its_server_and_the_next_one_knows_its_end(own_server, tmp_path):
    gate = Gate(tmp_path / "gate")
    with connect(own_server).log_in() as client:
        client.submit(py_code(f"print('begun')\n{gate.code}print('end')\nraise SystemExit(256)"), py_code("pass"))
        client.expect("started")
        wait_until(lambda: journal(own_server)[0]["pid"])
        pid = journal(own_server)[0]["pid"]
        own_server.crash()
        assert is_running(pid)
        assert journal(own_server)[0]["state"] == "running"
        own_server.start()
        assert states(own_server, client.session) == ["running", "queued"]
        gate.open()
        wait_until(lambda: states(own_server, client.session) == ["failed", "skipped"])
    entry = journal(own_server, client.session)[0]
    assert (entry["exit_status"], entry["stdout"].split()) == (256, ["begun", "end"])
    assert not is_running(pid)


def test_a_job_that_is_cancelled_ends_with_all_that_it_has_started(own_server, tmp_path):
    lock = Lock(tmp_path / "lock")
    with connect(own_server).log_in() as client:
        client.submit(py_code(with_child(lock, lock.code(), "import time; time.sleep(60)")))
        wait_until(lambda: lock.is_taken)
        assert own_server.manage("jobs", "cancel", client.session).stdout.startswith("cancelled: 1")
    wait_until(lock.is_free)
    assert states(own_server, client.session) == ["cancelled"]
