"""Peers that are slow, silent, stopped or gone: the one deadline of the client holds within half a second of real time,
heartbeats end a dead wait, keep-alive is on. Times count from the client's own lines of -v, so its start-up does not.
What the deadlines are, with a clock of the test's own, is in test_deadlines_and_addresses.py.
"""

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
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from headless.server.accounts import Account
from support.black_hole import NOBODY
from support.conversations import KEYS
from support.dialogues import DONE, STARTED, WELCOME, challenging, serving
from support.frames import frame
from support.job_server import QuickServer
from support.process import PATIENCE, ROOT
from support.raw_client import connect
from support.scripted_server import Disconnected, Peer
from support.waiting import wait_until

LATE = 0.5  # seconds after the deadline at which a client has to have ended
ANSWERS = [  # what the server sends in turn, and how a -t ends that runs out before the last byte of it has come
    ("challenge", (1, "not submitted")),
    ("welcome", (1, "not submitted")),
    ("accepted", (1, "unknown")),
    ("ended", (3, "submitted")),
]
LONG_JOB = "print(1, flush=True); import time; time.sleep(60)"
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has /proc/net/tcp")
posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


# How long a call takes


class Timed(NamedTuple):
    """A call that has ended, and when: seconds of time.time()."""

    code: int
    lines: list[str]
    started: float
    ended: float

    def since(self, event: str) -> float:
        """Seconds from the last line that has this to the end of the process."""
        stamp = [line for line in self.lines if event in line][-1].split()[0]
        hours, minutes, seconds = stamp.split(":")
        now = time.localtime(self.ended)
        end_of_process = now.tm_hour * 3600 + now.tm_min * 60 + now.tm_sec + self.ended % 1
        return (end_of_process - int(hours) * 3600 - int(minutes) * 60 - float(seconds)) % 86400

    def assert_ended(self, code: int, submission: str) -> None:
        assert (self.code, self.lines[-1].rpartition("; ")[2]) == (code, f"jobs: {submission}")

    def assert_ended_at_deadline(self, seconds: float, code: int, submission: str) -> None:
        self.assert_ended(code, submission)
        if code == 3:
            assert seconds <= self.since("the server has accepted the jobs") <= seconds + LATE
        else:
            assert "in time" in self.lines[-1]
            assert seconds <= self.ended - self.started
            assert self.since("info connecting") <= seconds + LATE


def timed(command, address: str, *argv: str, challenge: bool = False, **options) -> Timed:
    """The call with -v, or more of it, and one short job unless argv has another. It is killed after ten seconds."""
    login = ("-u", "R41", "-p", command.secret_file()) if challenge else ()
    jobs = () if "-c" in argv else ("-c", "pass")
    started = time.time()
    with command.start("-s", address, "-v", *login, *argv, *jobs, **options) as process:
        try:
            stdout, stderr = process.communicate(timeout=PATIENCE / 2)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
        ended = time.time()
    assert stderr == ""
    return Timed(process.returncode, stdout.splitlines(), started, ended)


# Peers


def reluctant(answer: str, instead, heartbeat: int = 0):
    """A script: the challenge login and one job in good order, but `instead(peer, answer)` for this answer."""

    def script(peer: Peer) -> None:
        send = peer.send

        def send_what_comes_before(*documents) -> None:
            for document in documents:
                if document.startswith(f"<{answer}"):
                    instead(peer, document)
                    peer.wait_for_disconnect()
                    raise Disconnected
                send(document.replace("<welcome ", f'<welcome heartbeat="{heartbeat}" ') if heartbeat else document)

        peer.send = send_what_comes_before
        challenging(*DONE)(peer)

    return script


def silence(_peer: Peer, _document: str) -> None:
    """Sends nothing."""


def send_byte_by_byte(peer: Peer, data: bytes, pause: float = 0.1) -> None:
    """Sends nothing more once the client has sent something or left."""
    with contextlib.suppress(OSError):
        for byte in data:
            peer.sock.sendall(bytes([byte]))
            if select.select([peer.sock], [], [], pause)[0]:
                return


def trickle(pause: float = 0.1):
    """Sends the answer one byte at a time."""

    def send_slowly(peer: Peer, document: str) -> None:
        send_byte_by_byte(peer, frame(document), pause)

    return send_slowly


def shut_down(share: float):
    """Sends this share of the answer's bytes, and that nothing will follow. Goes on reading."""

    def send_the_end(peer: Peer, document: str) -> None:
        data = frame(document)
        peer.sock.sendall(data[: int(len(data) * share)])
        peer.sock.shutdown(socket.SHUT_WR)

    return send_the_end


