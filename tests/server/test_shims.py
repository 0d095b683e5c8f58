"""Shims: that all a job has started ends with it, that its end is known whoever is killed, stopped or gone, and what of
its output is stored. How a job starts and ends otherwise is in test_processes.py, and what it finds when it runs in
test_job_interpreter.py."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytest.importorskip("fcntl", reason="what is tested here only platforms have that can fork")
import fcntl

from headless.server import posix_shims, shim, shims
from headless.server.process import NotStarted, ProcessEnd
from headless.server.records import read_record
from headless.server.shims import Shims, running_pid
from headless.server.threads import Threads
from support.job_processes import (
    IGNORE_SIGTERM,
    found,
    is_running,
    kill,
    left_by_a_server,
    new_shims,
    private_memory,
    result_of,
    serve,
    shim_of,
    stored,
    with_child,
)
from support.process import PATIENCE
from support.waiting import in_time, until, wait_until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is tested here needs /proc")
EXHAUSTIVE = bool(os.environ.get("PLANTA_EXHAUSTIVE"))
SLEEP = "import time; time.sleep(60)"


def with_fault(code):
    """The program of a shim that runs this code before it begins."""
    return posix_shims._PROGRAM.replace("shim.main()", f"exec({code!r}); shim.main()")


@pytest.fixture
def in_the_shim(monkeypatch):
    """Lets each shim run this code before it begins: a fault is planted where no test comes otherwise."""

    def plant(code: str) -> None:
        monkeypatch.setattr(posix_shims, "_PROGRAM", with_fault(code))

    return plant


def run(coroutine):
    return asyncio.run(in_time(coroutine))


async def start(folder, source, number=1, **changes):
    return await new_shims().start(folder.spec(source, number, **changes))


async def end_of(folder, source, number=1, **changes):
    return await (await start(folder, source, number, **changes)).wait()


def written(output):
    record = read_record(output)
    assert record is not None
    return record


@contextmanager
def at_most(seconds):
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


# What a job leaves behind

DAEMON = """
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
"""


def test_it_is_gone_when_its_end_is_known(folder, lock):
    with at_most(5):
        assert folder.as_job(folder.script(with_child(lock, lock.code()))) == (0, b"", b"")
    assert lock.is_free()


def test_it_may_clean_up(folder, lock):
    clean_up = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('cleaned up')))\n"
    child = lock.code(clean_up + "time.sleep(60)").replace("open", clean_up + "open", 1)
    assert folder.as_job(folder.script(with_child(lock, child))) == (0, b"cleaned up\n", b"")
    assert lock.is_free()


def test_it_may_clean_up_if_it_is_stopped(folder, lock):
    clean_up = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('cleaned up')))\n"
    child = lock.code("os.kill(os.getpid(), signal.SIGSTOP)").replace("open", clean_up + "open", 1)
    script = folder.script(with_child(lock, child, "time.sleep(0.2)"))
    assert folder.as_job(script) == (0, b"cleaned up\n", b"")


LEFT_BEHIND = {
    "a child": lambda lock: with_child(lock, lock.code()),
    "a child that takes no notice": lambda lock: with_child(lock, IGNORE_SIGTERM + lock.code()),
    "a child that has left the group": lambda lock: with_child(lock, lock.code(), start_new_session=True),
    "a daemon": lambda lock: with_child(lock, "import os" + DAEMON + lock.code()),
    "a daemon that takes no notice": lambda lock: with_child(lock, "import os" + DAEMON + IGNORE_SIGTERM + lock.code()),
    "a daemon that has closed all files": lambda lock: with_child(
        lock, "import os" + DAEMON + "os.closerange(0, 100)\n" + lock.code()
    ),
    "one that the job has stopped": lambda lock: with_child(lock, lock.code(), "process.send_signal(19)"),
    "one with a parent that is stopped": lambda lock: with_child(
        lock, with_child(lock, lock.code(), "import os; os.kill(os.getpid(), 19)")
    ),
    "one that forks and goes on as its child": lambda lock: with_child(
        lock, lock.code(IGNORE_SIGTERM + "while True:\n    if os.fork(): os._exit(0)\n    os.setsid()")
    ),
    "many that fork": lambda lock: with_child(
        lock,
        lock.code(
            IGNORE_SIGTERM + "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"  # no zombie takes a number away
            "for _ in range(5): os.fork()\nwhile True:\n    if not os.fork(): os._exit(0)"
        ),
        start_new_session=True,
    ),
    "a hundred": lambda lock: with_child(
        lock, lock.code(IGNORE_SIGTERM + "for _ in range(100):\n    if not os.fork(): os.setsid(); time.sleep(60)")
    ),
}


@pytest.mark.parametrize("code", LEFT_BEHIND.values(), ids=LEFT_BEHIND)
def test_all_of_it_is_ended(folder, lock, code):
    script = folder.script(code(lock))
    with at_most(10):
        result = folder.as_job(script)
    assert lock.is_free()
    assert result == (0, b"", b"")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root becomes another user")
def test_what_has_become_another_user_is_ended_by_root(folder, lock):
    child = lock.code(IGNORE_SIGTERM + "os.setgid(65534); os.setuid(65534); time.sleep(60)")
    assert folder.as_job(folder.script(with_child(lock, child, "time.sleep(0.2)"))).status == 0
    assert lock.is_free()


def test_what_cannot_be_killed_delays_the_end_by_some_seconds_only(folder, lock, in_the_shim):
    in_the_shim("""if 1:
        def kill(pid, signum): raise PermissionError(1, "Operation not permitted")
        shim.os.kill = shim.os.killpg = kill
    """)
    code = f"open({str(folder.path / 'pid')!r}, 'w').write(str(os.getpid()))\nwhile True: os.write(1, b'x' * 9999)"
    spec = folder.spec(with_child(lock, lock.code(code)), output_limit=1000)
    try:
        with at_most(6):
            end = run(end_of(folder, with_child(lock, lock.code(code)), output_limit=1000))
        assert (end.status, end.was_asked) == (0, False)
        assert len(stored(spec)) < 1200
    finally:
        kill(int((folder.path / "pid").read_text()))


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("shim.os.access = lambda *_: False", id="whose kernel does not list children"),
        pytest.param("import _ctypes; del _ctypes.dlsym", id="whose Python has another _ctypes"),
    ],
)
def test_a_daemon_is_ended_on_a_machine(folder, lock, in_the_shim, fault):
    in_the_shim(fault)
    child = "import os" + DAEMON + IGNORE_SIGTERM + lock.code()
    assert folder.as_job(folder.script(with_child(lock, child))).status == 0
    assert lock.is_free()


@pytest.fixture
def not_linux(in_the_shim, monkeypatch):
    """What other systems lack is not used."""
    in_the_shim("shim._IS_LINUX = False; shim.start_time = lambda _: 0; shim.machine = lambda: '-'")
    monkeypatch.setattr(posix_shims, "_IS_LINUX", False)
    monkeypatch.setattr(shim, "start_time", lambda _: 0)
    monkeypatch.delattr(os, "pidfd_open")


@pytest.mark.usefixtures("not_linux")
@pytest.mark.parametrize("then", ["", "os.kill(os.getppid(), 9); time.sleep(60)"])
def test_elsewhere_than_on_linux_the_group_is_ended(folder, lock, then):
    async def run_it():
        process = await start(folder, with_child(lock, IGNORE_SIGTERM + lock.code(), then))
        end, again = await process.wait(), await Shims(Threads("found", 1, 1)).find(str(folder.output / "1"))
        assert (await again.wait() if again else None) == end
        return end

    end = run(run_it())
    wait_until(lock.is_free)
    assert end is None if then else end.status == 0


@pytest.mark.usefixtures("not_linux")
def test_elsewhere_than_on_linux_a_job_is_found_and_ended(folder, lock):
    async def run_it():
        process = await start(folder, lock.code())
        again = await found(str(folder.output / "1"))
        assert again.pid == process.pid
        await until(lambda: lock.is_taken)
        await again.end()
        return await again.wait(), await process.wait()

    again, end = run(run_it())
    assert again == end
    assert (end.status, end.was_asked) == (-signal.SIGTERM, True)


# A job against its shim


def test_a_job_that_kills_its_shim_is_killed_and_nobody_knows_its_end(folder, lock):
    code = with_child(lock, IGNORE_SIGTERM + lock.code(), "os.kill(os.getppid(), 9)\n" + SLEEP, start_new_session=True)
    with at_most(5):
        assert run(end_of(folder, code)) is None
    assert lock.is_free()
    assert run(Shims(Threads("found", 1, 1)).find(str(folder.output / "1"))) is None


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"env": {}}, id="without its environment"),
        pytest.param({"start_new_session": True}, id="in another session"),
        pytest.param({"preexec_fn": None, "close_fds": True}, id="in its group"),
    ],
)
def test_what_a_job_without_a_shim_leaves_is_killed(folder, lock, options):
    code = with_child(lock, IGNORE_SIGTERM + lock.code(), "os.kill(os.getppid(), 9)\n" + SLEEP, **options)
    assert run(end_of(folder, code)) is None
    assert lock.is_free()


def test_other_processes_are_left_alone_by_that(folder):
    other = dict(os.environ, PLANTA_SESSION=folder.session, PLANTA_JOB="11")
    with subprocess.Popen(["sleep", "60"], env=other) as process:
        try:
            assert run(end_of(folder, "import os; os.kill(os.getppid(), 9); " + SLEEP)) is None
            assert process.poll() is None
        finally:
            process.kill()


def test_a_shim_that_is_stopped_stops_nobody_else(folder, lock):
    async def run_all():
        stopped = await start(folder, "import os; os.kill(os.getppid(), 19)\n" + lock.code())
        await until(lambda: lock.is_taken)
        assert (await end_of(folder, "print(1)", 2)).status == 0
        again = await found(str(folder.output / "1"))
        with at_most(3):
            await again.end()
        return await again.wait(), await stopped.wait()

    first, second = run(run_all())
    assert first == second
    assert (first.status, first.was_asked) == (-signal.SIGTERM, True)


def test_a_shim_that_is_stopped_again_and_again_is_killed(folder):
    code = "import os, signal\nsignal.signal(15, signal.SIG_IGN)\nwhile True: os.kill(os.getppid(), 19)"

    async def run_it():
        process = await start(folder, code)
        await asyncio.sleep(0.1)
        with at_most(8):
            await process.end()
        return process.pid, await process.wait()

    pid, end = run(run_it())
    assert end is None or end.was_asked
    assert not is_running(pid)


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD, signal.SIGCONT])
def test_a_signal_to_everybody_is_none_to_the_job(folder, lock, signum):
    async def run_it():
        process = await start(folder, lock.code("time.sleep(0.3); print('end')"))
        await until(lambda: lock.is_taken)
        os.kill(shim_of(process), signum)
        return await process.wait()

    assert run(run_it()).status == 0
    assert stored(folder.spec("")) == b"end\n"


def test_a_job_that_takes_its_record_away_has_an_end_all_the_same(folder):
    """None that is known, but it ends, and can be ended."""
    code = f"import os, time\nos.unlink({str(folder.output / '1.shim')!r})\n"

    async def run_it():
        assert await end_of(folder, code) is None
        process = await start(folder, code + "time.sleep(60)")
        await until(lambda: not (folder.output / "1.shim").exists())
        with at_most(3):
            await process.end()
        assert await process.wait() is None

    run(run_it())


def test_the_shim_takes_no_part_in_what_the_job_does_to_its_group(folder):
    assert run(end_of(folder, "import os; os.killpg(0, 9)")).status == -signal.SIGKILL
    assert run(end_of(folder, "import os; os.kill(-1, 0); os.killpg(os.getpgid(os.getppid()), 0)")).status == 0


# Killed at any moment


def test_a_shim_that_is_killed_at_any_moment_leaves_nothing_and_no_doubt(folder, monkeypatch):
    ran, spawn = folder.path / "ran", posix_shims.spawn

    def spawn_and_kill(spec):
        spawned = spawn(spec)
        timer = threading.Timer(random.uniform(0, 0.08), kill_if_there, [os.pidfd_open(spawned.shim.pid)])
        timer.daemon = True
        timer.start()
        return spawned

    async def try_once(number):
        processes, output = Shims(Threads("shims", 4, 100)), str(folder.output / str(number))
        with suppress(FileNotFoundError):
            ran.unlink()
        try:
            process = await processes.start(folder.spec(code, number))
        except OSError:
            assert await processes.find(output) == NotStarted()
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
        while len(outcomes) < (1000 if EXHAUSTIVE else 40) or not {"not started", "unknown"} <= set(outcomes):
            outcomes.append(await in_time(try_once(len(outcomes))))

    code = f"open({str(ran)!r}, 'a').write('x')\nimport os\nif os.fork(): os._exit(0)\nos.setsid()\n"
    monkeypatch.setattr(posix_shims, "spawn", spawn_and_kill)
    asyncio.run(try_often())


def kill_if_there(descriptor):
    """By its descriptor: its number may be another's by now."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    os.close(descriptor)


