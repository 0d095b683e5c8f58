"""The way from the queue to the processes: a job is handed over at once, and what is impossible for a while is busy and
no verdict."""

from __future__ import annotations

import asyncio
import errno
import os

import pytest

from headless.dialects.vocabulary import MODULE, OK, PY_CODE, Job
from headless.errors import Busy
from headless.server import queue, runner
from headless.server.jobs import JobRefused, QueuedJob
from headless.server.journal import INTERRUPTED
from headless.server.processes import JobProcesses
from headless.server.settings import Settings
from headless.server.threads import Threads
from support.job_server import states
from support.raw_client import connect, py_code
from support.server_here import ServerHere
from support.waiting import in_time, wait_until

pytestmark = pytest.mark.slow


def run(home, use):
    """Lets this use the processes of a home."""

    async def in_loop():
        return await in_time(use(JobProcesses(home, Settings(), Threads("files", 2, 10))))

    return asyncio.run(in_loop())


def code(source: str, number: int = 1) -> QueuedJob:
    return QueuedJob("s", number, "R41", Job(PY_CODE, source))


def test_a_job_starts_and_ends(home):
    async def use(processes):
        handle = processes.start(code("import os; print(os.environ['PLANTA_USER'])"))
        await handle.started()
        return (await handle.ended()).state

    assert run(home, use) == OK
    assert home.output("s", 1, "stdout").read_text().strip() == "R41"


def test_a_job_that_is_withdrawn_before_it_has_started_ends(home):
    async def use(processes):
        handle = processes.start(code("import time; time.sleep(60)"))
        await asyncio.gather(handle.withdraw(), handle.withdraw())
        assert processes.running_pid(home, "s", 1) is None
        return await handle.ended()

    assert run(home, use).state == INTERRUPTED


def test_a_job_that_is_refused_or_cannot_start_now_has_not_started_and_is_withdrawn_at_once(home):
    async def use(processes):
        refused = processes.start(QueuedJob("s", 1, "R41", Job(MODULE, "absent")))
        with pytest.raises(JobRefused, match="absent"):
            await refused.started()
        os.makedirs(home.output("s", 2, "stdout"))
        busy = processes.start(code("", 2))
        with pytest.raises(Busy, match=r"2\.stdout"):
            await busy.started()
        for handle in (refused, busy):
            await handle.withdraw()
        return [await processes.find("s", number) for number in (1, 2)]

    assert run(home, use) == [None, None]


def test_an_error_of_a_job_that_is_for_a_caller_who_has_left_is_not_logged(home, caplog):
    async def use(processes):
        processes.start(QueuedJob("s", 1, "R41", Job(MODULE, "absent")))
        await asyncio.sleep(0.1)

    run(home, use)
    assert caplog.text == ""


def test_of_a_job_whose_end_is_known_only_its_output_stays(home):
    path = home.output("s", 1, "shim")
    path.parent.mkdir(parents=True)
    for suffix in ("shim", "stdout", "stderr"):
        path.with_suffix(f".{suffix}").touch()

    async def use(processes):
        await processes.forget("s", 1)
        await processes.forget("s", 1)  # a server that has crashed in between does it again

    run(home, use)
    assert sorted(each.name for each in path.parent.iterdir()) == ["1.stderr", "1.stdout"]


def test_how_a_job_ended_is_asked_for_again_when_it_could_not_be_read(home, monkeypatch):
    real_open = open

    def fail(path, *args, **options):
        if str(path).endswith("1.stderr"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return real_open(path, *args, **options)

    async def use(processes):
        handle = processes.start(code("raise SystemExit('why')"))
        with monkeypatch.context() as patch:
            patch.setattr("builtins.open", fail)
            with pytest.raises(Busy, match=r"1\.stderr"):
                await handle.ended()
        return await handle.ended()

    assert run(home, use).message == "why"


def test_a_job_that_cannot_start_yet_can_be_cancelled(tmp_path, monkeypatch):
    monkeypatch.setattr(queue, "_REQUESTS_SECONDS", 0.05)
    monkeypatch.setattr(runner, "_PAUSE_MAX", 0.05)

    def fail(*_):
        tried.append(1)
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    tried: list[int] = []
    monkeypatch.setattr("headless.server.processes.prepare", fail)
    with ServerHere(tmp_path / "home", workers=1) as server, connect(server).log_in() as client:
        client.submit(py_code("print(1)"), py_code("print(2)"))
        wait_until(lambda: len(tried) > 2)
        server.manage("jobs", "cancel", client.session)
        assert client.report().ended == "failed"
        assert states(server, client.session) == ["cancelled", "skipped"]
