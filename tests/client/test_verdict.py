"""The verdict's table: which event may be told when, and what it makes of the call."""

from __future__ import annotations

import pytest

from headless.client.verdict import Verdict
from headless.outcome import Submission
from headless.protocol.errors import RemoteProtocolError
from headless.protocol.wire import (
    Accepted,
    Ended,
    Event,
    JobFinished,
    JobStarted,
    LoggedIn,
    Output,
    Part,
    Refused,
    SaltReceived,
)

SALT, IN, ACCEPTED = SaltReceived(None), LoggedIn("s"), Accepted()
STARTED, PRINTED, OK, FAILED = JobStarted(1), Output(1, "stdout", "x"), JobFinished(1, "ok"), JobFinished(1, "failed")
REFUSED, ENDED, ENDED_FAILED = Refused("busy"), Ended("ok"), Ended("failed")
SENT = Part(b"job", 1)  # of one job


def judge(*steps: object, has_secret: bool = False) -> Verdict:
    """The verdict after these steps: events, which come with bytes, and parts, which leave."""
    verdict = Verdict(1, has_secret)
    for step in steps:
        if isinstance(step, Part):
            verdict.part_left(step)
        else:
            assert isinstance(step, Event)
            verdict.bytes_came()
            verdict.judge(step)
    return verdict


# What led to a state, and the events that are allowed next.
TABLE = {
    (): {IN, REFUSED},
    (SENT,): {IN, REFUSED},  # jobs that went with the login
    (SENT, IN): {ACCEPTED, STARTED, PRINTED, OK, FAILED, REFUSED, ENDED_FAILED},
    (IN,): {REFUSED, ENDED_FAILED},
    (IN, SENT): {ACCEPTED, STARTED, PRINTED, OK, FAILED, REFUSED, ENDED_FAILED},
    (IN, SENT, ACCEPTED): {STARTED, PRINTED, OK, FAILED, REFUSED, ENDED, ENDED_FAILED},
    (IN, SENT, ACCEPTED, STARTED): {PRINTED, OK, FAILED, REFUSED, ENDED_FAILED},
    (IN, SENT, STARTED): {ACCEPTED, PRINTED, OK, FAILED, REFUSED, ENDED_FAILED},
    (IN, SENT, ACCEPTED, OK): {REFUSED, ENDED, ENDED_FAILED},
    (IN, SENT, ACCEPTED, FAILED): {REFUSED, ENDED, ENDED_FAILED},
    (IN, SENT, ACCEPTED, ENDED): set(),
    (REFUSED,): set(),
}
EVENTS = (SALT, IN, ACCEPTED, STARTED, PRINTED, OK, FAILED, REFUSED, ENDED, ENDED_FAILED)


@pytest.mark.parametrize("steps", TABLE, ids=str)
@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_an_event_counts_only_where_it_can_be_true(steps, event):
    if event in TABLE[steps]:
        judge(*steps, event)
    else:
        with pytest.raises(RemoteProtocolError):
            judge(*steps, event)


def test_a_login_with_a_password_needs_a_proof_of_it_once():
    judge(SALT, IN, has_secret=True)
    for steps in ((IN,), (SALT, SALT)):
        with pytest.raises(RemoteProtocolError):
            judge(*steps, has_secret=True)


def test_a_failed_job_is_the_failure_of_the_call_whatever_the_end_says():
    assert judge(IN, SENT, ACCEPTED, JobFinished(1, "failed", "why"), ENDED).failure == "job 1 failed: why"
    assert judge(IN, SENT, ACCEPTED, JobFinished(1, "skipped"), ENDED).failure == "job 1 skipped"
    assert judge(IN, SENT, ACCEPTED, Ended("failed", "why")).failure == "why"
    assert judge(IN, SENT, ACCEPTED, OK, ENDED).failure == ""


@pytest.mark.parametrize(
    ("steps", "submission"),
    [
        ((), Submission.NOT_SUBMITTED),
        ((IN, Part(b"x")), Submission.NOT_SUBMITTED),
        ((IN, SENT), Submission.UNKNOWN),
        ((SENT,), Submission.UNKNOWN),
        ((IN, SENT, REFUSED), Submission.NOT_SUBMITTED),
        ((IN, SENT, STARTED), Submission.SUBMITTED),
        ((IN, SENT, OK, SENT), Submission.SUBMITTED),  # one by one: a job that ran stays submitted
        ((IN, SENT, ACCEPTED), Submission.SUBMITTED),
        ((IN, SENT, ACCEPTED, REFUSED), Submission.SUBMITTED),
    ],
    ids=str,
)
def test_what_is_said_of_the_jobs(steps, submission):
    assert judge(*steps).submission is submission


@pytest.mark.parametrize("event", [Ended("skipped"), JobFinished(1, "done"), Output(1, "stdin", "x")], ids=repr)
def test_an_unknown_word_is_an_error(event):
    with pytest.raises(RemoteProtocolError):
        judge(IN, SENT, ACCEPTED, event)
