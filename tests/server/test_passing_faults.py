"""A fault that may pass is no verdict: a session is refused as busy, a job that was accepted waits. Only what is not
there, or not allowed, is one."""

from __future__ import annotations

import errno
import itertools
import os

import pytest

from headless.dialects.vocabulary import MODULE, PY_FILE, Job
from headless.server import runner
from headless.server.jobs import JobRefused, script_of
from headless.system import is_final
from support.homes import R41, make_home
from support.job_code import Gate
from support.raw_client import RawClient, in_jobs, py_code
from support.server_here import ServerHere
from support.waiting import wait_until

pytestmark = pytest.mark.slow

FINAL = [number for number in errno.errorcode if is_final(OSError(number, ""))]
PASSING = [
    errno.EIO,
    errno.ENFILE,
    errno.EMFILE,
    errno.ENOMEM,
    errno.EAGAIN,
    *filter(None, [getattr(errno, "ESTALE", 0)]),
]


class Fault:
    """The error that looking at a file of the name 009ABC.py meets, if there is one; and how often it was met."""

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


def test_what_is_not_there_or_not_allowed_is_refused(home, fault):
    for job, fault.number in itertools.product(JOBS, FINAL):
        with pytest.raises(JobRefused, match=r"no (module|file)"):
            script_of(home, "s1", 1, job)


def test_any_other_error_is_no_verdict(home, fault):
    for job, fault.number in itertools.product(JOBS, PASSING):
        with pytest.raises(OSError, match=r"009ABC\.py") as caught:
            script_of(home, "s1", 1, job)
        assert caught.value.errno == fault.number


def test_a_session_is_busy_and_a_job_waits_until_the_fault_has_passed(tmp_path, home, fault, monkeypatch):
    monkeypatch.setattr(runner, "_PAUSE_MAX", 0.02)
    gate = Gate(tmp_path / "gate")

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
