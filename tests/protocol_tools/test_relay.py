"""The relay of `headless protocol record` passes on what is said, unchanged and undelayed, and records it."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headless.options import Service
from headless.protocol_tools.recordings import CLIENT, SERVER, Folder
from headless.protocol_tools.relay import Recorder, Relay
from support.process import PATIENCE
from support.sockets import reset

RANDOM = random.Random(1)


class Relayed(NamedTuple):
    port: int
    folder: Folder
    problems: list[str]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def said(self, name: str = "0001") -> list[tuple[str, bytes]]:
        return [(piece.sender, piece.data) for piece in self.folder.pieces(name)]

    def joined(self, sender: str, name: str = "0001") -> bytes:
        return b"".join(data for each, data in self.said(name) if each == sender)


@contextmanager
def relaying(
    path: Path, port: int, upstream: ssl.SSLContext | None = None, downstream: ssl.SSLContext | None = None
) -> Iterator[Relayed]:
    """A relay to this port, in a thread. At the end all is recorded."""
    folder, problems = Folder(path / "talk"), list[str]()
    folder.create()
    recorder = Recorder(folder, problems.append, lambda _: None)
    service = Service("localhost" if upstream else "127.0.0.1", port, upstream is not None)
    relay = Relay(recorder, problems.append, service, upstream, downstream)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: problems.append(str(context)))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE)

    server = run(relay.listen("127.0.0.1", 0))
    try:
        yield Relayed(server.sockets[0].getsockname()[1], folder, problems)
    finally:
        loop.call_soon_threadsafe(server.close)
        run(relay.close(1))
        recorder.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def test_bytes_pass_unchanged_and_a_half_close_closes_one_half(tmp_path, scripted):
    question, answer = RANDOM.randbytes(3_000_000), RANDOM.randbytes(2_000_000)
    received = []

    def script(peer):
        received.append(read_all(peer.sock))
        peer.sock.sendall(answer)

    with relaying(tmp_path, scripted(script).port) as relayed:
        with relayed.connect() as client:
            client.sendall(question)
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == answer
        assert received == [question]
    assert relayed.joined(CLIENT) == question
    assert relayed.joined(SERVER) == answer
    said = relayed.said()
    assert said.index((CLIENT, b"")) < said.index((SERVER, b"")) == len(said) - 1
    assert relayed.problems == []


def test_each_byte_passes_at_once_and_the_recording_has_the_order(tmp_path, scripted):
    """Each side waits for the other one's byte."""

    def script(peer):
        peer.sock.sendall(b"!")
        while data := peer.sock.recv(1):
            peer.sock.sendall(data)

    with relaying(tmp_path, scripted(script).port) as relayed, relayed.connect() as client:
        assert client.recv(1) == b"!"
        for number in range(100):
            client.sendall(bytes([number]))
            assert client.recv(1) == bytes([number])
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    echoed = [(sender, bytes([number])) for number in range(100) for sender in (CLIENT, SERVER)]
    assert relayed.said() == [(SERVER, b"!"), *echoed, (CLIENT, b""), (SERVER, b"")]
    times = [piece.seconds for piece in relayed.folder.pieces("0001")]
    assert times == sorted(times)
    assert times[0] >= 0


def test_what_one_side_says_reaches_a_side_that_has_ended_its_own_half_and_reads_late(tmp_path, scripted):
    data, received, may_read = RANDOM.randbytes(1_000_000), [], threading.Event()

    def script(peer):
        peer.sock.shutdown(socket.SHUT_WR)
        assert may_read.wait(PATIENCE)
        received.append(read_all(peer.sock))

    server = scripted(script)
    with relaying(tmp_path, server.port) as relayed:
        with relayed.connect() as client:
            assert client.recv(1) == b""
            threading.Timer(0.2, may_read.set).start()
            client.sendall(data)
        server.close()
    assert received == [data]


def test_a_connection_that_is_still_open_at_the_end_is_closed_without_a_word(tmp_path, scripted):
    def script(peer):
        peer.sock.sendall(b"y")
        with suppress(ConnectionResetError):
            peer.sock.recv(1)

    server = scripted(script)
    with relaying(tmp_path, server.port) as relayed:
        client = relayed.connect()
        assert client.recv(1) == b"y"
    server.close()
    client.close()
    assert relayed.problems == []


@pytest.mark.parametrize("who", [CLIENT, SERVER])
def test_a_reset_is_passed_on_as_one_and_is_no_end(who, tmp_path, scripted):
    ends = []

    def end(sock):
        try:
            ends.append(sock.recv(1))
        except ConnectionResetError:
            ends.append("reset")

    def script(peer):
        assert peer.sock.recv(1) == b"x"
        peer.sock.sendall(b"y")
        if who == SERVER:
            peer.sock.recv(1)
            reset(peer.sock)
        else:
            end(peer.sock)

    server = scripted(script)
    with relaying(tmp_path, server.port) as relayed, relayed.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"y"
        if who == CLIENT:
            reset(client)
        else:
            client.sendall(b"z")
            end(client)
        server.close()
    assert ends == ["reset"]
    assert (who, b"") not in relayed.said()
    assert relayed.said()[:2] == [(CLIENT, b"x"), (SERVER, b"y")]


