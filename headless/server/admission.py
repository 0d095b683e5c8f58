"""Admission: which connections a server takes, and how much may be on its way to it at a time.

Here are the counters behind these limits. The numbers are in settings.py; what a client is told is in server.py and
session.py. What is over a limit is refused as busy: the same call may succeed a minute later.
"""

from __future__ import annotations

from collections import Counter

from headless.errors import Busy
from headless.server.settings import Settings


class _Connections:
    """How many there are, in all and by what they share: an address, say."""

    def __init__(self, kind: str, most: int, most_of_one: int, shared: str = "from this address") -> None:
        self._kind = kind
        self._most = most
        self._most_of_one = most_of_one
        self._shared = shared
        self._by_one: Counter[str | int] = Counter()
        self.count = 0

    def check(self, one: str | int) -> None:
        """Raises Busy if one more is too many."""
        if self.count >= self._most:
            raise Busy(f"the server has {self._most} {self._kind} and takes no more")
        if self._by_one[one] >= self._most_of_one:
            raise Busy(f"the server has {self._most_of_one} {self._kind} {self._shared} and takes no more")

    def add(self, one: str | int) -> None:
        self.count += 1
        self._by_one[one] += 1

    def remove(self, one: str | int) -> None:
        self.count -= 1
        self._by_one[one] -= 1
        if not self._by_one[one]:
            del self._by_one[one]


class BytesInFlight:
    """The bytes of messages that the server holds because they are not whole, or not journaled yet."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    def hold(self, count: int) -> None:
        """Raises Busy if so many more are too many."""
        if self._held + count > self._most:
            raise Busy(f"{self._most} bytes are on their way to the server, and it takes no more at a time")
        self._held += count

    def release(self, count: int) -> None:
        self._held -= count


class Admission:
    """What comes to one server."""

    def __init__(self, settings: Settings) -> None:
        self._connections = _Connections("connections", settings.max_connections, settings.max_connections_per_address)
        self._strangers = _Connections(
            "connections without a login", settings.max_strangers, settings.max_strangers_per_address
        )
        self._logged_in = _Connections(
            "connections", settings.max_connections, settings.max_connections_per_account, "of this account"
        )
        self._handshakes = _Connections("TLS handshakes", settings.max_strangers, settings.max_strangers_per_address)
        self.bytes_in_flight = BytesInFlight(settings.max_bytes_in_flight)

    def enter(self, address: str) -> None:
        """A connection has come from this address. Raises Busy if that is too many; then it does not count."""
        for connections in (self._connections, self._strangers):
            connections.check(address)
        for connections in (self._connections, self._strangers):
            connections.add(address)

    @property
    def session_count(self) -> int:
        """How many clients are logged in."""
        return self._logged_in.count

    def begin_handshake(self, address: str) -> None:
        """A connection has come that is not encrypted yet. Raises Busy if that is too many; then it does not count."""
        for connections in (self._connections, self._handshakes):
            connections.check(address)
        for connections in (self._connections, self._handshakes):
            connections.add(address)

    def end_handshake(self, address: str) -> None:
        """It is gone, or is encrypted and enters now."""
        for connections in (self._connections, self._handshakes):
            connections.remove(address)

    def log_in(self, address: str, account: int) -> None:
        """The client on one of the connections is known now. Raises Busy if its account has too many; then it stays
        unknown."""
        self._logged_in.check(account)
        self._logged_in.add(account)
        self._strangers.remove(address)

    def leave(self, address: str, account: int | None) -> None:
        """A connection is gone. `account` is None if nobody has logged in."""
        self._connections.remove(address)
        if account is None:
            self._strangers.remove(address)
        else:
            self._logged_in.remove(account)
