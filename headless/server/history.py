"""What the servers of a home leave about themselves: when they ran, and which logins they refused.

It is for people, and decides nothing. Strangers can cause refusals, so what is kept of them is bounded."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from headless.dialects.vocabulary import MAX_NAME_LENGTH

# Added to a database that has none of it. A program that does not know it reads and writes the rest as before.
ADDITIONS = (
    "ALTER TABLE sessions ADD COLUMN host TEXT NOT NULL DEFAULT ''",
    """
    CREATE TABLE servers (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        started REAL NOT NULL,
        last_seen REAL NOT NULL,
        stopped REAL
    )
    """,
    """
    CREATE TABLE refusals (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        user TEXT NOT NULL,
        host TEXT NOT NULL,
        reason TEXT NOT NULL,
        has_account INTEGER NOT NULL,
        first REAL NOT NULL,
        last REAL NOT NULL,
        times INTEGER NOT NULL
    )
    """,
)

_SERVERS_MAX, _REFUSALS_MAX = 1000, 1000  # rows
_TOGETHER_SECONDS = 3600.0  # the same refusal within this time is one row
_AT_ONCE = 100  # different refusals that are held until they are written
_REASON_LENGTH = 300  # characters
_MORE = "more refused logins than are recorded one by one"


class ServerRun(NamedTuple):
    """Says when a server ran, in seconds since the epoch. `stopped` is None as long as it runs, and if it was killed:
    then it ended within a minute or so after it was seen for the last time."""

    started: float
    last_seen: float
    stopped: float | None


class RefusedLogin(NamedTuple):
    """Says which login was refused why, when first and last (seconds since the epoch), and how often. `user` is the
    account, or the user of the operating system, that the client has named, `host` its address."""

    user: str
    host: str
    reason: str
    first: float
    last: float
    times: int


class RefusedLogins:
    """Holds refused logins until they are written: a few, however many there are."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str, str], RefusedLogin] = {}

    def add(self, user: str, host: str, reason: str) -> None:
        key = (user[:MAX_NAME_LENGTH], host, reason[:_REASON_LENGTH])
        if key not in self._held and len(self._held) >= _AT_ONCE:
            key = ("", "", _MORE)
        now = time.time()
        before = self._held.get(key, RefusedLogin(*key, now, now, 0))
        self._held[key] = before._replace(last=now, times=before.times + 1)

    def take(self) -> list[RefusedLogin]:
        """Returns them, and holds them no longer."""
        held, self._held = self._held, {}
        return list(held.values())


class History:
    """Is this part of the journal. No method begins or ends a transaction. Every one may raise sqlite3.Error."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    # Servers: one at a time, so the newest one is that which writes

    def begin_server(self) -> None:
        now = time.time()
        self._database.execute("INSERT INTO servers (started, last_seen) VALUES (?, ?)", (now, now))
        self._database.execute(
            "DELETE FROM servers WHERE number <= (SELECT max(number) FROM servers) - ?", (_SERVERS_MAX,)
        )

    def see_server(self) -> None:
        self._database.execute(
            "UPDATE servers SET last_seen = ? WHERE number = (SELECT max(number) FROM servers)", (time.time(),)
        )

    def end_server(self) -> None:
        now = time.time()
        self._database.execute(
            "UPDATE servers SET last_seen = ?, stopped = ? WHERE number = (SELECT max(number) FROM servers)", (now, now)
        )

    def servers(self, since: float) -> list[ServerRun]:
        """Returns those that have begun since this time, and the last one before, in their order."""
        rows = self._database.execute(
            "SELECT started, last_seen, stopped FROM servers WHERE number >="
            " coalesce((SELECT max(number) FROM servers WHERE started < ?), 0) ORDER BY number",
            (since,),
        )
        return [ServerRun(*row) for row in rows]

    # Logins

    def add_refusals(self, refused: Iterable[tuple[RefusedLogin, bool]]) -> None:
        """Records refusals, each with whether there is an account of that name. If there are too many, those of names
        without an account go first: strangers make them up."""
        for each, has_account in refused:
            same = (each.user, each.host, each.reason, each.first - _TOGETHER_SECONDS)
            changed = self._database.execute(
                "UPDATE refusals SET last = ?, times = times + ?"
                " WHERE user = ? AND host = ? AND reason = ? AND first >= ?",
                (each.last, each.times, *same),
            )
            if not changed.rowcount:
                self._database.execute(
                    "INSERT INTO refusals (user, host, reason, has_account, first, last, times)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (each.user, each.host, each.reason, has_account, each.first, each.last, each.times),
                )
        self._database.execute(
            "DELETE FROM refusals WHERE number IN"
            " (SELECT number FROM refusals ORDER BY has_account DESC, number DESC LIMIT -1 OFFSET ?)",
            (_REFUSALS_MAX,),
        )

    def refusals(self, since: float) -> list[RefusedLogin]:
        """Returns those since this time, in the order in which they were first refused."""
        rows = self._database.execute(
            "SELECT user, host, reason, first, last, times FROM refusals WHERE last >= ? ORDER BY first", (since,)
        )
        return [RefusedLogin(*row) for row in rows]

    # Retention

    def prune_history(self, before: float) -> None:
        """Removes what was over before this time (seconds since the epoch), but for the newest server."""
        self._database.execute("DELETE FROM refusals WHERE last < ?", (before,))
        self._database.execute(
            "DELETE FROM servers WHERE last_seen < ? AND number < (SELECT max(number) FROM servers)", (before,)
        )

    def _value(self, query: str, *values: object) -> Any:
        """Returns the first field of the first row; None if there is none."""
        row = self._database.execute(query, values).fetchone()
        return None if row is None else row[0]


def times_without_server(
    runs: Sequence[ServerRun], since: float, until: float, is_served: bool
) -> list[tuple[float, float]]:
    """Returns when no server ran between two moments: begins and ends, in seconds since the epoch. `runs` are those
    that the journal has since then, `is_served` says whether a server runs now. Of the time before the first of them
    nothing is known."""
    found = []
    for run, following in zip(runs, [*runs[1:], None]):
        end = run.last_seen if run.stopped is None else run.stopped
        if following is None and is_served and run.stopped is None:
            break
        begin, back = max(since, end), until if following is None else min(until, following.started)
        if begin < back:
            found.append((begin, back))
    return found
