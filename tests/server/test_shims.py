"""All that a job has started ends with it, and its end is known whatever is killed or stopped. Shims cost little."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

pytest.importorskip("fcntl", reason="what is tested here only platforms have that can fork")

from headless.server import shim, shims
from headless.server.jobs import job_end
from headless.server.journal import INTERRUPTED
from headless.server.processes import JobHandle
from headless.server.shims import Identity
from support.job_processes import (
    IGNORE_SIGTERM,
    end_of,
    found,
    kill,
    new_shims,
    private_memory,
    run,
    shim_of,
    start,
    stored,
    with_child,
)
from support.posix_jobs import SLEEP, find, make_impatient, plant
from support.process import PATIENCE
from support.sampling import EXHAUSTIVE
from support.waiting import until, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is tested here needs /proc"),
]


@pytest.fixture
def impatient(monkeypatch):
    make_impatient(monkeypatch)


# A shim that the system does not start


def test_a_shim_that_cannot_be_started_is_the_error_of_the_system_and_leaves_nothing_open(folder, monkeypatch):
    def fail(*_command, **_options):
        raise OSError(errno.EAGAIN, "why")

    spec = folder.spec("print(1)")
    monkeypatch.setattr(subprocess, "Popen", fail)
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="why"):
        shims.spawn(spec, "-")
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert not shims.is_locked(spec.output)


# What a job leaves behind

DAEMON = """
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
"""

FOR_A_WHILE = "late = time.monotonic() + 20\nwhile time.monotonic() < late:\n"  # if it is not ended

CLEAN_UP = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(print('cleaned up')))\n"


UNTIL_STOPPED = "while open(f'/proc/{process.pid}/stat').read().rpartition(')')[2].split()[0] != 'T': pass"


def cleans_up(lock, does="time.sleep(60)"):
    return CLEAN_UP + lock.code(does)


THAT_CLEAN_UP = {
    "running": lambda lock: with_child(lock, cleans_up(lock)),
    "stopped": lambda lock: with_child(lock, cleans_up(lock, "os.kill(os.getpid(), signal.SIGSTOP)"), UNTIL_STOPPED),
    "the child of one that takes no notice": lambda lock: with_child(
        lock, IGNORE_SIGTERM + with_child(lock, cleans_up(lock), "time.sleep(60)")
    ),
}


@pytest.mark.parametrize("code", THAT_CLEAN_UP.values(), ids=THAT_CLEAN_UP)
def test_it_may_clean_up(folder, lock, code):
    assert folder.as_job(folder.script(code(lock))) == (0, b"cleaned up\n", b"")
    assert lock.is_free()


LEFT_BEHIND = {
    "a child": lambda lock: with_child(lock, lock.code()),
    "a child that takes no notice": lambda lock: with_child(lock, IGNORE_SIGTERM + lock.code()),
    "a child that has left the group": lambda lock: with_child(lock, lock.code(), start_new_session=True),
    "a daemon that takes no notice": lambda lock: with_child(lock, "import os" + DAEMON + IGNORE_SIGTERM + lock.code()),
    "a daemon that has closed all files": lambda lock: with_child(
        lock, "import os" + DAEMON + "os.closerange(0, 100)\n" + lock.code()
    ),
    "one that the job has stopped": lambda lock: with_child(lock, lock.code(), "process.send_signal(19)"),
    "one with a parent that is stopped": lambda lock: with_child(
        lock, with_child(lock, lock.code(), "import os; os.kill(os.getpid(), 19)")
    ),
    "one that forks and goes on as its child": lambda lock: with_child(
        lock, lock.code(IGNORE_SIGTERM + FOR_A_WHILE + "    if os.fork(): os._exit(0)\n    os.setsid()")
    ),
    "many that fork": lambda lock: with_child(
        lock,
        lock.code(
            IGNORE_SIGTERM + "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"  # no zombie takes a number away
            f"for _ in range(5): os.fork()\n{FOR_A_WHILE}    if not os.fork(): os._exit(0)"
        ),
        start_new_session=True,
    ),
    "a hundred": lambda lock: with_child(
        lock, lock.code(IGNORE_SIGTERM + "for _ in range(100):\n    if not os.fork(): os.setsid(); time.sleep(60)")
    ),
}


@pytest.mark.version("a shim imports what is below the modules of the library")
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("code", LEFT_BEHIND.values(), ids=LEFT_BEHIND)
def test_all_of_it_is_ended(folder, lock, code):
    assert folder.as_job(folder.script(code(lock))) == (0, b"", b"")
    assert lock.is_free()


@pytest.mark.usefixtures("impatient")
def test_what_takes_no_notice_is_killed_on_a_machine_that_gave_its_shim_no_turn_meanwhile(folder, lock, monkeypatch):
    plant(
        monkeypatch,
        """if 1:
        class Late:
            def __init__(self): self._poll = poll()
            def register(self, *args): self._poll.register(*args)
            def unregister(self, *args): self._poll.unregister(*args)
            def poll(self, timeout):
                if timeout is not None: shim.time.sleep(0.5)  # longer than it has to clean up and to die
                return self._poll.poll(timeout)
        poll, shim.select.poll = shim.select.poll, Late
    """,
    )
    assert folder.as_job(folder.script(with_child(lock, IGNORE_SIGTERM + lock.code()))).status == 0
    assert lock.is_free()


@pytest.mark.usefixtures("impatient")
def test_what_cannot_be_killed_delays_the_end_for_a_while_only(folder, lock, monkeypatch):
    plant(
        monkeypatch,
        """if 1:
        def kill(pid, signum): raise PermissionError(1, "Operation not permitted")
        shim.os.kill = shim.os.killpg = kill
    """,
    )
    code = f"open({str(folder.path / 'pid')!r}, 'w').write(str(os.getpid()))\nwhile True: os.write(1, b'x' * 9999)"
    try:
        end = run(end_of(folder, with_child(lock, lock.code(code)), output_limit=1000))
        assert (end.status, end.was_asked) == (0, False)
        assert len(stored(folder.spec(""))) < 1200
    finally:
        kill(int((folder.path / "pid").read_text()))


@pytest.fixture
def not_linux(monkeypatch):
    """What other systems lack is not used."""
    make_impatient(monkeypatch)
    plant(monkeypatch, "shim._IS_LINUX = False; shim.start_time = lambda _: 0; shim.machine = lambda: '-'")
    monkeypatch.setattr(shims, "_IS_LINUX", False)
    monkeypatch.setattr(shim, "start_time", lambda _: 0)


@pytest.mark.usefixtures("not_linux")
@pytest.mark.parametrize("then", ["", "killed", "found"], ids=["it ends", "its shim is killed", "found and ended"])
def test_elsewhere_than_on_linux_the_group_is_ended(folder, lock, then):
    async def run_it():
        kills_shim = "os.kill(os.getppid(), 9); time.sleep(60)" if then == "killed" else ""
        code = lock.code() if then == "found" else with_child(lock, IGNORE_SIGTERM + lock.code(), kills_shim)
        process = await start(folder, code)
        if then == "found":
            again = await found(str(folder.output / "1"))
            assert again.pid == process.pid
            await until(lambda: lock.is_taken)
            await again.end()
        end, again = await process.wait(), await new_shims().find(str(folder.output / "1"))
        assert (await again.wait() if again else None) == end
        return end and (end.status, end.was_asked)

    expected = {"": (0, False), "killed": None, "found": (-signal.SIGTERM, True)}
    assert run(run_it()) == expected[then]
    wait_until(lock.is_free)


# A job against its shim


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"env": {}}, id="without its environment"),
        pytest.param({"start_new_session": True}, id="in another session"),
        pytest.param({"preexec_fn": None, "close_fds": True}, id="in its group"),
    ],
)
def test_a_job_that_kills_its_shim_is_killed_with_what_it_left_and_its_end_is_unknown(folder, lock, options):
    code = with_child(lock, IGNORE_SIGTERM + lock.code(), "os.kill(os.getppid(), 9)\n" + SLEEP, **options)
    assert run(end_of(folder, code)) is None
    assert lock.is_free()
    assert find(folder) is None


def test_a_shim_that_is_stopped_before_it_can_report_the_start_goes_on(folder, monkeypatch):
    monkeypatch.setattr(shims, "_SECONDS_BETWEEN_TRIES", 0.1)
    plant(
        monkeypatch,
        "say = shim._send_report; shim._send_report = lambda *args: (shim.os.kill(shim.os.getpid(), 19), say(*args))",
    )
    assert folder.as_job(folder.script("print(1)")) == (0, b"1\n", b"")


@pytest.mark.parametrize("is_found", [False, True], ids=["started", "found"])
@pytest.mark.parametrize("again", [False, True], ids=["once", "always"])
def test_a_job_that_stops_its_shim_can_be_ended(folder, lock, monkeypatch, is_found, again):
    """If it stops it always, the shim can ask this job to end, and not more."""
    monkeypatch.setattr(shims, "_SECONDS_TO_END", 0.3 if again else PATIENCE)
    clean_up = IGNORE_SIGTERM if again else "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
    stop = "os.kill(os.getppid(), signal.SIGSTOP)\n"

    async def run_it():
        loop = f"while True: {stop}" if again else f"{stop}time.sleep(60)"
        process = await start(folder, lock.code(f"{clean_up}{loop}"))
        await until(lambda: lock.is_taken and shim.stat_of(shim_of(process))[0] == b"T")
        meant = await found(str(folder.output / "1")) if is_found else process
        await meant.end()
        end = await meant.wait()
        assert end == (None if again else await process.wait())
        return end and (end.status, end.was_asked)

    assert run(run_it()) == (None if again else (3, True))
    wait_until(lock.is_free)


def test_a_signal_that_a_terminal_may_send_to_a_shim_is_none_to_the_job(folder, lock, gate):

    async def run_it():
        process = await start(folder, lock.code(gate.code + "print('end')"))
        await until(lambda: lock.is_taken)
        for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD, signal.SIGCONT):
            os.kill(shim_of(process), signum)
        gate.open()
        return await process.wait()

    assert run(run_it()).status == 0
    assert stored(folder.spec("")) == b"end\n"


def test_another_process_that_has_the_number_of_a_shim_by_now_is_left_alone():
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            former = Identity(process.pid, shim.start_time(process.pid) - 1)
            shims.signal_to(former, signal.SIGTERM)
            shims.signal_to(former, signal.SIGKILL)
            process.send_signal(signal.SIGVTALRM)  # which would come after those
            assert process.wait(PATIENCE) == -signal.SIGVTALRM
        finally:
            process.kill()


def test_a_job_that_takes_its_record_away_has_an_end_all_the_same(folder):
    """It is unknown, but the job ends, and can be ended."""
    code = f"import os, time\nos.unlink({str(folder.output / '1.shim')!r})\n"

    async def run_it():
        assert await end_of(folder, code) is None
        process = await start(folder, code + "time.sleep(60)")
        await until(lambda: not (folder.output / "1.shim").exists())
        await process.end()
        assert await process.wait() is None

    run(run_it())


def test_the_shim_takes_no_part_in_what_the_job_does_to_its_group(folder):
    assert run(end_of(folder, "import os; os.killpg(0, 9)")).status == -signal.SIGKILL
    assert run(end_of(folder, "import os; os.kill(-1, 0); os.killpg(os.getpgid(os.getppid()), 0)")).status == 0


# What it costs


def left() -> tuple[list[str], object]:
    """The descriptors and children of this process."""
    return sorted(os.listdir("/proc/self/fd")), shim._descendants(os.getpid())


def test_nothing_is_left_of_many_jobs(folder):
    rounds, count = (10, 10) if EXHAUSTIVE else (2, 4)

    async def run_all():
        processes = new_shims()
        await (await processes.start(folder.spec("", 0))).wait()
        before = left()
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
        assert left() == before

    run(run_all())


def test_nothing_is_left_of_jobs_that_are_withdrawn_while_they_start(folder):
    async def end_of(end):
        return job_end("", end)

    async def run_all():
        processes = new_shims()
        await (await processes.start(folder.spec("", 0))).wait()
        before = left()
        for number in range(1, 41, 1 if EXHAUSTIVE else 4):
            handle = JobHandle(processes.start(folder.spec(SLEEP, number)), end_of)
            await asyncio.sleep(number / 1000)
            withdrawing = asyncio.ensure_future(handle.withdraw())
            await asyncio.sleep(0)
            withdrawing.cancel()  # it goes on all the same
            assert (await handle.ended()).state == INTERRUPTED
        await until(lambda: left() == before)

    run(run_all())


def test_an_end_is_known_whatever_process_reaps(folder):
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
