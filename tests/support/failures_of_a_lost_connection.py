"""The ways to fail in which a connection is lost, and another one goes on with the session, or cannot."""

from __future__ import annotations

import signal
from collections.abc import Callable

from support.dialogues import ENDED, ENDED_FAILED, FAILED, FINISHED, STARTED, WELCOME
from support.failures import (
    NOT,
    SUBMITTED,
    UNKNOWN,
    WatchedPeer,
    Way,
    letting_pass,
    on_another_connection,
    refusal,
    seeing,
    sending,
    terminate,
    then,
    wait,
)
from support.failures_of_the_session import after_the_login

Step = Callable[[WatchedPeer], object]  # of a script, or all of it

ATTACH = '<welcome session="s1" journal="9ae1"/>'
ANOTHER = ATTACH.replace("9ae1", "9ae2")
ATTACHED = '<attached jobs="1" job="1" stdout="0" stderr="0"/>'


def accepting_and_losing(*documents: str) -> Callable[[WatchedPeer], None]:
    """A script: can attach, accepts the jobs, sends these, and closes."""

    def script(peer: WatchedPeer) -> None:
        peer.receive()
        peer.send(ATTACH)
        peer.receive()
        peer.send('<accepted session="s1"/>', *documents)

    return script


def losing_the_jobs(peer: WatchedPeer) -> None:
    peer.receive()
    peer.send(ATTACH)
    peer.receive()


def answering(*documents: str, welcome: str = ATTACH, last: Step = wait) -> Callable[[WatchedPeer], None]:
    """A script: lets the client in, and answers what it asks for."""

    def script(peer: WatchedPeer) -> None:
        peer.receive()
        peer.send(welcome)
        if documents:
            peer.receive()
            peer.send(*documents)
        last(peer)

    return script


def lost(  # noqa: PLR0917
    name: str, code: int, jobs: str, reason: str, first: Step, second: Step, *argv: str
) -> Way:
    return Way(f"lost, then {name}", code, jobs, reason, on_another_connection(first, second), argv)


WAYS_OF_A_LOST_CONNECTION = [
    lost("out of time", 1, SUBMITTED, "the connection was lost, and no other one could be had in time",
         accepting_and_losing(STARTED), letting_pass(1), "-t", "1"),
    lost("out of time again", 3, SUBMITTED, "have not ended within .*1 s, and go on",
         accepting_and_losing(STARTED), answering(ATTACHED, STARTED, last=then(seeing("attached to"), letting_pass(1))),
         "-t", "1"),
    lost("signal", -signal.SIGTERM, SUBMITTED, "ended by signal 15", accepting_and_losing(STARTED), terminate),
    lost("login refused", 1, SUBMITTED, r"ended the session \(.*login.*\): not you",
         accepting_and_losing(STARTED), then(after_the_login, sending(refusal("login")))),
    lost("session unknown", 1, SUBMITTED, r"ended the session \(.*session.*\): not you",
         accepting_and_losing(STARTED), answering(refusal("session"))),
    lost("another place", 1, SUBMITTED, "at another offset than",
         accepting_and_losing(STARTED), answering(ATTACHED.replace('job="1"', 'job="2"'))),
    lost("other jobs", 1, SUBMITTED, "to other jobs, or at another offset",
         accepting_and_losing(STARTED), answering(ATTACHED.replace('jobs="1"', 'jobs="2"'))),
    lost("a server that cannot attach", 1, SUBMITTED, "cannot resume a session that another connection has begun",
         accepting_and_losing(STARTED), answering(welcome=WELCOME)),
    lost("job failed", 1, SUBMITTED, "job 1 failed: .*no such table",
         accepting_and_losing(STARTED), answering(ATTACHED, STARTED, FAILED, ENDED_FAILED)),
    lost("accepted where it was to attach", 1, SUBMITTED, "is not allowed when", accepting_and_losing(STARTED),
         answering('<accepted session="s1"/>')),
    lost("ended where it was to attach", 1, SUBMITTED, "is not allowed when", accepting_and_losing(), answering(ENDED)),
    lost("out of time before accepted", 1, UNKNOWN, "not accepted the jobs in time", losing_the_jobs, letting_pass(2),
         "-t", "2"),
    lost("busy until out of time", 1, UNKNOWN, "not accepted the jobs in time", losing_the_jobs,
         answering(refusal("busy")), "-t", "2"),
    lost("another journal", 1, SUBMITTED, "another server answers, or one that has lost its journal",
         accepting_and_losing(STARTED), answering(ATTACHED, welcome=ANOTHER)),
    lost("another journal before accepted", 1, UNKNOWN, "another server answers, or one that has lost its journal",
         losing_the_jobs, answering('<accepted session="s2"/>', STARTED, FINISHED, ENDED, welcome=ANOTHER)),
    lost("jobs refused", 2, NOT, "refused the .*jobs: not you", losing_the_jobs, answering(refusal("jobs"))),
    lost("login refused before accepted", 1, UNKNOWN, r"refused the session \(.*login.*\): not you", losing_the_jobs,
         then(after_the_login, sending(refusal("login")))),
    lost("a server that would run them twice", 1, UNKNOWN,
         "cannot resume a session that another connection has begun", losing_the_jobs, answering(welcome=WELCOME)),
]  # fmt: skip
