"""A connection to a database whose statements fail when a test says so, as on a disk that is full or broken."""

from __future__ import annotations

import sqlite3
from typing import Any

FULL = "database or disk is full"
BROKEN = "disk I/O error"
LOCKED = "database is locked"
ERRORS = (FULL, BROKEN, LOCKED)


class FaultyDatabase:
    """Passes everything on to a real connection. Statements that begin with `fails_at` fail so many `times`, or until
    `heal`; after that those that begin with `then`. A COMMIT that fails `late` has reached the disk all the same."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.real = database
        self.begun: list[str] = []  # the first word of each statement
        self.failures = 0
        self.heal()

    def break_down(
        self, fails_at: str, error: str, times: float = float("inf"), late: bool = False, then: str = ""
    ) -> None:
        self._error, self._late, self._then = error, late, then
        self._heals_at = self.failures + times
        self._fails_at = fails_at

    def heal(self) -> None:
        self._fails_at = "none of them"

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        self.begun.append(statement.split(maxsplit=1)[0])
        if not statement.startswith(self._fails_at):
            return self.real.execute(statement, *values)
        if self._late:
            self.real.execute(statement, *values)
        self.failures += 1
        if self.failures >= self._heals_at:
            self.heal()
            if self._then:
                self.break_down(self._then, self._error)
        raise sqlite3.OperationalError(self._error)

    @property
    def isolation_level(self) -> str | None:
        return self.real.isolation_level

    @isolation_level.setter
    def isolation_level(self, level: str | None) -> None:
        self.real.isolation_level = level  # type: ignore[assignment]  # which has three of its own

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)
