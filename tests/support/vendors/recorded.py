"""Records the calls of a made-up vendor's client in a folder: those that are worth it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from headless.dialects.vocabulary import CHALLENGE, MODULE, OSUSER, PY_CODE, PY_FILE, Job
from headless.protocol_tools.recordings import CALLS, Folder, RecordedCall, line_of
from support.credentials import HASH, hash_of
from support.vendors.talk import Talk

KILLED = "the server is killed"
OTHER_HASH = hash_of("wrong horse", "$2b$10$abcdefghijklmnopqrstuu").decode()
SPECIAL = "# \u00e4\u00f6\u00fc\u00df \u20ac <& \"'\nprint(1)"
LONG = "x = 1\n" * 12_000  # 70 kB


def _call(label: str, *jobs: Job, login: str = CHALLENGE, timeout: int = -1, expected: int = 0) -> RecordedCall:
    user, os_user = ("R41", "") if login == CHALLENGE else (None, "jdoe")
    return RecordedCall(label, login, user, os_user, jobs, timeout, True, None, expected)


_MODULE = Job(MODULE, "009ABC")
EVERY_CALL = (
    _call("challenge", _MODULE),
    _call("challenge, the same again", _MODULE),
    _call("osuser", _MODULE, login=OSUSER),
    _call("osuser, the same again", _MODULE, login=OSUSER),
    RecordedCall("a wrong password", CHALLENGE, "R41", "", (_MODULE,), -1, False, None, 2),
    _call("three jobs", _MODULE, Job(PY_FILE, "night/load.py"), Job(PY_CODE, "print(42)")),
    _call("the second fails", _MODULE, Job(PY_CODE, "print('fail')"), Job(MODULE, "00XYZ1"), expected=1),
    _call("the second is unknown", _MODULE, Job(MODULE, "nope17"), expected=2),
    _call("special characters", Job(PY_CODE, SPECIAL)),
    _call("70 kB", Job(PY_CODE, LONG)),
    _call("no -t", _MODULE, timeout=0),
    _call("-t 1", Job(PY_CODE, "sleep 7"), timeout=1, expected=3),
    _call("180 s", Job(PY_CODE, "sleep 185")),
    _call(KILLED, Job(PY_CODE, "sleep 8"), expected=1),
)


def labelled(*labels: str) -> tuple[RecordedCall, ...]:
    return tuple(call for label in labels for call in EVERY_CALL if call.label == label)


def record(vendor: Any, path: Path, calls: Iterable[RecordedCall] = EVERY_CALL, seed: int = 1) -> Folder:
    """Returns a folder with these calls of the vendor's client."""
    path.mkdir(mode=0o700)
    lines = []
    for number, call in enumerate(calls, 1):
        hash_ = (HASH if call.is_password_right else OTHER_HASH).encode()
        server = vendor.Server(seed * 1000 + number)
        killed_at = 4.0 if call.label == KILLED else None
        talk = Talk(vendor.client(call, hash_, seed * 1000 + number), server.serve, seed * 1000 + number, killed_at)
        names = [f"{number:03d}-{count}" for count in range(1, len(talk.connections) + 1)]
        for name, pieces in zip(names, talk.connections):
            write(path / f"{name}.talk", b"".join(map(line_of, pieces)))
        fields = {**call.__dict__, "connections": tuple(names), "status": talk.status}
        lines.append(RecordedCall(**fields).to_json().encode() + b"\n")
    write(path / CALLS, b"".join(lines))
    return Folder(path)


def write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
