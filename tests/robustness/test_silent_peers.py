"""Peers that are slow, silent, stopped or gone: the one deadline of the client holds within half a second, and
heartbeats end a dead wait. Most calls are in this process, with times of a tenth of a second on a clock that does not
move before the peer is slow; a few are processes in real time."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from headless.client import connection
from headless.dialects.base import Accepted, LoggedIn
from headless.server.accounts import Account
from robustness.black_hole import UNREACHABLE
from support.clock import StillClock
from support.command_here import CommandHere, Ended
from support.conversations import KEYS
from support.dialogues import DONE, WELCOME, challenging
from support.frames import frame
from support.job_server import QuickServer
from support.process import PATIENCE, ROOT, Command
from support.scripted_server import Disconnected, Peer, Script
from support.sockets import full_listener
from support.stalls import stalls

pytestmark = pytest.mark.slow
TENTH = 0.1  # of a second: the deadline, or three heartbeats
LATE = 0.5  # seconds after the deadline at which a client has to have ended
LATE_HERE = 4 * LATE  # where the peers are threads of the same process, and the machine may be busy
LONG_JOB = "print(1, flush=True); import time; time.sleep(60)"
posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
ANSWERS = [  # what the server sends in turn, and how a -t ends that runs out before the last byte of it has come
    ("challenge", (1, "not submitted")),
    ("welcome", (1, "not submitted")),
    ("accepted", (1, "unknown")),
    ("ended", (3, "submitted")),
]


# Peers

Instead = Callable[[Peer, str], None]


class ReluctantPeer(Peer):
    """A peer that does `instead(peer, answer)` where it should send this answer."""

    def __init__(self, peer: Peer, answer: str, instead: Instead, heartbeat: int) -> None:
        super().__init__(peer.sock)
        self._beginning = f"<{answer}"
        self._instead = instead
        self._heartbeat = heartbeat

    def send(self, *documents: str | bytes) -> None:
        for document in documents:
            assert isinstance(document, str)
            if document.startswith(self._beginning):
                self._instead(self, document)
                self.wait_for_disconnect()
                raise Disconnected
            promise = f'<welcome heartbeat="{self._heartbeat}" ' if self._heartbeat else "<welcome "
            super().send(document.replace("<welcome ", promise))


def reluctant(answer: str, instead: Instead, heartbeat: int = 0) -> Script:
    """A script: the challenge login and one job in good order, but `instead(peer, answer)` for this answer."""
    return lambda peer: challenging(*DONE)(ReluctantPeer(peer, answer, instead, heartbeat))


def send_byte_by_byte(peer: Peer, data: bytes, pause: float) -> None:
    """Sends nothing more once the client has sent something or left."""
    with contextlib.suppress(OSError):
        for byte in data:
            peer.sock.sendall(bytes([byte]))
            if select.select([peer.sock], [], [], pause)[0]:
                return


def trickle(pause: float = 0.01) -> Instead:
    """Sends the answer one byte at a time, and spaces inside it that last for long."""

    def send_slowly(peer: Peer, document: str) -> None:
        name, rest = document[:-2].partition(" ")[::2]
        send_byte_by_byte(peer, frame(f"{name} {1000 * ' '}{rest}{document[-2:]}"), pause)

    return send_slowly


def over_tls(script, context: ssl.SSLContext):
    """The script for a client that uses tls://."""

    def with_tls(peer: Peer) -> None:
        with context.wrap_socket(peer.sock, server_side=True) as sock:
            script(Peer(sock))

    return with_tls


# The calls


def clock_for(answer: str) -> StillClock:
    """It starts when the peer comes to this answer, or when the jobs are accepted if the time counts from there."""
    return StillClock(start_at=Accepted if answer == "ended" else None)


def first_starting(clock: StillClock, instead: Instead) -> Instead:
    def start(peer: Peer, document: str) -> None:
        if "<ended" not in document:
            clock.start()
        instead(peer, document)

    return start


def call(here: CommandHere, clock: StillClock, seconds: float, address: str, *argv: str) -> Ended:
    jobs = () if "-c" in argv else ("-c", "pass")
    return here.by_clock(clock, seconds, "-s", address, "-v", *argv, *jobs)


def challenge(here: CommandHere) -> tuple[str, ...]:
    return ("-u", "R41", "-p", here.secret_file())


def assert_ended(done: Ended, code: int, submission: str) -> str:
    """Returns the last line."""
    assert done.stderr == ""
    last = done.stdout.splitlines()[-1]
    assert (done.returncode, last.rpartition("; ")[2]) == (code, f"jobs: {submission}")
    return last


