"""What holds for every wire holds for one that is not ours: the example of PORTING.md against cuts, silence, signals
and hostile bytes. The return code is what arrived, and the last line of -v says what became of the jobs."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from headless.client.console import Console
from headless.client.foreign_wire import GuardedWire, load
from headless.client.password_file import KnownSecret
from headless.client.session import Session
from headless.options import parse
from support.credentials import HASH
from support.example_server import ACCEPTED, CHALLENGE, DENIED, ENDED, ExampleServer, document, log
from support.process import ENDING_SIGNALS, PATIENCE, ROOT
from support.relay import CLIENT, FIN, RST, SERVER, Cut, Line, LineWaiter
from support.scripted_server import Peer
from support.sessions import call_for, end_of
from support.sockets import reset
from support.usage import usage_of

EXAMPLE = str(ROOT / "headless" / "protocol" / "example_wire.py")
LOGINS = {"osuser": ("-u", "R41"), "challenge": ("-u", "R41", "-p", "secret")}
WAITS = {"without -t": (), "-t -1": ("-t", "-1"), "-t N": ("-t", "3600")}
JOBS = ("-c", "print(42)", "-m", "009ABC")
NEVER = 10**9  # the offset of a cut that is not reached
NOT, UNKNOWN, SUBMITTED = "not submitted", "unknown", "submitted"


# Cuts, in memory


class Calls:
    """Calls with these options in this process, each over a connection of its own."""

    def __init__(self, listener: socket.socket, waiter: LineWaiter, login: str, wait: str) -> None:
        self._listener = listener
        self._waiter = waiter
        self._secret = KnownSecret("secret", HASH.encode(), "") if login == "challenge" else None
        host, port = listener.getsockname()
        self._options = parse(["-s", f"{host}:{port}", *LOGINS[login], *WAITS[wait], *JOBS])

    def call(self, cut: Cut) -> tuple[tuple[int, str], ExampleServer, Line]:
        """Code and what is said of the jobs, for a call whose connection is cut there; the server, and the relay."""
        server = ExampleServer()

        def answer(data: bytes) -> bytes:
            return b"".join(document(text) for _, text in server.answers_to(data))

        self._waiter.line = None
        self._waiter.dial = lambda: Line(self._listener.accept()[0], answer, cut)
        wire = GuardedWire(load(EXAMPLE, self._waiter), call_for(self._options), self._waiter)
        session = Session(self._options, self._secret, lambda: wire, Console(0, self._waiter), self._waiter)
        result = end_of(session)
        line = self._waiter.line
        assert line is not None
        line.close()
        return result, server, line


@contextmanager
def calling(login: str, wait: str) -> Iterator[Calls]:
    with socket.create_server(("127.0.0.1", 0)) as listener, LineWaiter() as waiter:
        listener.settimeout(PATIENCE)
        yield Calls(listener, waiter, login, wait)


def ends_of_documents(stream: bytes) -> list[int]:
    return [match.end() for match in re.finditer(b"\0", stream)]


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


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("by", [FIN, RST])
@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "late"])
@pytest.mark.parametrize("side", [CLIENT, SERVER])
def test_the_return_code_is_what_arrived_wherever_the_connection_ends(login, wait, by, is_late, side):
    wrong = []
    with calling(login, wait) as calls:
        result, _, line = calls.call(Cut(SERVER, NEVER))
        assert result == (0, SUBMITTED)
        ends = {one: ends_of_documents(line.passed[one]) for one in (CLIENT, SERVER)}
        for offset in range(len(line.passed[side]) + 1):
            cut = Cut(side, offset, by, is_late)
            result, server, _ = calls.call(cut)
            if result not in proven(cut, ends, login, wait) or (server.has_jobs and result[1] == NOT):
                wrong.append((offset, result, proven(cut, ends, login, wait)))
    assert wrong == []


# Faults at every stage, as processes


def after_the_request(peer: Peer) -> None:
    assert peer.sock.recv(65536)


def after_the_answer(peer: Peer) -> None:
    after_the_request(peer)
    peer.sock.sendall(document(CHALLENGE))
    assert peer.sock.recv(65536)


def after_accepted(peer: Peer) -> None:
    after_the_request(peer)
    peer.sock.sendall(document(ACCEPTED))
    time.sleep(0.3)  # until it is taken: a reset would take it back


def after_a_job(peer: Peer) -> None:
    after_accepted(peer)
    peer.sock.sendall(document(log("print(42)")))
    time.sleep(0.3)


STAGES: dict[str, tuple[Callable[[Peer], None], str, str]] = {
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


@pytest.fixture
def begin(command, scripted):
    """Starts the command against a server that comes to a stage and then does something."""
    command.secret_file()

    def start(stage: str, fault: Callable[[Peer], object], *argv: str) -> subprocess.Popen[str]:
        reach, login, _ = STAGES[stage]
        server = scripted(lambda peer: (reach(peer), fault(peer)))
        environment = {**os.environ, "PLANTA_WIRE": EXAMPLE}
        return command.start("-s", server.address, "-v", *LOGINS[login], *JOBS, *argv, env=environment)

    return start


def end_of_process(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """The return code, what is said of the jobs, and what was written to stderr."""
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in stdout + stderr
    return process.returncode, stdout.splitlines()[-1].rpartition("; jobs: ")[2], stderr


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
@pytest.mark.parametrize("end", [lambda _peer: None, lambda peer: reset(peer.sock)], ids=["closed", "reset"])
def test_a_connection_that_is_lost_is_a_1(begin, stage, end):
    assert end_of_process(begin(stage, end, "-t", "-1"))[:2] == (1, STAGES[stage][2])


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "after a job"])
@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_is_a_1(begin, stage, nonsense):
    jobs = STAGES[stage][2]
    if nonsense == "an early end" and jobs == NOT:
        jobs = UNKNOWN  # the server speaks of jobs that it should not have
    assert end_of_process(begin(stage, sending(NONSENSE[nonsense]), "-t", "-1"))[:2] == (1, jobs)


@at_every_stage
def test_a_refusal_is_a_2_only_before_acceptance(begin, stage):
    code, jobs, stderr = end_of_process(begin(stage, sending(document(DENIED)), "-t", "-1"))
    is_accepted = STAGES[stage][2] == SUBMITTED
    assert (code, jobs) == ((1, SUBMITTED) if is_accepted else (2, NOT))
    assert stderr == ("" if is_accepted else "planta_headless.py: error: the server refused the login: access denied\n")


@at_every_stage
def test_silence_ends_with_the_time_out(begin, stage):
    begun = time.monotonic()
    process = begin(stage, sending(b""), "-t", "2")
    assert end_of_process(process)[:2] == (3 if STAGES[stage][2] == SUBMITTED else 1, STAGES[stage][2])
    assert 2 <= time.monotonic() - begun < 4  # with the start of the process, and what the stages wait


@at_every_stage
@pytest.mark.parametrize("signum", ENDING_SIGNALS)
def test_a_signal_ends_the_process_by_that_signal_within_a_second(begin, stage, signum):
    is_reached = threading.Event()

    def wait(peer: Peer) -> None:
        is_reached.set()
        sending(b"")(peer)

    process = begin(stage, wait, "-t", "-1")
    assert is_reached.wait(PATIENCE)
    process.send_signal(signum)
    begun = time.monotonic()
    assert end_of_process(process)[:2] == (-signum, STAGES[stage][2])
    assert time.monotonic() - begun < 1


def test_output_without_end_does_not_fill_the_memory(scripted, monkeypatch):
    def print_much(times: int) -> Callable[[Peer], None]:
        def script(peer: Peer) -> None:
            after_the_request(peer)
            peer.sock.sendall(document(ACCEPTED))
            for _ in range(times):
                peer.sock.sendall(document(f"<log>{'x' * 60_000}</log>"))

        return script

    monkeypatch.setenv("PLANTA_WIRE", EXAMPLE)
    one, many = (
        usage_of("-s", scripted(print_much(times)).address, "-t", "-1", *["-c", "x"] * times).peak
        for times in (1, 1000)
    )
    assert many - one < 12 * 1024 * 1024
