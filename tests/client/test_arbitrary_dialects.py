"""No dialect makes a false success, whatever it reports and whenever: the verdict against scripts of arbitrary events,
and against the rule of what proves a success, which is written here once more without the package's table."""

from __future__ import annotations

from typing import Any

import pytest

from headless.client.waiting import Waiter
from headless.dialects import base
from headless.dialects.base import (
    Accepted,
    Ended,
    Event,
    JobFinished,
    JobStarted,
    LoggedIn,
    Output,
    Part,
    Received,
    Refused,
    SaltReceived,
)
from headless.errors import Interrupted, RemoteProtocolError, Submission
from support import sampling
from support.arbitrary_dialects import (
    JOBS,
    METHODS,
    Script,
    arbitrary_script,
    copy_of_good,
    damaged_script,
    raising,
    run_session,
)
from support.sampling import EXHAUSTIVE, REPEAT

untyped: Any = base  # for values that mypy would not let be made
NEVER, WAITING = (), ("-t", "-1")


def proves_success(log: list[object], jobs: int, is_waiting: bool) -> bool:
    """Whether a log of a session proves that it was a success, from the documented rules alone."""
    events = [step for step in log if isinstance(step, Event) and not isinstance(step, Received)]
    if not any(isinstance(event, LoggedIn) for event in events) or not has_acceptance_of_all(log, jobs):
        return False
    if not all(isinstance(event, OF_ITSELF) for event in events_without_bytes(log)):
        return False
    if not is_waiting:
        has_failed = any(isinstance(event, JobFinished) and event.status != "ok" for event in events)
        return not has_failed and has_sent_what_was_due(log)
    reported = [event for event in events if isinstance(event, (JobStarted, JobFinished))]
    finished = [(event.job, event.status) for event in events if isinstance(event, JobFinished)]
    is_whole = finished == [(job, "ok") for job in range(1, jobs + 1)]
    last = events[-1]
    return isinstance(last, Ended) and last.status == "ok" and (not reported or is_whole)


def has_acceptance_of_all(log: list[object], jobs: int) -> bool:
    """Whether `Accepted` was reported, and all jobs had left before bytes came for the last time before that."""
    left = answerable = 0
    for step in log:
        if isinstance(step, Part):
            left += step.jobs if step.data else 0  # nothing hands over nothing
        elif step == "received":
            answerable = left
        elif isinstance(step, Accepted):
            return answerable == jobs
    return False


OF_ITSELF = (Received, SaltReceived, LoggedIn, Output)  # what a dialect may report without bytes


def events_without_bytes(log: list[object]) -> list[Event]:
    """Those that were reported when no bytes came, or later than it would have been possible."""
    is_fresh, events = False, []
    for step in log:
        if isinstance(step, Event) and not is_fresh:
            events.append(step)
        is_fresh = step == "received" or (is_fresh and step not in ("closed", "dry"))
    return events


def has_sent_what_was_due(log: list[object]) -> bool:
    """Whether all has left that the dialect wanted to send when it reported `Accepted`."""
    accepted = next(place for place, step in enumerate(log) if isinstance(step, Accepted))
    return sum(isinstance(step, Part) for step in log) >= log[:accepted].count("wanted")


def assert_proved(script: Script, argv: tuple[str, ...], **more: Any) -> int:
    """The code of a session with this script, whose success is proved if it is one."""
    reported = repr(script)  # before it is played, which empties it
    with Waiter() as waiter:
        code, log = run_session(waiter, script, JOBS, argv, **more)
    context = f"{REPEAT}: {argv} {more} {reported}: {code}, {log}"
    assert code in (0, 1, 2), context
    assert code != 0 or proves_success(log, JOBS, is_waiting=bool(argv)), context
    return code


@pytest.mark.slow
def test_a_dialect_that_is_almost_right_makes_no_success_that_is_not_proved():
    draws = sampling.draws()
    codes = [
        assert_proved(
            damaged_script(draws),
            draws.choice([NEVER, WAITING, WAITING]),
            receipts=9,
            is_eager=draws.choice([False, False, True]),
        )
        for _ in range(40_000 if EXHAUSTIVE else 1500)
    ]
    assert 0.02 < codes.count(0) / len(codes) < 0.5  # else the damage is too great to show anything, or too small


@pytest.mark.slow
def test_no_dialect_makes_a_success_that_is_not_proved():
    draws = sampling.draws()
    for _ in range(10_000 if EXHAUSTIVE else 400):
        make = draws.choice([damaged_script, arbitrary_script])
        assert_proved(
            make(draws),
            draws.choice([NEVER, WAITING]),
            receipts=draws.randint(0, 6),
            room=draws.choice([1, 2, 1000]),
            is_eager=draws.random() < 0.5,
            has_secret=draws.random() < 0.5,
        )


def code_of(script: Script, argv: tuple[str, ...] = WAITING, **more: Any) -> int:
    with Waiter() as waiter:
        return run_session(waiter, script, JOBS, argv, **more)[0]


def test_a_session_with_a_good_end_is_a_success():
    for argv in (NEVER, WAITING):
        for room in (1, 1000):
            with Waiter() as waiter:
                code, log = run_session(waiter, copy_of_good(), JOBS, argv, receipts=9, room=room)
            assert code == 0, (argv, room)
            assert proves_success(log, JOBS, is_waiting=bool(argv)), (argv, room)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_raises_makes_a_1(method):
    for error in (ValueError("v"), SystemExit(0), KeyboardInterrupt(), Interrupted(0), RecursionError(), MemoryError()):
        script = copy_of_good()
        script.setdefault(method, []).insert(0, [raising(error)])
        if method == "leave":
            script["receive"] = script["receive"][:1]
        if method == "answer_salt":
            script["receive"].insert(0, [SaltReceived(None)])
        assert code_of(script, has_secret=method == "answer_salt") == 1, error


