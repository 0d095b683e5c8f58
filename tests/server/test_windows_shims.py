"""Shims on Windows: that all a job has started ends with it, that its end is known whoever is killed or gone, and what
of its output is stored. What the next server finds is in test_windows_shim_records.py, what is the same on every
platform in test_processes.py."""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import sys
from contextlib import suppress

import pytest

if sys.platform != "win32":
    pytest.skip("what is tested here is Windows' own", allow_module_level=True)

import _winapi
import msvcrt

from headless.server import shims, windows_processes, windows_shims
from headless.server.records import Identity, Record
from headless.server.shims import running_pid
from support.job_processes import (
    IGNORE_SIGTERM,
    by_hand,
    is_running,
    kill,
    new_shims,
    result_of,
    shim_of,
    stored,
    with_child,
)
from support.sampling import EXHAUSTIVE
from support.waiting import in_time, until
from support.windows_jobs import EARLIEST, IS_EMULATED, SLEEP, end_found, end_of, start

pytestmark = pytest.mark.slow


def run(coroutine):
    return asyncio.run(in_time(coroutine))


# What a job finds

SCRIPTS = {
    "arguments": "import sys; print(sys.argv, sys.orig_argv, sys.executable, sys.flags, sys.path, sys._xoptions)",
    "modules": "import sys; print(list(sys.modules))",
    "main": "print(list(globals()), __name__, __file__, __spec__, __loader__.path)",
    "environment": "import os; print(list(os.environ.items()), os.getcwd(), os.popen('set').read())",
    "standard files": """
        import sys
        for file in (sys.stdin, sys.stdout, sys.stderr):
            print(file.name, file.mode, file.encoding, file.errors, file.isatty(), file.line_buffering, file.newlines)
        print(repr(sys.stdin.read()), sys.stdin.seekable(), sys.stdout.seekable())
        """,
    "bytes": "import sys; sys.stdout.buffer.write(bytes(range(256)) * 1000); print('Z\u00fcrich', file=sys.stderr)",
    "an exception": "def f(): raise ValueError('why')\nf()",
    "an exit": "import sys; sys.exit('reason')",
    "no exit": "import os; os._exit(7)",
}


@pytest.mark.parametrize("source", SCRIPTS.values(), ids=SCRIPTS)
def test_it_is_what_a_script_is(folder, source):
    script = folder.script(source)
    assert folder.as_job(script) == by_hand(folder.spec_of(script))


# The end of a job


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise SystemExit(256)", 256),
        ("raise SystemExit(259)", 259),  # what Windows says of a process that runs
        ("raise SystemExit(-1)", 0xFFFFFFFF),
        ("import os; os._exit(0xC0000005 - 2**32)", 0xC0000005),
    ],
)
def test_its_exit_status_has_32_bits(folder, code, status):
    end = run(end_of(folder, code))
    assert (end.status, end.was_asked) == (status, False)
    assert run(end_found(folder.spec("").output)) == end


def test_what_it_leaves_behind_is_ended_before_its_end_is_known(folder, lock):
    child = with_child(lock, IGNORE_SIGTERM + lock.code(), "time.sleep(60)", creationflags=0x8)  # without a console
    job = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}])\n{lock.wait_for()}print('end')"
    end = run(end_of(folder, job))
    assert result_of(folder.spec(""), end) == (0, b"end\r\n", b"")
    assert lock.is_free()


def test_it_cannot_start_what_would_leave_its_shim(folder):
    code = """if 1:
        import subprocess, sys
        try:
            subprocess.Popen([sys.executable, "-c", ""], creationflags=subprocess.CREATE_BREAKAWAY_FROM_JOB)
        except PermissionError:
            print("refused")
        """
    assert result_of(folder.spec(""), run(end_of(folder, code))) == (0, b"refused\r\n", b"")