def assert_ended_at_deadline(done: Ended, clock: StillClock, code: int, submission: str) -> None:
    last = assert_ended(done, code, submission)
    assert code == 3 or "in time" in last
    assert TENTH <= clock.seconds() <= TENTH + LATE_HERE


# One byte at a time


@pytest.mark.parametrize(("answer", "ending"), ANSWERS)
def test_an_answer_that_comes_byte_by_byte_does_not_outlast_the_deadline(here, scripted, answer, ending):
    clock = clock_for(answer)
    server = scripted(reluctant(answer, first_starting(clock, trickle())))
    done = call(here, clock, TENTH, server.address, *challenge(here))
    assert_ended_at_deadline(done, clock, *ending)


@pytest.mark.version("ssl")
@pytest.mark.parametrize(("answer", "ending"), ANSWERS[2:])
def test_tls_records_of_one_byte_do_not_outlast_the_deadline(  # noqa: PLR0917
    here, scripted, tmp_path, monkeypatch, answer, ending
):
    import trustme  # which takes long to import

    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA).configure_cert(context)
    clock = clock_for(answer)
    server = scripted(over_tls(reluctant(answer, first_starting(clock, trickle())), context))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    done = call(here, clock, TENTH, f"tls://{server.address}", *challenge(here))
    assert_ended_at_deadline(done, clock, *ending)


@pytest.mark.version("ssl")
def test_a_tls_handshake_that_comes_byte_by_byte_does_not_outlast_the_deadline(here, scripted):
    clock = StillClock()

    def script(peer: Peer) -> None:
        peer.sock.recv(4096)
        clock.start()
        # A ServerHello of 4 KiB begins.
        send_byte_by_byte(peer, b"\x16\x03\x03\x10\x00\x02\x00\x0f\xfc" + bytes(1000), 0.01)

    done = call(here, clock, TENTH, f"tls://{scripted(script).address}")
    assert_ended_at_deadline(done, clock, 1, "not submitted")


# No message, or half of one


@pytest.mark.parametrize("scheme", ["", "tls://"])
def test_a_server_that_never_accepts_or_never_sends_anything_is_a_1_at_the_deadline(here, scripted, scheme):
    clock = StillClock()

    def script(peer: Peer) -> None:
        clock.start()
        peer.wait_for_disconnect()

    done = call(here, clock, TENTH, scheme + scripted(script).address)
    assert_ended_at_deadline(done, clock, 1, "not submitted")
    clock = StillClock()
    with contextlib.ExitStack() as stack:
        address = full_listener(stack)
        clock.start()
        done = call(here, clock, TENTH, scheme + address)
    assert_ended_at_deadline(done, clock, 1, "not submitted")


@pytest.mark.parametrize("share", [0, 0.5])
@pytest.mark.parametrize(("answer", "ending"), ANSWERS)
def test_a_peer_that_will_send_no_more_is_a_1_at_once(here, scripted, answer, ending, share):
    """It sends this share of the answer's bytes, and goes on reading."""
    clock = StillClock()

    def end(peer: Peer, document: str) -> None:
        clock.start()
        data = frame(document)
        peer.sock.sendall(data[: int(len(data) * share)])
        peer.sock.shutdown(socket.SHUT_WR)

    server = scripted(reluctant(answer, end))
    assert_ended(call(here, clock, -1, server.address, *challenge(here)), 1, ending[1])
    assert clock.seconds() <= LATE_HERE


# 12 times 120,000 characters, each of them five in XML: 7 MB. More than 128 KiB no option can have on Linux.
BIG_SESSION = [argument for _ in range(12) for argument in ("-c", "&" * 120_000)]


@pytest.fixture
def never_reading(scripted):
    """Makes a server that lets the client in, and reads nothing of its session."""
    left = threading.Event()

    def make(welcome: str):
        def script(peer: Peer) -> None:
            peer.receive()
            peer.send(welcome)
            assert left.wait(PATIENCE)

        return scripted(script)

    yield make
    left.set()


def test_a_session_that_is_not_read_is_not_submitted_and_given_up_at_the_deadline(here, never_reading):
    clock = StillClock(start_at=LoggedIn)
    done = call(here, clock, TENTH, never_reading(WELCOME).address, *BIG_SESSION)
    assert_ended_at_deadline(done, clock, 1, "not submitted")


# Heartbeats


@pytest.fixture
def quick_heartbeats(monkeypatch):
    """Three of them last as long as a tenth of one."""
    monkeypatch.setattr(connection, "_MAX_MISSED_HEARTBEATS", TENTH)