def over_tls(script, context: ssl.SSLContext):
    """The script for a client that uses tls://."""

    def with_tls(peer: Peer) -> None:
        with context.wrap_socket(peer.sock, server_side=True) as sock:
            script(Peer(sock))

    return with_tls


# One byte at a time


@pytest.mark.parametrize(("answer", "ending"), ANSWERS)
def test_an_answer_that_comes_byte_by_byte_does_not_outlast_the_deadline(command, scripted, answer, ending):
    server = scripted(reluctant(answer, trickle()))
    timed(command, server.address, "-t", "1", challenge=True).assert_ended_at_deadline(1, *ending)


@pytest.mark.parametrize(("answer", "ending"), ANSWERS[2:])
def test_a_byte_a_second_is_no_silence_but_the_deadline_holds(command, scripted, answer, ending):
    server = scripted(reluctant(answer, trickle(pause=1), heartbeat=1))
    timed(command, server.address, "-t", "4", challenge=True).assert_ended_at_deadline(4, *ending)


@pytest.mark.parametrize(("answer", "ending"), ANSWERS[2:])
def test_tls_records_of_one_byte_do_not_outlast_the_deadline(command, scripted, tmp_path, answer, ending):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = scripted(over_tls(reluctant(answer, trickle()), context))
    trusting = {**os.environ, "SSL_CERT_FILE": str(tmp_path / "authority.pem")}
    done = timed(command, f"tls://{server.address}", "-t", "1", challenge=True, env=trusting)
    done.assert_ended_at_deadline(1, *ending)


def test_a_tls_handshake_that_comes_byte_by_byte_does_not_outlast_the_deadline(command, scripted):
    def script(peer: Peer) -> None:
        peer.sock.recv(4096)
        send_byte_by_byte(peer, b"\x16\x03\x03\x10\x00\x02\x00\x0f\xfc" + bytes(200))  # a ServerHello of 4 KiB begins

    done = timed(command, f"tls://{scripted(script).address}", "-t", "1")
    done.assert_ended_at_deadline(1, 1, "not submitted")


# No message, or half of one


@pytest.mark.parametrize("scheme", ["", "tls://"])
def test_a_server_that_never_sends_anything_is_a_1_at_the_deadline(command, scripted, scheme):
    done = timed(command, scheme + scripted(Peer.wait_for_disconnect).address, "-t", "1")
    done.assert_ended_at_deadline(1, 1, "not submitted")


@pytest.mark.parametrize("scheme", ["", "tls://"])
def test_a_server_that_never_accepts_the_connection_is_a_1_at_the_deadline(command, scheme):
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # fills the backlog: further connections get no answer
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        done = timed(command, f"{scheme}127.0.0.1:{full.getsockname()[1]}", "-t", "1")
    done.assert_ended(1, "not submitted")
    assert done.ended - done.started >= 1
    assert done.since("info connecting") <= 1 + LATE


@pytest.mark.parametrize("share", [0, 0.5])
@pytest.mark.parametrize(("answer", "ending"), ANSWERS)
def test_a_peer_that_will_send_no_more_is_a_1_at_once(command, scripted, answer, ending, share):
    server = scripted(reluctant(answer, shut_down(share)))
    done = timed(command, server.address, "-t", "-1", challenge=True)
    done.assert_ended(1, ending[1])
    assert done.since("info connecting") <= LATE


# 12 times 120,000 characters, each of them five in XML: 7 MB. More than 128 KiB no option can have on Linux.
BIG_BATCH = [argument for _ in range(12) for argument in ("-c", "&" * 120_000)]


@pytest.fixture
def never_reading(scripted):
    """Makes a server that lets the client in, and reads nothing of its batch."""
    left = threading.Event()

    def make(welcome: str):
        def script(peer: Peer) -> None:
            peer.receive()
            peer.send(welcome)
            assert left.wait(PATIENCE)

        return scripted(script)

    yield make
    left.set()


def test_a_batch_that_nobody_reads_is_not_submitted_and_given_up_at_the_deadline(command, never_reading):
    done = timed(command, never_reading(WELCOME).address, "-t", "1", *BIG_BATCH)
    done.assert_ended_at_deadline(1, 1, "not submitted")


# Heartbeats


def test_silence_of_more_than_three_heartbeats_ends_the_sending_of_a_batch_that_nobody_reads(command, never_reading):
    done = timed(command, never_reading('<welcome session="s1" heartbeat="1"/>').address, "-t", "-1", *BIG_BATCH)
    done.assert_ended(1, "not submitted")
    assert 3 <= done.since("logged in") <= 3 + LATE


