"""A folder of recordings: what clients and their server have said to each other, and in which calls.

`calls.jsonl` has a line for each call, and each connection a file of lines: a moment, who has sent, and the bytes. The
last line of a file may be cut. Recordings hold what proves a password, so folder and files are for their owner alone.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Callable, TypeVar

from headless.dialects.vocabulary import Job
from headless.errors import OK, TIMED_OUT, CommandFailed
from headless.system import open_regular
from headless.terminal import shorten

CALLS = "calls.jsonl"
_SUFFIX = ".talk"
CLIENT, SERVER = "client", "server"
SILENCE = 5.0  # seconds, after which a message is not the answer to one before
_MAX_LINE = 16 * 2**20  # bytes
_MAX_REASON = 200  # characters of what is wrong with a line
_MAX_SECONDS = 10**9
_OPTIONAL = type(None)
_FAILS = "fails"  # in a label
_TYPES = {
    "label": (str,),
    "login": (str,),
    "user": (str, _OPTIONAL),
    "os_user": (str,),
    "timeout": (int,),
    "is_password_right": (bool,),
    "status": (int, _OPTIONAL),
    "expected": (int, _OPTIONAL),
}
_T = TypeVar("_T")


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

    @property
    def asked(self) -> tuple[object, ...]:
        """Returns what two recordings of the same call have in common."""
        return self.login, self.user, self.os_user, self.jobs, self.timeout, self.is_password_right

    @property
    def code(self) -> int | None:
        """Returns what our command shall return, None if that is not known: what the old client returned is believed
        where it cannot mean two things."""
        return self.expected if self.expected is not None else self.status if self.status in (OK, TIMED_OUT) else None

    @property
    def fails_untold(self) -> bool:
        """Returns whether it was recorded as one that fails, and whose server does not tell that."""
        return self.expected == OK and _FAILS in self.label

    @property
    def leaves_early(self) -> bool:
        """Returns whether the client has left before the end, so that it has not seen what the server said then."""
        return self.timeout == 0 or TIMED_OUT in (self.status, self.expected)

    def to_json(self) -> str:
        fields = asdict(self)
        fields["jobs"] = [{"kind": job.kind, "text": job.text} for job in self.jobs]
        return json.dumps(fields)

    @classmethod
    def from_json(cls, line: str | bytes) -> RecordedCall:
        """Raises ValueError for what is no such line."""
        try:
            fields: dict[str, Any] = json.loads(line)
            fields["jobs"] = tuple(Job(job["kind"], job["text"]) for job in fields["jobs"])
            fields["connections"] = tuple(fields["connections"])
            call = cls(**fields)
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"no description of a call: {error}") from None
        wrong = [name for name, types in _TYPES.items() if type(getattr(call, name)) not in types]
        wrong += ["jobs"] * any(type(text) is not str for job in call.jobs for text in (job.kind, job.text))
        wrong += ["connections"] * any(not _is_name(name) for name in call.connections)
        if wrong:
            raise ValueError(f"no description of a call: {wrong[0]} has a value that is none")
        return call


def _is_name(text: object) -> bool:
    """Returns whether it can be the name of a connection: no file elsewhere is read."""
    return isinstance(text, str) and re.fullmatch("[A-Za-z0-9_-]{1,100}", text) is not None


class Folder:
    """Is a folder of recordings. Raises CommandFailed for what cannot be read or written."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def has_calls(self) -> bool:
        return (self.path / CALLS).exists()

    def calls(self) -> list[RecordedCall]:
        """Returns the calls, in the order in which they were recorded. A last line that was cut is left out."""
        return list(_parsed(self.path / CALLS, RecordedCall.from_json))

    def pieces(self, connection: str) -> Iterator[Piece]:
        """Yields what was said on a connection. A last line that was cut is left out."""
        return _parsed(self.path / f"{connection}{_SUFFIX}", _piece_in)

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
        for number in count(len(list(self.path.glob(f"*{_SUFFIX}"))) + 1):
            name = f"{number:04d}"
            with suppress(FileExistsError):
                return name, os.open(self.path / f"{name}{_SUFFIX}", flags, 0o600)
        raise AssertionError

    def add_call(self, call: RecordedCall) -> None:
        """Appends a line, in the place of one that was cut, and returns when it is on the disk. Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        with open(os.open(self.path / CALLS, flags, 0o600), "r+b", buffering=0) as file:
            file.truncate(file.readall().rfind(b"\n") + 1)
            write_all(file.fileno(), call.to_json().encode("ascii") + b"\n")
            os.fsync(file.fileno())

    def forget(self, connection: str) -> None:
        """Deletes the call with this connection, and all its connections. Raises CommandFailed."""
        calls = self.calls()
        gone = [call for call in calls if connection in call.connections]
        if not gone:
            raise CommandFailed(f"{self.path} has no connection {connection!r}: `show` names them")
        lines = [call.to_json().encode("ascii") + b"\n" for call in calls if call not in gone]
        temporary = self.path / f"{CALLS}.{os.getpid()}.tmp"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            with open(os.open(temporary, flags, 0o600), "wb", buffering=0) as file:
                write_all(file.fileno(), b"".join(lines))
                os.fsync(file.fileno())
            os.replace(temporary, self.path / CALLS)
            for name in gone[0].connections:
                (self.path / f"{name}{_SUFFIX}").unlink()
        except OSError as error:
            raise CommandFailed(f"{connection} cannot be deleted: {error.strerror}") from None


def write_all(descriptor: int, data: bytes) -> None:
    """Raises OSError."""
    while data:
        data = data[os.write(descriptor, data) :]


def _parsed(path: Path, parse: Callable[[bytes], _T]) -> Iterator[_T]:
    """Yields what the lines of a file mean, but for a last one that was cut. Raises CommandFailed."""
    try:
        with open(open_regular(str(path)), "rb") as file:
            for number in count(1):
                line = file.readline(_MAX_LINE)
                try:
                    found = parse(line) if line else None
                except (ValueError, TypeError, RecursionError) as error:
                    if line.endswith(b"\n") or len(line) == _MAX_LINE:
                        raise CommandFailed(f"{path}, line {number}: {shorten(str(error), _MAX_REASON)}") from None
                    found = None
                if found is None:
                    return
                yield found
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror or error}") from None


def _piece_in(line: bytes) -> Piece:
    seconds, sender, data = json.loads(line)
    if sender not in (CLIENT, SERVER):
        raise ValueError(f"{sender!r} is neither side")
    if not 0 <= float(seconds) < _MAX_SECONDS:
        raise ValueError(f"{seconds!r} is no time")
    return Piece(float(seconds), sender, b64decode(data, validate=True))


def line_of(piece: Piece) -> bytes:
    """Returns the line that records this."""
    return json.dumps([round(piece.seconds, 6), piece.sender, b64encode(piece.data).decode()]).encode() + b"\n"
