"""--one-at-a-time: a session of an account is refused as busy as long as one with the same jobs is not over."""

from __future__ import annotations

import os

import pytest

from headless.server.accounts import Account, Limits
from support.command_here import headless
from support.job_server import QuickServer, states
from support.process import current_user
from support.raw_client import connect, in_jobs, py_code
from support.waiting import wait_until

pytestmark = pytest.mark.slow

ONE = Account("R50", current_user(), None, Limits(one_at_a_time=True))
OTHER = Account("R51", current_user(), None, Limits(one_at_a_time=True))


@pytest.fixture
def server(tmp_path):
    with QuickServer(tmp_path / "home", "--workers", "1", accounts=(ONE, OTHER)) as server:
        yield server


def refusal(server, *jobs: str, key: str = "") -> str:
    with connect(server).log_in("R50") as client:
        client.send(in_jobs(*jobs, key=key))
        return client.expect_refusal("busy")


def accept(server, *jobs: str, key: str = "", user: str = "R50") -> str:
    """Submits a session and leaves it."""
    with connect(server).log_in(user) as client:
        return client.submit(*jobs, key=key)


def wait_for(server, session: str, state: str) -> None:
    wait_until(lambda: states(server, session) == [state])


def test_the_same_jobs_are_refused_while_they_run_and_while_they_wait(server, gate):
    running, waiting = py_code(gate.code), py_code("print(1)")
    sessions = [accept(server, running), accept(server, waiting)]
    wait_for(server, sessions[0], "running")
    for session, job in zip(sessions, (running, waiting)):
        expected = f"the session {session} of this account has the same jobs, and is not over"
        assert refusal(server, job) == refusal(server, job, key=os.urandom(16).hex()) == expected
    gate.open()
    for session, job in zip(sessions, (running, waiting)):
        wait_for(server, session, "ok")
        accept(server, job)


def test_other_jobs_and_other_accounts_are_not_refused(server, gate):
    job = py_code(gate.code)
    accept(server, job)
    accept(server, job, job)
    accept(server, py_code("1"), job)
    accept(server, job, user="R51")
    accept(server, job, user="R41")
    accept(server, job, user="R41")  # which has no such limit


def test_the_same_key_is_the_same_session_and_no_other_one(server, gate):
    key = os.urandom(16).hex()
    assert accept(server, py_code(gate.code), key=key) == accept(server, py_code(gate.code), key=key)


def test_the_limit_holds_when_a_server_has_started_again(server, gate):
    server.ends_jobs = False
    session = accept(server, py_code(gate.code))
    wait_for(server, session, "running")
    server.crash()
    server.start()
    assert session in refusal(server, py_code(gate.code))


def test_a_session_that_was_accepted_before_the_limit_counts(server, gate):
    session = accept(server, py_code(gate.code), user="R41")
    done = headless("user", "limit", "R41", "--one-at-a-time", "--home", str(server.home))
    assert (done.returncode, done.stderr) == (0, "")
    with connect(server).log_in("R41") as client:
        client.send(in_jobs(py_code(gate.code)))
        assert session in client.expect_refusal("busy")
