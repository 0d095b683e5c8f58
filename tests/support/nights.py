"""Receipts of nights, as the command writes them."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from support.process import current_user

HOST = socket.gethostname()
SERVER = "planta.example:20000"
DAY = 86400.0

Lines = list[dict[str, Any]]  # of one call


def utc(moment: float) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(moment))}.{int(moment * 1000) % 1000:03d}Z"


def local(moment: float) -> str:
    here = time.strftime("%z", time.localtime(moment))
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.localtime(moment))}.000{here[:3]}:{here[3:]}"


def call(
    begun: float,
    jobs: Sequence[str] = ("009ABC",),
    seconds: float | None = 7.0,
    *,
    waited: float = 0.0,
    code: int | None = 0,
    key: str = "",
    **more: Any,
) -> Lines:
    """The two lines of a call that began at this time; the first one alone if it has no end (seconds is None). `more`
    are fields of both."""
    fields: dict[str, Any] = {
        "when": utc(begun),
        "local": local(begun),
        "event": "start",
        "key": key or f"{begun}-{'-'.join(jobs)}-{more.get('os_user')}",
        "host": HOST,
        "pid": 4_000_000,  # more than any process has
        "os_user": current_user(),
        "user": "R41",
        "server": SERVER,
        "timeout": -1,
        "jobs": [{"kind": "module", "name": job, "title": job} for job in jobs],
    }
    start = {name: more.get(name, value) for name, value in fields.items()}
    if seconds is None:
        return [start]
    started, ended = begun + 0.1 + waited, begun + 0.1 + waited + seconds
    status = {0: "ok", 1: "failed"}.get(-1 if code is None else code)
    of_jobs = {"status": status, "started": utc(started), "ended": utc(ended) if status else None}
    end = {
        **start,
        "event": "end",
        "session": f"{int(begun * 10) % 16**12:012x}",
        "jobs": [{**job, **of_jobs} for job in start["jobs"]],
        "accepted": utc(begun + 0.1),
        "waited": waited,
        "ended": utc(ended) if status else None,
        "returned": utc(ended),
        "code": code,
        "signal": None if code is not None else 15,
        "exit_status": 143 if code is None else code,
        "attached": 0,
        "proof": None if code else "ended",
        "submission": "submitted",
        "message": "" if code == 0 else "job 1 failed: exit status 7",
    }
    return [start, {name: more.get(name, value) for name, value in end.items()}]


def write(path: Path, calls: Iterable[Lines]) -> Path:
    """Appends them in the order in which they were written."""
    lines = [line for each in calls for line in each]
    lines.sort(key=lambda line: str(line["when"] if line["event"] == "start" else line["returned"]))
    with open(path, "a", encoding="ascii") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return path


def crontab(path: Path, *lines: tuple[str, str]) -> Path:
    """A crontab whose lines start these jobs: of each the five fields, and the module."""
    command = f"/usr/bin/python3 /planta/planta_headless.py -s {SERVER} -u R41 -p /planta/r41.secret -t -1 -m"
    path.write_text("".join(f"{fields} {command} {job}\n" for fields, job in lines))
    return path
