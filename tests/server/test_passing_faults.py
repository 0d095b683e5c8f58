"""A fault that may pass is no verdict: a batch is refused as busy, a job that was accepted waits. Only what is not
there, or not allowed, is one."""

from __future__ import annotations

import errno
import os
import time

import pytest

from headless.outcome import is_final
from headless.protocol.vocabulary import MODULE, PY_FILE, Job
from headless.server.jobs import JobRefused, script_of
from support.homes import R41, make_home
from support.in_process import serve_here
from support.job_code import Gate
from support.raw_client import RawClient, in_jobs, py_code

FINAL = [number for number in errno.errorcode if is_final(OSError(number, ""))]
PASSING = [
    errno.EIO,
    errno.ENFILE,
    errno.EMFILE,
    errno.ENOMEM,
    errno.EAGAIN,
    *filter(None, [getattr(errno, "ESTALE", 0)]),
]


@pytest.fixture
def fault(monkeypatch):
    """The errors that looking at a file of the name 009ABC.py meets, one after the other; the last one stays."""
    errors: list[int] = []

    def failing(function):
        def look(path, *args, **kwargs):
            if errors and os.path.basename(os.fspath(path)) == "009ABC.py":
                number = errors[0]
                raise OSError(number, os.strerror(number), path)
            return function(path, *args, **kwargs)

        return look

    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    return errors


@pytest.fixture
def home(tmp_path):
    home = make_home(tmp_path / "home", R41)
    for folder in (home.modules, home.py):
        (folder / "009ABC.py").touch()
    return home


BATCH = "<module>009ABC</module>"
JOBS = [Job(MODULE, "009ABC"), Job(PY_FILE, "009ABC.py")]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.kind)
@pytest.mark.parametrize("number", FINAL, ids=errno.errorcode.get)
def test_what_is_not_there_or_not_allowed_is_refused(home, fault, job, number):
    fault.append(number)
    with pytest.raises(JobRefused, match=r"no (module|file)"):
        script_of(home, "s1", 1, job)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.kind)
@pytest.mark.parametrize("number", PASSING, ids=errno.errorcode.get)
def test_any_other_error_is_no_verdict(home, fault, job, number):
    fault.append(number)
    with pytest.raises(OSError, match=r"009ABC\.py") as caught:
        script_of(home, "s1", 1, job)
    assert caught.value.errno == number


@pytest.mark.parametrize("number", PASSING, ids=errno.errorcode.get)
def test_a_batch_is_busy_and_a_job_waits_until_the_fault_has_passed(tmp_path, home, fault, number):
    gate = Gate(tmp_path / "gate")

    def talk(address: str) -> None:
        with RawClient(address).log_in() as client:
            fault.append(number)
            client.send(in_jobs(BATCH))
            client.expect_refusal("busy")
        fault.clear()
        with RawClient(address).log_in() as client:
            client.submit(py_code(gate.code), BATCH)
            client.expect("started")
            fault.append(number)
            gate.open()
            client.expect("finished")
            client.expect("started")
            time.sleep(0.3)  # in which a verdict would come
            fault.clear()
            assert client.report().finished == [("ok", "")]

    serve_here(home.folder, talk)
