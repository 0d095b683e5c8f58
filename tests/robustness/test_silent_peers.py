"""Peers that are slow, silent or gone: the one deadline of the client holds within half a second, and
heartbeats end a dead wait. Most calls are in this process, with times of a tenth of a second on a clock that does not
move before the peer is slow; four are processes in real time."""

from __future__ import annotations

import contextlib
import select
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from headless.client import connection
from headless.dialects.base import Accepted, LoggedIn
from support.clock import StillClock
from support.command_here import CommandHere, Ended
from support.dialogues import DONE, WELCOME, challenging
from support.frames import frame
from support.process import PATIENCE
from support.scripted_server import Disconnected, Peer, Script, ScriptedServer
from support.sockets import full_listener
from support.stalls import stalls

pytestmark = pytest.mark.slow
TENTH = 0.1  # of a second: the deadline, or three heartbeats
LATE = 0.5  # seconds after the deadline at which a client has to have ended
LATE_HERE = 5.0  # in the process of the tests, on a busy machine: half of what a slow peer takes
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


def be_silent(_peer: Peer, _document: str) -> None:
    pass


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


def trickle_by(clock: StillClock) -> Instead:
    def start(peer: Peer, document: str) -> None:
        if "<ended" not in document:
            clock.start()
        trickle()(peer, document)

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
def test_an_answer_that_does_not_come_whole_does_not_outlast_the_deadline(here, scripted, answer, ending):
    clock = clock_for(answer)
    server = scripted(reluctant(answer, trickle_by(clock)))
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
    server = scripted(over_tls(reluctant(answer, trickle_by(clock)), context))
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


# Nothing at all, and nothing that is read


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


# As processes, in real time


@pytest.mark.version("select and its time-outs")
def test_deadlines_and_heartbeats_hold_in_real_time(command, scripted):
    """All of them at the same time, and with what the machine itself is late."""
    nothing = scripted(Peer.wait_for_disconnect)
    silent, slow, slow_at_the_end = (
        scripted(reluctant(answer, instead, heartbeat=1))
        for answer, instead in (("accepted", be_silent), ("accepted", trickle(pause=1)), ("ended", trickle(pause=1)))
    )
    calls = [  # seconds, how it ends, and why
        (nothing, "1", 1, (1, "not submitted"), "in time"),
        (silent, "-1", 3, (1, "unknown"), "silent for more than 3 s"),
        (slow, "4", 4, (1, "unknown"), "in time"),
        (slow_at_the_end, "4", 4, (3, "submitted"), ""),
    ]
    secret = command.secret_file()

    def end_of(server: ScriptedServer, timeout: str) -> tuple[Ended, float, float]:
        """How the call ends; seconds from before its process was started, and from its first line."""
        begun = time.monotonic()
        done = command("-v", "-u", "R41", "-p", secret, "-c", "pass", "-s", server.address, "-t", timeout)
        connecting = datetime.strptime(done.stdout[:23], "%Y-%m-%d %H:%M:%S.%f")
        return done, time.monotonic() - begun, (datetime.now() - connecting).total_seconds()

    with stalls() as late, ThreadPoolExecutor(len(calls)) as pool:
        ends = list(pool.map(lambda call: end_of(*call[:2]), calls))
    for (done, at_most, at_least), (_, _, seconds, ending, why) in zip(ends, calls):
        assert why in assert_ended(done, *ending)
        assert at_most >= seconds
        assert at_least <= seconds + LATE + late(), done.stdout
