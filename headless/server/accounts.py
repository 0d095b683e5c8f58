"""The accounts: who may log in, and what each may run. The tables, the queries, and the keys of a new account.

Of a password the server keeps only what verifies a proof: salt, StoredKey and ServerKey (RFC 5802), never the hash.
"""

from __future__ import annotations

import hmac
import json
import math
import os
import sqlite3
from typing import Any, NamedTuple

from headless.dialects import bcrypt_hash
from headless.dialects.own import scram
from headless.dialects.vocabulary import MODULE, PY_CODE, PY_FILE, Job
from headless.terminal import shorten

COST = 12  # bcrypt's cost, of the salts for new accounts
_KIND_LENGTH = len("$2b$12$")  # of the part of a salt that says how it was made
_MAX_QUOTED_LENGTH = 200  # characters of a module and of a list of folders, in a refusal

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


class Limits(NamedTuple):
    """Says what an account may run.

    modules         IDs, and patterns with `*` for any characters; None is every module
    folders         paths below the folder for files, without `.` and `..`, with `/` between; None is every file
    code            whether it may send code, which can do what any file and module can do
    one_at_a_time   whether a session is refused as long as one with the same jobs waits or runs
    """

    modules: tuple[str, ...] | None = None
    folders: tuple[str, ...] | None = None
    code: bool = True
    one_at_a_time: bool = False

    def refuses(self, job: Job, path: str = "") -> str:
        """Returns what the account may not do, "" if it may run this job.

        `path` is that of the file of a PY_FILE job, relative to the folder for files, with `/` between, and with all
        links followed. Without it such a job is refused, unless the account may run every file.
        """
        if job.kind == PY_CODE:
            return "" if self.code else "run code"
        if job.kind == MODULE:
            if self.modules is None or any(_matches(job.text, pattern) for pattern in self.modules):
                return ""
            return f"run the module {shorten(job.text, _MAX_QUOTED_LENGTH)!r}" if self.modules else "run modules"
        if self.folders is None or any(path.startswith(f"{folder}/") for folder in self.folders):
            return ""
        folders = shorten(", ".join(map(repr, self.folders)), _MAX_QUOTED_LENGTH)
        return f"run files outside of {folders}" if folders else "run files"


UNLIMITED = Limits()
NOTHING = Limits((), (), code=False)


def _matches(text: str, pattern: str) -> bool:
    """Returns whether the text fits the pattern. Takes time in proportion to the text, which a caller has sent."""
    first, *others = pattern.split("*")
    if not others:
        return text == pattern
    if not text.startswith(first):
        return False
    *middle, last = others
    position = len(first)
    for part in middle:
        position = text.find(part, position)
        if position < 0:
            return False
        position += len(part)
    return text.endswith(last) and position + len(last) <= len(text)


def limits_to_json(limits: Limits) -> str | None:
    """Returns what is stored: None for no limits."""
    return None if limits == UNLIMITED else json.dumps(limits._asdict())


def limits_from_json(text: str | None) -> Limits:
    """Returns the limits that are stored so, and NOTHING for what no version of this program has stored."""
    if text is None:
        return UNLIMITED
    try:
        stored = json.loads(text)
        limits = Limits(**{**stored, "modules": _tuple(stored["modules"]), "folders": _tuple(stored["folders"])})
    except (ValueError, TypeError, KeyError, RecursionError):
        return NOTHING
    are_bool = isinstance(limits.code, bool) and isinstance(limits.one_at_a_time, bool)
    return limits if are_bool and len(stored) == len(limits) else NOTHING


def _tuple(stored: Any) -> tuple[str, ...] | None:
    """Raises TypeError for what is neither null nor a list of texts."""
    if stored is None:
        return None
    if not isinstance(stored, list) or not all(isinstance(each, str) for each in stored):
        raise TypeError
    return tuple(stored)


class Account(NamedTuple):
    """Is a user of the server. `os_user` is the operating system's user who may log in with osuser, `keys` are those of
    the password for challenge; None forbids that login. `number` differs from that of an earlier account of this name;
    it is 0 as long as the account is not stored."""

    user: str
    os_user: str | None
    keys: scram.Keys | None
    limits: Limits = UNLIMITED
    number: int = 0

    def needs_path(self, job: Job) -> bool:
        """Returns whether `refuses` has to know the path of this job's file."""
        return job.kind == PY_FILE and bool(self.limits.folders)

    def refuses(self, job: Job, path: str = "") -> str:
        """Returns why the account may not run this job, as a sentence for the caller; "" if it may. `path` is as in
        Limits.refuses."""
        refused = self.limits.refuses(job, path)
        return f"the account {self.user} may not {refused}" if refused else ""