@pytest.mark.parametrize(
    ("answer", "submission"),
    [("accepted", "unknown"), ("started", "submitted"), ("finished", "submitted"), ("ended", "submitted")],
)
def test_silence_of_more_than_three_heartbeats_ends_the_wait_for_every_answer(command, scripted, answer, submission):
    server = scripted(reluctant(answer, silence, heartbeat=1))
    done = timed(command, server.address, "-vv", "-t", "-1", challenge=True)
    done.assert_ended(1, submission)
    assert 3 <= done.since("received <") <= 3 + LATE


# The real server, stopped or behind a link that swallows everything


class Relay:
    """Between a client and a server. Calls `at_stage(relay)` before it passes on the frame of this name."""

    def __init__(self, address: str, stage: str, at_stage) -> None:
        host, _, port = address.rpartition(":")
        self._server = (host, int(port))
        self._begin = f"<{stage}"
        self._at_stage = at_stage
        self.swallows = False

    def __call__(self, client: Peer) -> None:
        with socket.create_connection(self._server, PATIENCE) as sock:
            server = Peer(sock)
            back = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
            back.start()
            self._pass_on(client, server)
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


def swallow(relay: Relay) -> None:
    relay.swallows = True


STAGES = [
    ("login", (1, "not submitted")),
    ("response", (1, "not submitted")),
    ("jobs", (1, "unknown")),
    ("started", (3, "submitted")),
    ("output", (3, "submitted")),
]


@posix_only
def test_a_server_that_was_stopped_before_the_connection_is_a_1_at_the_deadline(command, real_server, stop_server):
    stop_server()
    done = timed(command, real_server.address, "-t", "1")
    assert any("connected to" in line for line in done.lines)  # by the kernel, whatever the server does
    done.assert_ended_at_deadline(1, 1, "not submitted")


@pytest.fixture(params=["stopped", "black hole"])
def relay_to(request, scripted, real_server, stop_server):
    """Makes the way to a real server that is gone from this stage on."""
    fault = stop_server if request.param == "stopped" else swallow
    return lambda stage: scripted(Relay(real_server.address, stage, fault))


@posix_only
@pytest.mark.parametrize(("stage", "ending"), STAGES)
def test_the_deadline_holds_when_the_server_is_gone_without_notice(command, relay_to, stage, ending):
    secret = command.secret_file()
    done = timed(command, relay_to(stage).address, "-u", "R42", "-p", secret, "-t", "1", "-c", LONG_JOB)
    done.assert_ended_at_deadline(1, *ending)


# A network that swallows everything


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


@pytest.fixture
def black_holed(namespace, command):
    """Makes a timed call in such a network."""

    def call(*argv: str) -> Timed:
        done = subprocess.run(
            [*namespace, sys.executable, "-m", "support.black_hole", str(command.folder), *argv],
            cwd=ROOT / "tests", capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return Timed(*json.loads(done.stdout))

    return call


def test_an_address_that_answers_nothing_is_a_1_at_the_deadline(black_holed):
    done = black_holed("-s", f"{NOBODY}:20000", "-v", "-t", "1", "-c", "pass")
    done.assert_ended(1, "not submitted")
    assert done.ended - done.started >= 1
    assert done.since("info connecting") <= 1 + LATE


def test_a_network_that_goes_down_is_found_by_the_heartbeat(black_holed):
    done = black_holed("-vvv", "-t", "-1", "-c", "pass")
    done.assert_ended(1, "submitted")
    assert "silent for more than 3 s" in done.lines[-1]
    assert 3 <= done.since("received <") <= 3 + LATE


def test_a_network_that_goes_down_does_not_stop_the_deadline(black_holed):
    black_holed("-v", "-t", "2", "-c", "pass").assert_ended_at_deadline(2, 3, "submitted")


# Keep-alive, as the kernel shows it


def keep_alive_is_on(local: tuple[str, int], remote: tuple[str, int]) -> bool:
    """Whether the kernel's timer for the socket with these ends is the one of keep-alive. proc(5), /proc/net/tcp."""
    ports = [f"{address[1]:04X}" for address in (local, remote)]
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = row.split()
        if [address.rpartition(":")[2] for address in fields[1:3]] == ports:
            return fields[5].startswith("02:")
    return False


@linux_only
def test_keep_alive_is_on_at_the_end_of_the_client(command, scripted):
    server = scripted(serving(STARTED))
    with command.start("-s", server.address, "-v", "-t", "-1", "-c", "pass") as process:
        try:
            assert any("job 1 started" in line for line in process.stdout)
            sock = server.peers[0].sock
            wait_until(lambda: keep_alive_is_on(sock.getpeername(), sock.getsockname()))
        finally:
            process.kill()


@linux_only
def test_keep_alive_is_on_at_the_end_of_the_server(real_server):
    with connect(real_server).log_in() as client:
        wait_until(lambda: keep_alive_is_on(client.sock.getpeername(), client.sock.getsockname()))
