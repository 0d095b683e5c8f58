"""Servers and shims that die by kill -9, jobs that leave a trace of what they did, and what must be true afterwards."""

from __future__ import annotations

import re
import signal
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from support import fork_server, job_server
from support.job_server import QuickServer
from support.process import PATIENCE, ROOT
from support.raw_client import RawClient, Report, connect, osuser_login, py_code
from support.scripted_server import Disconnected
from support.shims_of import WatchedJob, send, shims_of
from support.waiting import wait_until


def traced(work: str = "") -> str:
    """A job that adds a line to a file when it starts and one when it ends. Each is one write."""
    leave = 'os.write(trace, f\'{os.environ["PLANTA_SESSION"]} {os.environ["PLANTA_JOB"]} %s\\n\'.encode())\n'
    opened = "import os, time\ntrace = os.open('trace', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)\n"
    return py_code(f"{opened}{leave % 'starts'}{work}\n{leave % 'ends'}")


FOR_A_MINUTE = "print('.')\nimport time; time.sleep(60)"
TRACES: dict[str, list[set[str]]] = {
    "ok": [{"starts", "ends"}],
    "interrupted": [set(), {"starts"}, {"starts", "ends"}],
    "skipped": [set()],
}


class Received(NamedTuple):
    """What a client has received of a session that was accepted: status and text of each job, as far as they came,
    and the end."""

    finished: list[tuple[str, str]]
    ended: list[str]


class Recorded(NamedTuple):
    """What the journal says of a job."""

    state: str
    message: str
    ended: float | None


def recorded(server: QuickServer) -> dict[str, list[Recorded]]:
    """The jobs of every session."""
    sessions: dict[str, list[Recorded]] = {}
    with closing(sqlite3.connect(server.home / "planta.sqlite", timeout=PATIENCE)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for session_id, *job in database.execute(
            "SELECT session_id, state, message, ended FROM jobs ORDER BY session_id, job"
        ):
            sessions.setdefault(session_id, []).append(Recorded(*job))
    return sessions


def traces(server: QuickServer) -> Counter[str]:
    path = server.home / "py" / "trace"
    return Counter(path.read_text().splitlines() if path.exists() else [])


def wait_until_quiet(server: QuickServer) -> None:
    """Until no session waits or runs."""
    wait_until(lambda: server.query("SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')") == (0,))


def check(
    server: QuickServer, received: dict[str, Received] | None = None, killed: Collection[WatchedJob] = ()
) -> None:
    """Checks, once all is quiet: nothing has run twice or is missing or left, only jobs whose shims were killed are
    interrupted, and the journal agrees with what jobs did and clients received."""
    sessions, lines = recorded(server), traces(server)
    assert [line for line, count in lines.items() if count > 1] == []
    assert {line.split()[0] for line in lines} <= set(sessions)
    for session, jobs in sessions.items():
        assert re.fullmatch("(ok )*(interrupted (skipped )*)?", "".join(f"{job.state} " for job in jobs)), jobs
        for number, job in enumerate(jobs, 1):
            trace = {mark for mark in ("starts", "ends") if f"{session} {number} {mark}" in lines}
            assert trace in TRACES[job.state], (session, number, job, trace)
            if job.state == "interrupted":
                assert (session, number) in killed, (session, number, job)
                assert job.ended is None
    for session, client in (received or {}).items():
        check_received(sessions[session], client)
    assert not shims_of(server.home)


def check_received(jobs: list[Recorded], received: Received) -> None:
    """Checks that a client has received what the journal says. The protocol has no word for an interruption."""
    protocol_states = {"interrupted": "failed", "cancelled": "failed"}
    journaled = [(protocol_states.get(job.state, job.state), job.message) for job in jobs]
    assert received.finished == journaled[: len(received.finished)]
    if received.ended:
        assert len(received.finished) == len(jobs)
        assert received.ended == ["ok" if all(job.state == "ok" for job in jobs) else "failed"]


def receive_until_the_end(client: RawClient, received: Received | None = None) -> Received:
    """All that the client receives from here to the end of the session, or of the connection."""
    received = received or Received([], [])
    with suppress(Disconnected, ConnectionError):
        while not received.ended:
            element = client.element()
            if element.tag == "finished":
                received.finished.append((element.attrib["status"], element.text or ""))
            elif element.tag == "ended":
                received.ended.append(element.attrib["status"])
    return received


def received_by(report: Report) -> Received:
    return Received(report.finished, [report.ended])


def kill_shims(server: QuickServer) -> set[WatchedJob]:
    """kill -9 of all shims. Returns their jobs."""
    shims = shims_of(server.home)
    for pid in shims:
        send(pid, signal.SIGKILL)
    return set(shims.values())


def shim_of(server: QuickServer, session: str, number: int = 1) -> int:
    """The number of the shim of a job that runs."""
    return next(pid for pid, job in shims_of(server.home).items() if job == (session, number))


def submitted(client: RawClient, *jobs: str) -> RawClient:
    client.log_in().submit(*jobs)
    return client


def printed(client: RawClient) -> str:
    """The first line that the next job prints. It may come in pieces."""
    client.expect("started")
    line = ""
    while not line.endswith("\n"):
        line += client.expect("output").text or ""
    return line


def is_refused(server: QuickServer) -> bool:
    """Whether the server refuses a login, because it stops."""
    with connect(server) as client:
        answer = client.ask(osuser_login(user="R41"))
        assert answer.tag == "welcome" or answer.attrib == {"reason": "busy"}
        return answer.tag == "refused"


@contextmanager
def planted(script: Path, code: str) -> Iterator[None]:
    """Lets each server that is started meanwhile run this code first. It is written to the script."""
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{code}\n"
        "from headless.cli import tools_main as main\nsys.exit(main(sys.argv[1:]))\n"
    )

    def start(program: list[str], **options: Any) -> Any:
        assert program[:2] == ["-m", "headless"]
        return fork_server.start([str(script), *program[2:]], **options)

    with patch.object(job_server, "start", start):
        yield
