"""The client's time and addresses: one deadline, heartbeats, every address of a name."""

from __future__ import annotations

import os
import re
import socket
import ssl
import threading
import time
from contextlib import ExitStack, nullcontext, suppress

import pytest

from headless.client import connection
from headless.client import stream as stream_module
from headless.client.output import Console
from headless.client.stream import connect
from headless.client.waiting import READ, DeadlinePassed, Waiter
from headless.errors import ConnectionLost, RemoteProtocolError, SessionError, Submission, TimedOut
from headless.options import Service, parse
from support.clock import Clock
from support.command_here import headless
from support.dialogues import ACCEPTED, DONE, WELCOME, serving
from support.frames import frame
from support.job_server import QuickServer
from support.process import PATIENCE
from support.scripted_server import ScriptedServer
from support.sessions import session_for
from support.sockets import full_listener, full_socket


@pytest.fixture
def waiter():
    with Waiter() as waiter:
        yield waiter


def session_with(server, waiter, *argv, console=Console):
    options = parse(["-s", server.address, "-c", "pass", *argv])
    return session_for(options, None, console(0, waiter), waiter)


# Addresses


def test_a_refused_connection_is_named_as_that(waiter):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        service = Service("127.0.0.1", closed.getsockname()[1], tls=False)
    with pytest.raises(ConnectionLost, match=r"[Rr]efused"):
        connect(service, waiter)


def test_an_error_that_only_the_sockets_of_windows_have_is_named_too(waiter, monkeypatch):
    monkeypatch.setattr(socket, "errorTab", {10061: "Connection refused."}, raising=False)
    monkeypatch.setattr(socket.socket, "getsockopt", lambda *_: 10061)
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        pytest.raises(ConnectionLost, match=re.escape("127.0.0.1: Connection refused)")),
    ):
        connect(Service("127.0.0.1", listening.getsockname()[1], tls=False), waiter)


def resolving_to(monkeypatch, *addresses):
    def look_up(_host, port, *, flags, **_):
        if flags & socket.AI_NUMERICHOST or not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no numbers")
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.slow
def test_an_address_that_swallows_everything_costs_a_quarter_of_a_second(monkeypatch, scripted, waiter):
    server = scripted(serving(*DONE))
    with ExitStack() as stack:
        full_listener(stack, "127.0.0.2", server.port)
        resolving_to(monkeypatch, (socket.AF_INET, "127.0.0.2"), (socket.AF_INET, "127.0.0.1"))
        waiter.set_deadline(PATIENCE)
        begun = time.monotonic()
        stream = connect(Service("several.example", server.port, False), waiter)
        assert time.monotonic() - begun >= 0.2
        assert stream_module._NEXT_ADDRESS_SECONDS == 0.25
        assert stream.peer.startswith("127.0.0.1 ")
        stream.close()


@pytest.mark.slow
def test_an_address_that_answers_late_still_counts(monkeypatch, waiter):
    """It is the first one that has been called, and the next one answers nothing at all."""
    with ExitStack() as stack:
        late = full_socket(stack, "127.0.0.2", 0)
        port = late.getsockname()[1]
        full_listener(stack, "127.0.0.3", port)
        resolving_to(monkeypatch, (socket.AF_INET, "127.0.0.2"), (socket.AF_INET, "127.0.0.3"))
        threading.Timer(0.5, late.listen, (10,)).start()  # which makes room
        waiter.set_deadline(PATIENCE)
        stream = connect(Service("several.example", port, False), waiter)
        assert stream.peer.startswith("127.0.0.2 ")
        stream.close()


