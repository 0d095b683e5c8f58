"""The two logins, osuser and challenge: whether a client is who it claims to be, and how often it may guess."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from headless.dialects.own import scram
from headless.dialects.own.messages import Login, Response
from headless.dialects.vocabulary import LOGIN, OSUSER
from headless.errors import Busy, Refusal
from headless.server import peer
from headless.server.accounts import Account, Accounts
from headless.server.connection import ClientLeft, Connection
from headless.server.settings import Settings
from headless.server.store import Store
from headless.server.threads import Threads
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

_LOGIN_REFUSED = "user name or password is wrong, or this login is not allowed for the user"
_NAME_SECONDS = 5.0  # for the name service to answer
_NAME_VALID_SECONDS = 10.0  # of an answer
_NAME_THREADS, _NAME_BACKLOG = 4, 200

_FREE_FAILURES = 2  # without a delay: people mistype
_FIRST_DELAY, _DELAY_MAX = 0.25, 8.0  # seconds; the delay is doubled with each further failure
_FAILURES_MAX = 7  # after which a guess waits the longest; more are not counted
_WAITING_MAX = 8  # guesses of one user from one origin at a time: one a second, if each waits the longest
_EXPIRY_SECONDS = 300.0  # without a guess, after which failures do not count
# Pairs of origin and user. To be forgotten by guesses at so many others takes longer than to wait.
_PAIRS_MAX = 10_000


class Identity(NamedTuple):
    """Is a client that has logged in. `signature` proves to it that the server knows the password; None for osuser."""

    account: Account
    signature: str | None


class Authenticator:
    """Checks logins."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._throttle = Throttle()
        self._known_names: dict[tuple[int, str], float] = {}  # and until when: as many as this machine has users
        self._asked: dict[int, tuple[str, asyncio.Future[bool]]] = {}  # for which name of a user, and the answer
        self._names = Threads("the name service", _NAME_THREADS, _NAME_BACKLOG)

    async def authenticate(self, connection: Connection, request: Login) -> Identity:
        """Returns who logs in with this message. Raises Refusal, Busy, ClientLeft, asyncio.TimeoutError, ProtocolError,
        OSError."""
        if request.auth_type == OSUSER:
            assert request.os_user is not None
            account = await connection.work(self._account_of(connection, request.os_user, request.user))
            return Identity(account, None)
        assert request.user is not None
        return await self._challenge(connection, request.user)

    async def _challenge(self, connection: Connection, user: str) -> Identity:
        keys = await connection.work(self._store.read_accounts(Accounts.keys_of, user))
        nonce = scram.new_nonce(os.urandom(scram.NONCE_BYTES))
        await connection.send_bytes(connection.protocol.send_challenge(keys.salt, nonce))
        response = await connection.receive_within(self._settings.login_timeout)
        if not isinstance(response, Response):
            raise ClientLeft
        origin = origin_of(connection.peer, connection.local)
        with self._throttle.guess(origin, user) as delay:
            if delay:  # before the proof is verified: a client that does not wait has not guessed
                await connection.work(asyncio.sleep(delay))
            signature = connection.protocol.signature(keys)
        if signature is None:
            log.warning("%s: wrong login of %s", connection.name, escape_control_chars(user))
            raise Refusal(LOGIN, _LOGIN_REFUSED)
        self._throttle.forget(origin, user)
        account = await connection.work(self._store.read_accounts(Accounts.of_user, user))
        if account is None or account.keys != keys:  # it may be another account of this name by now
            raise Refusal(LOGIN, _LOGIN_REFUSED)
        return Identity(account, signature)

    async def _account_of(self, connection: Connection, os_user: str, user: str | None) -> Account:
        """Returns the account that an osuser login is for. Raises Refusal, Busy."""
        if not peer.is_loopback(connection.peer[0]):
            raise Refusal(LOGIN, "osuser is for clients on the server's own machine, use challenge")
        await self._check_owner(connection, os_user)  # first: no other user learns which accounts this one has
        theirs = await self._store.read_accounts(Accounts.of_os_user, os_user)
        accounts = [each for each in theirs if user in (None, each.user)]
        if not accounts:
            raise Refusal(LOGIN, f"no account {user or ''} allows the osuser login of {os_user!r}".replace("  ", " "))
        if len(accounts) > 1:
            raise Refusal(LOGIN, f"several accounts allow the osuser login of {os_user!r}: say with -u which")
        return accounts[0]

    async def _check_owner(self, connection: Connection, os_user: str) -> None:
        """Raises Refusal unless the connection belongs to this user of the operating system, Busy if that is not known
        now."""
        try:
            is_owner = await self._is_user(peer.owner_uid(connection.peer, connection.local), os_user)
        except peer.OwnerUnknown as error:
            if self._settings.trust_osuser:
                return
            raise Refusal(LOGIN, f"{error}, so osuser logins cannot be checked") from None
        except peer.NotConnected as error:
            raise Refusal(LOGIN, str(error)) from None
        except asyncio.TimeoutError:
            raise Busy("the name service of the server does not answer") from None
        if not is_owner:
            log.warning("%s: not a connection of the user %s", connection.name, escape_control_chars(os_user))
            raise Refusal(LOGIN, f"this connection is not one of the operating system's user {os_user!r}")

    async def _is_user(self, uid: int, name: str) -> bool:
        """Returns whether the user of this name has this uid. What the name service has confirmed is believed for a
        while.

        One name of each user is asked for at a time, so that made-up names do not delay the logins of other users.
        Raises Busy, asyncio.TimeoutError.
        """
        now = asyncio.get_running_loop().time()
        if self._known_names.get((uid, name), now) > now:
            return True
        if uid not in self._asked:
            asking = asyncio.ensure_future(self._names.call(peer.is_user, uid, name, timeout=_NAME_SECONDS))
            asking.add_done_callback(lambda _: self._asked.pop(uid))
            self._asked[uid] = name, asking
        asked, answer = self._asked[uid]
        if asked != name:
            raise Busy("another name of this operating system's user is being looked up")
        is_user = await asyncio.shield(answer)
        if is_user:
            self._known_names[uid, name] = now + _NAME_VALID_SECONDS
        return is_user


