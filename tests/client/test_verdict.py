"""The verdict's table: which event may be reported when, and what it makes of the call."""

from __future__ import annotations

from contextlib import suppress

import pytest

from headless.client.verdict import OF_CANCEL, OF_LIST, OF_LOGIN, Verdict
from headless.dialects.base import (
    Accepted,
    Attached,
    Cancelled,
    Ended,
    Event,
    JobFinished,
    JobStarted,
    Listed,
    LoggedIn,
    Output,
    Part,
    Refused,
    SaltReceived,
)
from headless.dialects.vocabulary import Offset
from headless.errors import LocalProtocolError, RemoteProtocolError, Submission

SALT, IN, ACCEPTED = SaltReceived(None), LoggedIn("s"), Accepted()
STARTED, PRINTED, OK, FAILED = JobStarted(1), Output(1, "stdout", "x"), JobFinished(1, "ok"), JobFinished(1, "failed")
REFUSED, ENDED, ENDED_FAILED = Refused("busy"), Ended("ok"), Ended("failed")
SENT = Part(b"job", 1)  # of one job
ASKED, HELLO, PROOF = Part(b"attach"), Part(b"hello"), Part(b"proof")
LOST = "the connection is lost, and there is another one"
BEGINNING, PRINTED_ONE, BEHIND = Offset(), Offset(1, 1, 0), Offset(2)


def judge(*steps: object, has_secret: bool = False, jobs: int | None = 1) -> Verdict:
    """The verdict after these steps: events, which come with bytes, parts, which leave, and losses."""
    verdict = Verdict(jobs, has_secret)
    for step in steps:
        if isinstance(step, Part):
            verdict.check_part(step)
            verdict.part_left(step)
        elif step == LOST:
            verdict.connect()
        else:
            assert isinstance(step, Event)
            verdict.bytes_came()
            verdict.judge(step)
            verdict.all_left()
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
    # Another connection before the jobs were accepted: they are handed over again.
    (IN, SENT, LOST): {IN, REFUSED},
    (IN, SENT, LOST, IN): {REFUSED, ENDED_FAILED},
    (IN, SENT, LOST, IN, ASKED): {REFUSED, ENDED_FAILED},
    (IN, SENT, LOST, IN, SENT): {ACCEPTED, STARTED, PRINTED, OK, FAILED, REFUSED, ENDED_FAILED},
    # After that: it attaches, and nothing counts before that is answered, nor at another place.
    (IN, SENT, ACCEPTED, LOST): {IN, REFUSED},
    (IN, SENT, ACCEPTED, LOST, IN): {REFUSED, ENDED_FAILED},
    (IN, SENT, ACCEPTED, LOST, ASKED, IN): {REFUSED, ENDED_FAILED},
    (IN, SENT, ACCEPTED, LOST, IN, ASKED): {Attached(1, BEGINNING), REFUSED, ENDED_FAILED},
    (IN, SENT, ACCEPTED, STARTED, LOST, IN, ASKED): {Attached(1, BEGINNING), REFUSED, ENDED_FAILED},
    (IN, SENT, ACCEPTED, STARTED, PRINTED, LOST, IN, ASKED): {Attached(1, PRINTED_ONE), REFUSED, ENDED_FAILED},
    (IN, SENT, ACCEPTED, OK, LOST, IN, ASKED): {Attached(1, BEHIND), REFUSED, ENDED_FAILED},
    (IN, SENT, ACCEPTED, LOST, IN, ASKED, Attached(1, BEGINNING)): {
        STARTED, PRINTED, OK, FAILED, REFUSED, ENDED, ENDED_FAILED,
    },
    # The server says again that the job has started, once.
    (IN, SENT, ACCEPTED, STARTED, LOST, IN, ASKED, Attached(1, BEGINNING)): {
        STARTED, PRINTED, OK, FAILED, REFUSED, ENDED_FAILED,
    },
    (IN, SENT, ACCEPTED, STARTED, LOST, IN, ASKED, Attached(1, BEGINNING), STARTED): {
        PRINTED, OK, FAILED, REFUSED, ENDED_FAILED,
    },
    (IN, SENT, ACCEPTED, OK, LOST, IN, ASKED, Attached(1, BEHIND)): {REFUSED, ENDED, ENDED_FAILED},
}  # fmt: skip
EVENTS = (
    SALT, IN, ACCEPTED, STARTED, PRINTED, OK, FAILED, REFUSED, ENDED, ENDED_FAILED, Cancelled("running"),
    *(Attached(jobs, offset) for jobs in (1, 2) for offset in (BEGINNING, PRINTED_ONE, BEHIND, Offset(3))),
)  # fmt: skip


