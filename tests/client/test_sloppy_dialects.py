"""What a dialect does that a tired author has written: it reports too early, out of turn or at the end of the stream,
or sends the start too late. The command says nothing definite then that need not be true."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest

from headless.client import connection
from headless.client.output import Console
from headless.client.session import Session
from headless.client.waiting import Waiter
from headless.dialects.base import (
    Accepted,
    Attached,
    Ended,
    JobFinished,
    JobStarted,
    LoggedIn,
    Output,
    Part,
    Received,
    Refused,
    SaltReceived,
)
from headless.dialects.vocabulary import Offset
from headless.errors import RemoteProtocolError, Submission, UnsupportedCall
from support.arbitrary_dialects import FakeStream, ScriptedDialect, make_call, options_of, raising, run_session
from support.clock import Clock

NEVER, WAITING = (), ("-t", "-1")
IN, CAN_ATTACH = LoggedIn("s"), LoggedIn("s", can_attach=True)
JOB, START, ASKED, BUSY = Part(b"job", 1), Part(b"start"), Part(b"attach"), Refused("busy")
FINISHED = [JobFinished(1, "ok"), JobFinished(2, "ok")]
SUBMITTED, UNKNOWN = Submission.SUBMITTED, Submission.UNKNOWN


class End(NamedTuple):
    code: int
    submission: Submission
    log: list[object]


def end_of(
    argv: tuple[str, ...] = NEVER,
    submit: Any = (JOB, JOB),
    waiter: Waiter | None = None,
    clock: Callable[[], float] = time.monotonic,
    **script: Any,
) -> End:
    """How a call with two jobs ends. What is not a method of a dialect is for `run_session`."""
    methods = ("log_in", "answer_salt", "receive", "attach", "leave", "part_left")
    calls: Any = {"submit": [list(submit)], **{name: script.pop(name) for name in methods if name in script}}
    found: list[Submission] = []
    with Waiter(clock) as own:
        code, log = run_session(
            waiter or own, calls, 2, argv, check=lambda call: found.append(call.verdict.submission), **script
        )
    return End(code, found[0], log)


@pytest.fixture
def clock() -> Clock:
    """One that goes on at each look, for the `Waiter` of a call."""
    return Clock(step=0.05)


# One by one: the last job is acknowledged, `Accepted` is reported, and the command that starts them has not left


@pytest.mark.parametrize(
    ("script", "starts"),
    [
        ({"receive": [[IN], [], [Accepted(), START, START]], "room": 1}, 2),
        ({"receive": [[IN], [], [Accepted(), START, START]]}, 2),
        ({"log_in": [[JOB, JOB]], "submit": (START,), "receive": [[IN, Accepted()]]}, 1),
        ({"log_in": [[JOB, JOB]], "submit": (START, Ended("ok")), "receive": [[IN, Accepted()]]}, 1),
    ],
    ids=["byte by byte", "parts", "a command", "a command, and an end that is made up"],
)
def test_what_is_due_at_the_acceptance_leaves_before_a_0(script, starts):
    end = end_of(**script)
    assert (end.code, end.submission, end.log.count(START)) == (0, SUBMITTED, starts)


@pytest.mark.parametrize("argv", [NEVER, WAITING])
def test_if_it_cannot_leave_that_is_a_1_and_no_one_knows_of_the_jobs(argv):
    receive = [[IN], [Accepted(), Part(b"start" * 100)]]
    end = end_of(argv, [Part(b"jobs", 2)], receive=receive, receipts=3, room=100, is_eager=True)
    assert (end.code, end.submission, "closed" in end.log) == (1, UNKNOWN, True)


def test_what_belongs_to_a_lost_connection_is_not_made_up_for_by_another_one():
    receive = [[CAN_ATTACH], [Accepted(), Part(b"start" * 100)], [], [CAN_ATTACH], [Attached(2, Offset())]]
    end = end_of(submit=[Part(b"jobs", 2)], receive=receive, receipts=[2, 5], room=100, is_eager=True)
    assert (end.code, end.submission, end.log.count(CAN_ATTACH)) == (1, UNKNOWN, 1)


@pytest.mark.parametrize("argv", [NEVER, WAITING])
@pytest.mark.parametrize("instead", [None, Part(b"other" * 100, 2)], ids=["nothing", "another one"])
def test_a_part_that_the_dialect_takes_back_half_sent_makes_a_1(monkeypatch, argv, instead):
    monkeypatch.setattr(
        ScriptedDialect, "next_part", lambda dialect: instead if len(dialect.log) > 30 else dialect._parts[0]
    )
    end = end_of(argv, log_in=[[Part(b"hello" * 100)]], room=1)
    assert (end.code, end.submission) == (1, Submission.NOT_SUBMITTED)


def test_a_goodbye_without_end_ends():
    end = end_of(
        WAITING, receive=[[IN], [Accepted(), Ended("ok"), Part(b"x")]], part_left=[[]] * 2 + [[START]] * 100_000
    )
    assert (end.code, end.log.count(START) < 10_000) == (0, True)


def test_a_dialect_that_always_has_one_more_part_makes_a_1_in_time(clock):
    end = end_of(receive=[[IN], [Accepted()]], part_left=[[Part(b"x")]] * 100_000, clock=clock)
    assert (end.code, end.submission) == (1, UNKNOWN)


CODES_OF_1: list[tuple[tuple[str, ...], dict[str, Any], Submission | None]] = [
    # A failure, or an error, behind the acceptance and before what is due has left.
    *((NEVER, {"receive": [[IN], [Accepted(), START, event]]}, None) for event in (
        BUSY, Ended("failed"), JobFinished(1, "failed"))),
    (NEVER, {"receive": [[IN], [Accepted(), START, raising(RemoteProtocolError("r"))]]}, UNKNOWN),
    (NEVER, {"receive": [[IN], [JobFinished(1, "failed"), Accepted()]]}, None),
    (NEVER, {"receive": [[IN, JOB], [Accepted()]]}, None),  # three jobs of two
    (WAITING, {"log_in": [[JOB, JOB]], "submit": (raising(UnsupportedCall("no")),), "receive": [[IN, Accepted()]]},
     UNKNOWN),
    # The server reports no end, and so the author does.
    (WAITING, {"log_in": [[JOB, JOB]], "submit": [*FINISHED, Ended("ok")], "receive": [[IN, Accepted()]]}, None),
    # A login before the proof has left: a password file would be made for a password that was not checked.
    (NEVER, {"receive": [[SaltReceived(None)]], "answer_salt": [[IN, Part(b"proof")]], "has_secret": True},
     Submission.NOT_SUBMITTED),
    # Jobs that the dialect has not counted, or has counted wrong.
    *((WAITING, {"submit": (Part(b"jobs"),), "receive": [[IN], [event], [BUSY]]}, UNKNOWN) for event in (
        JobStarted(1), JobStarted(2), JobFinished(2, "ok"), Output(None, "stdout", "x"), Ended("failed"), Accepted())),
    *((WAITING, {"log_in": [[Part(b"login and jobs")]], "submit": (part,), "receive": [[IN]]}, UNKNOWN) for part in (
        Part(b"", 2), Part(b"x", 3), Part(b"x", -1))),
    (WAITING, {"log_in": [[Part(b"x", 3)]]}, Submission.NOT_SUBMITTED),  # nothing has left
    # A refusal that is followed by a word of the jobs.
    *((WAITING, {"submit": (Part(b"jobs", 2),), "receive": [[IN], [Refused("jobs"), *shown, JobStarted(1)]]}, UNKNOWN)
      for shown in ([], [Received("job 1 runs")])),
]  # fmt: skip


def test_what_makes_a_1_and_what_is_said_of_the_jobs_then():
    for argv, script, submission in CODES_OF_1:
        end = end_of(argv, **{"receipts": 9, **deepcopy(script)})
        assert (end.code, submission) == (1, submission and end.submission), (argv, script)


# What no bytes have brought


@pytest.mark.parametrize("argv", [NEVER, WAITING])
def test_the_end_of_the_stream_proves_nothing(argv):
    """Neither a success nor a failure: the connection may have been cut."""
    cases: list[tuple[list[object], list[object]]] = [
        ([], [Accepted()]),
        ([], [Accepted(), *FINISHED, Ended("ok")]),
        ([JobFinished(1, "ok")], [JobFinished(2, "ok"), Accepted(), Ended("ok")]),
        ([], [BUSY]),
        ([], [Refused("login")]),
        ([], [Ended("failed")]),
        ([Accepted()], [Ended("ok")]),
        ([Accepted(), JobFinished(1, "ok")], [JobFinished(2, "ok"), Ended("ok")]),
        ([Accepted()], [Ended("failed")]),
    ]
    for before, events in cases:
        end = end_of(argv, receive=[[IN], [*before], [*events]], receipts=2)
        is_proved = argv == NEVER and Accepted() in before
        expected = (0, SUBMITTED) if is_proved else (1, SUBMITTED if before else UNKNOWN)
        assert (end.code, end.submission) == expected, (before, events)


def test_what_came_before_the_end_of_the_stream_counts():
    """The client asks for it as soon as it has come, whatever has come behind it."""
    assert end_of(WAITING, receive=[[IN], [Accepted(), *FINISHED, Ended("ok")]], receipts=2).code == 0


@pytest.mark.parametrize("method", ["log_in", "submit", "part_left"])
def test_a_dialect_that_reports_of_itself_what_the_server_has_to_say_makes_a_1(method):
    for events in (
        [Accepted()], [Accepted(), Ended("ok")], [Ended("ok")], [JobStarted(1)], FINISHED, [Ended("failed")], [BUSY],
        [Refused("jobs")], [IN, Accepted()],
    ):  # fmt: skip
        for argv in (NEVER, WAITING):
            script: Any = {"receive": [[IN], [], []], "part_left": [[], []]}
            if method == "part_left":
                script[method] = [[], [*events]]
            elif method == "log_in":
                script["log_in"], script["submit"] = [[*events, JOB, JOB]], ()
            else:
                script["submit"] = [*events, JOB, JOB]
            end = end_of(argv, **script)
            assert end.code == 1, (events, argv)
            assert end.submission is not Submission.NOT_SUBMITTED or events[0] in (BUSY, Refused("jobs"), IN)


# All jobs have ended, and the session has not


ALIVE = Output(None, "stdout", "alive\n")  # which a server may go on saying


@pytest.mark.parametrize("before", [[Accepted()], []], ids=["accepted", "one by one"])
@pytest.mark.parametrize(("argv", "code", "seconds"), [(WAITING, 1, 30), (("-t", "10"), 3, 10), (("-t", "100"), 1, 30)])
def test_a_session_without_an_end_is_a_1_half_a_minute_after_the_last_job_or_a_3_after_the_time_out(
    clock, argv, code, before, seconds
):
    """Whatever else the server says then: that it is alive, for example."""
    begun = clock.now
    end = end_of(argv, receive=[[IN], [*before, *FINISHED], *[[ALIVE]] * 10_000], receipts=100_000, clock=clock)
    assert (end.code, end.submission) == (code, SUBMITTED)
    assert seconds < clock.now - begun < seconds + 10  # of which the way to the end of the jobs takes a few


def test_without_t_jobs_that_have_all_ended_and_were_not_accepted_are_no_3(clock):
    end = end_of(receive=[[IN], FINISHED, *[[ALIVE]] * 10_000], receipts=100_000, patience=1000, clock=clock)
    assert (end.code, end.submission) == (1, SUBMITTED)


def test_a_connection_that_is_lost_then_is_resumed_as_ever_and_has_that_time_anew(clock):
    def wait() -> None:
        clock.now += 20

    receive = [[CAN_ATTACH], [Accepted(), *FINISHED], [wait], [],
               [CAN_ATTACH], [Attached(2, Offset(3))], [wait], [Ended("ok")]]  # fmt: skip
    assert end_of(WAITING, receive=receive, receipts=[3, 9], attach=[[ASKED]] * 9, clock=clock).code == 0


# A wrong password that the dialect calls busy


SALT, PROOF = SaltReceived(None), Part(b"proof")
GOOD_LOGIN: list[list[object]] = [[SALT], [IN], [Accepted(), Ended("ok")]]


def pauses(receive: list[list[object]], has_secret: bool = True, **more: Any) -> list[float]:
    """Those of a call that has patience, in the end."""
    seconds: list[float] = []
    with Waiter() as waiter, patch.object(waiter, "sleep", seconds.append):
        script = {"log_in": [[Part(b"hello")]] * 9, "answer_salt": [[PROOF]] * 9, "receive": receive, **more}
        end = end_of(WAITING, waiter=waiter, has_secret=has_secret, patience=1000, **script)
    assert end.code == 0, end
    return seconds


@pytest.mark.parametrize("ends", [[BUSY], []], ids=["refused", "closed"])
def test_a_proof_that_may_have_been_wrong_is_given_once_a_minute(ends):
    seconds = pauses([[SALT], ends, [SALT], ends, *GOOD_LOGIN], receipts=[9, 9, 9] if ends else [1, 1, 9])
    assert len(seconds) == 2
    assert min(seconds) >= 60
    # So is a login by name with another dialect; not what was refused before the proof had left.
    assert min(pauses([[BUSY], [BUSY], [IN], [Accepted(), Ended("ok")]], has_secret=False)) >= 60
    assert max(pauses([[BUSY], [BUSY], [BUSY], *GOOD_LOGIN])) < 1


def test_what_is_lost_once_a_login_was_granted_is_tried_again_soon_but_not_what_is_refused():
    receive: list[list[object]] = [
               [SALT], [CAN_ATTACH], [Accepted()], [],
               [SALT], [], [],  # closed
               [SALT], [CAN_ATTACH], [BUSY],
               [SALT], [BUSY],
               [SALT], [CAN_ATTACH], [Attached(2, Offset()), Ended("ok")]]  # fmt: skip
    lost, lost_at_the_login, busy, refused = pauses(receive, receipts=[3, 2, 9, 9, 9], attach=[[ASKED]] * 9)
    assert max(lost, lost_at_the_login, busy) < 1
    assert refused >= 60


@pytest.mark.parametrize("text", ["x", ""], ids=["something new", "nothing"])
def test_pauses_grow_until_a_connection_brings_something_new(text):
    count = 6
    offsets = [Offset(1, number * len(text), 0) for number in range(count)]
    receive: list[list[object]] = [[SALT], [CAN_ATTACH], [Accepted()], []]
    for offset in offsets:
        receive += [[SALT], [CAN_ATTACH], [Attached(2, offset), Output(1, "stdout", text)], []]
    receive += [[SALT], [CAN_ATTACH], [Attached(2, Offset(1, count * len(text), 0)), Ended("ok")]]
    seconds = pauses(receive, receipts=[3] * (count + 1) + [9], attach=[[ASKED]] * 9)
    assert len(seconds) == count + 1
    assert (max(seconds) <= 0.1) == bool(text)


def test_while_the_start_has_not_left_t_is_no_3(monkeypatch, clock):
    """It is not known that the jobs go on."""
    monkeypatch.setattr(FakeStream, "send_now", lambda _stream, data: 0 if data == b"start" else len(data))
    end = end_of(("-t", "10"), receive=[[IN], [Accepted(), START]], receipts=100_000, clock=clock)
    assert (end.code, end.submission) == (1, UNKNOWN)


@pytest.mark.parametrize("argv", [WAITING, NEVER, ("-t", "100")], ids=str)
def test_the_time_for_the_end_is_counted_once(clock, argv):
    """Also if the acceptance comes late in it."""

    def wait() -> None:
        clock.now += 20

    begun = clock.now
    receive = [[IN], FINISHED, [wait, Accepted()], *[[ALIVE]] * 10_000]
    end = end_of(argv, receive=receive, receipts=100_000, clock=clock)
    assert (end.code, end.submission) == (0 if argv == NEVER else 1, SUBMITTED)
    assert clock.now - begun < 40


@pytest.mark.parametrize("heartbeat", [0, -5, 10**400], ids=["0", "-5", "too large"])
def test_a_heartbeat_that_cannot_be_is_named(heartbeat):
    call = Waiter()
    dialect = type(
        "Dialect", (ScriptedDialect,), {"script": {"receive": [[LoggedIn("s", heartbeat=heartbeat)]]}, "log": []}
    )
    with call, patch.object(connection, "connect", lambda *_: FakeStream(9, 1000, is_eager=True)):
        one = Session(options_of(1), None, lambda: dialect(make_call(1)), Console(0, call), call)
        with pytest.raises(RemoteProtocolError, match="a heartbeat that is not 1 to"):
            one.run()
