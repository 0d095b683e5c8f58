"""One connection: whole messages in, whole messages out.

Here is what reads and writes a connection: with a bound, no faster than the other side, and so that the last message
arrives. Which message may come when is in dialects/own/order.py, what is answered in session.py, and how a
connection is accepted in listener.py.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from headless.dialects.base import Refused
from headless.dialects.own.connection import ConnectionClosed
from headless.dialects.own.messages import Message
from headless.dialects.own.server_connection import ServerConnection
from headless.dialects.vocabulary import BUSY
from headless.errors import RemoteProtocolError
from headless.server.admission import BytesInFlight
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

LINGER_SECONDS = 1.0  # for the last message to arrive
_BUFFER_BYTES = 65536
_FREE_BYTES = 4096  # of an unfinished message that are not counted; no login is longer

_T = TypeVar("_T")


class ClientLeft(Exception):
    """The client has closed the connection, or said that it leaves."""


class Link:
    """A connection to a client. `connection` is the server's end of the protocol, `peer` and `local` are the addresses
    of the two ends, `name` is what the log calls it.

    Raises OSError if the client has gone already.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bytes_in_flight: BytesInFlight
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._bytes_in_flight = bytes_in_flight
        self._held = 0
        self.connection = ServerConnection()
        writer.transport.set_write_buffer_limits(high=1)  # a slow client has one message to take; 0 halts TLS
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.peer = _address(writer, "peername")
        self.local = _address(writer, "sockname")
        self.name = f"{self.peer[0]} port {self.peer[1]}"  # until there is a session
        self._is_closing = False
        self._is_in_doubt = False

    async def receive(self) -> Message | ConnectionClosed:
        """The next message, or that the client has closed. Raises RemoteProtocolError, Busy, OSError."""
        while True:
            message = self.connection.next_message()
            if message is not None:
                return message
            self.connection.receive(await self._reader.read(_BUFFER_BYTES))
            self._hold(self.connection.unread)

    async def receive_request(self, timeout: float) -> Message | ConnectionClosed:
        """The next message, which has to be answered before the client may go on. `timeout` is in seconds. Raises
        RemoteProtocolError if the client does not wait for that, asyncio.TimeoutError, Busy, OSError."""
        receiving = asyncio.ensure_future(self.receive())
        try:
            if not (await asyncio.wait({receiving}, timeout=timeout))[0]:
                raise asyncio.TimeoutError
            message = receiving.result()
        finally:
            await cancel(receiving)
        another = self.connection.next_message()
        if another is None:
            self._check_nothing_unread()
        return another or message

    async def work(self, work: Awaitable[_T]) -> _T:
        """The result of what has to be done before the client is answered. Until then it has nothing to say.

        Raises what the work raises, RemoteProtocolError if the client speaks, ClientLeft, OSError.
        """
        working = asyncio.ensure_future(work)
        receiving = asyncio.ensure_future(self.receive())
        try:
            await asyncio.wait({working, receiving}, return_when=asyncio.FIRST_COMPLETED)
            if receiving.done():
                receiving.result()
                raise ClientLeft
            self._check_nothing_unread()
            return working.result()
        finally:
            await cancel(working, receiving)

    def release(self) -> None:
        """What has been received is no longer held."""
        self._bytes_in_flight.release(self._held)
        self._held = 0

    async def send(self, message: Message) -> None:
        """Returns when the client has taken so much that a further message may be sent. Raises OSError."""
        await self.send_bytes(self.connection.send(message))

    async def send_bytes(self, data: bytes) -> None:
        """The same for the bytes of a message. Raises OSError."""
        self._writer.write(data)
        del data  # the client may take it slowly, and there may be thousands of them
        await self._writer.drain()

    def send_soon(self, message: Message) -> None:
        """Sends what may as well be left out: it is, if the client does not read or the conversation is over."""
        if not self.connection.is_over and not self._writer.transport.get_write_buffer_size():
            self._writer.write(self.connection.send(message))

    @contextmanager
    def in_doubt(self, *settled_by: type[Exception]) -> Iterator[None]:
        """While the block runs, and after an exception that is none of these, nobody can say whether the client gets
        what it has asked for: it is not refused as busy."""
        self._is_in_doubt = True
        try:
            yield
        except settled_by:
            self._is_in_doubt = False
            raise
        self._is_in_doubt = False

    def refuse(self, message: Refused) -> None:
        """Sends a last message, unless the conversation is over, or the message could be wrong. Raises
        LocalProtocolError where this refusal has no place."""
        if self._is_in_doubt and message.reason == BUSY:
            log.error("%s: closed without a word, nobody knows whether its request is recorded", self.name)
        elif not self.connection.is_over and not self._is_closing:
            data = self.connection.send(message)
            log.info("%s: refused (%s): %s", self.name, message.reason, escape_control_chars(message.text))
            self._writer.write(data)

    async def close(self) -> None:
        """Closes, within two seconds, and raises nothing for what the client does meanwhile.

        It waits until the client closes, too: a connection that is closed with bytes unread takes back what it sent.
        """
        self._is_closing = True
        self.connection.drop_unread()
        self.release()
        try:
            with suppress(OSError, asyncio.TimeoutError):
                if self._writer.can_write_eof():
                    self._writer.write_eof()
                    await asyncio.wait_for(self._discard_input(), LINGER_SECONDS)
                self._writer.close()
                await asyncio.wait_for(self._writer.wait_closed(), LINGER_SECONDS)
        finally:
            self._writer.transport.abort()

    def _check_nothing_unread(self) -> None:
        """Raises RemoteProtocolError for the beginning of a message that is not due yet."""
        if self.connection.unread:
            raise RemoteProtocolError("the client speaks before its turn")

    def _hold(self, unread: int) -> None:
        """Raises Busy."""
        if unread > max(self._held, _FREE_BYTES):
            self._bytes_in_flight.hold(unread - self._held)
            self._held = unread

    async def _discard_input(self) -> None:
        while await self._reader.read(_BUFFER_BYTES):
            pass


async def cancel(*tasks: asyncio.Future[Any]) -> None:
    """Returns when these have ended: nobody else can read the connection before that.

    What they raise no longer matters: a lost connection may fail both to read and to write.
    """
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _address(writer: asyncio.StreamWriter, end: str) -> tuple[str, int]:
    address = writer.get_extra_info(end)
    if not address:  # asyncio could not ask for it any more
        raise ConnectionResetError("the client has gone already")
    host, port = address[:2]
    return host, port
