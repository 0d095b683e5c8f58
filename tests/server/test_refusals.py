"""What the server refuses: what is not the protocol or out of turn, guesses, and sessions that cannot be run."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from headless.server import authentication, peer
from support.frames import frame
from support.job_server import R42, QuickServer, states
from support.raw_client import (
    RAW_NONCE,
    RawClient,
    challenge_login,
    connect,
    in_jobs,
    osuser_login,
    py_code,
    response,
    right_answer,
    run,
)
from support.scram import WRONG_PROOF
from support.scripted_server import Disconnected
from support.server_here import ServerHere
from support.waiting import wait_until

pytestmark = pytest.mark.slow


# What is not the protocol


def test_another_version_is_refused_as_that(server):
    for version in ("2", "11", "0"):
        with connect(server) as client:
            client.send(f'<login version="{version}" client="test" auth_type="new" token="1"/>')
            client.expect_refusal("version")


def test_a_login_with_a_logout_behind_it_in_one_piece_is_no_login(server):
    with connect(server) as client:
        client.send(osuser_login(user="R41"), "<logout/>")
        client.expect_end()


NOT_THE_PROTOCOL = {
    "a frame beyond 4096 bytes": struct.pack(">I", 4097),
    "another protocol": b"GET / HTTP/1.1\r\n\r\n",
    "no XML": frame("hello"),
    "an unknown message": frame("<shutdown/>"),
    "jobs before the login": frame(in_jobs(py_code("1"))),
    "a nonce that is too short": frame(challenge_login("R42").replace(RAW_NONCE, RAW_NONCE[:-1])),
}
NOT_AFTER_WELCOME = {
    "a second login": frame(osuser_login(user="R41")),
    "another version": frame('<login version="2"/>'),
    "an unknown kind of job": frame("<jobs><shell>rm</shell></jobs>"),
    "a frame beyond 16 MiB": struct.pack(">I", 16 * 1024 * 1024 + 1),
}


def test_what_is_not_the_protocol_is_refused_before_and_after_the_login(server):
    for cases, user in ((NOT_THE_PROTOCOL, ""), (NOT_AFTER_WELCOME, "R41")):
        for case, data in cases.items():
            print(case)
            with connect(server) as client:
                if user:
                    client.log_in(user)
                client.sock.sendall(data)
                client.expect_refusal("protocol")


def test_a_second_session_is_refused_and_does_not_run(server, gate, tmp_path):
    marker = tmp_path / "marker"
    with connect(server).log_in() as client:
        client.submit(py_code(gate.code))
        client.expect("started")
        client.send(in_jobs(py_code(f"open({str(marker)!r}, 'w')")))
        client.expect_refusal("protocol")
        gate.open()
        wait_until(lambda: states(server, client.session) == ["ok"])
    assert not marker.exists()


def test_a_message_may_come_byte_by_byte(server):
    with connect(server) as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in frame(osuser_login(user="R41")):
            client.sock.send(bytes([byte]))
        client.expect("welcome")


# Sessions that are refused


NO_JOBS = (
    "<module>009ABC</module>",
    "<module>../outside</module>",
    "<module>..</module>",
    "<py_file>absent.py</py_file>",
    "<py_file>../outside.py</py_file>",
    "<py_file>folder/../../outside.py</py_file>",
    "<py_file>{outside}</py_file>",
    "<py_file>link.py</py_file>",
    "<py_file>linked/outside.py</py_file>",
    "<py_file>circle</py_file>",
    "<py_file>folder</py_file>",
    "<py_file>.</py_file>",
    f"<py_file>{'x' * 300}</py_file>",  # a name that no file can have
)


def test_a_session_with_a_job_that_cannot_be_is_refused_as_a_whole_and_a_link_below_py_is_a_file_like_others(
    server, tmp_path, files_outside
):
    marker, sessions = tmp_path / "marker", []
    for job in NO_JOBS:
        with connect(server).log_in() as client:
            first = py_code(f"open({str(marker)!r}, 'w')")
            client.send(in_jobs(first, job.format(outside=files_outside)))
            client.expect_refusal("jobs")
            sessions.append(client.session)
    assert run(server, py_code("1")).ended == "ok"
    assert not marker.exists()
    for session in sessions:
        assert states(server, session) == []
        assert not list(server.home.glob(f"output/{session}*"))
    if os.name != "nt":
        assert run(server, "<py_file>alias.py</py_file>").output == {(1, "stdout"): "real\n"}


@pytest.fixture(scope="module")
def files_outside(server):
    """A file that exists outside of py/, the ways to it, and a link to one in it."""
    outside = server.home / "outside.py"
    outside.write_text("print('outside')")
    (server.home / "py" / "folder").mkdir()
    (server.home / "py" / "link.py").symlink_to(outside)
    (server.home / "py" / "linked").symlink_to(server.home)
    (server.home / "py" / "circle").symlink_to("circle")
    (server.home / "py" / "real.py").write_text("print('real')")
    (server.home / "py" / "alias.py").symlink_to("real.py")
    return outside


JOBS = frame(in_jobs(py_code("open('/nonexistent/x')")))

EARLY = [pytest.param(JOBS, id="a session"), pytest.param(JOBS[:3], id="the beginning of a session")]

OTHER = 65534


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server whose accounts R42 and R1 to R19 have a password."""
    accounts = (R42, *(R42._replace(user=f"R{number}") for number in range(1, 20)))
    with QuickServer(tmp_path_factory.mktemp("server") / "home", accounts=accounts) as server:
        yield server


