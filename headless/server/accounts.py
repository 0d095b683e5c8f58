"""Who may log in. Of a password only what checks a proof is kept: salt, StoredKey and ServerKey, never the hash."""

from __future__ import annotations

import os
import sqlite3
from typing import NamedTuple, Optional

from headless.protocol import login

COST = 12  # of the salts for new accounts, and so of the made-up ones


class Account(NamedTuple):
    """`os_user` may log in with osuser, if there is one; `keys` check the challenge login, if there are any."""

    user: str
    os_user: Optional[str]
    keys: Optional[login.Keys]


class Accounts:
    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._made_up_salts_key = self._fetch_made_up_salts_key()

    def add(self, account: Account) -> bool:
        """Whether the account was added: there may be one for this user already."""
        keys = account.keys or (None, None, None)
        with self._database:
            added = self._database.execute(
                "INSERT OR IGNORE INTO accounts VALUES (?, ?, ?, ?, ?)", (account.user, account.os_user, *keys)
            )
        return added.rowcount == 1

    def remove(self, user: str) -> bool:
        """Whether there was an account to remove."""
        with self._database:
            return self._database.execute("DELETE FROM accounts WHERE user = ?", (user,)).rowcount == 1

    def all(self) -> list[Account]:
        """Every account, by user."""
        return self._select("ORDER BY user")

    def of_user(self, user: str) -> Account | None:
        return next(iter(self._select("WHERE user = ?", user)), None)

    def of_os_user(self, os_user: str) -> list[Account]:
        return self._select("WHERE os_user = ? ORDER BY user", os_user)

    def keys_of(self, user: str) -> login.Keys:
        """The user's keys; for one that has none, keys that fit no password, with a salt that is always the same."""
        # Made up in any case, so that the time it takes does not tell who exists.
        made_up = login.Keys(login.made_up_salt(self._made_up_salts_key, user, COST), os.urandom(32), os.urandom(32))
        account = self.of_user(user)
        return account.keys if account is not None and account.keys is not None else made_up

    def _select(self, condition: str, *values: str) -> list[Account]:
        select = f"SELECT user, os_user, salt, stored_key, server_key FROM accounts {condition}"
        rows = self._database.execute(select, values)
        return [Account(user, os_user, login.Keys(*keys) if keys[0] else None) for user, os_user, *keys in rows]

    def _fetch_made_up_salts_key(self) -> bytes:
        with self._database:
            self._database.execute(
                "INSERT INTO made_up_salts SELECT ? WHERE NOT EXISTS (SELECT * FROM made_up_salts)", (os.urandom(32),)
            )
        (key,) = self._database.execute("SELECT key FROM made_up_salts").fetchone()
        return bytes(key)


def keys_from_hash(secret: bytes) -> login.Keys:
    """The keys for a bcrypt hash, as a password file holds it."""
    return login.Keys(login.salt_of(secret), *login.keys_from(secret))


def keys_from_password(password: str) -> login.Keys:
    """The keys for a password, with a new salt. Raises ValueError for a password that is not allowed."""
    import bcrypt

    return keys_from_hash(bcrypt.hashpw(login.password_bytes(password), bcrypt.gensalt(COST)))