def origin_of(client: tuple[str, int], local: tuple[str, int]) -> str:
    """Returns what guesses on this connection are counted by, and what one user can have all addresses of: on this
    machine the user, else the IPv4 address or the 64 bits of the IPv6 network."""
    host = client[0].partition("%")[0]
    if peer.is_loopback(host):
        with suppress(peer.OwnerUnknown, peer.NotConnected, Busy):
            return f"user {peer.owner_uid(client, local)}"
        return "loopback"  # of all who close early, so that the kernel does not know the user
    address = ipaddress.ip_address(host)
    return host if address.version == 4 else f"{int(address) >> 64:x}::/64"


class Throttle:
    """Delays guesses at the password of one user from one origin, longer after each failure. A guess counts as a
    failure from its beginning, so that neither hanging up nor many connections give more of them.

    `clock` returns seconds and never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # How many failures, and when the last one was. The pair with the oldest one is the first.
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._waiting: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def guess(self, origin: str, user: str) -> Iterator[float]:
        """Counts a guess, and yields how many seconds it has to wait before it is verified. Raises Busy if too many
        wait already."""
        pair = origin, user
        if self._waiting[pair] >= _WAITING_MAX:
            raise Busy(f"{_WAITING_MAX} logins of this user wait already, after too many wrong ones")
        self._waiting[pair] += 1
        try:
            yield self._add_failure(pair)
        finally:
            self._waiting[pair] -= 1
            if not self._waiting[pair]:
                del self._waiting[pair]

    def forget(self, origin: str, user: str) -> None:
        """Drops the failures: a guess was right."""
        self._failures.pop((origin, user), None)

    def _add_failure(self, pair: tuple[str, str]) -> float:
        """Returns the delay after the failures before this one."""
        now = self._clock()
        while self._failures:
            _, last = next(iter(self._failures.values()))
            if now - last <= _EXPIRY_SECONDS and len(self._failures) < _PAIRS_MAX:
                break
            self._failures.popitem(last=False)
        failures, _ = self._failures.pop(pair, (0, now))
        self._failures[pair] = min(failures + 1, _FAILURES_MAX), now
        if failures < _FREE_FAILURES:
            return 0.0
        return min(_FIRST_DELAY * 2.0 ** (failures - _FREE_FAILURES), _DELAY_MAX)