def test_ending_it_ends_all_that_it_has_started(folder, lock):
    async def run_it():
        process = await start(folder, with_child(lock, IGNORE_SIGTERM + lock.code(), SLEEP, creationflags=0x200))
        await until(lambda: lock.is_taken)
        await process.end()
        assert lock.is_free()
        assert not is_running(process.pid)
        return await process.wait()

    end = run(run_it())
    assert end.was_asked
    assert end.status != 0


@pytest.mark.skipif(IS_EMULATED, reason="NOT TESTED: Ctrl-Break, which only Windows itself sends to a group")
def test_it_may_clean_up(folder, lock):
    async def run_it():
        clean_up = "signal.signal(signal.SIGBREAK, lambda *_: sys.exit(print('cleaned up', flush=True)))\n"
        process = await start(folder, lock.code(clean_up + "while True: time.sleep(0.01)"))
        await until(lambda: lock.is_taken)
        await asyncio.sleep(0.2)
        await process.end()
        return await process.wait()

    end = run(run_it())
    assert (end.status, end.was_asked) == (0, True)
    assert stored(folder.spec("")) == b"cleaned up\r\n"


# A shim that is killed


def test_a_job_whose_shim_is_killed_is_killed_with_all_that_it_has_started(folder, lock):
    async def run_it():
        process = await start(folder, with_child(lock, IGNORE_SIGTERM + lock.code(), SLEEP, creationflags=0x200))
        await until(lambda: lock.is_taken)
        kill(shim_of(process))
        assert await process.wait() is None
        assert not is_running(process.pid)
        await until(lock.is_free)

    run(run_it())
    assert run(new_shims().find(folder.spec("").output)) is None


def test_a_job_that_kills_its_shim_is_killed(folder):
    async def run_it():
        process = await start(folder, f"import os, time; os.kill(os.getppid(), 9); {SLEEP}")
        assert await process.wait() is None
        assert not is_running(process.pid)

    run(run_it())


def test_a_shim_that_is_stopped_is_killed_in_the_end(folder, lock, monkeypatch):
    monkeypatch.setattr(shims, "_SECONDS_TO_END", 0.5)

    async def run_it():
        process = await start(folder, with_child(lock, lock.code(), SLEEP))
        await until(lambda: lock.is_taken)
        suspend(shim_of(process))
        await process.end()
        assert await process.wait() is None
        assert not is_running(process.pid)
        await until(lock.is_free)

    run(run_it())


def suspend(pid):
    handle = _winapi.OpenProcess(_winapi.PROCESS_ALL_ACCESS, False, pid)
    assert ctypes.WinDLL("ntdll").NtSuspendProcess(ctypes.c_void_p(handle)) == 0
    _winapi.CloseHandle(handle)


def test_another_process_that_has_the_number_of_a_shim_by_now_is_left_alone(folder):
    async def run_it():
        process = await start(folder, SLEEP)
        shim = process._shim
        other = shim._replace(start=shim.start - 1)
        windows_shims.ask_to_end(other)
        windows_shims.kill(other)
        await windows_shims.until_ended(other)
        await asyncio.sleep(0.2)
        assert is_running(shim.pid)
        assert running_pid(folder.spec("").output) == process.pid
        await process.end()
        assert (await process.wait()).was_asked

    run(run_it())


def test_nor_is_one_that_this_user_may_not_open_waited_for(monkeypatch):
    """What has the number of a job by now may belong to the system."""

    def refuse(*_):
        raise PermissionError(13, "Access is denied", None, 5)

    other = Identity(4, 1)
    monkeypatch.setattr(_winapi, "OpenProcess", refuse)
    windows_shims.kill_left("", 4, Record(other, other, "-", "-", None), "-")
    windows_shims.ask_to_end(other)
    windows_shims.kill(other)
    run(windows_shims.until_ended(other))


