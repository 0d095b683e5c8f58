"""Peers that are slow or silent: the one deadline of the client holds within half a second, and heartbeats end a dead
wait. Here in this process, with times of a tenth, on a clock that stands still until the peer is slow; and at the end
of this file as processes in real time. What the deadlines are, with a clock of the test's own, is in
test_stream.py."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable

import pytest

from headless.client import connection
from headless.dialects.base import Accepted, LoggedIn
from support.clock import StillClock
from support.command_here import CommandHere, Ended
from support.dialogues import DONE, WELCOME, challenging
from support.frames import frame
from support.process import PATIENCE
from support.scripted_server import Disconnected, Peer, Script
from support.sockets import full_listener
from support.timed_call import LATE, ended_together, stalls, start_timed

pytestmark = pytest.mark.slow
TENTH = 0.1  # of a second: the deadline, or three heartbeats
LATE_HERE = 4 * LATE  # where the peers are threads of the same process, and the machine may be busy
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


def silence(_peer: Peer, _document: str) -> None:
    """Sends nothing."""


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
def test_a_server_that_never_sends_anything_is_a_1_at_the_deadline(here, scripted, scheme):
    clock = StillClock()

    def script(peer: Peer) -> None:
        clock.start()
        peer.wait_for_disconnect()

    done = call(here, clock, TENTH, scheme + scripted(script).address)
    assert_ended_at_deadline(done, clock, 1, "not submitted")


@pytest.mark.parametrize("scheme", ["", "tls://"])
def test_a_server_that_never_accepts_the_connection_is_a_1_at_the_deadline(here, scheme):
    clock = StillClock()
    with contextlib.ExitStack() as stack:
        address = full_listener(stack)
        clock.start()
        done = call(here, clock, TENTH, scheme + address)
    assert_ended_at_deadline(done, clock, 1, "not submitted")


@pytest.mark.parametrize("share", [0, 0.5])
@pytest.mark.parametrize(("answer", "ending"), ANSWERS)
def test_a_peer_that_will_send_no_more_is_a_1_at_once(here, scripted, answer, ending, share):
    clock = StillClock()

    def end(peer: Peer, document: str) -> None:
        clock.start()
        shut_down(share)(peer, document)

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


def test_a_session_that_nobody_reads_is_not_submitted_and_given_up_at_the_deadline(here, never_reading):
    clock = StillClock(start_at=LoggedIn)
    done = call(here, clock, TENTH, never_reading(WELCOME).address, *BIG_SESSION)
    assert_ended_at_deadline(done, clock, 1, "not submitted")


# Heartbeats


@pytest.fixture
def quick_heartbeats(monkeypatch):
    """Three of them last as long as a tenth of one."""
    monkeypatch.setattr(connection, "_MAX_MISSED_HEARTBEATS", TENTH)


@pytest.mark.usefixtures("quick_heartbeats")
def test_silence_of_more_than_three_heartbeats_ends_the_sending_of_a_session_that_nobody_reads(here, never_reading):
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


# As processes, in real time


@pytest.mark.version("select and its time-outs")
def test_deadlines_and_heartbeats_hold_in_real_time(command, scripted):
    """All of them at the same time, and with what the machine itself is late."""
    calls = {
        "nothing": (scripted(Peer.wait_for_disconnect).address, "-t", "1"),
        "silent": (scripted(reluctant("accepted", silence, heartbeat=1)).address, "-t", "-1"),
        "slow": (scripted(reluctant("accepted", trickle(pause=1), heartbeat=1)).address, "-t", "4"),
        "slow at the end": (scripted(reluctant("ended", trickle(pause=1), heartbeat=1)).address, "-t", "4"),
    }
    secret = command.secret_file()  # once: a call may be reading it
    with stalls() as late:
        started = [start_timed(command, *argv, secret=secret) for argv in calls.values()]
        done = dict(zip(calls, ended_together(started)))
    done["nothing"].assert_ended_at_deadline(1, 1, "not submitted", late())
    done["slow"].assert_ended_at_deadline(4, 1, "unknown", late())
    done["slow at the end"].assert_ended_at_deadline(4, 3, "submitted", late())
    done["silent"].assert_ended(1, "unknown")
    assert "silent for more than 3 s" in done["silent"].lines[-1]
    assert 3 <= done["silent"].since("logged in") <= 3 + LATE + late()