def test_a_library_that_a_dialect_misses_is_a_2_until_the_server_may_have_the_jobs():
    missing = raising(ModuleNotFoundError("No module named 'no_such'", name="no_such"))
    for method, number, code in (("log_in", 0, 2), ("submit", 0, 2), ("receive", 1, 1), ("receive", 2, 1)):
        script = copy_of_good()
        script[method].insert(number, [missing])
        assert code_of(script) == code, (method, number)


@pytest.mark.slow
def test_events_without_end_make_a_1_by_the_deadline():
    script = copy_of_good()
    script["receive"].insert(0, [Received("x")] * 1_000_000)
    assert code_of(script, ("-t", "1"), timeout=0.1) == 1


NONSENSE = [
    *(("receive", 0, event) for event in (
        untyped.LoggedIn(None), untyped.LoggedIn("s", "30"), untyped.LoggedIn("s", 30, None), untyped.JobStarted("1"),
        untyped.JobStarted(True), untyped.Refused(1), untyped.Output(1, "stdout", b"x"), untyped.JobFinished(1, None),
        untyped.Ended(0), untyped.SaltReceived(b"x"), Event(),
    )),
    *(("submit", 0, part) for part in (
        untyped.Part("text"), Part(b"x", -1), Part(b"", JOBS), untyped.Part(b"x", None), untyped.Part(b"x", 0, b"x"),
    )),
    *(("receive", -1, step) for step in (Received("x"), Ended("ok"), raising(RemoteProtocolError("r")))),
]  # fmt: skip


def test_what_is_no_event_or_no_part_or_follows_the_end_makes_a_1():
    for method, number, step in NONSENSE:
        script = copy_of_good()
        steps = script[method][number]
        steps.insert(0 if number == 0 else len(steps), step)
        assert code_of(script, receipts=9) == 1, step


def test_what_is_sent_with_the_end_still_leaves():
    script = copy_of_good()
    script["receive"][-1].insert(0, Part(b"bye"))
    with Waiter() as waiter:
        code, log = run_session(waiter, script, JOBS, WAITING, receipts=9)
    assert code == 0
    assert Part(b"bye") in log


@pytest.mark.parametrize("argv", [NEVER, WAITING])
def test_what_is_sent_at_the_end_hands_over_no_jobs(argv):
    script = copy_of_good()
    script["leave"] = [[Part(b"bye"), Part(b"job", 1), Part(b"more")]]
    script["receive"] = [[LoggedIn("s", 30)], [Accepted()]]
    with Waiter() as waiter:
        code, log = run_session(waiter, script, JOBS, argv, receipts=2)
    assert code == (1 if argv else 0)
    assert [part for part in log if isinstance(part, Part)][-1] == Part(b"bye")


def test_a_dialect_that_is_late_to_tell_an_early_acceptance_makes_a_1():
    """The bytes came before the jobs had left: telling it afterwards does not make it an answer."""
    script = copy_of_good()
    script["receive"] = [[LoggedIn("s", 30)]]
    script["part_left"] = [[], [], [Accepted()]]
    assert code_of(script, NEVER) == 1


# What is reported of the jobs


@pytest.mark.parametrize(
    ("parts", "receive", "submission"),
    [
        ([Part(b"jobs" * 100, JOBS)], [[LoggedIn("s")]], Submission.NOT_SUBMITTED),  # which has not left yet
        ([Part(b"jobs", JOBS)], [[LoggedIn("s")], [Refused("jobs")]], Submission.NOT_SUBMITTED),
        ([Part(b"job", 1)] * 2, [[LoggedIn("s")], [], [Refused("jobs")]], Submission.UNKNOWN),
        ([Part(b"job", 1)] * 2, [[LoggedIn("s")], [], [JobStarted(1)]], Submission.SUBMITTED),
    ],
    ids=["not left", "refused at once", "refused one by one", "begun"],
)
def test_what_is_said_of_the_jobs(parts, receive, submission):
    found = []
    script = {**copy_of_good(), "submit": [parts], "receive": receive}
    with Waiter() as waiter:
        run_session(waiter, script, JOBS, WAITING, receipts=3, room=1, is_eager=len(parts) == 1,
                    check=lambda call: found.append(call.verdict.submission))  # fmt: skip
    assert found == [submission]


def test_jobs_that_run_before_the_next_is_taken_have_the_whole_time_out(monkeypatch):
    """Each job is acknowledged by its end: the thirty seconds for acceptance are over when the first word of one
    comes."""
    script = copy_of_good()
    script["submit"] = [[Part(b"job", 1)]]
    script["receive"] = [
        [LoggedIn("s")],
        [JobStarted(1), JobFinished(1, "ok"), Part(b"job", 1)],
        [],
        [JobStarted(2), Accepted(), JobFinished(2, "ok"), Ended("ok")],
    ]
    deadlines = []

    def set_and_note(seconds: float | None) -> None:
        deadlines.append(seconds)
        set_deadline(seconds)

    with Waiter() as waiter:
        set_deadline = waiter.set_deadline
        monkeypatch.setattr(waiter, "set_deadline", set_and_note)
        code, _ = run_session(waiter, script, JOBS, ("-t", "3600"), receipts=9)
    assert code == 0
    assert deadlines[:2] == [30, 3600]
    assert deadlines.count(3600) == 1
