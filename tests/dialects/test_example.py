"""The example of PORTING.md, which others begin with."""

from __future__ import annotations

from headless.dialects.base import Accepted, Ended, JobFinished, JobStarted, LoggedIn, Output
from headless.dialects.example import Dialect
from support.conversing import Conversation, call_of
from support.example_server import ExampleServer


def test_it_reports_each_job_with_what_it_prints():
    logged_in, *events = Conversation(Dialect(call_of("A", "B")), ExampleServer()).events
    assert isinstance(logged_in, LoggedIn)
    jobs = [
        [JobStarted(n), Output(n, "stdout", f"did {name}"), JobFinished(n, "ok")] for n, name in ((1, "A"), (2, "B"))
    ]
    assert events == [Accepted(), *jobs[0], *jobs[1], Ended("ok")]