def initialize(database: sqlite3.Connection) -> None:
    """Makes the key of the decoy salts, in the transaction that makes the tables."""
    database.execute("INSERT INTO decoy_salts VALUES (?)", (os.urandom(32),))


class Accounts:
    """Reads and changes the accounts in one database. No method commits: what is written belongs to the transaction of
    the caller. Every method may raise sqlite3.Error."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        (self._decoy_salts_key,) = database.execute("SELECT key FROM decoy_salts").fetchone()

    def add(self, account: Account) -> bool:
        """Adds the account, with a number of its own. Returns False if there is one of this user already."""
        added = self._database.execute(
            f"INSERT OR IGNORE INTO accounts ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
            (account.user, account.os_user, *_columns(account.keys), limits_to_json(account.limits)),
        )
        if added.rowcount:
            self._remember_kind(account.keys)
        return added.rowcount == 1

    def remove(self, user: str) -> bool:
        """Returns False if there was none to remove."""
        return self._database.execute("DELETE FROM accounts WHERE user = ?", (user,)).rowcount == 1

    def set_keys(self, user: str, keys: scram.Keys) -> bool:
        """Gives the account another password. Returns False if there is no such account."""
        changed = self._database.execute(
            "UPDATE accounts SET salt = ?, stored_key = ?, server_key = ? WHERE user = ?", (*_columns(keys), user)
        )
        if changed.rowcount:
            self._remember_kind(keys)
        return changed.rowcount == 1

    def set_limits(self, user: str, limits: Limits) -> bool:
        """Gives the account other limits. Returns False if there is no such account."""
        changed = self._database.execute(
            "UPDATE accounts SET limits = ? WHERE user = ?", (limits_to_json(limits), user)
        )
        return changed.rowcount == 1

    def all(self) -> list[Account]:
        """Returns every account, by user."""
        return self._select("ORDER BY user")

    def of_user(self, user: str) -> Account | None:
        return next(iter(self._select("WHERE user = ?", user)), None)

    def of_number(self, number: int) -> Account | None:
        return next(iter(self._select("WHERE number = ?", number)), None)

    def of_os_user(self, os_user: str) -> list[Account]:
        """Returns the accounts that this user of the operating system may log in to, by user. On Windows the case of a
        name means nothing."""
        if os.name == "nt":
            return [each for each in self.all() if each.os_user and each.os_user.casefold() == os_user.casefold()]
        return self._select("WHERE os_user = ? ORDER BY user", os_user)

    def keys_of(self, user: str) -> scram.Keys:
        """Returns the user's keys; for one that has none, keys that fit no password, with the salt of `decoy_salt`."""
        # The decoy is computed in any case, so that the time it takes does not show who exists.
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
            Account(user, os_user, scram.Keys(*keys) if keys[0] else None, limits_from_json(limits), number)
            for user, os_user, *keys, limits, number in rows
        ]


def _columns(keys: scram.Keys | None) -> tuple[str | bytes | None, ...]:
    return (keys.salt, keys.stored_key, keys.server_key) if keys else (None, None, None)


def decoy_salt(key: bytes, user: str, kinds: dict[str, int]) -> str:
    """Returns the salt for a user that does not exist: always the same one, and of a kind that accounts have or had.

    `kinds` says how many passwords have had a salt of each kind; decoys have about the same mix. Only when one of the
    numbers doubles, some of them change to this kind, as a whole, as the salt does when a user sets a password. This
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
    """Returns the keys for a bcrypt hash of 60 bytes, as a password file holds it."""
    return scram.Keys(bcrypt_hash.salt_of(secret), *scram.keys_from(secret))


def keys_from_password(password: str) -> scram.Keys:
    """Returns the keys for a password, with a new salt. Raises ValueError for a password that is not allowed."""
    import bcrypt

    return keys_from_hash(bcrypt.hashpw(bcrypt_hash.password_bytes(password), bcrypt.gensalt(COST)))