@pytest.fixture
def patient_server(tmp_path, monkeypatch):
    """A server where the longest wait after wrong guesses is a second."""
    monkeypatch.setattr(authentication, "_DELAY_MAX", 1.0)
    with ServerHere(tmp_path / "home", accounts=(R42,)) as server:
        yield server


def guess(client: RawClient, user: str) -> None:
    """Sends a wrong proof."""
    client.send(response(client.ask(challenge_login(user)).attrib["nonce"], WRONG_PROOF))


# Out of turn


RESPONSE = frame(response(RAW_NONCE * 2, WRONG_PROOF))


@pytest.mark.parametrize(
    "early", [*EARLY, pytest.param(RESPONSE, id="a response"), pytest.param(RESPONSE[:3], id="its beginning")]
)
def test_what_comes_together_with_a_login_or_a_response_is_refused(server, early):
    for login in (osuser_login(user="R41"), challenge_login("R42")):
        with connect(server) as client:
            client.sock.sendall(frame(login) + early)
            client.expect_refusal("protocol")
    with connect(server) as client:
        client.sock.sendall(frame(right_answer(client, "R1")) + early)
        client.expect_refusal("protocol")


@pytest.mark.parametrize("early", EARLY)
def test_what_comes_while_a_guess_has_to_wait_is_refused(patient_server, early, monkeypatch):
    for _ in range(3):
        with connect(patient_server) as client:
            guess(client, "R42")
            client.expect_refusal("login")
    for delay in ("_FIRST_DELAY", "_DELAY_MAX"):
        monkeypatch.setattr(authentication, delay, 2.0)  # time enough to send something meanwhile
    with connect(patient_server) as client:
        client.send(right_answer(client, "R42"))
        time.sleep(0.2)  # at once it would come with the answer, which is refused, too
        client.sock.sendall(early)
        client.expect_refusal("protocol")


@pytest.mark.version("asyncio")
@pytest.mark.skipif(not peer.knows_owners(), reason="the name service is asked where connections have owners")
@pytest.mark.parametrize("early", EARLY)
def test_what_comes_while_the_name_service_is_asked_is_refused(tmp_path, monkeypatch, early):
    asked, is_sent = threading.Event(), threading.Event()

    def is_user(*_):
        asked.set()
        is_sent.wait(10)
        time.sleep(0.1)  # in which the server gets it
        return True

    monkeypatch.setattr(peer, "is_user", is_user)
    with ServerHere(tmp_path / "home") as server, RawClient(server.address) as client:
        client.send(osuser_login())
        assert asked.wait(10)
        client.sock.sendall(early)
        is_sent.set()
        client.expect_refusal("protocol")


# Guesses


def test_hanging_up_brings_no_more_guesses_and_the_right_password_is_let_in_in_time(patient_server):
    answered = 0
    for _ in range(30):
        with connect(patient_server) as client:
            guess(client, "R42")
            client.sock.settimeout(0.02)
            with suppress(socket.timeout):
                answered += 'reason="login"' in client.receive()
    assert answered <= 2  # those that are free
    with connect(patient_server) as client:
        before = time.monotonic()
        assert client.ask(right_answer(client, "R42")).tag == "welcome"
        assert time.monotonic() - before > 0.9  # 1.0


@contextmanager
def sockets_of(uid: int) -> Iterator[None]:
    """The sockets that are made meanwhile belong to this user."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


as_root = pytest.mark.skipif(
    not peer.knows_owners() or os.geteuid() != 0, reason="root makes sockets of others, and Linux says whose they are"
)


@as_root
@pytest.mark.parametrize("guesser", [OTHER, 0])
def test_guesses_of_one_user_of_the_machine_hold_up_no_other(server, guesser):
    user, honest = f"R{6 + (guesser == 0)}", OTHER if guesser == 0 else 0
    with ExitStack() as stack:
        with sockets_of(guesser):
            guessers = [stack.enter_context(connect(server)) for _ in range(16)]
        for client in guessers:
            guess(client, user)
        before = time.monotonic()
        for _ in range(6):
            with sockets_of(honest), connect(server) as client:
                assert client.ask(right_answer(client, user)).tag == "welcome"
        assert time.monotonic() - before < 6  # 0.05; with the guesser each of them waits for eight


def test_closing_early_so_that_the_kernel_may_not_name_the_user_brings_no_more_guesses(server):
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(30)]
        for client in clients:
            guess(client, "R8")
            client.sock.shutdown(socket.SHUT_WR)
        for client in clients:
            with suppress(Disconnected):
                client.receive()
    answered = sum('reason="login"' in client.received[-1] for client in clients)
    assert answered <= 4  # twice those that are free: of its user, and of those whose user is not known


def test_many_who_know_the_password_are_all_let_in_at_once(server):
    count = 40  # more than may wait
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(count)]
        before = time.monotonic()
        answers = [right_answer(client, "R42") for client in clients]
        for client, answer in zip(clients, answers):
            client.send(answer)
        assert [client.element().tag for client in clients] == ["welcome"] * count
        assert time.monotonic() - before < 10  # 0.5
