"""Authentication: whether the client is who it says it is.

Here are the two logins, osuser and challenge, and why one is refused. The accounts are in accounts.py, who owns a
connection in peer.py, the computation of proofs in protocol/scram.py. How much time a login has is in session.py.
"""

from __future__ import annotations

import logging
import os
from typing import NamedTuple

from headless.protocol import scram
from headless.protocol.messages import Login, Response
from headless.protocol.vocabulary import LOGIN, OSUSER
from headless.server import peer
from headless.server.accounts import Account, Accounts
from headless.server.errors import Refusal
from headless.server.link import Link
from headless.server.throttle import Throttle
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

_LOGIN_REFUSED = "user name or password is wrong, or this login is not allowed for the user"


class Identity(NamedTuple):
    """Who has logged in. `signature` proves to the client that the server knows the password; None for osuser."""

    user: str
    signature: str | None


class Authenticator:
    """Checks logins. `trust_osuser`: believe what a client on this machine says, where the platform does not tell."""

    def __init__(self, accounts: Accounts, trust_osuser: bool) -> None:
        self._accounts = accounts
        self._trust_osuser = trust_osuser
        self._throttle = Throttle()

    async def authenticate(self, link: Link, request: Login) -> Identity | None:
        """Who logs in with this message; None if the client leaves. Raises Refusal, ProtocolError, OSError,
        sqlite3.Error."""
        if request.auth_type == OSUSER:
            assert request.os_user is not None
            return Identity(self._account_of(link, request.os_user, request.user).user, None)
        assert request.user is not None
        return await self._challenge(link, request.user)

    async def _challenge(self, link: Link, user: str) -> Identity | None:
        keys = self._accounts.keys_of(user)
        nonce = scram.new_nonce(os.urandom(scram.NONCE_BYTES))
        await link.send_bytes(link.connection.send_challenge(keys.salt, nonce))
        response = await link.receive_request()
        if not isinstance(response, Response):
            return None
        signature = link.connection.signature(keys)
        if signature is None:
            log.warning("%s: wrong login of %s", link.name, escape_control_chars(user))
            raise Refusal(LOGIN, _LOGIN_REFUSED, delay=self._throttle.failed(link.peer[0], user))
        self._throttle.succeeded(link.peer[0], user)
        return Identity(user, signature)

    def _account_of(self, link: Link, os_user: str, user: str | None) -> Account:
        """The account that an osuser login is for. Raises Refusal."""
        if not peer.is_loopback(link.peer[0]):
            raise Refusal(LOGIN, "osuser is for clients on the server's own machine, use challenge")
        self._check_owner(link, os_user)
        accounts = [account for account in self._accounts.of_os_user(os_user) if user in (None, account.user)]
        if not accounts:
            raise Refusal(LOGIN, f"no account {user or ''} allows the osuser login of {os_user!r}".replace("  ", " "))
        if len(accounts) > 1:
            raise Refusal(LOGIN, f"several accounts allow the osuser login of {os_user!r}: say with -u which")
        return accounts[0]

    def _check_owner(self, link: Link, os_user: str) -> None:
        """Raises Refusal unless the connection belongs to this user of the operating system."""
        try:
            if peer.is_user(peer.owner_uid(link.peer, link.local), os_user):
                return
        except peer.OwnerUnknown as error:
            if self._trust_osuser:
                return
            raise Refusal(LOGIN, f"{error}, so osuser logins cannot be checked") from None
        log.warning("%s: not a connection of the user %s", link.name, escape_control_chars(os_user))
        raise Refusal(LOGIN, f"this connection is not one of the operating system's user {os_user!r}")
