"""No wire makes a false success, whatever it tells and whenever: the verdict against scripts of arbitrary events, and
against the rule of what proves a success, which is written here once more without the package's table."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from headless.client.waiting import Waiter
from headless.outcome import Submission
from headless.protocol import wire
from headless.protocol.errors import LocalProtocolError, RemoteProtocolError
from headless.protocol.wire import (
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
from support.arbitrary_wires import METHODS, run_session
from support.hypothesis_settings import examples

untyped: Any = wire  # for values that mypy would not let be made
JOBS = 2
NEVER, WAITING = (), ("-t", "-1")
# Where nothing can interrupt the code of others, a thread watches over each step, and ends the process.
ENDS_THE_PROCESS = not hasattr(signal, "setitimer")
COSTS = 20 if ENDS_THE_PROCESS else 1


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
    told = [event for event in events if isinstance(event, (JobStarted, JobFinished))]
    finished = [(event.job, event.status) for event in events if isinstance(event, JobFinished)]
    is_whole = finished == [(job, "ok") for job in range(1, jobs + 1)]
    last = events[-1]
    return isinstance(last, Ended) and last.status == "ok" and (not told or is_whole)


def has_acceptance_of_all(log: list[object], jobs: int) -> bool:
    """Whether `Accepted` was told, and all jobs had left before bytes came for the last time before that."""
    left = answerable = 0
    for step in log:
        if isinstance(step, Part):
            left += step.jobs if step.data else 0  # nothing hands over nothing
        elif step == "received":
            answerable = left
        elif isinstance(step, Accepted):
            return answerable == jobs
    return False


OF_ITSELF = (Received, SaltReceived, LoggedIn, Output)  # what a wire may tell without bytes


def events_without_bytes(log: list[object]) -> list[Event]:
    """Those that were told when no bytes came, or later than it would have been possible."""
    is_fresh, events = False, []
    for step in log:
        if isinstance(step, Event) and not is_fresh:
            events.append(step)
        is_fresh = step == "received" or (is_fresh and step not in ("closed", "dry"))
    return events


def has_sent_what_was_due(log: list[object]) -> bool:
    """Whether all has left that the wire wanted to send when it told `Accepted`."""
    accepted = next(place for place, step in enumerate(log) if isinstance(step, Accepted))
    return sum(isinstance(step, Part) for step in log) >= log[:accepted].count("wanted")


STATUSES = st.sampled_from(["ok", "failed", "skipped", "?"])
EVENTS = st.one_of(
    st.builds(Received, st.just("x")),
    st.builds(SaltReceived, st.sampled_from([None, "$2b$10$abcdefghijklmnopqrstuu"])),
    st.builds(LoggedIn, st.just("s"), st.sampled_from([None, 1, 0]), st.booleans()),
    st.builds(Accepted),
    st.builds(JobStarted, st.integers(0, JOBS + 1)),
    st.builds(Output, st.sampled_from([None, 0, 1, 2]), st.sampled_from(["stdout", "stderr", "?"]), st.just("x\n")),
    st.builds(JobFinished, st.integers(0, JOBS + 1), STATUSES),
    st.builds(Ended, STATUSES),
    st.builds(Refused, st.sampled_from(["login", "jobs", "busy", "?"])),
)
PARTS = st.builds(Part, st.binary(max_size=5), st.integers(0, JOBS))
FAULTS = st.sampled_from([RemoteProtocolError("r"), LocalProtocolError("l"), ValueError("v"), SystemExit(0)])


def raising(error: BaseException):
    def step() -> None:
        raise error

    return step


STEPS = st.one_of(EVENTS, EVENTS, EVENTS, PARTS, FAULTS.map(raising))

GOOD: dict[str, list[list[object]]] = {
    "log_in": [[Part(b"hello")]],
    "submit": [[Part(b"job", 1), Part(b"job", 1)]],
    "receive": [
        [LoggedIn("s", 30)],
        [Accepted(), JobStarted(1)],
        [Output(1, "stdout", "42\n"), JobFinished(1, "ok")],
        [JobStarted(2), JobFinished(2, "ok"), Ended("ok")],
    ],
    "part_left": [[], [], []],
}


def copy_of_good() -> dict[str, list[list[object]]]:
    return {method: [list(steps) for steps in calls] for method, calls in GOOD.items()}


def twisted(step: object):
    """The same event with other contents."""
    if isinstance(step, Ended):
        return st.builds(Ended, STATUSES)
    if isinstance(step, (JobStarted, JobFinished)):
        return st.builds(JobFinished, st.just(step.job), STATUSES)
    return st.just(step)


@st.composite
def damaged_scripts(draw):
    """A script with a good end, of which a few steps are taken away, added, doubled, replaced or moved."""
    script = copy_of_good()
    for _ in range(draw(st.integers(1, 3))):
        calls = script[draw(st.sampled_from(["receive", "receive", "receive", "submit", "log_in", "part_left"]))]
        number = draw(st.integers(0, len(calls) - 1))
        steps = calls[number]
        position = draw(st.integers(0, len(steps)))
        what = draw(st.sampled_from(["insert", "delete", "double", "replace", "twist", "twist", "split", "merge"]))
        if what == "insert":
            steps.insert(position, draw(STEPS))
        elif what == "delete":
            del steps[position : position + 1]
        elif what == "double":
            steps[position:position] = steps[position : position + 1]
        elif what == "replace":
            steps[position : position + 1] = [draw(STEPS)]
        elif what == "twist" and position < len(steps):
            steps[position] = draw(twisted(steps[position]))
        elif what == "split":
            calls[number : number + 1] = [steps[:position], steps[position:]]
        elif number + 1 < len(calls):
            steps += calls.pop(number + 1)
    return script


arbitrary_scripts = st.dictionaries(
    st.sampled_from(METHODS), st.lists(st.lists(STEPS, max_size=6), max_size=5), max_size=len(METHODS)
)


def check(script, argv, receipts, room, is_eager, has_secret) -> None:  # noqa: PLR0917
    with Waiter() as waiter:
        code, log = run_session(waiter, script, JOBS, argv, receipts, room, is_eager, has_secret)
    note(f"{code}: {log}")
    assert code in (0, 1, 2)
    if code == 0:
        assert proves_success(log, JOBS, is_waiting=bool(argv))


@settings(examples, max_examples=2000 // COSTS)
@given(damaged_scripts(), st.sampled_from([NEVER, WAITING, WAITING]), st.sampled_from([False, False, True]))
def test_a_wire_that_is_almost_right_makes_no_success_that_is_not_proved(script, argv, is_eager):
    check(script, argv, 9, 1000, is_eager, has_secret=False)


@settings(examples, max_examples=500 // COSTS)
@given(
    damaged_scripts() | arbitrary_scripts,
    st.sampled_from([NEVER, WAITING]),
    st.integers(0, 6),
    st.sampled_from([1, 2, 1000]),
    st.booleans(),
    st.booleans(),
)
def test_no_wire_makes_a_success_that_is_not_proved(  # noqa: PLR0917
    script, argv, receipts, room, is_eager, has_secret
):
    check(script, argv, receipts, room, is_eager, has_secret)


@pytest.mark.parametrize("argv", [NEVER, WAITING])
@pytest.mark.parametrize("room", [1, 1000])
def test_a_session_with_a_good_end_is_a_success(argv, room):
    with Waiter() as waiter:
        code, log = run_session(waiter, copy_of_good(), JOBS, argv, receipts=9, room=room)
    assert code == 0
    assert proves_success(log, JOBS, is_waiting=bool(argv))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "error", [ValueError("v"), SystemExit(0), KeyboardInterrupt(), RecursionError(), MemoryError()]
)
def test_a_method_that_raises_makes_a_1(method, error):
    script = copy_of_good()
    script.setdefault(method, []).insert(0, [raising(error)])
    if method == "leave":
        script["receive"] = script["receive"][:1]
    if method == "answer_salt":
        script["receive"].insert(0, [SaltReceived(None)])
    with Waiter() as waiter:
        code, _ = run_session(waiter, script, JOBS, WAITING, has_secret=method == "answer_salt")
    assert code == 1


@pytest.mark.skipif(ENDS_THE_PROCESS, reason="what cannot be interrupted ends the process, which is that of the tests")
@pytest.mark.parametrize(("method", "number"), [("log_in", 0), ("submit", 0), ("receive", 0), ("receive", 3)], ids=str)
@pytest.mark.parametrize("loops", [True, False], ids=["busy", "asleep"])
def test_a_method_that_never_ends_makes_a_1_by_the_deadline(method, number, loops):
    """Also after acceptance, where the time that runs out for want of an end of the jobs is a 3."""

    def never_end() -> None:
        while True:
            time.sleep(0 if loops else 3600)

    script = copy_of_good()
    script[method].insert(number, [never_end])
    begun = time.monotonic()
    with Waiter() as waiter:
        code, _ = run_session(waiter, script, JOBS, ("-t", "1"))
    assert code == 1
    assert time.monotonic() - begun < 2


def test_events_without_end_make_a_1_by_the_deadline():
    script = copy_of_good()
    script["receive"].insert(0, [Received("x")] * 1_000_000)
    with Waiter() as waiter:
        code, _ = run_session(waiter, script, JOBS, ("-t", "1"))
    assert code == 1


@pytest.mark.parametrize(
    "event",
    [
        untyped.LoggedIn(None), untyped.LoggedIn("s", "30"), untyped.LoggedIn("s", 30, None), untyped.JobStarted("1"),
        untyped.JobStarted(True), untyped.Refused(1), untyped.Output(1, "stdout", b"x"), untyped.JobFinished(1, None),
        untyped.Ended(0), untyped.SaltReceived(b"x"), Event(),
    ],
    ids=repr,
)  # fmt: skip
def test_an_event_that_is_none_makes_a_1(event):
    script = copy_of_good()
    script["receive"].insert(0, [event])
    with Waiter() as waiter:
        code, _ = run_session(waiter, script, JOBS, WAITING)
    assert code == 1


@pytest.mark.parametrize(
    "part",
    [untyped.Part("text"), Part(b"x", -1), Part(b"", JOBS), untyped.Part(b"x", None), untyped.Part(b"x", 0, b"x")],
    ids=repr,
)
def test_a_part_that_is_none_makes_a_1(part):
    script = copy_of_good()
    script["submit"].insert(0, [part, *script["submit"].pop()])
    with Waiter() as waiter:
        code, _ = run_session(waiter, script, JOBS, WAITING)
    assert code == 1


def test_nothing_may_follow_the_end():
    for step in (Received("x"), Ended("ok"), raising(RemoteProtocolError("r"))):
        script = copy_of_good()
        script["receive"][-1].append(step)
        with Waiter() as waiter:
            code, _ = run_session(waiter, script, JOBS, WAITING, receipts=9)
        assert code == 1


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


def test_a_wire_that_is_late_to_tell_an_early_acceptance_makes_a_1():
    """The bytes came before the jobs had left: telling it afterwards does not make it an answer."""
    script = copy_of_good()
    script["receive"] = [[LoggedIn("s", 30)]]
    script["part_left"] = [[], [], [Accepted()]]
    with Waiter() as waiter:
        code, _ = run_session(waiter, script, JOBS, NEVER)
    assert code == 1


# What is told of the jobs


def submission_after(script, argv=WAITING, **more) -> Submission:
    found = []
    with Waiter() as waiter:
        run_session(waiter, script, JOBS, argv, check=lambda call: found.append(call.verdict.submission), **more)
    return found[0]


def test_until_a_part_with_jobs_has_left_nothing_is_submitted():
    script = copy_of_good()
    script["submit"] = [[Part(b"jobs" * 100, JOBS)]]
    script["receive"] = [[LoggedIn("s")]]
    assert submission_after(script, receipts=3, room=1, is_eager=True) is Submission.NOT_SUBMITTED


def test_once_a_part_with_jobs_has_left_it_is_unknown_whether_they_were_submitted():
    assert submission_after({**copy_of_good(), "receive": [[LoggedIn("s")]]}) is Submission.UNKNOWN


def test_jobs_that_were_refused_at_once_are_not_submitted():
    script = copy_of_good()
    script["submit"] = [[Part(b"jobs", JOBS)]]
    script["receive"] = [[LoggedIn("s")], [Refused("jobs")]]
    assert submission_after(script) is Submission.NOT_SUBMITTED


def test_of_jobs_that_were_handed_over_one_by_one_a_refusal_leaves_it_unknown():
    script = copy_of_good()
    script["receive"] = [[LoggedIn("s")], [], [Refused("jobs")]]
    assert submission_after(script) is Submission.UNKNOWN


def test_what_a_job_was_told_of_is_submitted():
    assert submission_after({**copy_of_good(), "receive": [[LoggedIn("s")], [], [JobStarted(1)]]}) is (
        Submission.SUBMITTED
    )


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