def test_a_server_that_is_killed_at_any_moment_leaves_a_job_that_has_run_once_or_never_will(folder):
    ran = folder.path / "ran"
    spec = folder.spec(f"import time; time.sleep(0.2); open({str(ran)!r}, 'a').write('x')")

    async def look():
        if await Shims(Threads("found", 1, 1)).find(spec.output) == NotStarted():
            await asyncio.sleep(0.3)
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
    while len(outcomes) < (500 if EXHAUSTIVE else 15) or set(outcomes) != {"not started", "ended"}:
        with suppress(FileNotFoundError):
            os.unlink(f"{spec.output}.shim")
        with serve(spec) as server:
            time.sleep(random.uniform(0, 1.5 * seconds))
            server.kill()
        outcomes.append(run(look()))
        assert not ran.exists()


# The next server


@pytest.fixture(params=["by its descriptor", "by its lock"])
def watched(request, monkeypatch):
    """How a shim is watched that is no child."""
    if request.param == "by its lock":
        monkeypatch.delattr(os, "pidfd_open")


@pytest.mark.usefixtures("watched")
def test_finds_a_job_that_runs_and_how_it_ends(folder, tmp_path):
    gate = tmp_path / "gate"
    code = (
        f"import os, time\nprint('begun')\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
        "raise SystemExit('end')"
    )
    spec = folder.spec(code)

    async def find():
        before = descriptors()
        process = await found(spec.output)
        waiting = asyncio.ensure_future(process.wait())
        assert process.pid == running_pid(spec.output)
        await asyncio.sleep(0.3)
        assert not waiting.done()
        gate.touch()
        end = await waiting
        assert descriptors() == before
        return process.pid, end

    with left_by_a_server(spec) as pid:
        assert running_pid(spec.output) == pid
        found_pid, end = run(find())
    assert found_pid == pid
    assert result_of(spec, end) == (1, b"begun\n", b"end\n")
    assert not end.was_asked
    assert end.seconds >= 0.3
    assert running_pid(spec.output) is None


