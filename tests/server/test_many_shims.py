"""Many shims, some killed at random moments, which PLANTA_SEED=N repeats: they leave nothing and no doubt, and cost
little. PLANTA_EXHAUSTIVE=1 takes a thousand moments."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from contextlib import suppress

import pytest

pytest.importorskip("fcntl", reason="what is tested here only platforms have that can fork")

from headless.server import shim, shims
from headless.server.jobs import job_end
from headless.server.journal import INTERRUPTED
from headless.server.processes import JobHandle
from support.job_processes import (
    found,
    is_running,
    left_by_a_server,
    new_shims,
    private_memory,
    serve,
    shim_of,
)
from support.posix_jobs import SLEEP, end_of, run, start
from support.sampling import EXHAUSTIVE, REPEAT, draws
from support.waiting import in_time, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is tested here needs /proc"),
]


# Killed at any moment


def test_a_shim_that_is_killed_at_any_moment_leaves_nothing_and_no_doubt(folder, monkeypatch):
    print(REPEAT)
    ran, spawn, moments = folder.path / "ran", shims.spawn, draws()

    def spawn_and_kill(*args):
        spawned = spawn(*args)
        timer = threading.Timer(moments.uniform(0, 0.08), kill_if_there, [os.pidfd_open(spawned[0].pid)])
        timer.daemon = True
        timer.start()
        return spawned

    async def try_once(number):
        processes, output = new_shims(), str(folder.output / str(number))
        with suppress(FileNotFoundError):
            ran.unlink()
        try:
            process = await processes.start(folder.spec(code, number))
        except OSError:
            assert await processes.find(output) is None
            assert not ran.exists()
            return "not started"
        end = await process.wait()
        again = await processes.find(output)
        assert (await again.wait() if again else None) == end
        assert not is_running(process.pid)
        if end is None:
            return "unknown"
        assert (end.status, ran.read_text()) == (0, "x")
        return "ended"

    async def try_often():
        outcomes: list[str] = []
        while len(outcomes) < (1000 if EXHAUSTIVE else 10) or not {"not started", "unknown"} <= set(outcomes):
            outcomes.append(await in_time(try_once(len(outcomes))))

    code = f"open({str(ran)!r}, 'a').write('x')\nimport os\nif os.fork(): os._exit(0)\nos.setsid()\n"
    monkeypatch.setattr(shims, "spawn", spawn_and_kill)
    asyncio.run(try_often())


def kill_if_there(descriptor):
    """By its descriptor: its number may be another's by now."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    os.close(descriptor)


def test_a_server_that_is_killed_at_any_moment_leaves_a_job_that_has_run_once_or_never_will(folder):
    print(REPEAT)
    ran, moments = folder.path / "ran", draws()
    spec = folder.spec(f"import time; time.sleep(0.05); open({str(ran)!r}, 'a').write('x')")

    async def look():
        if await new_shims().find(spec.output) is None:
            await asyncio.sleep(0.15)
            return "not started"
        end = await (await found(spec.output)).wait()
        assert end is not None
        assert ran.read_text() == "x"
        assert (end.status, end.was_asked) == (0, False)
        ran.unlink()
        return "ended"

    begun = time.monotonic()
    with left_by_a_server(spec):
        seconds = time.monotonic() - begun  # in which a job is started here, now
    outcomes = [run(look())]
    while len(outcomes) < (500 if EXHAUSTIVE else 5) or set(outcomes) != {"not started", "ended"}:
        with suppress(FileNotFoundError):
            os.unlink(f"{spec.output}.shim")
        with serve(spec) as server:
            time.sleep(moments.uniform(0, 1.5 * seconds))
            server.kill()
        outcomes.append(run(look()))
        assert not ran.exists()


# What it costs


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))


def children():
    return shim._children(os.getpid())


def test_nothing_is_left_of_many_jobs(folder):
    rounds, count = (10, 10) if EXHAUSTIVE else (2, 4)

    async def run_all():
        processes = new_shims()
        await (await processes.start(folder.spec("", 0))).wait()
        before = descriptors(), children()
        for each in range(rounds):
            specs = [folder.spec(f"raise SystemExit({number})", each * count + number) for number in range(count)]
            specs.append(folder.spec("import os; os.kill(os.getppid(), 9)", 1000))
            started = await asyncio.gather(*map(processes.start, specs))
            ends = await asyncio.gather(*(process.wait() for process in started))
            assert [end and end.status for end in ends] == [*range(count), None]
            with pytest.raises(OSError, match="absent"):
                await processes.start(folder.spec("", 2000, folder="/absent"))
            again = await asyncio.gather(*(processes.find(spec.output) for spec in specs))
            assert [process and await process.wait() for process in again] == ends
        assert (descriptors(), children()) == before

    run(run_all())


def test_nothing_is_left_of_jobs_that_are_withdrawn_while_they_start(folder):
    numbers = range(1, 41, 1 if EXHAUSTIVE else 4)

    async def end_of(end):
        return job_end("", end)

    async def run_all():
        processes = new_shims()
        await (await processes.start(folder.spec("", 0))).wait()
        before = descriptors(), children()
        for number in numbers:
            handle = JobHandle(processes.start(folder.spec(SLEEP, number)), end_of)
            await asyncio.sleep(number / 1000)
            withdrawing = asyncio.ensure_future(handle.withdraw())
            await asyncio.sleep(0)
            withdrawing.cancel()  # it goes on all the same
            assert (await handle.ended()).state == INTERRUPTED
        await until(lambda: (descriptors(), children()) == before)

    run(run_all())


def test_it_does_not_matter_who_reaps(folder):
    """A server that is the first process of a container reaps all that end."""

    def reap(*_):
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    before = signal.signal(signal.SIGCHLD, reap)
    try:
        for status in range(3):
            assert run(end_of(folder, f"raise SystemExit({status})")).status == status
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_shim_needs_little_memory_whatever_its_job_prints(folder, lock):
    async def run_it():
        process = await start(folder, "print('x' * 10000000)\n" + lock.code(), output_limit=1 << 20)
        await until(lambda: lock.is_taken)
        memory = private_memory(shim_of(process))
        assert len(os.listdir(f"/proc/{shim_of(process)}/fd")) < 13
        await process.end()
        return memory

    assert run(run_it()) <= 4096  # KiB
