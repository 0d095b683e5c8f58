"""A fault that may pass is no verdict: what is new is refused as busy, what was accepted waits. One such fault is a
lock of another process, as of a backup, on the journal."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import time

import pytest

from headless.dialects.vocabulary import MODULE, PY_CODE, PY_FILE, Job
from headless.errors import Busy
from headless.server import connection as connection_module
from headless.server import queue, runner
from headless.server import server as server_module
from headless.server import store as store_module
from headless.server.jobs import JobRefused, QueuedJob, script_of
from headless.server.output import FollowedOutput
from headless.server.processes import JobProcesses
from headless.server.settings import Settings
from headless.server.threads import Threads
from headless.system import is_final
from support.crashes import printed
from support.homes import R41, locked, make_home
from support.job_server import R42, journal, states
from support.process import PATIENCE
from support.raw_client import RawClient, connect, in_jobs, py_code, right_answer
from support.server_here import ServerHere
from support.shims_of import shims_of
from support.waiting import in_time, wait_until

pytestmark = pytest.mark.slow


FINAL = [number for number in errno.errorcode if is_final(OSError(number, ""))]

NAMES = ("EIO", "ENFILE", "EMFILE", "ENOMEM", "EAGAIN", "ESTALE")  # Windows has no ESTALE
PASSING = [getattr(errno, name) for name in NAMES if hasattr(errno, name)]


class Fault:
    """The error that a look at a file of the name 009ABC.py meets, if any, and how often."""

    def __init__(self) -> None:
        self.number = 0
        self.met = 0

    def failing(self, function):
        def look(path, *args, **kwargs):
            if self.number and os.path.basename(os.fspath(path)) == "009ABC.py":
                self.met += 1
                raise OSError(self.number, os.strerror(self.number), path)
            return function(path, *args, **kwargs)

        return look


@pytest.fixture
def fault(monkeypatch):
    fault = Fault()
    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, fault.failing(getattr(os, name)))
    return fault


@pytest.fixture
def home(tmp_path):
    home = make_home(tmp_path / "home", R41)
    for folder in (home.modules, home.py):
        (folder / "009ABC.py").touch()
    return home


SESSION = "<module>009ABC</module>"

JOBS = [Job(MODULE, "009ABC"), Job(PY_FILE, "009ABC.py")]


def test_only_what_is_not_there_or_not_allowed_is_refused(home, fault):
    for job, fault.number in itertools.product(JOBS, FINAL):
        with pytest.raises(JobRefused, match=r"no (module|file)"):
            script_of(home, "s1", 1, job)
    for job, fault.number in itertools.product(JOBS, PASSING):
        with pytest.raises(OSError, match=r"009ABC\.py") as caught:
            script_of(home, "s1", 1, job)
        assert caught.value.errno == fault.number


def test_a_session_is_busy_and_a_job_waits_until_the_fault_has_passed(home, gate, fault, monkeypatch):
    monkeypatch.setattr(runner, "_PAUSE_MAX", 0.02)

    with ServerHere(home.folder) as server:
        for fault.number in PASSING:
            with RawClient(server.address).log_in() as client:
                client.send(in_jobs(SESSION))
                client.expect_refusal("busy")
        fault.number = 0
        with RawClient(server.address).log_in() as client:
            client.submit(py_code(gate.code), SESSION)
            client.expect("started")
            fault.number = PASSING[0]
            gate.open()
            client.expect("finished")
            client.expect("started")
            for fault.number in PASSING:
                fault.met = 0
                wait_until(lambda: fault.met >= 3)  # by then a verdict would have come
            fault.number = 0
            assert client.report().finished == [("ok", "")]


@pytest.fixture
def with_processes(home):
    """Runs a coroutine with the processes of this home."""

    async def run(use):
        return await in_time(use(JobProcesses(home, Settings(), Threads("files", 2, 10))))

    return lambda use: asyncio.run(run(use))


def test_a_job_that_is_refused_or_cannot_start_now_has_not_started_and_is_withdrawn_at_once(
    home, with_processes, caplog
):
    absent = Job(MODULE, "absent")

    async def use(processes):
        refused = processes.start(QueuedJob("s", 1, "R41", absent))
        with pytest.raises(JobRefused, match="absent"):
            await refused.started()
        os.makedirs(home.output("s", 2, "stdout"))
        busy = processes.start(QueuedJob("s", 2, "R41", Job(PY_CODE, "")))
        with pytest.raises(Busy, match=r"2\.stdout"):
            await busy.started()
        for handle in (refused, busy):
            await handle.withdraw()
        processes.start(QueuedJob("s", 3, "R41", absent))  # whose error is not asked for, and not logged
        await asyncio.sleep(0.1)
        return [await processes.find("s", number) for number in (1, 2)]

    assert with_processes(use) == [None, None]
    assert caplog.text == ""


def test_of_a_job_whose_end_is_known_only_its_output_stays(home, with_processes):
    path = home.output("s", 1, "shim")
    path.parent.mkdir(parents=True)
    for suffix in ("shim", "stdout", "stderr"):
        path.with_suffix(f".{suffix}").touch()

    async def use(processes):
        await processes.forget("s", 1)
        await processes.forget("s", 1)  # a server that has crashed in between does it again

    with_processes(use)
    assert sorted(each.name for each in path.parent.iterdir()) == ["1.stderr", "1.stdout"]


def test_how_a_job_ended_is_asked_for_again_when_it_could_not_be_read(with_processes, monkeypatch):
    real_open = open

    def fail(path, *args, **options):
        if str(path).endswith("1.stderr"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return real_open(path, *args, **options)

    async def use(processes):
        handle = processes.start(QueuedJob("s", 1, "R41", Job(PY_CODE, "raise SystemExit('why')")))
        with monkeypatch.context() as patch:
            patch.setattr("builtins.open", fail)
            with pytest.raises(Busy, match=r"1\.stderr"):
                await handle.ended()
        return await handle.ended()

    assert with_processes(use).message == "why"


def test_what_has_to_wait_is_logged_at_once_and_then_now_and_again(monkeypatch, caplog):
    pauses = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def attempt() -> str:
        if len(pauses) < 2 * runner._LOG_AGAIN_ATTEMPTS:
            raise Busy("not now")
        return "done"

    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert asyncio.run(runner.retry("job 1", attempt)) == "done"
    assert caplog.messages == ["job 1 has to wait, and is tried again: not now"] * 2
    assert pauses[0] < pauses[1] <= pauses[-1] == max(pauses)


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


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server with a tenth of the times, but for that of a new session."""
    monkeypatch.setattr(store_module, "_LAST_WRITE_SECONDS", 0.1)
    monkeypatch.setattr(store_module, "_FIRST_PAUSE", 0.005)
    monkeypatch.setattr(store_module, "_PAUSE_MAX", 0.1)
    monkeypatch.setattr(server_module, "_STORE_SECONDS", 0.5)
    monkeypatch.setattr(server_module, "LINGER_SECONDS", 0.1)
    monkeypatch.setattr(connection_module, "LINGER_SECONDS", 0.1)
    with ServerHere(tmp_path / "home", workers=1, accounts=(R42,)) as server:
        yield server


