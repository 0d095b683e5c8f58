"""A folder of recordings: what clients and their server have said to each other, and in which calls.

`calls.jsonl` has a line for each call, and each connection a file of lines: a moment, who has sent, and the bytes. The
last line of a file may be cut. Recordings hold what proves a password, so folder and files are for their owner alone.
"""

from __future__ import annotations

import binascii
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headless.dialects.vocabulary import Job
from headless.errors import CommandFailed

CALLS = "calls.jsonl"
_SUFFIX = ".talk"
CLIENT, SERVER = "client", "server"


@dataclass(frozen=True)
class Piece:
    """Is what one side has sent at a moment, b"" for the end of its stream. `seconds` count from the connection on."""

    seconds: float
    sender: str  # CLIENT or SERVER
    data: bytes


@dataclass(frozen=True)
class RecordedCall:
    """Describes a call of the recorded client. `login`, `user`, `os_user`, `jobs` and `timeout` are as the options of
    our command say. `status` is what the old client returned, `expected` what ours shall return; None if not known.
    `is_password_right` is False for a call with a wrong password. `connections` are names of recordings."""

    label: str = ""
    login: str = ""
    user: str | None = None
    os_user: str = ""
    jobs: tuple[Job, ...] = ()
    timeout: int = 0
    is_password_right: bool = True
    status: int | None = None
    expected: int | None = None
    connections: tuple[str, ...] = field(default=())

    def to_json(self) -> str:
        fields = asdict(self)
        fields["jobs"] = [{"kind": job.kind, "text": job.text} for job in self.jobs]
        return json.dumps(fields)

    @classmethod
    def from_json(cls, line: str) -> RecordedCall:
        """Raises ValueError for what is no such line."""
        try:
            fields: dict[str, Any] = json.loads(line)
            fields["jobs"] = tuple(Job(job["kind"], job["text"]) for job in fields["jobs"])
            fields["connections"] = tuple(fields["connections"])
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no description of a call: {error}") from None


class Folder:
    """Is a folder of recordings. Raises CommandFailed for what cannot be read or written."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def has_calls(self) -> bool:
        return (self.path / CALLS).exists()

    def calls(self) -> list[RecordedCall]:
        """Returns the calls, in the order in which they were recorded. A last line that was cut is left out."""
        text = self._read(self.path / CALLS)
        calls = []
        lines = text.splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            try:
                calls.append(RecordedCall.from_json(line))
            except ValueError as error:
                if number == len(lines) and not line.endswith("\n"):
                    break
                raise CommandFailed(f"{self.path / CALLS}, line {number}: {error}") from None
        return calls

    def pieces(self, connection: str) -> Iterator[Piece]:
        """Yields what was said on a connection. A last line that was cut is left out."""
        path = self.path / f"{connection}{_SUFFIX}"
        lines = self._read(path).splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            try:
                seconds, sender, data = json.loads(line)
                if sender not in (CLIENT, SERVER):
                    raise ValueError(f"{sender!r} is neither side")
                yield Piece(float(seconds), sender, b64decode(data, validate=True))
            except (ValueError, TypeError, binascii.Error) as error:
                if number == len(lines) and not line.endswith("\n"):
                    return
                raise CommandFailed(f"{path}, line {number}: {error}") from None

    def create(self) -> None:
        """Makes the folder if it is not there. Raises CommandFailed for one that is open to others."""
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            mode = self.path.stat().st_mode
        except OSError as error:
            raise CommandFailed(f"{self.path} cannot be made: {error.strerror}") from None
        if os.name == "posix" and mode & 0o077:
            raise CommandFailed(f"recordings hold what proves a password, and others may use {self.path}: chmod 0700")

    def create_recording(self) -> tuple[str, int]:
        """Returns the name of a new connection, and a descriptor of its file. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
        number = len(list(self.path.glob(f"*{_SUFFIX}")))
        while True:
            number += 1
            name = f"{number:04d}"
            with suppress(FileExistsError):
                return name, os.open(self.path / f"{name}{_SUFFIX}", flags, 0o600)

    def add_call(self, call: RecordedCall) -> None:
        """Appends a line, and returns when it is on the disk. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        descriptor = os.open(self.path / CALLS, flags, 0o600)
        try:
            os.write(descriptor, call.to_json().encode("ascii") + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _read(self, path: Path) -> str:
        try:
            return path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandFailed(f"{path} cannot be read: {error}") from None


def line_of(piece: Piece) -> bytes:
    """Returns the line that records this."""
    return json.dumps([round(piece.seconds, 6), piece.sender, b64encode(piece.data).decode()]).encode() + b"\n"
