"""Servers that die by kill -9, jobs that leave a trace of what they did, and what must be true of it afterwards."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from contextlib import closing

from support.job_server import QuickServer
from support.process import PATIENCE
from support.raw_client import RawClient, connect, osuser_login, py_code
from support.waiting import wait_until

WORKERS = 2


def traced(work: str = "") -> str:
    """A job that adds a line to a file when it starts and one when it ends. Each is one write."""
    leave = 'os.write(trace, f\'{os.environ["PLANTA_SESSION"]} {os.environ["PLANTA_JOB"]} %s\\n\'.encode())\n'
    opened = "import os, time\ntrace = os.open('trace', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)\n"
    return py_code(f"{opened}{leave % 'starts'}{work}\n{leave % 'ends'}")


TRACES: dict[str, list[set[str]]] = {
    "ok": [{"starts", "ends"}],
    "interrupted": [set(), {"starts"}, {"starts", "ends"}],
    "skipped": [set()],
}


def recorded(server: QuickServer) -> dict[str, list[str]]:
    """The states of every session's jobs."""
    sessions: dict[str, list[str]] = {}
    with closing(sqlite3.connect(server.home / "planta.sqlite", timeout=PATIENCE)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for session, state in database.execute("SELECT session, state FROM jobs ORDER BY session, job"):
            sessions.setdefault(session, []).append(state)
    return sessions


def traces(server: QuickServer) -> Counter[str]:
    path = server.home / "py" / "trace"
    return Counter(path.read_text().splitlines() if path.exists() else [])


def wait_until_quiet(server: QuickServer) -> None:
    wait_until(lambda: not {"queued", "running"} & {state for job in recorded(server).values() for state in job})


def check(server: QuickServer, reported: dict[str, list[str]], crashes: int = 1) -> None:
    """Once all is quiet: nothing has run twice, nothing accepted is missing, and the journal agrees with what jobs did
    and with what clients were told: by session, what became of the jobs of which they received something."""
    sessions, lines = recorded(server), traces(server)
    assert [line for line, count in lines.items() if count > 1] == []
    assert {line.split()[0] for line in lines} <= set(sessions)
    for session, jobs in sessions.items():
        assert re.fullmatch("(ok )*(interrupted (skipped )*)?", " ".join([*jobs, ""])), (session, jobs)
        for number, state in enumerate(jobs, 1):
            trace = {mark for mark in ("starts", "ends") if f"{session} {number} {mark}" in lines}
            assert trace in TRACES[state], (session, number, state, trace)
    for session, received in reported.items():
        assert sessions[session][: len(received)] == received, session
    assert sum(jobs.count("interrupted") for jobs in sessions.values()) <= WORKERS * crashes


def kill(server: QuickServer) -> None:
    """kill -9. Does not wait, as `crash` does, for the process that jobs are forked from."""
    server.process.kill()
    server.process.wait(PATIENCE)
    for stream in (server.process.stdout, server.process.stderr):
        assert stream is not None
        stream.close()


def submitted(client: RawClient, *jobs: str) -> RawClient:
    client.log_in().submit(*jobs)
    return client


def is_refused(server: QuickServer) -> bool:
    with connect(server) as client:
        return client.ask(osuser_login(user="R41")).tag == "refused"