@pytest.mark.usefixtures("watched")
def test_ends_a_job_that_it_finds(folder, lock):
    spec = folder.spec(with_child(lock, IGNORE_SIGTERM + lock.code(), SLEEP, start_new_session=True))

    async def end_it():
        process = await found(spec.output)
        await until(lambda: lock.is_taken)
        await process.end()
        assert lock.is_free()
        return await process.wait()

    with left_by_a_server(spec):
        end = run(end_it())
    assert (end.status, end.was_asked) == (-signal.SIGTERM, True)


@pytest.mark.usefixtures("watched")
def test_knows_nothing_of_a_job_whose_shim_is_killed_while_it_is_watched(folder, lock):
    spec = folder.spec(with_child(lock, lock.code(), SLEEP, start_new_session=True))

    async def watch():
        process = await found(spec.output)
        await until(lambda: lock.is_taken)
        kill(shim_of(process))
        return await process.wait()

    with left_by_a_server(spec) as pid:
        assert run(watch()) is None
    assert lock.is_free()
    assert not is_running(pid)


def test_a_job_dies_with_its_shim_though_there_is_no_server(folder, lock):
    with left_by_a_server(folder.spec(IGNORE_SIGTERM + lock.code())) as pid:
        wait_until(lambda: lock.is_taken)
        kill(written(str(folder.output / "1")).shim.pid)
        wait_until(lambda: not is_running(pid))


