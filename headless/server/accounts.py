"""The accounts: who may log in. Their tables, their queries, and the keys of a new account.

Of a password the server keeps only what checks a proof: salt, StoredKey and ServerKey, never the hash. How somebody
logs in is in authentication.py, and how the proof is computed in protocol/scram.py.
"""

from __future__ import annotations

import hmac
import os
import sqlite3
from typing import NamedTuple

from headless.protocol import bcrypt_hash, scram

COST = 12  # bcrypt's cost, of the salts for new accounts and so of the decoy salts

SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS accounts (
        user TEXT PRIMARY KEY,
        os_user TEXT,
        salt TEXT,
        stored_key BLOB,
        server_key BLOB
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS decoy_salts (
        key BLOB NOT NULL
    )
    """,
)


class Account(NamedTuple):
    """Who may log in, and how: `os_user` with osuser, and whoever proves to have the password of `keys` with
    challenge. None: not that way."""

    user: str
    os_user: str | None
    keys: scram.Keys | None


class Accounts:
    """The accounts of one database. Every method may raise sqlite3.Error."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._decoy_salts_key = self._fetch_decoy_salts_key()

    def add(self, account: Account) -> bool:
        """Whether the account was added: there may be one for this user already."""
        keys = (account.keys.salt, account.keys.stored_key, account.keys.server_key) if account.keys else (None,) * 3
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
        """The accounts that this user of the operating system may log in to, by user."""
        return self._select("WHERE os_user = ? ORDER BY user", os_user)

    def keys_of(self, user: str) -> scram.Keys:
        """The user's keys; for one that has none, keys that fit no password, with a salt that is always the same."""
        # The decoy is computed in any case, so that the time it takes does not tell who exists.
        decoy = scram.Keys(decoy_salt(self._decoy_salts_key, user), os.urandom(32), os.urandom(32))
        account = self.of_user(user)
        return account.keys if account is not None and account.keys is not None else decoy

    def _select(self, condition: str, *values: str) -> list[Account]:
        select = f"SELECT user, os_user, salt, stored_key, server_key FROM accounts {condition}"
        rows = self._database.execute(select, values)
        return [Account(user, os_user, scram.Keys(*keys) if keys[0] else None) for user, os_user, *keys in rows]

    def _fetch_decoy_salts_key(self) -> bytes:
        with self._database:
            self._database.execute(
                "INSERT INTO decoy_salts SELECT ? WHERE NOT EXISTS (SELECT * FROM decoy_salts)", (os.urandom(32),)
            )
        (key,) = self._database.execute("SELECT key FROM decoy_salts").fetchone()
        return bytes(key)


def decoy_salt(key: bytes, user: str) -> str:
    """The salt for a user that does not exist: always the same, and of the same looks as a real one."""
    return bcrypt_hash.salt_from(hmac.digest(key, user.encode("utf-8"), "sha256")[:16], COST)


def keys_from_hash(secret: bytes) -> scram.Keys:
    """The keys for a bcrypt hash of 60 bytes, as a password file holds it."""
    return scram.Keys(bcrypt_hash.salt_of(secret), *scram.keys_from(secret))


def keys_from_password(password: str) -> scram.Keys:
    """The keys for a password, with a new salt. Raises ValueError for a password that is not allowed."""
    import bcrypt

    return keys_from_hash(bcrypt.hashpw(bcrypt_hash.password_bytes(password), bcrypt.gensalt(COST)))
