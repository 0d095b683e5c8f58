"""How many sessions a server accepts in a second, from 16 and from 64 clients at a time.

Each client connects, logs in by osuser, submits one small session, reads that it is accepted, and closes. Nothing runs
meanwhile: the one worker is busy.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

from support.job_server import QuickServer
from support.raw_client import RawClient, py_code
from support.usage import in_turns

CLIENTS = (16, 64)
SESSIONS = 640  # of one measurement
ROUNDS = 7


def submit(address: str, job: str) -> None:
    with RawClient(address) as client:
        client.log_in().submit(job)


def acceptance(address: str, clients: int) -> float:
    """Seconds for each session."""
    each = SESSIONS // clients

    def run() -> None:
        for _ in range(each):
            submit(address, py_code("1"))

    threads = [threading.Thread(target=run) for _ in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - begun) / (each * clients)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        options = ("--workers", "1", "--log-level", "error")
        with QuickServer(Path(folder) / "home", *options) as server:
            submit(server.address, py_code("import time; time.sleep(3600)"))
            measures = [lambda clients=clients: acceptance(server.address, clients) for clients in CLIENTS]
            for clients, seconds in zip(CLIENTS, in_turns(ROUNDS, *measures)):
                print(f"{clients} clients: {1 / seconds:.0f} sessions accepted a second")