def test_finds_the_end_of_a_job_that_ended_meanwhile(folder):
    spec = folder.spec("print(1)")
    with left_by_a_server(spec):
        wait_until(lambda: written(spec.output).end)

    async def find():
        process = await found(spec.output)
        await process.end()
        return await process.wait(), process.pid

    end, pid = run(find())
    assert result_of(spec, end) == (0, b"1\n", b"")
    assert pid == written(spec.output).job.pid


def find(folder):
    return run(Shims(Threads("found", 1, 1)).find(str(folder.output / "1")))


WHOLE = f"started 999999 1 999998 1 {shim.machine()} - ."


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(None, NotStarted(), id="none"),
        pytest.param("", NotStarted(), id="an empty one"),
        pytest.param(WHOLE[:5], NotStarted(), id="one of which little was written"),
        pytest.param(WHOLE[:30], NotStarted(), id="one of which a part was written"),
        pytest.param(WHOLE[:-2], NotStarted(), id="one without a mark"),
        pytest.param("\0" * 512, NotStarted(), id="one that the disk has lost"),
        pytest.param(WHOLE.ljust(512), None, id="a start and no end"),
        pytest.param(WHOLE.ljust(256) + "ended 0 0 17.5 1.5", None, id="a part of an end"),
        pytest.param(WHOLE.ljust(256) + "ended 0 0 17.5 1.5 0", None, id="an end without a mark"),
        pytest.param("garbage", None, id="garbage"),
        pytest.param("\udcff" * 512, None, id="bytes"),
        pytest.param(WHOLE.replace("999999", "many"), None, id="a number that is none"),
        pytest.param(WHOLE.replace("999999", "9" * 30), None, id="a number that no process has"),
        pytest.param(WHOLE.replace(" 1 ", " "), None, id="a number too few"),
        pytest.param(WHOLE.ljust(256) + "ended 0 0 soon 1.5 0 .", None, id="an end that is none"),
        pytest.param(WHOLE.ljust(256) + "ended 3 1 17.5 1.5 7 .", ProcessEnd(3, True, 17.5, 1.5, 7), id="an end"),
    ],
)
def test_finds_what_a_record_says(folder, record, expected):
    if record is not None:
        (folder.output / "1.shim").write_bytes(os.fsencode(record))
    assert running_pid(str(folder.output / "1")) is None
    result = find(folder)
    if isinstance(expected, ProcessEnd):
        result = run(result.wait())
    assert result == expected


