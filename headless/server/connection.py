"""One TCP connection: whole messages in and out, the heartbeat, and how an error ends it.

It is read with a bound, and written no faster than the client reads. Its end waits for the last message to arrive.
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
from headless.dialects.own.messages import Alive, Message
from headless.dialects.own.server_connection import ServerConnection
from headless.dialects.vocabulary import BUSY, PROTOCOL, replace_invalid_xml_chars
from headless.errors import Busy, HeadlessError, LocalProtocolError, Refusal, RemoteProtocolError
from headless.server.admission import BytesInFlight
from headless.server.store import StoreUncertain
from headless.terminal import escape_control_chars, shorten

log = logging.getLogger(__name__)

LINGER_SECONDS = 1.0  # for the last message to arrive
_BUFFER_BYTES = 65536
_FREE_BYTES = 4096  # of an unfinished message that are not counted; no login is longer

_T = TypeVar("_T")


class ClientLeft(HeadlessError):
    """Is raised if the client has closed the connection, or said that it leaves."""


class Connection:
    """Is a connection to a client. `protocol` is the server's end of the protocol, `peer` and `local` are the addresses
    of the two ends, `name` is what the log calls it.

    Raises OSError if the client has gone already.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bytes_in_flight: BytesInFlight
    ) -> None:
        self.protocol = ServerConnection()
        self.peer = _address(writer, "peername")
        self.local = _address(writer, "sockname")
        writer.transport.set_write_buffer_limits(high=1)  # a slow client has one message to take; 0 halts TLS
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.name = f"{self.peer[0]} port {self.peer[1]}"  # until there is a session
        self._reader = reader
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._bytes_in_flight = bytes_in_flight
        self._held = 0  # bytes that are counted there
        self._beats: asyncio.TimerHandle | None = None
        self._sent_at = 0.0
        self._is_closing = False
        self._is_in_doubt = False

    # Receiving

    async def receive(self) -> Message | ConnectionClosed:
        """Returns the next message. Raises RemoteProtocolError, Busy, OSError."""
        while True:
            message = self.protocol.next_message()
            if message is not None:
                return message
            await self._read()

    async def receive_within(self, timeout: float) -> Message | ConnectionClosed:
        """Returns the next message, which has to be answered before the client may go on. `timeout` is in seconds.
        Raises RemoteProtocolError if the client does not wait for that, asyncio.TimeoutError, Busy, OSError."""
        message = await self._receive_in_time(timeout)
        another = self.protocol.next_message()
        if another is None:
            self._check_nothing_unread()
        return another or message

    async def receive_whole(self, timeout: float) -> Message | ConnectionClosed:
        """Returns the next message, whenever it begins. Raises Busy if it is not whole so many seconds later,
        RemoteProtocolError, OSError."""
        await self._read()
        try:
            return await self._receive_in_time(timeout)
        except asyncio.TimeoutError:
            raise Busy(f"the message was not complete within {timeout:g} s") from None

    async def _receive_in_time(self, timeout: float) -> Message | ConnectionClosed:
        """Raises asyncio.TimeoutError, and what `receive` raises."""
        receiving = asyncio.ensure_future(self.receive())
        try:
            if (await asyncio.wait({receiving}, timeout=timeout))[0]:
                return receiving.result()
            raise asyncio.TimeoutError
        finally:
            await _cancel(receiving)
            del receiving  # it has the exception, which has this frame: the message would stay as long as both

    async def work(self, work: Awaitable[_T]) -> _T:
        """Returns the result of what is done while the client may only leave.

        Raises what the work raises, ClientLeft, RemoteProtocolError if the client sends anything, OSError.
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
            await _cancel(working, receiving)

    def release(self) -> None:
        """Counts what has been received as no longer held."""
        self._bytes_in_flight.release(self._held)
        self._held = 0

    def _check_nothing_unread(self) -> None:
        """Raises RemoteProtocolError for the beginning of a message that is not due yet."""
        if self.protocol.unread:
            raise RemoteProtocolError("the client speaks before its turn")

    async def _read(self) -> None:
        """Raises RemoteProtocolError, Busy, OSError."""
        self.protocol.receive(await self._reader.read(_BUFFER_BYTES))
        unread = self.protocol.unread
        if unread > max(self._held, _FREE_BYTES):
            self._bytes_in_flight.hold(unread - self._held)
            self._held = unread

    # Sending

    async def send(self, message: Message) -> None:
        """Returns when the client has taken so much that a further message may be sent. Raises OSError."""
        await self.send_bytes(self.protocol.send(message))

    async def send_bytes(self, data: bytes) -> None:
        """Sends the bytes of a message in the same way. Raises OSError."""
        self._sent_at = self._loop.time()
        self._writer.write(data)
        del data  # the client may take it slowly, and there may be thousands of them
        await self._writer.drain()

    def begin_heartbeat(self, seconds: float) -> None:
        """Sends `alive` after so many seconds of silence from now on. A timer does it, for thousands may wait."""
        self._beats = self._loop.call_at(self._sent_at + seconds, self._beat, seconds)

    def _beat(self, seconds: float) -> None:
        if self.protocol.is_over:
            return
        now = self._loop.time()
        if now >= self._sent_at + seconds:
            self._sent_at = now
            if not self._writer.transport.get_write_buffer_size():  # otherwise the client has enough to read
                with suppress(LocalProtocolError):  # the client has just broken the protocol
                    self._writer.write(self.protocol.send(Alive()))
        self._beats = self._loop.call_at(self._sent_at + seconds, self._beat, seconds)

    # Its end

    @contextmanager
    def in_doubt(self) -> Iterator[None]:
        """Keeps the client from being refused as busy while the block runs, and after an exception other than Refusal
        and Busy: it is not known whether it gets what it has asked for."""
        self._is_in_doubt = True
        try:
            yield
        except (Refusal, Busy):
            self._is_in_doubt = False
            raise
        self._is_in_doubt = False

    def end_by(self, error: Exception, is_logged_in: bool) -> None:
        """Logs this error, which has ended what is done here, and refuses the client where that is due."""
        try:
            if isinstance(error, Refusal):
                self.refuse(error.reason, str(error))
            elif isinstance(error, RemoteProtocolError):
                self.refuse(PROTOCOL, str(error))
            elif isinstance(error, Busy):
                self.refuse(BUSY, str(error))
            elif isinstance(error, (ClientLeft, asyncio.TimeoutError)) and not is_logged_in:
                log.info("%s: no login", self.name)
            elif isinstance(error, ClientLeft):
                log.info("%s: the client has left", self.name)
            elif isinstance(error, StoreUncertain):
                log.error("%s: closed without a word, it is not known what is recorded: %s", self.name, error)
            elif isinstance(error, OSError):
                log.info("%s: the connection was lost: %s", self.name, escape_control_chars(str(error)))
            else:
                raise error
        except Exception as bug:
            what = ": the server was about to break the protocol" if isinstance(bug, LocalProtocolError) else ""
            log.exception("%s: internal error%s", self.name, what)
            self.refuse(BUSY, "the server could not go on, its log says why")

    def refuse(self, reason: str, text: str) -> None:
        """Sends a last message, unless the conversation is over, or the message could be wrong. Raises
        LocalProtocolError where this refusal is out of order."""
        if self._is_in_doubt and reason == BUSY:
            log.error("%s: closed without a word, it is not known whether its request is recorded", self.name)
        elif not self.protocol.is_over and not self._is_closing:
            text = replace_invalid_xml_chars(shorten(text))
            data = self.protocol.send(Refused(reason, text))
            log.info("%s: refused (%s): %s", self.name, reason, escape_control_chars(text))
            self._writer.write(data)

    async def close(self) -> None:
        """Closes, within two seconds, and raises nothing for what the client does meanwhile.

        It waits until the client closes, too: a connection that is closed with bytes unread takes back what it sent.
        """
        self._is_closing = True
        if self._beats is not None:
            self._beats.cancel()
        self.protocol.drop_unread()
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

    async def _discard_input(self) -> None:
        while await self._reader.read(_BUFFER_BYTES):
            pass


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    """Returns when these have ended: the connection can be read by one task at a time.

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
