"""Clients that speak before their turn, that hang up before the answer, and many honest ones at once."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from headless.server import authentication, peer
from headless.server.accounts import Account, keys_from_hash
from support import scram
from support.credentials import HASH
from support.frames import frame
from support.job_server import QuickServer
from support.raw_client import RAW_NONCE, RawClient, challenge_login, connect, in_jobs, osuser_login, py_code, response
from support.scram import WRONG_PROOF
from support.scripted_server import Disconnected
from support.server_here import ServerHere
from support.waiting import wait_until

pytestmark = pytest.mark.slow
JOBS = frame(in_jobs(py_code("open('/nonexistent/x')")))
EARLY = [pytest.param(JOBS, id="a session"), pytest.param(JOBS[:3], id="the beginning of a session")]
HONEST = 40  # more than may wait
OTHER = 65534


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all tests. The account R42 has a password, as have R1 to R19."""
    keys = keys_from_hash(HASH.encode())
    accounts = [Account(name, None, keys) for name in ("R42", *(f"R{number}" for number in range(1, 20)))]
    with QuickServer(tmp_path_factory.mktemp("server") / "home", accounts=tuple(accounts)) as server:
        yield server


@pytest.fixture
def patient_server(tmp_path, monkeypatch):
    """One in this process, where the longest wait after wrong guesses is a second."""
    monkeypatch.setattr(authentication, "_DELAY_MAX", 1.0)
    keys = keys_from_hash(HASH.encode())
    with ServerHere(tmp_path / "home", accounts=(Account("R42", None, keys),)) as server:
        yield server


def right_answer(client: RawClient, user: str) -> str:
    """To the challenge that this login gets."""
    challenge = client.ask(challenge_login(user))
    nonce, salt = challenge.attrib["nonce"], challenge.attrib["salt"]
    return response(nonce, scram.proof(HASH.encode(), scram.auth_message(user, RAW_NONCE, nonce, salt)))


def guess(client: RawClient, user: str) -> None:
    """Sends a wrong proof."""
    client.send(response(client.ask(challenge_login(user)).attrib["nonce"], WRONG_PROOF))


# Out of turn


@pytest.mark.parametrize("early", EARLY)
@pytest.mark.parametrize("login", [osuser_login(user="R41"), challenge_login("R42")], ids=["osuser", "challenge"])
def test_what_comes_together_with_the_login_is_refused(server, login, early):
    with connect(server) as client:
        client.sock.sendall(frame(login) + early)
        client.expect_refusal("protocol")


@pytest.mark.parametrize("length", [3, None], ids=["the beginning", "all"])
def test_a_response_that_comes_before_the_challenge_is_refused(server, length):
    with connect(server) as client:
        client.sock.sendall(frame(challenge_login("R42")) + frame(response(RAW_NONCE * 2, WRONG_PROOF))[:length])
        client.expect_refusal("protocol")


@pytest.mark.parametrize("early", EARLY)
def test_what_comes_together_with_the_right_response_is_refused(server, early):
    with connect(server) as client:
        client.sock.sendall(frame(right_answer(client, "R1")) + early)
        client.expect_refusal("protocol")


@pytest.mark.parametrize("early", EARLY)
def test_what_comes_while_a_guess_has_to_wait_is_refused(patient_server, early, monkeypatch):
    for _ in range(3):
        with connect(patient_server) as client:
            guess(client, "R42")
            client.expect_refusal("login")
    monkeypatch.setattr(authentication, "_FIRST_DELAY", 1.0)  # time enough to send something meanwhile
    with connect(patient_server) as client:
        client.send(right_answer(client, "R42"))
        waiting = patient_server.server._parts.authenticator._throttle._waiting
        wait_until(lambda: waiting)
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


def guesses_of_one_who_hangs_up(server: QuickServer, user: str, count: int) -> int:
    """How many guesses are answered of so many that are made on each of ten connections at a time, by somebody who
    waits 20 ms for each answer."""
    answered = [0] * 10

    def attack(number: int) -> None:
        for _ in range(count):
            with connect(server) as client:
                guess(client, user)
                client.sock.settimeout(0.02)
                with suppress(socket.timeout):
                    answered[number] += 'reason="login"' in client.receive()

    threads = [threading.Thread(target=attack, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answered)


def test_who_hangs_up_before_the_answer_gets_no_more_guesses(server):
    assert guesses_of_one_who_hangs_up(server, "R4", 10) <= 2  # those that are free


def test_the_right_password_after_many_guesses_is_let_in_in_time(patient_server):
    for _ in range(4):
        with connect(patient_server) as client:
            guess(client, "R42")
            client.expect_refusal("login")
    guesses_of_one_who_hangs_up(patient_server, "R42", 1)
    with connect(patient_server) as client:
        before = time.monotonic()
        assert client.ask(right_answer(client, "R42")).tag == "welcome"
        assert 0.9 < time.monotonic() - before < 10  # 1.0


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
        assert time.monotonic() - before < 6  # 0.05; who has to wait with the guesser does so for eight, each time


def test_who_closes_early_so_that_the_kernel_may_not_say_who_it_is_gets_no_more_guesses(server):
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
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(HONEST)]
        before = time.monotonic()
        answers = [right_answer(client, "R42") for client in clients]
        for client, answer in zip(clients, answers):
            client.send(answer)
        assert [client.element().tag for client in clients] == ["welcome"] * HONEST
        assert time.monotonic() - before < 10  # 0.5