def test_what_is_no_record_is_an_error_and_not_an_answer(folder):
    (folder.output / "1.shim").mkdir()
    with pytest.raises(OSError, match=r"1\.shim"):
        find(folder)


@pytest.mark.parametrize(
    ("machine", "delay", "is_killed"),
    [(shim.machine(), 0, True), (shim.machine(), 1, False), (shim.machine(), -1, False), ("another/pid:[1]", 0, False)],
    ids=["the job's", "an older one", "a younger one with its number", "one of another start of the machine"],
)
def test_of_what_has_no_shim_only_the_job_is_killed(folder, machine, delay, is_killed):
    with subprocess.Popen(["sleep", "60"], start_new_session=True, env={}) as process:
        try:
            began = shim.start_time(process.pid) + delay
            (folder.output / "1.shim").write_text(f"started {process.pid} {began} 999998 1 {machine} - .".ljust(512))
            assert find(folder) is None
            if is_killed:
                assert process.wait(PATIENCE) == -signal.SIGKILL
            else:
                time.sleep(0.1)
                assert process.poll() is None
        finally:
            process.kill()


def test_waits_for_a_shim_that_was_about_to_start(folder):
    record = folder.output / "1.shim"

    async def look():
        with open(record, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            finding = asyncio.ensure_future(Shims(Threads("found", 1, 1)).find(str(folder.output / "1")))
            await asyncio.sleep(0.3)
            assert not finding.done()
        return await finding

    assert run(look()) == NotStarted()


def test_does_not_know_what_a_shim_will_do_that_does_nothing(folder, monkeypatch):
    monkeypatch.setattr(shims, "_SECONDS_TO_BEGIN", 0.3)
    with open(folder.output / "1.shim", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="has not started"):
            find(folder)


# Who only looks


def test_the_number_of_a_job_is_known_to_other_processes(folder, lock):
    output = str(folder.output / "1")

    async def run_it():
        assert running_pid(output) is None
        process = await start(folder, lock.code())
        assert running_pid(output) == process.pid
        record = written(output)
        assert (record.job.pid, record.shim.pid, record.end) == (process.pid, shim_of(process), None)
        await process.end()
        assert running_pid(output) is None
        assert written(output).end == await process.wait()

    run(run_it())


def test_who_looks_does_not_take_another_for_a_shim(folder):
    (folder.output / "1.shim").write_text(WHOLE.ljust(512))
    seen: list[int | None] = []
    lookers = [
        threading.Thread(target=lambda: seen.extend(running_pid(str(folder.output / "1")) for _ in range(1000)))
        for _ in range(4)
    ]
    for each in lookers:
        each.start()
    for each in lookers:
        each.join()
    assert (len(seen), set(seen)) == (4000, {None})


def test_many_who_look_do_not_hinder_a_start(folder):
    stop = threading.Event()

    def look():
        while not stop.is_set():
            running_pid(str(folder.output / "1"))

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for each in lookers:
        each.start()
    try:
        for _ in range(5):
            assert run(end_of(folder, "print(1)")).status == 0
    finally:
        stop.set()
        for each in lookers:
            each.join()


def test_a_job_is_not_started_a_second_time_while_it_runs(folder, lock, monkeypatch):
    monkeypatch.setattr(posix_shims, "_SECONDS_TO_LOOK", 0.2)

    async def run_it():
        process = await start(folder, lock.code())
        with pytest.raises(OSError, match="another shim lives"):
            await start(folder, lock.code())
        assert running_pid(str(folder.output / "1")) == process.pid
        await process.end()
        assert (await process.wait()).was_asked

    run(run_it())


def test_the_record_can_be_read_by_nobody_else(folder):
    run(end_of(folder, ""))
    assert {path.suffix: path.stat().st_mode & 0o777 for path in folder.output.iterdir()} == {
        ".shim": 0o600, ".stdout": 0o600, ".stderr": 0o600,
    }  # fmt: skip


# The disk

NO_SPACE = f"raise OSError({errno.ENOSPC}, 'No space left on device')"


def failing(function, condition, then=NO_SPACE):
    """A function of the shim's module os that fails where the condition on its arguments is true."""
    return (
        f"real_{function} = shim.os.{function}; calls_{function} = []\n"
        f"def {function}(*args):\n"
        f"    if {condition}:\n"
        f"        calls_{function}.append(args)\n"
        f"        {then}\n"
        f"    return real_{function}(*args)\n"
        f"shim.os.{function} = {function}\n"
    )


@pytest.mark.parametrize(
    "fault",
    [
        failing("pwrite", "True"),
        failing("pwrite", "True", "return real_pwrite(args[0], args[1][:100], args[2])"),
        failing("fsync", "True"),
        failing("fork", "True", f"raise OSError({errno.EAGAIN}, 'Resource temporarily unavailable')"),
        failing("pipe", "True", f"raise OSError({errno.EMFILE}, 'Too many open files')"),
        failing("open", "True"),
        "shim._Shim._write_start = lambda *_: shim.os.kill(shim.os.getpid(), 9)",
        "shim.os.kill(shim.os.getpid(), 9)",
        "1 / 0",
    ],
    ids=["write", "a part", "sync", "fork", "pipe", "open", "killed late", "killed early", "bug"],
)
def test_nothing_runs_where_it_could_not_be_written_down(folder, monkeypatch, fault):
    ran = folder.path / "ran"
    with monkeypatch.context() as planted:
        planted.setattr(posix_shims, "_PROGRAM", with_fault(fault))
        with pytest.raises(OSError, match=r"No space|disk is full|unavailable|Too many|has ended before"):
            run(start(folder, f"open({str(ran)!r}, 'w')"))
    time.sleep(0.1)
    assert not ran.exists()
    assert find(folder) == NotStarted()
    assert run(end_of(folder, f"open({str(ran)!r}, 'w')")).status == 0


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ENOENT, errno.EIO, errno.ETXTBSY], ids=errno.errorcode.get)
def test_what_could_not_be_executed_has_not_been_started_and_is_no_failed_job(folder, monkeypatch, number):
    with monkeypatch.context() as planted:
        fault = failing("execve", "True", f"raise OSError({number}, 'why')")
        planted.setattr(posix_shims, "_PROGRAM", with_fault(fault))
        with pytest.raises(OSError, match=re.escape(os.strerror(number))):
            run(start(folder, "print(1)"))
    assert find(folder) == NotStarted()
    assert result_of(folder.spec("print(1)"), run(end_of(folder, "print(1)"))) == (0, b"1\n", b"")