def test_a_shim_that_is_killed_at_any_moment_leaves_nothing_and_no_doubt(folder, monkeypatch):
    ran, spawn = folder.path / "ran", windows_shims.spawn
    killed = []

    def spawn_and_note(spec):
        spawned = spawn(spec)
        killed.append(spawned.shim)
        return spawned

    async def try_once(number):
        processes, output = new_shims(), folder.spec(code, number).output
        with suppress(FileNotFoundError):
            ran.unlink()
        starting = asyncio.ensure_future(processes.start(folder.spec(code, number)))
        await until(lambda: len(killed) == number)
        await asyncio.sleep(random.uniform(EARLIEST, 0.5))
        windows_shims.kill(killed[-1])
        try:
            process = await starting
        except OSError:
            assert await processes.find(output) is None
            assert not ran.exists()
            return "not started"
        end = await process.wait()
        assert not is_running(process.pid)
        assert await end_found(output) == end
        return "unknown" if end is None else "ended"

    async def try_often():
        outcomes: list[str] = []
        while len(outcomes) < (200 if EXHAUSTIVE else 8) or not {"not started", "unknown"} <= set(outcomes):
            outcomes.append(await in_time(try_once(len(outcomes) + 1)))

    code = f"open({str(ran)!r}, 'a').write('x')\nimport time; time.sleep(0.2)"
    monkeypatch.setattr(windows_shims, "spawn", spawn_and_note)
    asyncio.run(try_often())


# Output and handles


LINE = b"[planta-headless: %d bytes of output were not stored: %s]\n"


def test_of_each_stream_as_much_is_stored_as_the_limit_says(folder):
    code = "import sys; sys.stdout.buffer.write(b'x' * 1000000); sys.stderr.buffer.write(b'y' * 100)"
    end = run(end_of(folder, code, output_limit=100))
    spec = folder.spec("")
    assert stored(spec) == b"x" * 100 + b"\n" + LINE % (999900, b"the limit is 100 bytes")
    assert stored(spec, "stderr") == b"y" * 100
    assert (end.status, end.lost) == (0, 999900)


def test_output_leaves_some_of_the_disk_to_others(folder):
    end = run(end_of(folder, "import os; os.write(1, b'x' * 1000)", disk_floor=1 << 62))
    assert stored(folder.spec("")) == LINE % (1000, b"the disk is full")
    assert (end.status, end.lost) == (0, 1000)


def test_much_output_is_stored_byte_by_byte(folder):
    code = "import os, sys, msvcrt\nfor n in range(300): os.write(1 + n % 2, bytes([n % 251]) * 10000)"
    binary = "import os, msvcrt; msvcrt.setmode(1, os.O_BINARY); msvcrt.setmode(2, os.O_BINARY)\n"
    assert run(end_of(folder, binary + code)).lost == 0
    for place, stream in enumerate(("stdout", "stderr")):
        expected = b"".join(bytes([n % 251]) * 10000 for n in range(place, 300, 2))
        assert stored(folder.spec(""), stream) == expected


def test_a_job_inherits_its_standard_files_and_nothing_else(folder, lock):
    async def run_it():
        secret = folder.path / "secret"
        with open(secret, "w") as file:
            os.set_handle_inheritable(msvcrt.get_osfhandle(file.fileno()), True)
            process = await start(folder, lock.code())
            await until(lambda: lock.is_taken)
        secret.unlink()  # which Windows does not allow as long as anybody has it open
        await process.end()

    run(run_it())


def test_nothing_is_left_of_many_jobs(folder):
    def handles():
        """How many there are, or a number that grows with that."""
        count = ctypes.c_uint32()
        assert ctypes.WinDLL("kernel32").GetProcessHandleCount(ctypes.c_void_p(-1), ctypes.byref(count))
        event = windows_processes.make_event()
        _winapi.CloseHandle(event)
        return count.value or event // 4

    async def run_some(jobs):
        for number in range(5):
            process = await jobs.start(folder.spec(f"raise SystemExit({number})", number))
            assert (await process.wait()).status == number
            assert (await (await jobs.find(folder.spec("", number).output)).wait()).status == number
        process = await jobs.start(folder.spec(SLEEP, 5))
        await process.end()

    async def run_all():
        jobs = new_shims()
        await run_some(jobs)
        before = handles()
        await run_some(jobs)
        assert handles() <= before + 2

    run(run_all())
