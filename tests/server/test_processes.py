"""The processes of jobs: how they start, how they end with all that they have started, and the process that they are
forked from."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from headless.server.process import LOST
from support.homes import R41, make_home
from support.job_processes import (
    IGNORE_SIGTERM,
    LOOK,
    WAYS,
    Folder,
    Lock,
    Result,
    fork_server,
    in_time,
    opened,
    with_child,
)
from support.process import PATIENCE, ROOT
from support.raw_client import RawClient, py_code
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="here jobs are not forked")


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


# Starting


def test_many_jobs_start_at_once(folder):
    async def run_one(processes, number: int) -> Result:
        order = folder.spec_of(folder.script(f"print({number})", f"{number}.py"), str(number))
        return folder.result_of(order, await in_time((await processes.start(order)).wait()))

    async def run_all() -> list[Result]:
        async with opened("forked") as processes:
            return await asyncio.gather(*(run_one(processes, number) for number in range(50)))

    assert asyncio.run(run_all()) == [Result(0, b"%d\n" % number, b"") for number in range(50)]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("way", WAYS)
def test_without_files_for_its_output_no_job_starts_and_the_next_one_does(folder, way, stream):
    async def start() -> Result:
        order = folder.spec_of(folder.script(LOOK), way)
        async with opened(way) as processes:
            for _ in range(3):
                with pytest.raises(OSError, match="absent"):
                    await in_time(processes.start(order._replace(**{stream: str(folder.path / "absent" / "file")})))
            return folder.result_of(order, await in_time((await processes.start(order)).wait()))

    assert asyncio.run(start()) == folder.by_hand(folder.script(LOOK))


# The end of a job and of all that it has started


@pytest.fixture
def lock(tmp_path):
    return Lock(tmp_path / "lock")


def test_what_a_job_leaves_behind_is_gone_when_its_end_is_known(folder, lock):
    result = asyncio.run(folder.as_job(folder.script(with_child(lock, lock.code())), "forked"))
    assert lock.is_free()
    assert result == (0, b"", b"")


def test_what_a_job_leaves_behind_may_clean_up(folder, lock):
    clean_up = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('cleaned up')))\n"
    child = lock.code(clean_up + "time.sleep(60)").replace("open", clean_up + "open", 1)
    result = asyncio.run(folder.as_job(folder.script(with_child(lock, child)), "forked"))
    assert lock.is_free()
    assert result == (0, b"cleaned up\n", b"")


def test_what_a_job_leaves_behind_is_killed_if_it_does_not_end(folder, lock):
    script = folder.script(with_child(lock, IGNORE_SIGTERM + lock.code()))
    result = asyncio.run(folder.as_job(script, "forked"))  # whose patience ends long before the child's minute
    wait_until(lock.is_free)
    assert result == (0, b"", b"")


def test_what_has_left_the_job_lives_on(folder, lock, tmp_path):
    gate = tmp_path / "gate"
    then = f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)"
    try:
        asyncio.run(folder.as_job(folder.script(with_child(lock, lock.code(then), start_new_session=True)), "forked"))
        assert not lock.is_free()
    finally:
        gate.touch()
    wait_until(lock.is_free)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("before", "status"),
    [
        pytest.param("", -signal.SIGTERM, id="which ends it"),
        pytest.param(
            "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n", 3, id="to clean up at"
        ),
        pytest.param(IGNORE_SIGTERM, -signal.SIGKILL, id="and killed if it takes no notice"),
    ],
)
def test_a_job_that_is_ended_gets_sigterm(folder, lock, way, before, status):
    async def start_and_end() -> int:
        async with opened(way) as processes:
            process = await processes.start(folder.spec_of(folder.script(before + lock.code()), way))
            while not lock.is_taken:
                await asyncio.sleep(0.01)
            await in_time(process.end())
            return await in_time(process.wait())

    assert asyncio.run(asyncio.wait_for(start_and_end(), PATIENCE)) == status
    assert lock.is_free()


@pytest.mark.parametrize("way", WAYS)
def test_ending_a_job_ends_its_children(folder, lock, way):
    async def start_and_end() -> None:
        async with opened(way) as processes:
            code = with_child(lock, IGNORE_SIGTERM + lock.code()) + "time.sleep(60)"
            process = await processes.start(folder.spec_of(folder.script(code), way))
            while not lock.is_taken:
                await asyncio.sleep(0.01)
            await in_time(process.end())

    asyncio.run(asyncio.wait_for(start_and_end(), PATIENCE))
    wait_until(lock.is_free)


@pytest.mark.parametrize("way", WAYS)
def test_a_job_may_be_ended_as_soon_as_it_is_started_and_again_when_it_is_over(folder, way):
    async def start_and_end() -> set[int]:
        async with opened(way) as processes:
            order = folder.spec_of(folder.script("import time; time.sleep(60)"), way)
            statuses = set()
            for _ in range(20):  # the process may be anywhere between its first instruction and the script
                process = await processes.start(order)
                await in_time(asyncio.gather(process.end(), process.end()))
                await in_time(process.end())
                statuses.add(await in_time(process.wait()))
            return statuses

    assert asyncio.run(start_and_end()) == {-signal.SIGTERM}


# The process that jobs are forked from


def test_orders_wait_while_it_takes_none(folder):
    """More of them than a socket holds: with hundreds of workers, after a restart, so many batches begin at once."""

    async def start_many() -> list[int]:
        async with opened("forked") as processes:
            order = folder.spec_of(folder.script(""), "forked")
            os.kill(fork_server(processes).pid, signal.SIGSTOP)
            starting = [asyncio.ensure_future(processes.start(order)) for _ in range(500)]
            await asyncio.sleep(0.1)
            os.kill(fork_server(processes).pid, signal.SIGCONT)
            return await asyncio.gather(*[process.wait() for process in await asyncio.gather(*starting)])

    assert asyncio.run(asyncio.wait_for(start_many(), PATIENCE)) == [0] * 500


def test_closing_ends_what_still_runs(folder, lock):
    async def start_and_close() -> int:
        async with opened("forked") as processes:
            process = await processes.start(folder.spec_of(folder.script(lock.code()), "forked"))
            while not lock.is_taken:
                await asyncio.sleep(0.01)
        return await in_time(process.wait())

    assert asyncio.run(asyncio.wait_for(start_and_close(), PATIENCE)) != 0
    assert lock.is_free()


async def kill_what_forks(folder: Folder, lock: Lock, code: str) -> tuple[int, Result]:
    """The exit status of a job with this code, and the result of the next job."""
    async with opened("forked") as processes:
        process = await processes.start(folder.spec_of(folder.script(code), "forked"))
        while not lock.is_taken:
            await asyncio.sleep(0.01)
        fork_server(processes).kill()
        status = await in_time(process.wait())
        order = folder.spec_of(folder.script("print(42)", "next.py"), "forked")
        return status, folder.result_of(order, await in_time((await processes.start(order)).wait()))


def test_if_it_is_killed_its_jobs_are_lost_and_the_next_one_gets_another(folder, lock):
    code = with_child(lock, IGNORE_SIGTERM + lock.code()) + "time.sleep(60)"
    result = asyncio.run(asyncio.wait_for(kill_what_forks(folder, lock, code), PATIENCE))
    assert result == (LOST, (0, b"42\n", b""))
    wait_until(lock.is_free)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the kernel does not end the jobs")
def test_if_the_server_is_killed_as_well_the_kernel_ends_the_jobs(folder, lock, monkeypatch):
    monkeypatch.setattr(os, "killpg", lambda *_: None)
    asyncio.run(asyncio.wait_for(kill_what_forks(folder, lock, IGNORE_SIGTERM + lock.code()), PATIENCE))
    wait_until(lock.is_free)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_everybody_is_no_signal_to_the_jobs(folder, tmp_path, signum):
    """Ending them is the server's business, whose terminal or service manager signals all its processes."""

    async def signal_it() -> int:
        async with opened("forked") as processes:
            gate = tmp_path / "gate"
            code = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)"
            process = await processes.start(folder.spec_of(folder.script(code), "forked"))
            fork_server(processes).send_signal(signum)
            second = await processes.start(folder.spec_of(folder.script("", "second.py"), "second"))
            assert await in_time(second.wait()) == 0
            gate.touch()
            return await in_time(process.wait())

    assert asyncio.run(signal_it()) == 0


@pytest.mark.parametrize("closed", ["<&-", "2>&-"])
def test_a_job_has_its_standard_files_whichever_of_them_the_server_lacks(tmp_path, closed):
    home = make_home(tmp_path / "home", R41).folder
    serve = [sys.executable, "-m", "headless", "serve", "--home", str(home), "--listen", "127.0.0.1:0", "--grace", "0"]
    with subprocess.Popen(
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *serve],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[-1]
            with RawClient(address).log_in() as client:
                client.submit(py_code("import sys; print(sys.stdin.read() + 'out'); print('err', file=sys.stderr)"))
                report = client.report()
        finally:
            server.terminate()
    assert report == ({(1, "stdout"): "out\n", (1, "stderr"): "err\n"}, [("ok", "")], "ok")
