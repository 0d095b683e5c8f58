"""The example of PORTING.md, which others begin with."""

from __future__ import annotations

import pytest

from headless.dialects.base import Accepted, Ended, JobFinished, JobStarted, LoggedIn, Output
from headless.dialects.example import Dialect
from headless.errors import RemoteProtocolError
from support.conversing import Conversation, call_of
from support.example_server import ExampleServer


def test_it_reports_each_job_with_what_it_prints():
    logged_in, *events = Conversation(Dialect(call_of("A", "B")), ExampleServer()).events
    assert isinstance(logged_in, LoggedIn)
    jobs = [
        [JobStarted(n), Output(n, "stdout", f"did {name}"), JobFinished(n, "ok")] for n, name in ((1, "A"), (2, "B"))
    ]
    assert events == [Accepted(), *jobs[0], *jobs[1], Ended("ok")]


@pytest.mark.parametrize(
    "data",
    [b"hello\0", b"HTTP/1.1 400 Bad Request\r\n\r\n\0", b"<shutdown/>\0", b"<answer/>\0", b"<log/><log/>\0", b"\0",
     b"<log>" + b"x" * 2_000_000],
    ids=lambda data: data[:20],
)  # fmt: skip
def test_what_is_no_document_of_a_server_is_an_error(data):
    with pytest.raises(RemoteProtocolError):
        Dialect(call_of("A")).receive(data)