def test_a_reset_ends_no_other_connection_and_no_other_recording(tmp_path, scripted):
    def script(peer):
        while data := peer.sock.recv(100):
            peer.sock.sendall(data)

    with relaying(tmp_path, scripted(script).port) as relayed:
        clients = [relayed.connect() for _ in range(10)]
        for number, client in enumerate(clients):
            client.sendall(b"%d" % number)
            assert client.recv(100) == b"%d" % number
            if number % 2:
                reset(client)
        for number, client in enumerate(clients[::2]):
            client.sendall(b"again %d" % number)
            assert client.recv(100) == b"again %d" % number
            client.close()
    said = [relayed.joined(SERVER, f"{number:04d}") for number in range(1, 11)]
    assert sorted(said) == sorted([b"%d" % n for n in range(1, 10, 2)] + [b"%dagain %d" % (2 * n, n) for n in range(5)])


def test_a_server_that_is_not_there_is_said_in_a_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    with relaying(tmp_path, port) as relayed, suppress(ConnectionResetError), relayed.connect() as client:
        assert client.recv(1) == b""
    assert relayed.problems == [f"no connection to 127.0.0.1:{port}: Connection refused"]
    assert os.listdir(relayed.folder.path) == []


@pytest.fixture(scope="module")
def authority():
    import trustme  # which takes long to import

    return trustme.CA()


def contexts(authority: Any) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server and of a client that trusts it."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


@pytest.mark.slow
@pytest.mark.parametrize(("up", "down"), [(True, False), (False, True), (True, True)])
def test_tls_on_either_side_is_recorded_as_what_is_in_it(up, down, authority, tmp_path, scripted):
    question, answer = RANDOM.randbytes(300_000), RANDOM.randbytes(200_000)
    for_server, for_client = contexts(authority)

    def script(peer):
        sock = for_server.wrap_socket(peer.sock, server_side=True) if up else peer.sock
        with sock:
            data = b""
            while len(data) < len(question):
                data += sock.recv(65536)
            assert data == question
            sock.sendall(answer)

    server = scripted(script)
    with relaying(tmp_path, server.port, for_client if up else None, for_server if down else None) as relayed:
        with relayed.connect() as plain:
            client = for_client.wrap_socket(plain, server_hostname="localhost") if down else plain
            with client:
                client.sendall(question)
                received = b""
                while len(received) < len(answer):
                    received += client.recv(65536)
        server.close()
    assert received == answer
    assert relayed.joined(CLIENT) == question
    assert relayed.joined(SERVER) == answer


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python 3.9 leaves a transport open
def test_a_server_whose_certificate_is_not_trusted_is_said_in_a_line(authority, tmp_path, scripted):
    for_server, _ = contexts(authority)

    def script(peer):
        with suppress(ssl.SSLError):
            for_server.wrap_socket(peer.sock, server_side=True)

    upstream = ssl.create_default_context()
    port = scripted(script).port
    with relaying(tmp_path, port, upstream) as relayed, suppress(ConnectionResetError), relayed.connect() as client:
        assert client.recv(1) == b""
    (problem,) = relayed.problems
    assert "CERTIFICATE_VERIFY_FAILED" in problem or "certificate verify failed" in problem
    assert "\n" not in problem
    gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python 3.9 leaves a transport open
def test_a_server_that_speaks_no_tls_is_said_in_a_line(tmp_path, scripted):
    server = scripted(lambda peer: peer.sock.recv(100))
    upstream = ssl.create_default_context()
    port = server.port
    with relaying(tmp_path, port, upstream) as relayed, suppress(ConnectionResetError), relayed.connect() as client:
        assert client.recv(1) == b""
    (problem,) = relayed.problems
    assert problem.startswith(f"no connection to tls://localhost:{server.port}: ")
    assert not problem.endswith(": ")
    gc.collect()


def test_a_disk_that_is_too_slow_ends_the_recording_and_not_the_conversation(tmp_path, scripted, monkeypatch):
    may_write = threading.Event()
    monkeypatch.setattr("headless.protocol_tools.relay._MAX_WAITING", 4)
    monkeypatch.setattr("headless.protocol_tools.relay.write_all", lambda *_: may_write.wait(PATIENCE) and None)

    def script(peer):
        while data := peer.sock.recv(1):
            peer.sock.sendall(data)

    with relaying(tmp_path, scripted(script).port) as relayed:
        with relayed.connect() as client:
            for _ in range(50):
                client.sendall(b"x")
                assert client.recv(1) == b"x"
        may_write.set()
    assert relayed.problems == ["the recording ends here: the disk is too slow; the connections go on"]
