"""Jobs and servers on Windows: what jobs find, how they end, that they end with their server; what stops a server."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from importlib import import_module
from typing import Any

import pytest

from support.job_processes import (
    IGNORE_SIGTERM,
    Lock,
    by_hand,
    end_of,
    is_running,
    new_shims,
    result_of,
    run,
    start,
    with_child,
)
from support.job_server import QuickServer, journal, states
from support.process import PATIENCE, ROOT, SCRIPT
from support.raw_client import connect, py_code
from support.waiting import until, wait_until

if sys.platform != "win32":
    pytest.skip("what is tested here is Windows' own", allow_module_level=True)

import msvcrt

pytestmark = pytest.mark.slow
SLEEP = "import time; time.sleep(60)"


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
def test_a_job_has_failed_whatever_its_exit_status_is_and_the_command_returns_1(server, status, shown):
    with connect(server).log_in() as client:
        client.submit(py_code(f"import os; os._exit({status})"), py_code("pass"))
        report = client.report()
    assert report.finished == [("failed", f"exit status {shown}"), ("skipped", "")]
    assert report.ended == "failed"
    entry = journal(server, client.session)[0]
    assert (entry["state"], entry["exit_status"], entry["signal"]) == ("failed", shown, None)
    options = ["-s", server.address, "-u", "R41", "-t", "-1", "-c", f"import os; os._exit({status})"]
    command = [sys.executable, str(SCRIPT), *options]
    assert subprocess.run(command, check=False, stdin=subprocess.PIPE, timeout=PATIENCE).returncode == 1


# A server that ends, and the next one


def test_a_job_ends_with_its_server_and_the_next_one_records_it_as_interrupted(own_server, tmp_path):
    lock = Lock(tmp_path / "lock")
    with connect(own_server).log_in() as client:
        client.submit(py_code(with_child(lock, lock.code(), f"print('begun')\n{SLEEP}")), py_code("pass"))
        wait_until(lambda: lock.is_taken and journal(own_server)[0]["pid"])
        pid = journal(own_server)[0]["pid"]
        assert is_running(pid)
        own_server.crash()
        wait_until(lambda: not is_running(pid))
        wait_until(lock.is_free)
        assert journal(own_server)[0]["state"] == "unknown"
        own_server.start()
        wait_until(lambda: states(own_server, client.session) == ["interrupted", "skipped"])
    assert journal(own_server, client.session)[0]["stdout"].split() == ["begun"]


def test_a_server_that_is_stopped_records_first_that_its_jobs_were_interrupted(own_server):
    with connect(own_server).log_in() as client:
        client.submit(py_code(SLEEP), py_code("pass"))
        client.expect("started")
        assert own_server.stop() == 0
    assert states(own_server, client.session) == ["interrupted", "skipped"]


def test_a_job_that_is_cancelled_ends_with_all_that_it_has_started(own_server, tmp_path):
    lock = Lock(tmp_path / "lock")
    with connect(own_server).log_in() as client:
        client.submit(py_code(with_child(lock, lock.code(), SLEEP)))
        wait_until(lambda: lock.is_taken)
        assert own_server.manage("jobs", "cancel", client.session).stdout.startswith("cancelled: 1")
    wait_until(lock.is_free)
    assert states(own_server, client.session) == ["cancelled"]


# Without a server


# Without a server


FINDS = """if 1:
    import sys
    print(list(sys.modules), list(globals()), __name__, __file__, __spec__, __loader__.path)
    print(sys.argv, sys.orig_argv, sys.executable, sys.flags, sys.path, sys._xoptions)
    import getpass, os
    print(list(os.environ.items()), os.getcwd(), os.popen('set').read(), getpass.getuser())
    for file in (sys.stdin, sys.stdout, sys.stderr):
        print(file.name, file.mode, file.encoding, file.errors, file.isatty(), file.line_buffering, file.newlines)
    print(repr(sys.stdin.read()), sys.stdin.seekable())
    sys.stdout.buffer.write(bytes(range(256)) * 1000); print('Z\u00fcrich', file=sys.stderr)
"""


@pytest.mark.parametrize("then", ["raise ValueError('why')", "import os; os._exit(7)"])
def test_it_is_what_a_script_is(folder, then):
    script = folder.script(FINDS + then)
    assert folder.as_job(script) == by_hand(folder.spec_of(script))


def test_what_it_leaves_behind_is_ended_before_its_end_is_known(folder, lock):
    child = with_child(lock, IGNORE_SIGTERM + lock.code(), "time.sleep(60)", creationflags=0x8)  # without a console
    job = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}])\n{lock.wait_for()}print('end')"
    end = run(end_of(folder, job))
    assert result_of(folder.spec(""), end) == (0, b"end\r\n", b"")
    assert lock.is_free()


def test_it_cannot_start_what_would_leave_its_job_object(folder):
    code = """if 1:
        import subprocess, sys
        try:
            subprocess.Popen([sys.executable, "-c", ""], creationflags=subprocess.CREATE_BREAKAWAY_FROM_JOB)
        except PermissionError:
            print("refused")
        """
    assert result_of(folder.spec(""), run(end_of(folder, code))) == (0, b"refused\r\n", b"")


def test_a_job_that_could_not_be_noted_has_not_started(folder):
    source = f"open({str(folder.path / 'ran')!r}, 'w')"
    os.makedirs(f"{folder.spec(source).output}.pid")
    with pytest.raises(OSError, match=r"1\.pid"):
        run(start(folder, source))
    assert not (folder.path / "ran").exists()


def test_a_job_inherits_its_standard_files_and_nothing_else(folder, lock):
    async def run_it():
        secret = folder.path / "secret"
        with open(secret, "w") as file:
            os.set_handle_inheritable(msvcrt.get_osfhandle(file.fileno()), True)
            process = await start(folder, lock.code())
            await until(lambda: lock.is_taken)
        secret.unlink()  # which Windows does not allow as long as a process has it open
        await process.end()

    run(run_it())


def test_nothing_is_left_of_many_jobs(folder):
    def handles():
        """How many there are, or a number that grows with that."""
        count = ctypes.c_uint32()
        assert ctypes.WinDLL("kernel32").GetProcessHandleCount(ctypes.c_void_p(-1), ctypes.byref(count))
        with open(os.devnull) as file:
            return count.value or msvcrt.get_osfhandle(file.fileno()) // 4

    async def run_some(jobs):
        for number in range(5):
            process = await jobs.start(folder.spec(f"raise SystemExit({number})", number))
            assert (await process.wait()).status == number
        process = await jobs.start(folder.spec(SLEEP, 5))
        await process.end()

    async def run_all():
        jobs = new_shims()
        await run_some(jobs)
        before = handles()
        await run_some(jobs)
        assert handles() <= before + 2

    run(run_all())


end_of_session: Any = import_module("headless.windows")  # which only Windows can import

# What stops a server

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
