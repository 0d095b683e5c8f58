"""The processes of jobs on every platform: how they start, and how they end with all that they have started."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from support.job_processes import IGNORE_SIGTERM, Result, new_shims, result_of, run, start
from support.sampling import EXHAUSTIVE
from support.waiting import until

pytestmark = pytest.mark.slow
HAS_SIGNALS = hasattr(os, "fork")
with_signals = pytest.mark.skipif(not HAS_SIGNALS, reason="here no signal ends a process")
MANY = 50 if EXHAUSTIVE else 10  # more than there are threads to start them
END_OF_LINE = os.linesep.encode()


# Starting


def test_many_jobs_start_at_once(folder):
    async def run_all() -> list[Result]:
        jobs = new_shims()
        specs = [folder.spec(f"print({number})", number) for number in range(MANY)]
        started = await asyncio.gather(*map(jobs.start, specs))
        return [result_of(spec, await process.wait()) for spec, process in zip(specs, started)]

    assert run(run_all()) == [Result(0, b"%d" % number + END_OF_LINE, b"") for number in range(MANY)]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_without_a_file_for_its_output_no_job_starts_and_the_next_one_does(folder, stream):
    os.makedirs(folder.output / f"1.{stream}")
    for _ in range(3):
        with pytest.raises(OSError, match=rf"(directory|denied).*1\.{stream}"):
            run(start(folder, f"open({str(folder.path / 'has_run')!r}, 'w')"))
    assert folder.as_job(folder.script("print(42)"), output=str(folder.output / "2")) == (0, b"42" + END_OF_LINE, b"")
    assert not (folder.path / "has_run").exists()


@pytest.mark.parametrize("change", [{"folder": "/absent/folder"}, {"output": "/absent/5f0c/1"}])
def test_what_is_not_there_is_named(folder, change):
    with pytest.raises(OSError, match=r"[/\\]absent[/\\]"):
        run(new_shims().start(folder.spec("")._replace(**change)))


# The end


def test_the_end_says_when_it_was_and_how_long_it_took_and_stays_so(folder):
    async def run_it() -> None:
        before = time.time()
        process = await start(folder, "import time; time.sleep(0.1); raise SystemExit(3)")
        end = await process.wait()
        assert end is not None
        assert (end.status, end.was_asked, end.lost) == (3, False, 0)
        assert 0.1 <= end.seconds <= time.time() - before
        assert before + 0.1 <= end.ended <= time.time()
        await process.end()
        assert await process.wait() == end

    run(run_it())


def test_many_may_wait_for_it_and_leave_and_come_late(folder, lock, gate):

    async def run_it() -> None:
        process = await start(folder, lock.code(gate.code))
        waiting = [asyncio.ensure_future(process.wait()) for _ in range(5)]
        await until(lambda: lock.is_taken)
        for each in waiting[:3]:
            each.cancel()
        gate.open()
        ends = [await process.wait(), *await asyncio.gather(*waiting[3:]), await process.wait()]
        assert all(each.cancelled() for each in waiting[:3])
        assert ends[0] is not None
        assert (ends[0].status, set(ends)) == (0, {ends[0]})

    run(run_it())


@with_signals
@pytest.mark.version("signals of the job's interpreter")
@pytest.mark.parametrize(
    ("before", "status"),
    [
        pytest.param("", -signal.SIGTERM, id="which ends it"),
        pytest.param(
            "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n", 3, id="to clean up at"
        ),
        pytest.param(IGNORE_SIGTERM, -9, id="and killed if it takes no notice"),
    ],
)
def test_a_job_that_is_ended_gets_sigterm(folder, lock, before, status):
    async def start_and_end() -> tuple[int, bool]:
        process = await start(folder, before + lock.code())
        await until(lambda: lock.is_taken)
        await process.end()
        end = await process.wait()
        assert end is not None
        return end.status, end.was_asked

    assert run(start_and_end()) == (status, True)
    assert lock.is_free()


def test_a_job_may_be_ended_as_soon_as_it_is_started_and_again_when_it_is_over(folder):
    async def start_and_end() -> set[int]:
        jobs, statuses = new_shims(), set()
        for _ in range(20 if EXHAUSTIVE else 5):  # it may be anywhere between its first instruction and the script
            process = await jobs.start(folder.spec("import time; time.sleep(60)"))
            await asyncio.gather(process.end(), process.end())
            await process.end()
            end = await process.wait()
            assert end is not None
            assert end.was_asked
            statuses.add(end.status)
        return statuses

    statuses = run(start_and_end())
    assert statuses == {-signal.SIGTERM} if HAS_SIGNALS else 0 not in statuses
