"""Authentication: whether the client is who it says it is.

Here are the two logins, osuser and challenge, and why one is refused. The accounts are in accounts.py, who owns a
connection in peer.py, the computation of proofs in dialects/own/scram.py, how often somebody may guess in throttle.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
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
from headless.server.throttle import Throttle
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

_LOGIN_REFUSED = "user name or password is wrong, or this login is not allowed for the user"
_NAME_SECONDS = 5.0  # for the name service to answer
_NAME_VALID_SECONDS = 10.0  # of an answer
_NAME_THREADS, _NAME_BACKLOG = 4, 200


class Identity(NamedTuple):
    """Who has logged in. `signature` proves to the client that the server knows the password; None for osuser."""

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
        """Who logs in with this message. Raises Refusal, Busy, ClientLeft, asyncio.TimeoutError,
        ProtocolError, OSError."""
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
        with self._throttle.guess(_origin(connection.peer, connection.local), user) as guess:
            if guess.delay:  # before the proof is looked at: who does not wait has not guessed
                await connection.work(asyncio.sleep(guess.delay))
            signature = connection.protocol.signature(keys)
            if signature is not None:
                guess.succeeded()
        if signature is None:
            log.warning("%s: wrong login of %s", connection.name, escape_control_chars(user))
            raise Refusal(LOGIN, _LOGIN_REFUSED)
        account = await connection.work(self._store.read_accounts(Accounts.of_user, user))
        if account is None or account.keys != keys:  # it may be another account of this name by now
            raise Refusal(LOGIN, _LOGIN_REFUSED)
        return Identity(account, signature)

    async def _account_of(self, connection: Connection, os_user: str, user: str | None) -> Account:
        """The account that an osuser login is for. Raises Refusal, Busy."""
        if not peer.is_loopback(connection.peer[0]):
            raise Refusal(LOGIN, "osuser is for clients on the server's own machine, use challenge")
        await self._check_owner(connection, os_user)  # first: nobody else learns which accounts the user has
        theirs = await self._store.read_accounts(Accounts.of_os_user, os_user)
        accounts = [each for each in theirs if user in (None, each.user)]
        if not accounts:
            raise Refusal(LOGIN, f"no account {user or ''} allows the osuser login of {os_user!r}".replace("  ", " "))
        if len(accounts) > 1:
            raise Refusal(LOGIN, f"several accounts allow the osuser login of {os_user!r}: say with -u which")
        return accounts[0]

    async def _check_owner(self, connection: Connection, os_user: str) -> None:
        """Raises Refusal unless the connection belongs to this user of the operating system, Busy if nobody says so
        in time."""
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
        """Whether the user of this name has this uid. What the name service has confirmed is believed for a while.

        It is asked one question of each user at a time: who makes up names keeps nobody else waiting. Raises Busy,
        asyncio.TimeoutError.
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


def _origin(client: tuple[str, int], local: tuple[str, int]) -> str:
    """What the guesses on this connection are counted by: the user, for one of this machine, else the address."""
    if peer.is_loopback(client[0]):
        # Who closes early, so that the kernel does not tell, is counted with all others of whom it does not tell.
        with suppress(peer.OwnerUnknown, peer.NotConnected, Busy):
            return f"user {peer.owner_uid(client, local)}"
    return client[0]