def is_allowed(steps: tuple[object, ...], event: Event) -> bool:
    judge(*steps)
    try:
        judge(*steps, event)
    except RemoteProtocolError:
        return False
    return True


def test_an_event_counts_only_where_it_can_be_true():
    for steps, allowed in TABLE.items():
        assert {event for event in EVENTS if is_allowed(steps, event)} == allowed, steps


def test_a_login_with_a_password_needs_a_proof_of_it_once():
    judge(SALT, PROOF, IN, has_secret=True)
    with pytest.raises(RemoteProtocolError, match="the server wants no proof of the password"):
        judge(IN, has_secret=True)
    for steps in ((SALT, SALT), (SALT, IN), (HELLO, SALT, IN)):
        with pytest.raises(RemoteProtocolError):
            judge(*steps, has_secret=True)


def test_a_failed_job_is_the_failure_of_the_call_whatever_the_end_says():
    why = JobFinished(1, "failed", "why")
    assert judge(IN, SENT, ACCEPTED, why, ENDED).failure == "job 1 failed: why"
    assert judge(IN, SENT, ACCEPTED, why, LOST, IN, ASKED, Attached(1, BEHIND), ENDED).failure == "job 1 failed: why"
    assert judge(IN, SENT, ACCEPTED, JobFinished(1, "skipped"), ENDED).failure == "job 1 skipped"
    assert judge(IN, SENT, ACCEPTED, Ended("failed", "why")).failure == "why"
    assert judge(IN, SENT, ACCEPTED, OK, ENDED).failure == ""


SUBMISSIONS: list[tuple[tuple[object, ...], Submission]] = [
    ((), Submission.NOT_SUBMITTED),
    ((IN, Part(b"x")), Submission.NOT_SUBMITTED),
    ((IN, SENT), Submission.UNKNOWN),
    ((SENT,), Submission.UNKNOWN),
    ((IN, SENT, REFUSED), Submission.NOT_SUBMITTED),
    ((IN, SENT, STARTED), Submission.SUBMITTED),
    ((IN, SENT, ACCEPTED), Submission.SUBMITTED),
    ((IN, SENT, ACCEPTED, REFUSED), Submission.SUBMITTED),
    ((IN, SENT, LOST), Submission.UNKNOWN),
    ((IN, SENT, LOST, REFUSED), Submission.UNKNOWN),  # busy: an earlier connection may have handed them over
    ((IN, SENT, LOST, Refused("login")), Submission.UNKNOWN),
    ((IN, SENT, LOST, IN, SENT, REFUSED), Submission.UNKNOWN),
    ((IN, SENT, LOST, IN, SENT, Refused("jobs")), Submission.NOT_SUBMITTED),
    ((IN, SENT, LOST, IN, Refused("jobs")), Submission.UNKNOWN),  # of nothing that has left
    ((IN, LOST, IN, SENT, REFUSED), Submission.NOT_SUBMITTED),
    ((IN, SENT, ACCEPTED, LOST, IN, ASKED, Refused("session")), Submission.SUBMITTED),
]


def test_what_is_said_of_the_jobs():
    for steps, submission in SUBMISSIONS:
        assert judge(*steps).submission is submission, steps
    assert judge(IN, SENT, OK, SENT, jobs=2).submission is Submission.SUBMITTED
    assert judge(Refused("session"), jobs=None).submission is Submission.UNKNOWN


