"""The listening socket goes on, whatever becomes of a single connection."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket

import pytest

from headless.server.admission import Admission, listen
from headless.server.exception_handler import ExceptionHandler
from headless.server.settings import Settings
from support.raw_client import py_code, run
from support.sockets import reset


@pytest.mark.slow
def test_clients_that_reset_their_connections_at_once_disturb_no_other(job_server):
    for _ in range(50):
        host, _, port = job_server.address.rpartition(":")
        reset(socket.create_connection((host, int(port))))
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
    assert pauses == [pause] * 3


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