def test_addresses_of_both_families_take_turns_until_one_answers(monkeypatch, scripted, waiter):
    addresses = [
        (socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::1%lo"),
        (socket.AF_INET, "127.0.0.2"),
        (socket.AF_INET, "127.0.0.3"),
    ]
    resolving_to(monkeypatch, *addresses)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        waiter.set_deadline(PATIENCE)
        with pytest.raises(ConnectionLost, match=r"::1: .*127\.0\.0\.2: .*::1%lo: .*127\.0\.0\.3: "):
            connect(Service("several.example", unused.getsockname()[1], False), waiter)
    resolving_to(monkeypatch, *addresses, (socket.AF_INET, "127.0.0.1"))
    stream = connect(Service("several.example", scripted(serving(*DONE)).port, False), waiter)
    assert stream.peer.startswith("127.0.0.1 ")
    stream.close()


def test_a_resolver_that_hangs_does_not_outlast_the_deadline(monkeypatch, waiter):
    def hang(*_, flags, **__):
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no numbers")
        time.sleep(60)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    waiter.set_deadline(0.1)
    with pytest.raises(DeadlinePassed):
        connect(Service("several.example", 1, False), waiter)


def test_a_welcome_that_was_there_before_the_login_is_no_answer_to_it(monkeypatch, scripted, waiter):
    def script(peer):
        peer.send(WELCOME, ACCEPTED)
        peer.wait_for_disconnect()

    waiter.set_deadline(10)

    def connect_and_wait_for_what_comes(service, waiter):
        stream = connect(service, waiter)
        assert waiter.wait(stream._socket, READ)
        return stream

    monkeypatch.setattr(connection, "connect", connect_and_wait_for_what_comes)
    with pytest.raises(RemoteProtocolError, match="nothing has been sent yet"):
        session_with(scripted(script), waiter).run()


# The deadline before acceptance


@pytest.mark.parametrize(
    ("argv", "seconds"), [((), 30), (("-t", "0"), 30), (("-t", "-1"), 30), (("-t", "31"), 30), (("-t", "5"), 5)]
)
def test_acceptance_is_waited_for_30_seconds_at_most_and_no_longer_than_the_time_out(scripted, argv, seconds):
    clock = Clock()

    def script(peer):
        peer.receive()
        peer.send(WELCOME)
        peer.receive()
        clock.now += seconds - 0.1
        peer.send("<alive/>")
        clock.now += 0.1
        peer.send("<alive/>")
        peer.wait_for_disconnect()

    with Waiter(clock) as waiter:
        call = session_with(scripted(script), waiter, *argv)
        with pytest.raises(SessionError, match="not accepted"):
            call.run()
    assert call.verdict.submission is Submission.UNKNOWN


def test_the_deadline_holds_against_a_server_that_never_stops_sending(scripted):
    alive = "<alive" + " " * 4000 + "/>"

    def script(peer):
        peer.receive()
        peer.send(WELCOME)
        while True:
            peer.send(alive)

    with Waiter(Clock(step=1)) as waiter, pytest.raises(SessionError, match="not accepted"):
        session_with(scripted(script), waiter).run()


def test_the_deadline_is_one_for_all_bytes_and_not_one_for_each(scripted):
    clock = Clock()

    def script(peer):
        peer.receive()
        for byte in frame(WELCOME):
            clock.now += 1
            peer.sock.sendall(bytes([byte]))
        peer.receive()
        peer.send(ACCEPTED)
        peer.wait_for_disconnect()

    with Waiter(clock) as waiter, pytest.raises(SessionError, match="not accepted"):
        session_with(scripted(script), waiter, "-t", "10").run()


# The time out after acceptance


@pytest.mark.parametrize(
    ("timeout", "seconds", "is_in_time"),
    [("10", 9.9, True), ("10", 10, False), ("-1", 10_000_000, True)],  # without heartbeat silence has no limit
)
def test_the_time_out_counts_from_acceptance(scripted, timeout, seconds, is_in_time):
    clock = Clock()

    def script(peer):
        peer.receive()
        clock.now += 9  # of 10 s, which count for nothing once the jobs are accepted
        peer.send(WELCOME)
        peer.receive()
        peer.send(ACCEPTED, *DONE)
        peer.wait_for_disconnect()

    class Watching(Console):
        def info(self, text):
            if "job 1 started" in text:
                clock.now += seconds

    with Waiter(clock) as waiter:
        call = session_with(scripted(script), waiter, "-t", timeout, console=Watching)
        with nullcontext() if is_in_time else pytest.raises(TimedOut):
            call.run()
    assert call.verdict.is_over == is_in_time


# TLS: certificate and name are checked against what the system trusts


@pytest.fixture(scope="module")
def authorities():
    """The one that is trusted here, and another one."""
    import trustme  # which takes a quarter of a second

    return trustme.CA(), trustme.CA()


@pytest.fixture(scope="module")
def speaking_tls(authorities):
    """Makes servers that follow a script over TLS, with a certificate for this name: one for each."""
    servers = {}

    def make(name, is_trusted=True):
        if (name, is_trusted) not in servers:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authorities[not is_trusted].issue_cert(name).configure_cert(context)

            def script(peer):
                with suppress(OSError), context.wrap_socket(peer.sock, server_side=True) as peer.sock:
                    serving(*DONE)(peer)

            servers[name, is_trusted] = ScriptedServer(script)
        return servers[name, is_trusted]

    yield make
    for server in servers.values():
        server.close()


@pytest.fixture
def trusting(authorities, tmp_path):
    """An environment in which the system trusts the test's authority."""
    path = tmp_path / "authority.pem"
    authorities[0].cert_pem.write_to_path(str(path))
    return {**os.environ, "SSL_CERT_FILE": str(path)}


def run(command, server, environment, scheme="tls://"):
    return command("-s", scheme + server.address, "-v", "-t", "-1", "-c", "print(42)", env=environment)


@pytest.mark.version("ssl")
@pytest.mark.slow
def test_the_real_server_speaks_it_and_nothing_else_then(command, here, authorities, trusting, tmp_path):
    certificate = authorities[0].issue_cert("127.0.0.1")
    chain, key = str(tmp_path / "chain.pem"), str(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(chain)
    certificate.private_key_pem.write_to_path(key)
    with QuickServer(tmp_path / "home", "--tls-cert", chain, "--tls-key", key) as server:
        done = run(command, server, trusting)
        assert (done.returncode, "job 1 stdout: 42" in done.stdout) == (0, True)
        plain = run(here, server, trusting, scheme="")
    assert plain.returncode == 1
    assert plain.stdout.endswith("jobs: not submitted\n")


@pytest.mark.version("ssl")
@pytest.mark.parametrize(
    ("name", "is_trusted", "code", "text"),
    [
        ("127.0.0.1", True, 0, "session ended: ok"),
        ("127.0.0.1", False, 1, "certificate is not accepted"),
        ("planta.example", True, 1, "127.0.0.1"),
    ],
    ids=["trusted", "not trusted", "of another host"],
)
def test_only_a_trusted_certificate_for_the_host_is_a_0(  # noqa: PLR0917
    here, speaking_tls, trusting, tmp_path, name, is_trusted, code, text
):
    environment = {**trusting, "SSL_CERT_DIR": str(tmp_path / "missing")} if name == "planta.example" else trusting
    done = run(here, speaking_tls(name, is_trusted), environment)
    last = done.stdout.splitlines()[-1]
    assert (done.returncode, text in last, "SSL_CERT_DIR" in last) == (code, True, False)
    assert code == 0 or last.endswith("jobs: not submitted")


@pytest.mark.version("ssl")
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("kind", ["none", "the other kind", "a FIFO"])
def test_what_the_environment_trusts_and_cannot_be_read_is_named(here, speaking_tls, tmp_path, variable, kind):
    path = tmp_path / "trusted"
    if kind == "a FIFO":
        if os.name == "nt":
            pytest.skip("Windows has no such files")
        os.mkfifo(path)
    elif kind == "the other kind":
        path.mkdir() if variable == "SSL_CERT_FILE" else path.touch()
    done = run(here, speaking_tls("127.0.0.1"), {**os.environ, variable: str(path)})
    text = "is a FIFO" if kind == "a FIFO" else "cannot be read: "
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{variable}: {str(path)!r} {text}" in done.stdout.splitlines()[-1]


@pytest.mark.version("ssl")
@pytest.mark.parametrize("given", ["--tls-key", "--tls-cert"])
def test_a_certificate_without_its_key_does_not_start_a_server(tmp_path, given):
    done = headless("serve", "--home", str(tmp_path / "home"), "--listen", "127.0.0.1:0", given, "file")
    assert (done.returncode, "--tls-cert and --tls-key belong together" in done.stderr) == (2, True)