@pytest.mark.usefixtures("quick_heartbeats")
def test_silence_of_more_than_three_heartbeats_ends_the_sending_of_a_session_that_is_not_read(here, never_reading):
    clock = StillClock(start_at=LoggedIn)
    done = call(here, clock, -1, never_reading('<welcome session="s1" heartbeat="1"/>').address, *BIG_SESSION)
    assert "silent for more than" in assert_ended(done, 1, "not submitted")
    assert TENTH <= clock.seconds() <= TENTH + LATE_HERE


@pytest.mark.usefixtures("quick_heartbeats")
@pytest.mark.parametrize(
    ("answer", "submission"),
    [("accepted", "unknown"), ("started", "submitted"), ("finished", "submitted"), ("ended", "submitted")],
)
def test_silence_of_more_than_three_heartbeats_ends_the_wait_for_every_answer(here, scripted, answer, submission):
    clock = StillClock()

    def fall_silent(_peer: Peer, _document: str) -> None:
        clock.start()

    server = scripted(reluctant(answer, fall_silent, heartbeat=1))
    done = call(here, clock, -1, server.address, *challenge(here))
    assert "silent for more than" in assert_ended(done, 1, submission)
    assert TENTH <= clock.seconds() <= TENTH + LATE_HERE


# The real server, stopped or behind a relay that swallows everything


class StageRelay:
    """Between a client and a server. Calls `at_stage(relay)` before it passes on the frame of this name."""

    def __init__(self, address: str, stage: str, at_stage: Callable[[StageRelay], object]) -> None:
        host, _, port = address.rpartition(":")
        self._server = (host, int(port))
        self._begin = f"<{stage}"
        self._at_stage = at_stage
        self.swallows = False

    def __call__(self, here: Peer) -> None:
        with socket.create_connection(self._server, PATIENCE) as sock:
            server = Peer(sock)
            back = threading.Thread(target=self._pass_on, args=(server, here), daemon=True)
            back.start()
            self._pass_on(here, server)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            back.join(PATIENCE)

    def _pass_on(self, source: Peer, target: Peer) -> None:
        with contextlib.suppress(Disconnected, OSError):
            while True:
                document = source.receive()
                if document.startswith(self._begin):
                    self._at_stage(self)
                if not self.swallows:
                    target.send(document)


@pytest.fixture(scope="module")
def real_server(tmp_path_factory):
    account = Account("R42", None, KEYS)
    with QuickServer(tmp_path_factory.mktemp("real") / "home", "--workers", "20", accounts=(account,)) as server:
        yield server


@pytest.fixture
def stop_server(real_server):
    """Stops the real server, as an overloaded machine or a debugger does, for the rest of the test."""
    try:
        yield lambda *_: os.kill(real_server.process.pid, signal.SIGSTOP)
    finally:
        os.kill(real_server.process.pid, signal.SIGCONT)


STAGES = [
    ("login", (1, "not submitted")),
    ("response", (1, "not submitted")),
    ("jobs", (1, "unknown")),
    ("started", (3, "submitted")),
    ("output", (3, "submitted")),
]


@posix_only
@pytest.mark.parametrize("fault", ["stopped", "black hole"])
@pytest.mark.parametrize(("stage", "ending"), STAGES)
def test_the_deadline_holds_when_the_server_is_gone_without_notice(  # noqa: PLR0917
    here, scripted, real_server, stop_server, fault, stage, ending
):
    clock = StillClock()

    def go(relay: StageRelay) -> None:
        relay.swallows = fault == "black hole"
        if fault == "stopped":
            stop_server()
        clock.start()

    relay = scripted(StageRelay(real_server.address, stage, go))
    secret = here.secret_file()
    done = here.by_clock(clock, TENTH, "-s", relay.address, "-v", "-u", "R42", "-p", secret, "-c", LONG_JOB)
    assert_ended_at_deadline(done, clock, *ending)


# As processes, in real time


class Timed(NamedTuple):
    """A call that has ended, and when: seconds of time.time()."""

    code: int
    lines: list[str]
    started: float
    ended: float

    def since(self, event: str) -> float:
        """Seconds from the last line that has this to the end of the process."""
        stamp = [line for line in self.lines if event in line][-1].split()[1]
        hours, minutes, seconds = stamp.split(":")
        now = time.localtime(self.ended)
        end_of_process = now.tm_hour * 3600 + now.tm_min * 60 + now.tm_sec + self.ended % 1
        return (end_of_process - int(hours) * 3600 - int(minutes) * 60 - float(seconds)) % 86400

    def assert_ended(self, code: int, submission: str) -> None:
        assert (self.code, self.lines[-1].rpartition("; ")[2]) == (code, f"jobs: {submission}")

    def assert_ended_at_deadline(self, seconds: float, code: int, submission: str, stall: float = 0.0) -> None:
        self.assert_ended(code, submission)
        latest = seconds + LATE + stall
        if code == 3:
            assert seconds <= self.since("the server has accepted the jobs") <= latest, self
        else:
            assert "in time" in self.lines[-1]
            assert seconds <= self.ended - self.started, self
            assert self.since("info connecting") <= latest, self


