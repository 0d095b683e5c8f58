"""The accounts: who may log in. Their tables, their queries, and the keys of a new account.

Of a password the server keeps only what checks a proof: salt, StoredKey and ServerKey, never the hash. How somebody
logs in is in authentication.py, how the proof is computed in dialects/own/scram.py, and what the limits of an account
mean in account_limits.py.
"""

from __future__ import annotations

import hmac
import math
import os
import sqlite3
from typing import NamedTuple

from headless.dialects import bcrypt_hash
from headless.dialects.own import scram
from headless.dialects.vocabulary import PY_FILE, Job
from headless.server import account_limits
from headless.server.account_limits import Limits

COST = 12  # bcrypt's cost, of the salts for new accounts
_KIND_LENGTH = len("$2b$12$")  # of the part of a salt that says how it was made

SCHEMA = (
    """
    CREATE TABLE accounts (
        number INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again, unlike the name
        user TEXT NOT NULL UNIQUE,
        os_user TEXT,
        salt TEXT,
        stored_key BLOB,
        server_key BLOB,
        limits TEXT
    )
    """,
    "CREATE TABLE decoy_salts (key BLOB NOT NULL)",
    # How often a password has got a salt of this kind. It never decreases.
    "CREATE TABLE salt_kinds (kind TEXT PRIMARY KEY, passwords INTEGER NOT NULL)",
)
_COLUMNS = "user, os_user, salt, stored_key, server_key, limits"


class Account(NamedTuple):
    """Who may log in, and how: `os_user` with osuser, and whoever proves to have the password of `keys` with
    challenge. None: not that way. `limits` is what the account may run, None is everything. `number` tells it from an
    earlier account of this name; 0 as long as it is not stored."""

    user: str
    os_user: str | None
    keys: scram.Keys | None
    limits: Limits | None = None
    number: int = 0

    @property
    def is_one_at_a_time(self) -> bool:
        """Whether a session is refused as long as one with the same jobs waits or runs."""
        return self.limits is not None and self.limits.one_at_a_time

    def needs_path(self, job: Job) -> bool:
        """Whether `refuses` has to know the path of this job's file."""
        return job.kind == PY_FILE and self.limits is not None and bool(self.limits.folders)

    def refuses(self, job: Job, path: str = "") -> str:
        """Why the account may not run this job, as a sentence for the caller; "" for one that it may run. `path` is as
        in Limits.refuses."""
        refused = self.limits.refuses(job, path) if self.limits is not None else ""
        return f"the account {self.user} may not {refused}" if refused else ""


def initialize(database: sqlite3.Connection) -> None:
    """Makes the key of the decoy salts, if there is none yet. It belongs to the transaction that makes the tables."""
    database.execute("INSERT INTO decoy_salts SELECT ? WHERE NOT EXISTS (SELECT * FROM decoy_salts)", (os.urandom(32),))