OF_JOBS = [event for event in EVENTS if event not in (SALT, IN, REFUSED)]


def test_after_a_word_of_the_jobs_no_one_says_that_the_server_has_none():
    """Also if the word is wrong, and if a refusal follows."""
    for steps in TABLE:
        for event in OF_JOBS:
            verdict = judge(*steps)
            for reported in (event, REFUSED):
                with suppress(RemoteProtocolError):
                    verdict.judge(reported)
                assert verdict.submission is not Submission.NOT_SUBMITTED, (steps, event, reported)


def test_what_no_bytes_have_brought_proves_nothing():
    for steps, allowed in TABLE.items():
        for event in allowed:
            verdict = judge(*steps)
            if isinstance(event, LoggedIn):
                verdict.judge(event, is_brought=False)
                continue
            if isinstance(event, Output):  # which proves nothing anyway
                continue
            with pytest.raises(RemoteProtocolError):
                verdict.judge(event, is_brought=False)
            assert event not in OF_JOBS or verdict.submission is not Submission.NOT_SUBMITTED, (steps, event)


def test_what_came_before_all_had_left_says_nothing_of_the_jobs():
    verdict = judge(IN)
    verdict.part_left(SENT)
    verdict.judge(REFUSED)
    assert verdict.submission is Submission.UNKNOWN
    verdict = judge(IN, SENT)
    verdict.bytes_came()
    verdict.judge(ACCEPTED)
    before = verdict.submission
    verdict.all_left()
    assert (before, verdict.submission) == (Submission.UNKNOWN, Submission.SUBMITTED)


@pytest.mark.parametrize(("steps", "jobs"), [((IN, SENT), 1), ((IN, SENT, ACCEPTED), 1), ((IN, Part(b"x", 2)), 2),
                                             ((IN, ASKED, Attached(3, BEGINNING)), None)])  # fmt: skip
def test_more_jobs_than_there_are_do_not_leave(steps, jobs):
    with pytest.raises(LocalProtocolError):
        judge(*steps, jobs=jobs).check_part(SENT)


TEXTS: list[tuple[tuple[object, ...], str]] = [
    ((IN, SENT, Ended("skipped")), "a session with an unknown status 'skipped'"),
    ((IN, SENT, ACCEPTED, JobFinished(1, "done")), "a job with an unknown status 'done'"),
    ((IN, SENT, ACCEPTED, Output(1, "stdin", "x")), "output of an unknown stream 'stdin'"),
    ((ACCEPTED,), "'Accepted' is not allowed when the login has not begun"),
    ((SALT,), "the server wants a proof of a password, and the login has none"),
    ((IN, SENT, JobStarted(2)), "'JobStarted' of job 2 is out of turn"),
    ((IN, ACCEPTED), "the jobs were accepted when 0 of 1 had been handed over"),
    ((IN, SENT, ENDED), "the session ended ok before the jobs were accepted"),
    ((IN, SENT, ACCEPTED, STARTED, ENDED), "the session ended ok with 0 of 1 jobs done"),
    ((IN, SENT, Attached(1, BEGINNING)), "the server attaches to a session that it was not asked for"),
    ((IN, SENT, ACCEPTED, LOST, IN, ASKED, Attached(2, BEGINNING)),
     "the server attaches to other jobs, or at another offset, than it was asked for"),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "text"), TEXTS, ids=[text for _, text in TEXTS])
def test_what_cannot_be_true_is_named(steps, text):
    with pytest.raises(RemoteProtocolError) as error:
        judge(*steps)
    assert str(error.value) == text


