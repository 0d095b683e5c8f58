"""What the next server finds of a job by the record of its shim, whatever was killed and when. Processes that only look
change nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("fcntl", reason="what is tested here only platforms have that can fork")
import fcntl

from headless.server import shim, shims
from headless.server.jobs import ProcessEnd
from headless.server.shims import Shims
from support.job_processes import (
    IGNORE_SIGTERM,
    end_of,
    found,
    is_running,
    kill,
    left_by_a_server,
    new_shims,
    result_of,
    run,
    start,
    with_child,
)
from support.posix_jobs import NO_SPACE, NOT_STARTED, SLEEP, end_found, failing, find, make_impatient, plant, written
from support.process import PATIENCE
from support.waiting import until, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is tested here needs /proc"),
]


# The next server


@pytest.mark.version("asyncio")
def test_finds_a_job_that_runs_and_how_it_ends(folder, gate):
    spec = folder.spec(f"print('begun')\n{gate.code}raise SystemExit('end')")

    async def find_it():
        before = sorted(os.listdir("/proc/self/fd"))
        process = await found(spec.output)
        assert least <= process.age + 0.03  # the kernel counts hundredths
        assert process.age <= time.monotonic() - begun + 0.03
        waiting = asyncio.ensure_future(process.wait())
        assert process.pid == Shims.running_pid(spec.output)
        await asyncio.sleep(0.2)
        assert not waiting.done()
        gate.open()
        end = await waiting
        assert sorted(os.listdir("/proc/self/fd")) == before
        return process.pid, end

    begun = time.monotonic()
    with left_by_a_server(spec) as pid:
        started = time.monotonic()
        assert Shims.running_pid(spec.output) == pid
        time.sleep(0.1)
        least = time.monotonic() - started
        found_pid, end = run(find_it())
    assert found_pid == pid
    assert result_of(spec, end) == (1, b"begun\n", b"end\n")
    assert not end.was_asked
    assert end.seconds >= 0.2
    assert Shims.running_pid(spec.output) is None


def test_ends_a_job_that_it_finds(folder, lock, monkeypatch):
    make_impatient(monkeypatch)
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


def test_a_job_dies_with_its_shim_though_there_is_no_server(folder, lock):
    with left_by_a_server(folder.spec(IGNORE_SIGTERM + lock.code())) as pid:
        wait_until(lambda: lock.is_taken)
        kill(written(str(folder.output / "1")).shim.pid)
        wait_until(lambda: not is_running(pid))


WHOLE = f"started 999999 1 999998 1 {shim.machine()} - ."

RECORDS = {
    "none": (None, NOT_STARTED),
    "an empty one": ("", NOT_STARTED),
    "one of which little was written": (WHOLE[:5], NOT_STARTED),
    "one of which a part was written": (WHOLE[:30], NOT_STARTED),
    "one without a mark": (WHOLE[:-2], NOT_STARTED),
    "one that the disk has lost": ("\0" * 512, NOT_STARTED),
    "a start and no end": (WHOLE.ljust(512), None),
    "a part of an end": (WHOLE.ljust(256) + "ended 0 0 17.5 1.5", None),
    "an end without a mark": (WHOLE.ljust(256) + "ended 0 0 17.5 1.5 0", None),
    "garbage": ("garbage", None),
    "bytes": ("\udcff" * 512, None),
    "a number that is none": (WHOLE.replace("999999", "many"), None),
    "a number that no process has": (WHOLE.replace("999999", "9" * 30), None),
    "a number too few": (WHOLE.replace(" 1 ", " "), None),
    "an end that is none": (WHOLE.ljust(256) + "ended 0 0 soon 1.5 0 .", None),
    "an end": (WHOLE.ljust(256) + "ended 3 1 17.5 1.5 7 .", ProcessEnd(3, True, 17.5, 1.5, 7)),
}


def test_finds_what_a_record_says(folder):
    async def find_all():
        for name, (record, expected) in RECORDS.items():
            if record is not None:
                (folder.output / "1.shim").write_bytes(os.fsencode(record))
            assert Shims.running_pid(str(folder.output / "1")) is None, name
            assert await end_found(str(folder.output / "1")) == expected, name

    run(find_all())


def test_what_is_no_record_is_an_error_and_not_an_answer(folder):
    (folder.output / "1.shim").mkdir()
    with pytest.raises(OSError, match=r"1\.shim"):
        find(folder)


@pytest.mark.parametrize(
    ("machine", "delay", "number", "is_killed"),
    [
        pytest.param(shim.machine(), 0, "", True, id="the job's"),
        pytest.param(shim.machine(), 1, "", False, id="an older one"),
        pytest.param(shim.machine(), 1, "1", True, id="an older one with the job's name in its environment"),
        pytest.param(shim.machine(), 1, "11", False, id="an older one with the name of another job"),
        pytest.param(shim.machine(), -1, "", False, id="a younger one with its number"),
        pytest.param("another/pid:[1]", 0, "1", False, id="one of another start of the machine"),
    ],
)
def test_of_what_has_no_shim_only_the_job_is_killed(folder, machine, delay, number, is_killed):
    environment = {**folder.spec("").environment, "PLANTA_JOB": number} if number else {}
    with subprocess.Popen(["sleep", "60"], start_new_session=True, env=environment) as process:
        try:
            began = shim.start_time(process.pid) + delay
            (folder.output / "1.shim").write_text(f"started {process.pid} {began} 999998 1 {machine} - .".ljust(512))
            assert find(folder) is None
            if is_killed:
                assert process.wait(PATIENCE) == -signal.SIGKILL
            else:  # a signal that was sent by now has come
                os.kill(process.pid, signal.SIGTERM)
                assert process.wait(PATIENCE) == -signal.SIGTERM
        finally:
            process.kill()


def test_waits_for_a_shim_that_is_about_to_start(folder):
    record = folder.output / "1.shim"

    async def look():
        with open(record, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            finding = asyncio.ensure_future(new_shims().find(str(folder.output / "1")))
            await asyncio.sleep(0.05)
            assert not finding.done()
        return await finding

    assert run(look()) is None


def test_does_not_know_what_a_shim_will_do_that_does_nothing(folder, monkeypatch):
    monkeypatch.setattr(shims, "_SECONDS_TO_BEGIN", 0.05)
    with open(folder.output / "1.shim", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="has not started"):
            find(folder)


# Processes that only look


def test_many_that_look_do_not_take_each_other_for_a_shim_and_hinder_no_start(folder):
    (folder.output / "1.shim").write_text(WHOLE.ljust(512))
    output, seen, stop = str(folder.output / "1"), [], threading.Event()

    def look():
        while not stop.is_set():
            seen.append(Shims.running_pid(output))

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for each in lookers:
        each.start()
    try:
        wait_until(lambda: len(seen) > 800)
        assert set(seen) == {None}
        for _ in range(2):
            assert run(end_of(folder, "print(1)")).status == 0
    finally:
        stop.set()
        for each in lookers:
            each.join()


def test_a_job_is_not_started_a_second_time_while_it_runs(folder, lock, monkeypatch):
    monkeypatch.setattr(shims, "_SECONDS_TO_LOOK", 0.1)

    async def run_it():
        process = await start(folder, lock.code())
        with pytest.raises(OSError, match="another shim lives"):
            await start(folder, lock.code())
        assert Shims.running_pid(str(folder.output / "1")) == process.pid
        await process.end()
        assert (await process.wait()).was_asked

    run(run_it())


def test_the_record_can_be_read_by_this_user_alone(folder):
    run(end_of(folder, ""))
    assert {path.suffix: path.stat().st_mode & 0o777 for path in folder.output.iterdir()} == {
        ".shim": 0o600, ".stdout": 0o600, ".stderr": 0o600,
    }  # fmt: skip


# A record that cannot be written

FAULTS = {
    "write": failing("pwrite", "True"),
    "a part": failing("pwrite", "True", "return real_pwrite(args[0], args[1][:100], args[2])"),
    "sync": failing("fsync", "True"),
    "fork": failing("fork", "True", f"raise OSError({errno.EAGAIN}, 'Resource temporarily unavailable')"),
    "pipe": failing("pipe", "True", f"raise OSError({errno.EMFILE}, 'Too many open files')"),
    "open": failing("open", "True"),
    "killed late": "shim._Shim._write_start = lambda *_: shim.os.kill(shim.os.getpid(), 9)",
    "killed early": "shim.os.kill(shim.os.getpid(), 9)",
    "bug": "1 / 0",
}


def test_nothing_runs_where_it_could_not_be_written_down(folder, monkeypatch):
    ran = folder.path / "ran"
    code = f"open({str(ran)!r}, 'a').write('x')"
    for number, (name, fault) in enumerate(FAULTS.items()):
        with monkeypatch.context() as planted:
            plant(planted, fault)
            with pytest.raises(OSError, match=r"No space|disk is full|unavailable|Too many|has ended before"):
                run(start(folder, code, number))
        assert find(folder, number) == NOT_STARTED, name
    assert [run(end_of(folder, code, number)).status for number in (1, 6)] == [0, 0]  # by when the others had started
    assert ran.read_text() == "xx"


def test_what_could_not_be_executed_has_not_been_started_and_is_no_failed_job(folder, monkeypatch):
    for number in (errno.ENOMEM, errno.ENOENT, errno.EIO, errno.ETXTBSY):
        with monkeypatch.context() as planted:
            plant(planted, failing("execve", "True", f"raise OSError({number}, 'why')"))
            with pytest.raises(OSError, match=os.strerror(number)):
                run(start(folder, "print(1)"))
        assert find(folder) == NOT_STARTED, number
    assert result_of(folder.spec("print(1)"), run(end_of(folder, "print(1)"))) == (0, b"1\n", b"")


def test_what_may_have_run_has_been_started(folder, monkeypatch):
    """The shim is killed between what it has written down and what it was about to say."""
    plant(monkeypatch, "shim._send_report = lambda *_: shim.os.kill(shim.os.getpid(), 9)")

    async def run_it():
        process = await start(folder, SLEEP)
        assert process.pid == written(str(folder.output / "1")).job.pid
        assert await process.wait() is None
        assert not is_running(process.pid)

    run(run_it())
    assert find(folder) is None


def test_the_end_is_written_as_soon_as_the_disk_takes_it(folder, monkeypatch):
    plant(
        monkeypatch,
        "shim._SECONDS_BETWEEN_TRIES = 0.1\n"
        + failing("pwrite", "args[2] and len(calls_pwrite) < 3", f"raise OSError({errno.EIO}, 'Input/output error')")
        + failing("fsync", "calls_pwrite and len(calls_fsync) < 2"),
    )
    before = time.time()
    end = run(end_of(folder, "raise SystemExit(3)"))
    assert (end.status, end.was_asked) == (3, False)
    # The times are of the job, without the tries.
    assert end.ended < time.time() - 3 * 0.1
    assert end.seconds < time.time() - before - 3 * 0.1


def test_an_end_that_cannot_be_written_is_not_made_up(folder, monkeypatch):
    tried = folder.path / "tried"
    note = f"shim.os.close(shim.os.open({str(tried)!r}, shim.os.O_CREAT)); {NO_SPACE}"
    plant(monkeypatch, "shim._SECONDS_BETWEEN_TRIES = 0.05\n" + failing("pwrite", "args[2]", note))
    monkeypatch.setattr(shims, "_SECONDS_TO_END", 0.2)

    async def run_it():
        process = await start(folder, "")
        waiting = asyncio.ensure_future(process.wait())
        await until(tried.exists)
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await process.end()
        return await waiting

    assert run(run_it()) is None