class Accounts:
    """The accounts of one database. No method commits: what is written belongs to the transaction of the caller. Every
    method may raise sqlite3.Error."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        (self._decoy_salts_key,) = database.execute("SELECT key FROM decoy_salts").fetchone()

    def add(self, account: Account) -> bool:
        """Whether the account was added, with a number of its own: there may be one for this user already."""
        added = self._database.execute(
            f"INSERT OR IGNORE INTO accounts ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
            (account.user, account.os_user, *_columns(account.keys), account_limits.to_json(account.limits)),
        )
        if added.rowcount:
            self._remember_kind(account.keys)
        return added.rowcount == 1

    def remove(self, user: str) -> bool:
        """Whether there was an account to remove."""
        return self._database.execute("DELETE FROM accounts WHERE user = ?", (user,)).rowcount == 1

    def set_keys(self, user: str, keys: scram.Keys) -> bool:
        """Gives the account another password. Whether there is such an account."""
        changed = self._database.execute(
            "UPDATE accounts SET salt = ?, stored_key = ?, server_key = ? WHERE user = ?", (*_columns(keys), user)
        )
        if changed.rowcount:
            self._remember_kind(keys)
        return changed.rowcount == 1

    def set_limits(self, user: str, limits: Limits | None) -> bool:
        """Gives the account other limits, None for no limits. Whether there is such an account."""
        changed = self._database.execute(
            "UPDATE accounts SET limits = ? WHERE user = ?", (account_limits.to_json(limits), user)
        )
        return changed.rowcount == 1

    def all(self) -> list[Account]:
        """Every account, by user."""
        return self._select("ORDER BY user")

    def of_user(self, user: str) -> Account | None:
        return next(iter(self._select("WHERE user = ?", user)), None)

    def of_number(self, number: int) -> Account | None:
        return next(iter(self._select("WHERE number = ?", number)), None)

    def of_os_user(self, os_user: str) -> list[Account]:
        """The accounts that this user of the operating system may log in to, by user. On Windows the case of a name
        means nothing."""
        if os.name == "nt":
            return [each for each in self.all() if each.os_user and each.os_user.casefold() == os_user.casefold()]
        return self._select("WHERE os_user = ? ORDER BY user", os_user)

    def keys_of(self, user: str) -> scram.Keys:
        """The user's keys; for one that has none, keys that fit no password, with the salt of `decoy_salt`."""
        # The decoy is computed in any case, so that the time it takes does not tell who exists.
        kinds = dict(self._database.execute("SELECT kind, passwords FROM salt_kinds"))
        decoy = scram.Keys(decoy_salt(self._decoy_salts_key, user, kinds), os.urandom(32), os.urandom(32))
        row = self._database.execute(
            "SELECT salt, stored_key, server_key FROM accounts WHERE user = ? AND salt IS NOT NULL", (user,)
        ).fetchone()
        return decoy if row is None else scram.Keys(*row)

    def _remember_kind(self, keys: scram.Keys | None) -> None:
        """Counts the kind of this salt, for the decoys."""
        if keys is not None:
            self._database.execute(
                "INSERT INTO salt_kinds VALUES (?, 1) ON CONFLICT (kind) DO UPDATE SET passwords = passwords + 1",
                (keys.salt[:_KIND_LENGTH],),
            )

    def _select(self, condition: str, *values: str | int) -> list[Account]:
        rows = self._database.execute(f"SELECT {_COLUMNS}, number FROM accounts {condition}", values)
        return [
            Account(user, os_user, scram.Keys(*keys) if keys[0] else None, account_limits.from_json(limits), number)
            for user, os_user, *keys, limits, number in rows
        ]


def _columns(keys: scram.Keys | None) -> tuple[str | bytes | None, ...]:
    return (keys.salt, keys.stored_key, keys.server_key) if keys else (None, None, None)


def decoy_salt(key: bytes, user: str, kinds: dict[str, int]) -> str:
    """The salt for a user that does not exist: always the same one, and of a kind that accounts have or had.

    `kinds` says how many passwords have had a salt of each kind; decoys have about the same mix. Only when one of the
    numbers doubles, some of them change to this kind, as a whole, as the salt does when somebody sets a password. This
    is weighted rendezvous hashing.
    """
    found = []
    for kind, passwords in (kinds or {f"$2b${COST}$": 1}).items():
        digest = hmac.digest(key, f"{kind}{user}".encode(), "sha256")
        weight = 2 ** (passwords.bit_length() - 1)
        distance = -math.log((int.from_bytes(digest[:8], "big") + 1) / 2**64) / weight
        found.append((distance, kind, digest[16:]))
    _, kind, random = min(found)
    return kind + bcrypt_hash.salt_from(random, COST)[_KIND_LENGTH:]


def keys_from_hash(secret: bytes) -> scram.Keys:
    """The keys for a bcrypt hash of 60 bytes, as a password file holds it."""
    return scram.Keys(bcrypt_hash.salt_of(secret), *scram.keys_from(secret))


def keys_from_password(password: str) -> scram.Keys:
    """The keys for a password, with a new salt. Raises ValueError for a password that is not allowed."""
    import bcrypt

    return keys_from_hash(bcrypt.hashpw(bcrypt_hash.password_bytes(password), bcrypt.gensalt(COST)))