def test_who_knows_only_the_session_learns_of_the_jobs_when_it_attaches():
    verdict = judge(IN, ASKED, Attached(3, Offset(2, 5, 0)), jobs=None)
    assert (verdict.offset, verdict.was_accepted, verdict.submission) == (Offset(2, 5, 0), True, Submission.SUBMITTED)
    finished = [JobStarted(2), JobFinished(2, "ok"), JobStarted(3), JobFinished(3, "ok")]
    assert judge(IN, ASKED, Attached(3, Offset(2)), *finished, ENDED, jobs=None).failure == ""
    for steps in ((IN, ASKED, ACCEPTED), (IN, ASKED, ENDED), (IN, ASKED, Attached(3, Offset(2)), ENDED),
                  (IN, ASKED, Attached(0, Offset(1))), (IN, ASKED, Attached(3, Offset(5))),
                  (IN, ASKED, Attached(3, Offset(0))), (IN, Attached(3, Offset(2)))):  # fmt: skip
        with pytest.raises(RemoteProtocolError):
            judge(*steps, jobs=None)


def test_what_was_printed_is_counted_for_each_stream_and_from_the_beginning_for_each_job():
    printed = [Output(1, "stdout", "\u20ac\U0001f600"), Output(1, "stderr", "x"), Output(1, "stdout", "")]
    steps = (IN, Part(b"jobs", 2), ACCEPTED, STARTED, *printed)
    assert (judge(*steps, jobs=2).offset, judge(*steps, OK, jobs=2).offset) == (Offset(1, 2, 1), Offset(2))


# The answers to queries


LISTED, NOT_KNOWN, LIST_ENDED = (
    Listed("s", "ok", "2026-01-01T00:00:00.000+00:00", 1, 1, "print(1)"),
    Refused("session"),
    Ended("ok"),
)
WAS_CANCELLED = Cancelled("queued")


def is_answered(table, *events, has_secret=False, is_brought=True, asks=True):
    verdict = Verdict(0, has_secret, table)
    for event in events:
        verdict.bytes_came()
        verdict.judge(event, is_brought or isinstance(event, LoggedIn))
        if event is SALT or (event is IN and asks):
            verdict.part_left(Part(b"proof or query"))
    return verdict.is_over


def test_what_was_asked_is_answered_and_then_it_is_over():
    assert is_answered(OF_CANCEL, IN, WAS_CANCELLED)
    assert is_answered(OF_LIST, SALT, IN, LISTED, LIST_ENDED, has_secret=True)
    assert is_answered(OF_LIST, IN, LIST_ENDED)
    assert is_answered(OF_LIST, IN, LISTED, LISTED, LIST_ENDED)
    assert is_answered(OF_LIST, NOT_KNOWN)
    assert is_answered(OF_LIST, IN, LISTED, NOT_KNOWN)
    assert not is_answered(OF_LIST, IN, LISTED)
    assert not is_answered(OF_LIST, IN)


@pytest.mark.parametrize("table", [OF_CANCEL, OF_LIST])
def test_what_was_not_asked_or_comes_before_or_behind_the_answer_is_none(table):
    answer = WAS_CANCELLED if table is OF_CANCEL else LIST_ENDED
    other = LIST_ENDED if table is OF_CANCEL else WAS_CANCELLED
    for events in (
        [answer], [IN, other], [IN, Accepted()], [IN, IN], [SALT], [IN, answer, answer], [IN, answer, NOT_KNOWN],
        [NOT_KNOWN, IN],
    ):  # fmt: skip
        with pytest.raises(RemoteProtocolError):
            is_answered(table, *events)
    for events in ([IN], [SALT, SALT], [SALT, IN, SALT]):
        with pytest.raises(RemoteProtocolError):
            is_answered(table, *events, has_secret=True)
    with pytest.raises(RemoteProtocolError):
        is_answered(table, IN, answer, is_brought=False)
    with pytest.raises(RemoteProtocolError, match="before the query had left"):
        is_answered(table, IN, answer, asks=False)
    with pytest.raises(RemoteProtocolError, match="no answer to the query"):
        is_answered(table, IN, Cancelled("unknown") if table is OF_CANCEL else ENDED_FAILED)
    with pytest.raises(RemoteProtocolError):
        is_answered(OF_LOGIN, IN, answer)
