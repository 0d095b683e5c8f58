"""The listening socket, and exceptions that are not caught."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import socket
import ssl
from contextlib import suppress
from typing import Any

import pytest

from headless.dialects.vocabulary import LOGIN
from headless.errors import LocalProtocolError, Refusal
from headless.server.admission import Admission, listen
from headless.server.connection import Connection
from headless.server.server import ExceptionHandler, Server
from headless.server.settings import Settings
from support.job_server import QuickServer
from support.raw_client import RawClient, connect, py_code, run
from support.server_here import ServerHere
from support.sockets import reset

pytestmark = pytest.mark.version("ssl and asyncio")


NO_LOOP: Any = None  # the handler does not use it


@pytest.fixture
def tls_server(certificate, tmp_path):
    _, cert, key = certificate
    with QuickServer(tmp_path / "home", "--tls-cert", cert, "--tls-key", key) as server:
        yield server


def lines_about(server: QuickServer, address: tuple[str, int]) -> list[str]:
    """Stops the server, which fails if its log has a traceback. Returns the lines about this client."""
    server.stop()
    return [line for line in server.log.splitlines() if f"{address[0]} port {address[1]}" in line]


def open_socket(server: QuickServer) -> socket.socket:
    return RawClient(server.address).sock


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\n\r\n", b"nonsense" * 100, b"\x16\x03\x01"], ids=["http", "nonsense", "half"]
)
def test_a_failed_handshake_is_one_line_without_a_traceback_and_the_next_client_is_served(
    tls_server, certificate, sent
):
    with open_socket(tls_server) as client:
        address = client.getsockname()
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while client.recv(65536):
                pass
    context = ssl.create_default_context()
    certificate[0].configure_trust(context)
    with RawClient(tls_server.address) as client:
        client.sock = context.wrap_socket(client.sock, server_hostname="127.0.0.1")
        client.log_in().submit(py_code("print(42)"))
        assert client.report().output == {(1, "stdout"): "42\n"}
    (line,) = lines_about(tls_server, address)
    assert " INFO " in line and "the TLS handshake failed: " in line
    of_the_server = [
        line for line in tls_server.log.splitlines() if not re.search("runs as root|session [0-9a-f]", line)
    ]
    assert len(of_the_server) == 4  # it listened, this, it was stopping, it stopped


@pytest.mark.slow
def test_a_certificate_that_the_client_does_not_accept_is_at_most_one_line(tls_server):
    with open_socket(tls_server) as client:
        address = client.getsockname()
        with pytest.raises(ssl.SSLError):
            ssl.create_default_context().wrap_socket(client, server_hostname="127.0.0.1")
    assert len(lines_about(tls_server, address)) <= 1  # TLS 1.3: the server may see it as a client that leaves


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [(), (py_code("import time; time.sleep(0.3); print('.')"),)], ids=["idle", "running"])
def test_a_reset_is_at_most_one_line_without_a_traceback(tmp_path, jobs):
    with QuickServer(tmp_path / "home") as server:
        with connect(server).log_in() as client:
            if jobs:
                client.submit(*jobs)
                client.expect("started")
            reset(client.sock)
        assert run(server, py_code("1")).ended == "ok"
        server.stop()
    lost = [line for line in server.log.splitlines() if "was lost" in line]
    assert len(lost) == 1 and f"session {client.session}: the connection was lost: " in lost[0]
    assert " ERROR " not in server.log


# Exceptions that are not caught


def planted(tmp_path, caplog, plant) -> list[logging.LogRecord]:
    """Calls `plant(loop)` in the loop of a server, which goes on. Returns the warnings and errors."""
    begin = Server.begin

    async def begin_and_plant(server: Server) -> None:
        await begin(server)
        plant(asyncio.get_running_loop())

    with caplog.at_level(logging.WARNING), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "begin", begin_and_plant)
        with (
            ServerHere(tmp_path / "home", logs_traceback=True) as server,
            RawClient(server.address).log_in() as client,
        ):
            client.submit(py_code("1"))
            assert client.report().ended == "ok"
    return caplog.records


@pytest.mark.slow
@pytest.mark.parametrize(("call", "error"), [((lambda: 1 / 0,), ZeroDivisionError), ((open, "/absent"), OSError)])
def test_an_exception_of_a_callback_is_an_error_with_its_traceback(tmp_path, caplog, call, error):
    (record,) = planted(tmp_path, caplog, lambda loop: loop.call_soon(*call))
    assert record.levelno == logging.ERROR
    assert record.exc_info and isinstance(record.exc_info[1], error)
    assert record.getMessage().startswith("internal error: Exception in callback ")


@pytest.mark.parametrize(
    ("error", "culprit"),
    [
        (OSError(24, "Too many open files"), "socket"),
        (ssl.SSLError(1, "bad\nrecord"), "transport"),
        (TimeoutError("timed out"), "protocol"),
        (ConnectionResetError("reset"), "future"),
    ],
)
def test_what_is_wrong_with_a_connection_is_one_warning_a_second_without_a_traceback(caplog, error, culprit):
    handler = ExceptionHandler()
    for _ in range(1000):
        handler(NO_LOOP, {"message": "Fatal error", "exception": error, culprit: object()})
    handler(NO_LOOP, {"message": "another", "exception": error, culprit: object()})
    assert [(record.levelno, record.exc_info) for record in caplog.records] == [(logging.WARNING, None)] * 2
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["Fatal error", "another"]
    assert not any("\n" in record.getMessage() for record in caplog.records)


def test_a_message_without_an_exception_is_an_error(caplog):
    ExceptionHandler()(NO_LOOP, {"message": "a task was destroyed"})
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "internal error: a task was destroyed")
    ]


@pytest.mark.slow
def test_a_refusal_that_the_protocol_does_not_allow_is_said_to_be_a_bug_and_is_not_lost(tmp_path, caplog, monkeypatch):
    async def refuse_the_login(_connection: Connection, _timeout: float) -> None:
        raise Refusal(LOGIN, "too late")

    monkeypatch.setattr(Connection, "receive_whole", refuse_the_login)  # after `welcome`, where it is out of order
    with (
        caplog.at_level(logging.INFO),
        ServerHere(tmp_path / "home", logs_traceback=True) as server,
        RawClient(server.address).log_in() as client,
    ):
        assert "its log says why" in client.expect_refusal("busy")
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "internal error: the server was about to break the protocol" in error.getMessage()
    assert error.exc_info and error.exc_info[0] is LocalProtocolError
    refusals = [record.getMessage() for record in caplog.records if ": refused (" in record.getMessage()]
    assert len(refusals) == 1
    assert ": refused (busy): " in refusals[0]


@pytest.mark.slow
def test_clients_that_reset_their_connections_at_once_disturb_no_other(job_server):
    for _ in range(50):
        reset(open_socket(job_server))
    assert run(job_server, py_code("print(42)")).ended == "ok"
    job_server.stop()  # which fails if the log has a traceback
    assert job_server.log.count("not accepted") <= 2  # the same line about connections once a second


@pytest.mark.version("asyncio")
@pytest.mark.parametrize(
    ("number", "pause"), [(errno.EMFILE, 1.0), (errno.ECONNABORTED, 0), (64, 0), (10057, 0)], ids=str
)
def test_an_error_of_accept_does_not_end_the_listening(monkeypatch, number, pause):
    """64 is ERROR_NETNAME_DELETED and 10057 WSAENOTCONN, which Windows gives."""
    errors = [OSError(number, "no connection")] * 3
    pauses = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"served")
        writer.close()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def scenario() -> bytes:
        loop = asyncio.get_running_loop()
        accept = loop.sock_accept

        async def failing_accept(listening: socket.socket) -> tuple[socket.socket, object]:
            if errors:
                raise errors.pop()
            return await accept(listening)

        monkeypatch.setattr(loop, "sock_accept", failing_accept)
        monkeypatch.setattr("headless.server.admission.asyncio.sleep", sleep)
        settings = Settings(port=0)
        listener = await listen(settings, Admission(settings), serve)
        reader, writer = await asyncio.open_connection(*listener.address)
        try:
            return await reader.read()
        finally:
            writer.close()
            listener.close()

    assert asyncio.run(scenario()) == b"served"
    assert pauses[:3] == [pause] * 3


@pytest.mark.version("asyncio")
def test_what_asyncio_does_not_retrieve_of_an_accept_on_windows_is_no_internal_error(caplog):
    async def accept_coro() -> None:
        raise OSError(64, "The specified network name is no longer available")

    async def scenario() -> None:
        task = asyncio.ensure_future(accept_coro())
        await asyncio.wait({task})
        ExceptionHandler()(
            asyncio.get_running_loop(),
            {"message": "Task exception was never retrieved", "exception": task.exception(), "future": task},
        )

    with caplog.at_level(logging.DEBUG):
        asyncio.run(scenario())
    assert not [record for record in caplog.records if record.name.startswith("headless")]
