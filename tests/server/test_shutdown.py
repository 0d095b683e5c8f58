"""How a server ends: what SIGTERM and SIGINT leave running, for how long, and what becomes of the rest."""

from __future__ import annotations

import signal

import pytest

from support.job_code import Gate, is_free
from support.job_server import JobServer, QuickServer, states
from support.raw_client import connect, in_jobs, osuser_login, py_code
from support.waiting import wait_until


def test_sigterm_interrupts_what_outlives_the_grace(own_server, tmp_path):
    with connect(own_server).log_in() as client:
        client.submit(py_code(Gate(tmp_path / "never").code), py_code("2"))
        client.expect("started")
        own_server.process.terminate()
        report = client.report()
    assert own_server.wait() == 0
    assert [status for status, _ in report.finished] == ["failed", "skipped"]
    assert report.ended == "failed"
    assert states(own_server, client.session) == ["interrupted", "skipped"]


def test_sigterm_ends_what_the_jobs_have_started(own_server, tmp_path):
    lock = tmp_path / "lock"
    child = (
        "import fcntl, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"file = open({str(lock)!r}, 'w'); fcntl.flock(file, fcntl.LOCK_EX); print('locked', flush=True); "
        "time.sleep(60)"
    )
    with connect(own_server).log_in() as client:
        client.submit(py_code(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"))
        client.expect("started")
        assert client.expect("output").text == "locked\n"
    assert own_server.stop() == 0
    wait_until(lambda: is_free(lock))


def is_refused_as_busy(server: JobServer) -> bool:
    """Whether a new login is. Anything but that or a welcome is an error."""
    with connect(server) as client:
        answer = client.ask(osuser_login())
        assert answer.tag == "welcome" or answer.attrib == {"reason": "busy"}
        return answer.tag == "refused"


@pytest.fixture
def patient_server(tmp_path):
    """A server whose SIGTERM waits for ten minutes, and a batch that it runs."""
    with QuickServer(tmp_path / "home", "--grace", "600", "--workers", "1") as server, connect(server) as client:
        client.log_in().submit(py_code(Gate(tmp_path / "gate").code))
        client.expect("started")
        yield server, client
        server.process.kill()


def test_during_the_grace_jobs_go_on_and_nothing_new_begins(patient_server, tmp_path):
    server, client = patient_server
    with connect(server).log_in() as late, connect(server).log_in() as waiting:
        waiting.submit(py_code("1"))
        server.process.terminate()
        wait_until(lambda: is_refused_as_busy(server))
        late.send(in_jobs(py_code("1")))
        late.expect_refusal("busy")
        Gate(tmp_path / "gate").open()
        assert client.report().ended == "ok"
        waiting.expect_refusal("busy")
    assert server.wait() == 0
    assert [states(server, who.session) for who in (client, late, waiting)] == [["ok"], [], ["queued"]]


@pytest.mark.parametrize(("first", "second"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)])
def test_a_second_signal_does_not_wait_for_the_grace(patient_server, first, second):
    server, client = patient_server
    server.process.send_signal(first)
    wait_until(lambda: is_refused_as_busy(server))
    server.process.send_signal(second)
    assert client.report().ended == "failed"
    assert server.wait() == 0
    assert states(server, client.session) == ["interrupted"]


def test_a_server_that_runs_nothing_ends_at_once_whatever_the_grace(tmp_path):
    with QuickServer(tmp_path / "home", "--grace", "600") as server, connect(server).log_in() as client:
        server.process.terminate()
        client.expect_refusal("busy")
        assert server.wait() == 0
