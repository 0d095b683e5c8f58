"""For each way in which the command can fail, the last line of `-v` shows whether the jobs were not submitted,
submitted, or that this is unknown; a code of 2 is one line on stderr as well. The real command as a process against a
server that follows a script. That the list is complete is tested in test_list_of_failures.py."""

from __future__ import annotations

import os
import re

import pytest

from support.dialogues import answering_login
from support.failures import NOT, SUBMITTED, go
from support.failures_of_a_wire import OUR_FAULT, WAYS_OF_A_WIRE
from support.failures_of_the_call import OPTIONS
from support.failures_of_the_session import WAYS_TO_FAIL
from support.process import ROOT, manage

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals, limits and pseudo-terminals")

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} info (.+); jobs: (.+)")


@pytest.mark.parametrize("way", [pytest.param(way, id=way.name) for way in (*WAYS_TO_FAIL, *WAYS_OF_A_WIRE)])
def test_the_last_line_shows_what_became_of_the_jobs(command, scripted, way):
    failure = go(way, command, scripted)
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


@pytest.mark.parametrize(("argv", "reason"), [pytest.param(*option[1:], id=option[0]) for option in OPTIONS])
def test_a_mistake_in_the_options_is_one_line_and_no_connection(command, scripted, argv, reason):
    server = scripted(answering_login())
    line = [each.replace("ADDRESS", server.address) if isinstance(each, str) else each for each in argv]
    done = command("-v", *line)
    server.close()
    assert (done.returncode, done.stdout, server.peers) == (2, "", [])
    (complaint,) = done.stderr.splitlines()
    assert re.search(reason, complaint)


# A rehearsal shows it as the command does


@pytest.mark.parametrize(
    ("argv", "code", "jobs"),
    [
        (("-m", "009ABC"), 2, NOT),
        (("-t", "-1", "-c", "raise SystemExit(1)"), 1, SUBMITTED),
        (("-t", "1", "-c", "import time; time.sleep(60)"), 3, SUBMITTED),
    ],
)
def test_a_rehearsal_shows_what_became_of_the_jobs(tmp_path, argv, code, jobs):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = manage("rehearse", "-v", *argv, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == code
    assert done.stdout.endswith(f"; jobs: {jobs}\n")
