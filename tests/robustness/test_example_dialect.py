"""What holds for every dialect holds for one that is not ours: the example of PORTING.md against cuts, silence, signals
and hostile bytes. The return code is what arrived, and the last line of -v says what happened to the jobs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import pytest

from headless.client.loading import load
from robustness.failures.way import WatchedPeer, letting_pass, seeing, wait
from support.command_here import SteeredCommand
from support.example_server import ACCEPTED, CHALLENGE, DENIED, ENDED, ExampleServer, document, log
from support.process import ENDING_SIGNALS, PATIENCE, ROOT
from support.relay import (
    CLIENT,
    JOBS,
    LOGINS,
    NO_CUT,
    PAIRS,
    RST,
    SERVER,
    WAITS,
    Cut,
    calls_with_cuts,
    every_cut,
    some_cuts,
)
from support.sampling import REPEAT
from support.scripted_server import Peer
from support.sockets import reset

pytestmark = pytest.mark.slow

EXAMPLE = str(ROOT / "headless" / "dialects" / "example.py")
NOT, UNKNOWN, SUBMITTED = "not submitted", "unknown", "submitted"


# Cuts, in memory


def proven(cut: Cut, ends: dict[str, list[int]], login: str, wait: str) -> set[tuple[int, str]]:
    """What a client may conclude when so many bytes of that side passed."""
    # Before the server's first document has come. With osuser the first part hands over the jobs, if it leaves at all.
    first = NOT if login == "challenge" or (cut.offset == 0 and not cut.is_late) else UNKNOWN
    *before, accepted = ends[SERVER][: 2 if login == "challenge" else 1]
    end = accepted if wait == "without -t" else ends[SERVER][-1]
    if cut.side == CLIENT:
        lasts = ends[CLIENT]
        if cut.offset < lasts[0] + (not cut.is_late):
            return {(1, first)}
        return {(0, SUBMITTED)} if cut.offset >= lasts[-1] + (not cut.is_late) else {(1, UNKNOWN)}
    if before and cut.offset < before[0]:
        return {(1, NOT)}
    if cut.offset < accepted:
        # A client that knows of the end with the challenge does not answer it.
        if not before:
            return {(1, first)}
        return {(1, UNKNOWN)} if cut.offset > before[0] or cut.is_late else {(1, UNKNOWN), (1, NOT)}
    reached = {(0, SUBMITTED)} if cut.offset >= end else {(1, SUBMITTED)}
    # What came just before a reset may be lost.
    return reached | {(1, UNKNOWN)} if cut.by == RST and not cut.is_late else reached


def answer_of(server: ExampleServer) -> Callable[[bytes], bytes]:
    return lambda data: b"".join(document(text) for _, text in server.answers_to(data))


def assert_the_return_code_is_what_arrived(login: str, wait: str, cuts=some_cuts) -> None:
    wrong = []
    with calls_with_cuts((*LOGINS[login], *WAITS[wait], *JOBS), lambda waiter: load(EXAMPLE, waiter)) as call:
        result, line = call(NO_CUT, answer_of(ExampleServer()))
        assert result == (0, SUBMITTED)
        ends = {side: [match.end() for match in re.finditer(b"\0", line.passed[side])] for side in (CLIENT, SERVER)}
        for cut in cuts(ends):
            server = ExampleServer()
            result, _ = call(cut, answer_of(server))
            if result not in proven(cut, ends, login, wait) or (server.has_jobs and result[1] == NOT):
                wrong.append((cut, result, proven(cut, ends, login, wait)))
    assert wrong == [], REPEAT


@pytest.mark.parametrize(("login", "wait"), PAIRS)
def test_the_return_code_is_what_arrived_wherever_the_connection_ends(login, wait):
    assert_the_return_code_is_what_arrived(login, wait)


@pytest.mark.large
@pytest.mark.timeout(300)
@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("wait", WAITS)
def test_the_return_code_is_what_arrived_at_every_byte(login, wait):
    assert_the_return_code_is_what_arrived(login, wait, every_cut)


# Faults at every stage


def after_the_request(peer: Peer) -> None:
    assert peer.sock.recv(65536)


def after_the_answer(peer: WatchedPeer) -> None:
    after_the_request(peer)
    peer.sock.sendall(document(CHALLENGE))
    assert peer.sock.recv(65536)


def after_accepted(peer: WatchedPeer) -> None:
    after_the_request(peer)
    peer.sock.sendall(document(ACCEPTED))
    seeing("accepted the jobs")(peer)  # a reset would take it back


def after_a_job(peer: WatchedPeer) -> None:
    after_accepted(peer)
    peer.sock.sendall(document(log("print(42)")))
    seeing("did print(42)")(peer)


STAGES: dict[str, tuple[Callable[[WatchedPeer], None], str, str]] = {
    "after the request": (after_the_request, "osuser", UNKNOWN),
    "after the request with a challenge to come": (after_the_request, "challenge", NOT),
    "after the answer": (after_the_answer, "challenge", UNKNOWN),
    "after accepted": (after_accepted, "osuser", SUBMITTED),
    "after a job": (after_a_job, "osuser", SUBMITTED),
}
at_every_stage = pytest.mark.parametrize("stage", STAGES)


def sending(data: bytes) -> Callable[[Peer], None]:
    def fault(peer: Peer) -> None:
        peer.sock.sendall(data)
        peer.sock.settimeout(PATIENCE)
        while peer.sock.recv(65536):
            pass

    return fault


def line_for(stage: str, address: str, *argv: str) -> list[str]:
    return ["-s", address, "-v", *LOGINS[STAGES[stage][1]], *JOBS, *argv]


@pytest.fixture
def end_of_call(command, scripted):
    """Calls the command in this process against a server that comes to a stage and then does something: the return
    code, what is said of the jobs, and what was written to stderr."""
    command.secret_file()

    def call(stage: str, fault: Callable[[WatchedPeer], object], *argv: str) -> tuple[int, str, str]:
        here = SteeredCommand(command.folder)

        def script(peer: Peer) -> None:
            watched = WatchedPeer(peer, here, here.shown)
            STAGES[stage][0](watched)
            fault(watched)

        line = line_for(stage, scripted(script).address, *argv)
        ended = here(*line, env={**os.environ, "PLANTA_PROTOCOL": EXAMPLE})
        return ended.returncode, ended.stdout.splitlines()[-1].rpartition("; jobs: ")[2], ended.stderr

    return call


NONSENSE = {
    "no XML": document("hello"),
    "an unknown document": document("<shutdown/>"),
    "a document of the client": document('<answer answer="x"/>'),
    "two roots": document(ENDED * 2),
    "a NUL": b"\0",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n\0",
    "no end": b"<log>" + b"x" * 2_000_000,
    "an early end": document(ENDED) + document(ACCEPTED),
}


@at_every_stage
def test_a_connection_that_is_lost_is_a_1(end_of_call, stage):
    for end in (lambda _peer: None, lambda peer: reset(peer.sock)):
        assert end_of_call(stage, end, "-t", "-1")[:2] == (1, STAGES[stage][2])


@pytest.mark.version("what lxml takes for a document")
@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "after a job"])
def test_nonsense_is_a_1(end_of_call, stage):
    for name, data in NONSENSE.items():
        jobs = STAGES[stage][2]
        if name == "an early end" and jobs == NOT:
            jobs = UNKNOWN  # the server speaks of jobs that it should not have
        assert end_of_call(stage, sending(data), "-t", "-1")[:2] == (1, jobs), name


@at_every_stage
def test_a_refusal_is_a_2_only_before_acceptance(end_of_call, stage):
    code, jobs, stderr = end_of_call(stage, sending(document(DENIED)), "-t", "-1")
    is_accepted = STAGES[stage][2] == SUBMITTED
    assert (code, jobs) == ((1, SUBMITTED) if is_accepted else (2, NOT))
    assert stderr == ("" if is_accepted else "planta_headless.py: error: the server refused the login: access denied\n")


@pytest.mark.skipif(os.name == "nt", reason="the time of a call in this process passes by a signal")
@at_every_stage
def test_silence_ends_with_the_time_out_and_not_before(end_of_call, stage):
    is_accepted = STAGES[stage][2] == SUBMITTED
    seconds = 3600 if is_accepted else 30

    def be_silent(peer: WatchedPeer) -> None:
        peer.client.let_pass(seconds - 10)
        assert not peer.client.is_over.wait(0.05)
        letting_pass(10)(peer)

    end = end_of_call(stage, be_silent, "-t", "3600")
    assert end[:2] == (3 if is_accepted else 1, STAGES[stage][2])


@at_every_stage
def test_a_signal_is_the_end_at_every_stage(end_of_call, stage):
    for signum in ENDING_SIGNALS:

        def send_signal(peer: WatchedPeer, signum: int = signum) -> None:
            peer.client.send_signal(signum)
            wait(peer)

        code, jobs, _ = end_of_call(stage, send_signal, "-t", "-1")
        assert (code, jobs) == (-signum, STAGES[stage][2]), signum
