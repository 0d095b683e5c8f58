"""Peers that are slow or silent: the one deadline of the client holds within half a second of real time, and heartbeats
end a dead wait. What the deadlines are, with a clock of the test's own, is in test_deadlines_and_addresses.py."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable

import pytest
import trustme

from support.dialogues import DONE, WELCOME, challenging
from support.frames import frame
from support.process import PATIENCE
from support.scripted_server import Disconnected, Peer, Script
from support.sockets import full_listener
from support.timed_call import LATE, timed

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
        done = timed(command, scheme + full_listener(stack), "-t", "1")
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