# The lock of the journal


def leaves_trace(path, name: str) -> str:
    return py_code(f"open({str(path)!r}, 'a').write({name!r})")


@pytest.mark.version("sqlite3 transactions")
@pytest.mark.parametrize("kind", ["IMMEDIATE", "EXCLUSIVE"])
def test_what_was_accepted_runs_in_order_after_the_lock_and_what_comes_meanwhile_is_refused(
    server, tmp_path, gate, monkeypatch, kind
):
    trace = tmp_path / "trace"
    clients = [connect(server).log_in() for _ in range(3)]
    clients[0].submit(py_code(gate.code), leaves_trace(trace, "0"))
    for number, client in enumerate(clients[1:], 1):
        client.submit(leaves_trace(trace, str(number)))
    clients[0].expect("started")
    monkeypatch.setattr(store_module, "_ACCEPT_SECONDS", 0.5)
    with locked(server.home, kind):
        gate.open()
        with connect(server) as known:
            assert known.ask(right_answer(known, "R42")).tag == "welcome"
        with connect(server).log_in() as late:
            before = time.monotonic()
            late.send(in_jobs(leaves_trace(trace, "x")))
            assert "locked the journal" in late.expect_refusal("busy")
            assert time.monotonic() > before + 0.4
        assert states(server, clients[0].session) == ["running", "queued"]
        assert not trace.exists()
    for client in clients:
        report = client.report()
        assert {status for status, _ in report.finished} == {report.ended} == {"ok"}
    assert trace.read_text() == "012"
    # Nor will it run when there is another server.
    assert [entry["session"] for entry in journal(server)] == [
        clients[0].session,
        *(each.session for each in clients),
    ]
    assert {entry["state"] for entry in journal(server)} == {"ok"}


def test_followers_get_the_heartbeat_meanwhile(tmp_path, gate, monkeypatch):
    monkeypatch.setattr(server_module, "FollowedOutput", lambda home, _: FollowedOutput(home, PATIENCE))
    with (
        ServerHere(tmp_path / "home", heartbeat=0.1, workers=1) as server,
        connect(server).log_in() as running,
        connect(server).log_in() as waiting,
    ):
        for client in (running, waiting):
            client.submit(py_code(gate.code))
        running.expect("started")
        with locked(server.home):
            gate.open()
            for client in (running, waiting):
                assert [client.receive() for _ in range(5)] == ["<alive/>"] * 5
        assert running.report().ended == waiting.report().ended == "ok"


@pytest.mark.parametrize("ends_jobs", [False, True], ids=["", "--end-jobs"])
def test_a_server_that_is_stopped_meanwhile_ends_in_time_and_the_next_one_goes_on(
    server, gate, tmp_path, monkeypatch, ends_jobs
):
    monkeypatch.setattr(queue, "_SECONDS_TO_END", 0.5)
    server.ends_jobs = ends_jobs
    server.stop()
    server.start()
    trace = tmp_path / "trace"
    with connect(server).log_in() as running, connect(server).log_in() as waiting:
        running.submit(py_code(f"print('.')\n{gate.code}"))
        printed(running)  # `started` comes before there is a process
        waiting.submit(leaves_trace(trace, "x"))
        with locked(server.home):
            gate.open()
            wait_until(lambda: not shims_of(server.home))
            assert server.stop() == 0
    assert states(server, running.session) == ["running"]
    server.start()
    wait_until(lambda: states(server, waiting.session) == ["ok"])
    assert trace.read_text() == "x"
    assert states(server, running.session) == ["ok"]