def test_what_may_have_run_has_been_started(folder, in_the_shim):
    """The shim is killed between what it has written down and what it was about to say."""
    in_the_shim("shim._say = lambda *_: shim.os.kill(shim.os.getpid(), 9)")

    async def run_it():
        process = await start(folder, SLEEP)
        assert process.pid == written(str(folder.output / "1")).job.pid
        assert await process.wait() is None
        assert not is_running(process.pid)

    run(run_it())
    assert find(folder) is None


def test_the_end_is_written_as_soon_as_the_disk_takes_it(folder, in_the_shim):
    in_the_shim(
        "shim._SECONDS_BETWEEN_TRIES = 0.3\n"
        + failing("pwrite", "args[2] and len(calls_pwrite) < 3", f"raise OSError({errno.EIO}, 'Input/output error')")
        + failing("fsync", "calls_pwrite and len(calls_fsync) < 2")
    )
    before = time.monotonic()
    with at_most(5):
        end = run(end_of(folder, "raise SystemExit(3)"))
    assert (end.status, end.was_asked) == (3, False)
    assert end.seconds < time.monotonic() - before - 2 * 0.3  # the time of the job, without that of the tries


def test_an_end_that_cannot_be_written_is_not_made_up(folder, in_the_shim):
    in_the_shim(failing("pwrite", "args[2]"))

    async def run_it():
        process = await start(folder, "")
        waiting = asyncio.ensure_future(process.wait())
        await asyncio.sleep(1)
        assert not waiting.done()
        await process.end()
        return await waiting

    assert run(run_it()) is None