def ended_together(command: Command, calls: Mapping[str, tuple[str, ...]]) -> dict[str, Timed]:
    """Makes these calls at the same time. All are killed after ten seconds."""
    line = ("-v", "-u", "R41", "-p", command.secret_file(), "-c", "pass", "-s")

    def end(process: subprocess.Popen[str], started: float) -> Timed:
        with process:
            try:
                stdout, stderr = process.communicate(timeout=PATIENCE / 2)
            except subprocess.TimeoutExpired:
                process.kill()
                stdout, stderr = process.communicate()
            ended = time.time()
        assert stderr == "", stderr
        return Timed(process.returncode, stdout.splitlines(), started, ended)

    with ThreadPoolExecutor(len(calls)) as pool:
        ends = {}
        for name, argv in calls.items():
            started = time.time()
            ends[name] = pool.submit(end, command.start(*line, *argv), started)
        return {name: each.result() for name, each in ends.items()}


@pytest.mark.version("select and its time-outs")
def test_deadlines_and_heartbeats_hold_in_real_time(command, scripted):
    """All of them at the same time, and with what the machine itself is late."""
    calls = {
        "nothing": (scripted(Peer.wait_for_disconnect).address, "-t", "1"),
        "silent": (scripted(reluctant("accepted", lambda *_: None, heartbeat=1)).address, "-t", "-1"),
        "slow": (scripted(reluctant("accepted", trickle(pause=1), heartbeat=1)).address, "-t", "4"),
        "slow at the end": (scripted(reluctant("ended", trickle(pause=1), heartbeat=1)).address, "-t", "4"),
    }
    with stalls() as late:
        done = ended_together(command, calls)
    done["nothing"].assert_ended_at_deadline(1, 1, "not submitted", late())
    done["slow"].assert_ended_at_deadline(4, 1, "unknown", late())
    done["slow at the end"].assert_ended_at_deadline(4, 3, "submitted", late())
    done["silent"].assert_ended(1, "unknown")
    assert "silent for more than 3 s" in done["silent"].lines[-1]
    assert 3 <= done["silent"].since("logged in") <= 3 + LATE + late()


@pytest.fixture(scope="module")
def namespace():
    """How to run something in a network of its own."""
    complaints = []
    for rights in (("--user", "--map-root-user"), ()):
        line = ["unshare", *rights, "--net"]
        try:
            done = subprocess.run([*line, "ip", "link"], capture_output=True, text=True, check=False, timeout=PATIENCE)
        except FileNotFoundError as error:
            pytest.skip(f"no network namespaces: {error}")
        if done.returncode == 0:
            return line
        complaints.append(done.stderr.strip())
    return pytest.skip(f"no network namespaces: {'; '.join(complaints)}")


def test_a_network_that_answers_nothing_or_goes_down_costs_no_deadline_and_is_found_by_the_heartbeat(
    namespace, tmp_path
):
    """In three such networks at the same time."""
    calls = {
        "unreachable": ("-s", f"{UNREACHABLE}:20000", "-v", "-t", "1", "-c", "pass"),
        "heartbeat": ("-vvv", "-t", "-1", "-c", "pass"),
        "deadline": ("-v", "-t", "2", "-c", "pass"),
    }
    with stalls() as late, contextlib.ExitStack() as stack:
        program = [*namespace, sys.executable, "-m", "robustness.black_hole", str(tmp_path)]
        processes = [
            stack.enter_context(
                subprocess.Popen([*program, *argv], cwd=ROOT / "tests", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            )
            for argv in calls.values()
        ]
        done = {}
        for name, process in zip(calls, processes):
            stdout, stderr = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, stderr
            done[name] = Timed(*json.loads(stdout))
    done["unreachable"].assert_ended(1, "not submitted")
    assert done["unreachable"].ended - done["unreachable"].started >= 1
    assert done["unreachable"].since("info connecting") <= 1 + LATE + late()
    done["heartbeat"].assert_ended(1, "submitted")
    assert "silent for more than 3 s" in done["heartbeat"].lines[-1]
    assert 3 <= done["heartbeat"].since("received <") <= 3 + LATE + late()
    done["deadline"].assert_ended_at_deadline(2, 3, "submitted", late())
