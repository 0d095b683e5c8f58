"""One connection: whole messages in, whole messages out.

Here is what reads and writes a connection: with a bound, no faster than the other side, and so that the last message
arrives. Which message may come when is in protocol/order.py, what is answered in session.py, and how a
connection is accepted in listener.py.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress

from headless.protocol.connection import ConnectionClosed
from headless.protocol.messages import Message, Refused
from headless.protocol.server_connection import ServerConnection
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

LINGER_SECONDS = 1.0  # for the last message to arrive
_BUFFER_BYTES = 65536


class Link:
    """A connection to a client. `connection` is the server's end of the protocol, `peer` and `local` are the addresses
    of the two ends, `name` is what the log calls it.

    Raises OSError if the client has gone already.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.connection = ServerConnection()
        writer.transport.set_write_buffer_limits(high=_BUFFER_BYTES)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.peer = _address(writer, "peername")
        self.local = _address(writer, "sockname")
        self.name = f"{self.peer[0]} port {self.peer[1]}"  # until there is a session
        self._is_closing = False

    async def receive(self) -> Message | ConnectionClosed:
        """The next message, or that the client has closed. Raises RemoteProtocolError, OSError."""
        while True:
            message = self.connection.next_message()
            if message is not None:
                return message
            self.connection.receive(await self._reader.read(_BUFFER_BYTES))

    async def receive_request(self) -> Message | ConnectionClosed:
        """The next message, which has to be answered before the client may go on. Raises RemoteProtocolError
        if the client does not wait for that, OSError."""
        message = await self.receive()
        return self.connection.next_message() or message

    async def send(self, message: Message) -> None:
        """Returns when the client has taken so much that a further message may be sent. Raises OSError."""
        await self.send_bytes(self.connection.send(message))

    async def send_bytes(self, data: bytes) -> None:
        """The same for the bytes of a message. Raises OSError."""
        self._writer.write(data)
        await self._writer.drain()

    def refuse(self, message: Refused) -> None:
        """Sends a last message, unless the conversation is over. Raises LocalProtocolError where this refusal has no
        place."""
        if not self.connection.is_over and not self._is_closing:
            data = self.connection.send(message)
            log.info("%s: refused (%s): %s", self.name, message.reason, escape_control_chars(message.text))
            self._writer.write(data)

    async def close(self) -> None:
        """Closes, within two seconds, and raises nothing for what the client does meanwhile.

        It waits until the client closes, too: a connection that is closed with bytes unread takes back what it sent.
        """
        self._is_closing = True
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


def _address(writer: asyncio.StreamWriter, end: str) -> tuple[str, int]:
    address = writer.get_extra_info(end)
    if not address:  # asyncio could not ask for it any more
        raise ConnectionResetError("the client has gone already")
    host, port = address[:2]
    return host, port