LINE = b"[planta-headless: %d bytes of output were not stored: the limit is %d bytes]\n"


@pytest.mark.parametrize(
    ("printed", "limit", "expected"),
    [
        (b"x" * 100, 100, b"x" * 100),
        (b"x" * 101, 100, b"x" * 100 + b"\n" + LINE % (1, 100)),
        (b"x" * 99 + b"\n" + b"y" * 1000000, 100, b"x" * 99 + b"\n" + LINE % (1000000, 100)),
        (b"x", 0, LINE % (1, 0)),
        (b"", 0, b""),
    ],
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_of_each_stream_as_much_is_stored_as_the_limit_says(folder, stream, printed, limit, expected):
    code = f"import sys; sys.{stream}.buffer.write({printed[:100]!r} + {printed[-1:]!r} * {max(0, len(printed) - 100)})"
    end = run(end_of(folder, code, output_limit=limit))
    spec = folder.spec("")
    assert stored(spec, stream) == expected
    assert stored(spec, "stderr" if stream == "stdout" else "stdout") == b""
    assert (end.status, end.lost) == (0, max(0, len(printed) - limit))


def test_much_output_is_stored_byte_by_byte(folder):
    code = "import os, random; random.seed(1)\nfor _ in range(300): os.write(1 + _ % 2, random.randbytes(100000))"
    end = run(end_of(folder, code))
    random.seed(1)
    expected = [hashlib.sha256(), hashlib.sha256()]
    for number in range(300):
        expected[number % 2].update(random.randbytes(100000))
    spec = folder.spec("")
    assert [hashlib.sha256(stored(spec, name)).digest() for name in ("stdout", "stderr")] == [
        each.digest() for each in expected
    ]
    assert end.lost == 0


def test_what_a_job_prints_before_it_ends_is_stored_after_that(folder):
    """More than one reading takes, and all of it while the shim does nothing."""
    code = "import fcntl, os; os.kill(os.getppid(), 19); fcntl.fcntl(1, 1031, 1 << 20); os.write(1, b'x' * (1 << 20))"

    async def run_it():
        process = await start(folder, code)
        await until(lambda: not is_running(process.pid))
        os.kill(shim_of(process), signal.SIGCONT)
        return await process.wait()

    assert run(run_it()).status == 0
    assert stored(folder.spec("")) == b"x" * (1 << 20)


def test_what_a_job_prints_can_be_read_while_it_runs(folder):
    async def run_it():
        process = await start(folder, "print('now'); " + SLEEP)
        await until(lambda: stored(folder.spec("", 2)._replace(output=str(folder.output / "1"))) == b"now\n")
        await process.end()

    run(run_it())


def test_output_leaves_some_of_the_disk_to_others(folder):
    end = run(end_of(folder, "print('x' * 999)", disk_floor=1 << 62))
    line = b"[planta-headless: 1000 bytes of output were not stored: the disk is full]\n"
    assert stored(folder.spec("")) == line
    assert (end.status, end.lost) == (0, 1000)


def test_a_line_stands_where_something_is_missing(folder, in_the_shim):
    in_the_shim(failing("write", "b'two' in args[1]"))
    code = """if 1:
        import fcntl, os, termios
        for word in (b"one\\n", b"two\\n", b"three\\n"):
            os.write(1, word)
            while fcntl.ioctl(1, termios.FIONREAD, b"    ") != b"\\0" * 4: pass  # until it was read
        """
    end = run(end_of(folder, code))
    line = b"[planta-headless: 4 bytes of output were not stored: No space left on device]\n"
    assert stored(folder.spec("")) == b"one\n" + line + b"three\n"
    assert (end.status, end.lost) == (0, 4)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with room for half a MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k,mode=700", "planta-headless", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("NOT TESTED: a full disk, which only root can make")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_takes_away_output_but_no_end(folder, small_disk):
    output = small_disk / folder.session / "1"
    output.parent.mkdir()
    code = "import sys\nfor _ in range(200): print('x' * 9999)\nprint('end', file=sys.stderr)\nraise SystemExit(3)"
    end = run(end_of(folder, code, output=str(output)))
    assert (end.status, end.was_asked) == (3, False)
    size = Path(f"{output}.stdout").stat().st_size
    assert size <= 1 << 19
    assert end.lost >= 2000000 - size
    assert written(str(output)).end == end


def test_on_a_disk_that_is_full_nothing_starts(folder, small_disk):
    output = small_disk / folder.session / "1"
    output.parent.mkdir()
    with suppress(OSError), open(small_disk / "full", "wb", 0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(OSError, match="No space left"):
        run(start(folder, "", output=str(output)))
    assert run(Shims(Threads("found", 1, 1)).find(str(output))) == NotStarted()
    (small_disk / "full").unlink()
    assert run(end_of(folder, "", output=str(output))).status == 0


# What it costs


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))


