"""For each way in which the command can fail, the last line of `-v` shows whether the jobs were not submitted,
submitted, or that this is unknown; a code of 2 is one line on stderr as well. Against a server that follows a script,
by a call in this process; as a process for each kind of end, and where memory, descriptors, libraries or a terminal
matter. That the list is complete is tested in test_list_of_failures.py."""

from __future__ import annotations

import os
import re

import pytest

from support.command_here import SteeredCommand
from support.failures import NOT, SUBMITTED, Way, go, wait
from support.failures_of_a_dialect import NOT_LOADED, OUR_FAULT, WAYS_OF_A_DIALECT
from support.failures_of_a_lost_connection import WAYS_OF_A_LOST_CONNECTION
from support.failures_of_the_call import OPTIONS
from support.failures_of_the_session import OVER_TLS, WAYS_TO_FAIL
from support.process import ROOT, manage

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="signals, limits and pseudo-terminals"),
]

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} info (.+); jobs: (.+)")


WAYS = {way.name: way for way in (*WAYS_TO_FAIL, *WAYS_OF_A_LOST_CONNECTION, *WAYS_OF_A_DIALECT)}
# As a process, one for each kind of end: 2, 1, 3 and a signal.
KINDS = ("login refused", "closed after the jobs", "out of time while a job runs", "signal after accepted")


def assert_goes(way: Way, command, scripted, as_process: bool = False) -> None:
    """The way ends as it says, and says so in its last line."""
    failure = go(way, command, scripted, as_process)
    last = LINE.fullmatch(failure.shown[-1] if failure.shown else "")
    assert last, failure
    assert (failure.code, last[2]) == (way.code, way.jobs), failure
    assert re.search(way.reason, last[1]), failure
    assert (OUR_FAULT in last[1]) == (OUR_FAULT in way.reason), failure
    assert len(failure.complaints) == (1 if way.code == 2 else 0)
    assert all(last[1] in complaint for complaint in failure.complaints)
    assert way.script is not None or failure.connections == 0
    has_jobs = any(document.startswith("<jobs") for document in failure.received)
    assert has_jobs or way.jobs != SUBMITTED
    assert not has_jobs or way.jobs != NOT or "refused" in last[1]


of_a_version = pytest.mark.version("errors of ssl, and of what is imported")
OF_A_VERSION = {way.name for way in (*OVER_TLS, *NOT_LOADED)}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=of_a_version if name in OF_A_VERSION else ()) for name in WAYS]
)
def test_the_last_line_shows_what_became_of_the_jobs(command, scripted, name):
    assert_goes(WAYS[name], command, scripted)


@pytest.mark.version("how a process ends")
@pytest.mark.parametrize("name", KINDS)
def test_so_does_the_last_line_of_a_process(command, scripted, name):
    assert_goes(WAYS[name], command, scripted, as_process=True)


# Mistakes in the options


def assert_is_a_mistake(call, scripted, argv, reason: str) -> None:
    """A call with these options gives a code, shows nothing, and writes one line of complaint with this reason."""
    server = scripted(wait)
    done = call("-v", *(each.replace("ADDRESS", server.address) if isinstance(each, str) else each for each in argv))
    server.close()
    assert (done.returncode, done.stdout, server.peers) == (2, "", [])
    (complaint,) = done.stderr.splitlines()
    assert re.search(reason, complaint)


def test_a_mistake_in_the_options_is_one_line_and_no_connection(tmp_path, scripted):
    for name, argv, reason in OPTIONS:
        print(name)
        assert_is_a_mistake(SteeredCommand(tmp_path), scripted, argv, reason)


def test_so_is_one_in_the_options_of_a_process(command, scripted):
    _, argv, reason = OPTIONS[-1]
    assert_is_a_mistake(command, scripted, argv, reason)


# A rehearsal shows it as the command does


@pytest.mark.parametrize(
    ("argv", "code", "jobs"),
    [
        (("-m", "009ABC"), 2, NOT),
        (("-t", "-1", "-c", "raise SystemExit(1)"), 1, SUBMITTED),
    ],
)
def test_a_rehearsal_shows_what_became_of_the_jobs(tmp_path, argv, code, jobs):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = manage("rehearse", "-v", *argv, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == code
    assert done.stdout.endswith(f"; jobs: {jobs}\n")
