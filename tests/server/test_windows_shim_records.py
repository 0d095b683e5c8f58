"""What the next server finds of a job on Windows by the record of its shim; nothing runs where that cannot be written.
What shims do is in test_windows_shims.py."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from contextlib import suppress

import pytest

if sys.platform != "win32":
    pytest.skip("what is tested here is Windows' own", allow_module_level=True)


from headless.server.records import read_record
from headless.server.shims import running_pid
from support.job_processes import (
    IGNORE_SIGTERM,
    SERVER,
    found,
    is_running,
    left_by_a_server,
    new_shims,
    result_of,
    serve,
    with_child,
)
from support.process import PATIENCE, ROOT
from support.sampling import EXHAUSTIVE
from support.waiting import in_time, until, wait_until
from support.windows_jobs import SLEEP, end_found, end_of, plant, start

pytestmark = pytest.mark.slow


def run(coroutine):
    return asyncio.run(in_time(coroutine))


# A record that cannot be written

DIE = "windows_shim._winapi.TerminateProcess(windows_shim._winapi.GetCurrentProcess(), 1)"
FAIL = "raise OSError(28, 'No space left on device')\n"


@pytest.mark.parametrize(
    "fault",
    [
        f"def fsync(_): {FAIL}windows_shim.os.fsync = fsync",
        f"def start(*_): {FAIL}windows_shim.windows_processes.start_suspended = start",
        f"def resume(*_): {FAIL}windows_shim.windows_processes.resume = resume",
        f"def add(*_): {FAIL}windows_shim.windows_processes.JobObject.add = add",
        f"windows_shim._Shim._write_start = lambda *_: (windows_shim.time.sleep(0.5), {DIE})",
        DIE,
        "1 / 0",
    ],
    ids=["sync", "start", "resume", "job object", "killed late", "killed early", "bug"],
)
def test_nothing_runs_where_it_could_not_be_written_down(folder, monkeypatch, fault):
    ran = folder.path / "ran"
    with monkeypatch.context() as planted:
        plant(planted, fault)
        with pytest.raises(OSError, match=r"No space|has ended before"):
            run(start(folder, f"open({str(ran)!r}, 'w')"))
    time.sleep(0.2)
    assert not ran.exists()
    assert run(new_shims().find(folder.spec("").output)) is None
    assert run(end_of(folder, f"open({str(ran)!r}, 'w')")).status == 0


def test_the_end_is_written_as_soon_as_the_disk_takes_it(folder, monkeypatch):
    plant(
        monkeypatch,
        "windows_shim._SECONDS_BETWEEN_TRIES = 0.3; calls = []; real = windows_shim.os.lseek\n"
        "def lseek(*args):\n"
        "    calls.append(args)\n"
        f"    if len(calls) < 3: {FAIL}"
        "    return real(*args)\n"
        "windows_shim.os.lseek = lseek",
    )
    before = time.monotonic()
    end = run(end_of(folder, "raise SystemExit(3)"))
    assert (end.status, end.was_asked) == (3, False)
    assert end.seconds < time.monotonic() - before - 2 * 0.3  # the time of the job, without that of the tries


def test_a_shim_that_is_killed_before_it_knows_its_job_leaves_nothing(folder, monkeypatch):
    """A process that was started, and waits for ever before its first instruction."""
    noted = folder.path / "pid"
    plant(
        monkeypatch,
        "start = windows_shim.windows_processes.start_suspended\n"
        "def start_and_die(*args):\n"
        f"    open({str(noted)!r}, 'w').write(str(start(*args).pid)); {DIE}\n"
        "windows_shim.windows_processes.start_suspended = start_and_die",
    )
    with pytest.raises(OSError, match="has ended before it started anything"):
        run(start(folder, "print(1)"))
    wait_until(lambda: not is_running(int(noted.read_text())))
    assert run(new_shims().find(folder.spec("").output)) is None


# The next server


def test_finds_a_job_that_runs_and_how_it_ends(folder, gate):
    spec = folder.spec(f"print('begun')\n{gate.code}raise SystemExit('end')")

    async def find():
        process = await found(spec.output)
        waiting = asyncio.ensure_future(process.wait())
        assert process.pid == running_pid(spec.output)
        await asyncio.sleep(0.3)
        assert not waiting.done()
        gate.open()
        return process.pid, await waiting

    with left_by_a_server(spec) as pid:
        assert running_pid(spec.output) == pid
        found_pid, end = run(find())
    assert found_pid == pid
    assert result_of(spec, end) == (1, b"begun\r\n", b"end\r\n")
    assert not end.was_asked
    assert end.seconds >= 0.3
    assert running_pid(spec.output) is None


def test_ends_a_job_that_it_finds(folder, lock):
    spec = folder.spec(with_child(lock, IGNORE_SIGTERM + lock.code(), SLEEP))

    async def end_it():
        process = await found(spec.output)
        await until(lambda: lock.is_taken)
        await process.end()
        assert lock.is_free()
        return await process.wait()

    with left_by_a_server(spec) as pid:
        end = run(end_it())
    assert end.was_asked
    assert not is_running(pid)


def test_finds_the_end_of_a_job_that_ended_meanwhile(folder):
    spec = folder.spec("print(1)")
    with left_by_a_server(spec):
        wait_until(lambda: (record := read_record(spec.output)) is not None and record.end)
    assert result_of(spec, run(end_found(spec.output))) == (0, b"1\r\n", b"")


def test_a_server_that_is_killed_at_any_moment_leaves_a_job_that_has_run_once_or_never_will(folder):
    ran = folder.path / "ran"
    spec = folder.spec(f"import time; time.sleep(0.2); open({str(ran)!r}, 'a').write('x')")

    async def look():
        if await new_shims().find(spec.output) is None:
            await asyncio.sleep(0.5)
            return "not started"
        end = await end_found(spec.output)
        assert (end.status, end.was_asked, ran.read_text()) == (0, False, "x")
        ran.unlink()
        return "ended"

    begun = time.monotonic()
    with left_by_a_server(spec):
        seconds = time.monotonic() - begun  # in which a job is started here, now
    outcomes = [run(look())]
    while len(outcomes) < (200 if EXHAUSTIVE else 8) or set(outcomes) != {"not started", "ended"}:
        with suppress(FileNotFoundError):
            os.unlink(f"{spec.output}.shim")
        with serve(spec) as server:
            time.sleep(random.uniform(0, 1.5 * seconds))
            server.kill()
        outcomes.append(run(look()))
        assert not ran.exists()


@pytest.mark.parametrize("flags", [0x2000, 0x2800], ids=["nothing may leave", "what wants to may leave"])
def test_a_server_in_a_job_object_that_ends_with_it_starts_jobs(folder, gate, flags):
    """A job outlives its server if whatever started that lets it."""
    spec = folder.spec(f"{gate.code}print('end')")
    job_object = (
        "import ctypes\nfrom headless.server import windows_processes as w\n"
        f"w._KILL_ON_JOB_CLOSE = {flags}; job = w.JobObject(); w._KILL_ON_JOB_CLOSE = 0x2000\n"
        "job.add(w._winapi.GetCurrentProcess())\n"
    )
    command = [sys.executable, "-c", job_object + SERVER, json.dumps(spec)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        server.kill()
        server.wait(PATIENCE)
    if flags == 0x2000:
        assert run(end_found(spec.output)) is None
        assert not is_running(pid)
    else:
        time.sleep(0.5)
        gate.open()
        assert result_of(spec, run(end_found(spec.output))) == (0, b"end\r\n", b"")


def test_a_job_is_not_started_a_second_time_while_it_runs(folder):
    async def run_it():
        process = await start(folder, SLEEP)
        with pytest.raises(OSError, match="another shim lives"):
            await start(folder, SLEEP)
        assert running_pid(folder.spec("").output) == process.pid
        await process.end()
        assert (await process.wait()).was_asked

    run(run_it())