def children():
    return shim._children(os.getpid())


def test_nothing_is_left_of_a_hundred_jobs(folder):
    async def run_all():
        processes = new_shims()
        await (await processes.start(folder.spec("", 0))).wait()
        before = descriptors(), children()
        for tens in range(10):
            specs = [folder.spec(f"raise SystemExit({number})", tens * 10 + number) for number in range(10)]
            specs.append(folder.spec("import os; os.kill(os.getppid(), 9)", 1000))
            started = await asyncio.gather(*map(processes.start, specs))
            ends = await asyncio.gather(*(process.wait() for process in started))
            assert [end and end.status for end in ends] == [*range(10), None]
            with pytest.raises(OSError, match="absent"):
                await processes.start(folder.spec("", 2000, folder="/absent"))
            again = await asyncio.gather(*(processes.find(spec.output) for spec in specs))
            assert [process and await process.wait() for process in again] == ends
        assert (descriptors(), children()) == before

    run(run_all())


def test_nothing_is_left_of_starts_that_nobody_waits_for_any_more(folder):
    ran = folder.path / "ran"

    async def run_all():
        processes = new_shims()
        await (await processes.start(folder.spec("", 0))).wait()
        before = descriptors(), children()
        for number in range(1, 41):
            spec = folder.spec(f"open({str(ran)!r}, 'a').write('x'); {SLEEP}", number)
            starting = asyncio.ensure_future(processes.start(spec))
            await asyncio.sleep(number / 1000)
            if starting.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await starting
            else:
                await (await starting).end()
        await until(lambda: (descriptors(), children()) == before)
        for number in range(1, 41):
            process = await processes.find(str(folder.output / str(number)))
            end = None if isinstance(process, NotStarted) or process is None else await process.wait()
            assert end is None or end.was_asked

    run(run_all())


def test_it_does_not_matter_who_reaps(folder):
    """A server that is the first process of a container reaps all that end."""

    def reap(*_):
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    before = signal.signal(signal.SIGCHLD, reap)
    try:
        for status in range(5):
            assert run(end_of(folder, f"raise SystemExit({status})")).status == status
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_shim_needs_little_memory_whatever_its_job_prints(folder, lock):
    async def run_it():
        process = await start(folder, "print('x' * 50000000)\n" + lock.code(), output_limit=1 << 20)
        await until(lambda: lock.is_taken)
        memory = private_memory(shim_of(process))
        assert len(os.listdir(f"/proc/{shim_of(process)}/fd")) < 13
        await process.end()
        return memory

    assert run(run_it()) <= 4096  # KiB
