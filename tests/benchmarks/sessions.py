"""What sessions that wait, and that follow, cost the server in memory, and what an honest client notices of them.

Some have only logged in, some have a session of one job or of 10,000 jobs in the queue besides, and some follow one job
that prints twenty lines a second. Linux only.
"""

from __future__ import annotations

import resource
import selectors
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from support.job_server import QuickServer
from support.raw_client import RawClient, connect, py_code, run
from support.usage import in_turns, memory_of

SESSIONS = 5000
LARGE = 200  # sessions
FOLLOWERS = 300
ENDLESS = py_code("import time; time.sleep(3600)")
PRINTING = py_code("import time\nfor n in range(400):\n    print(n, 'x' * 60, flush=True)\n    time.sleep(0.05)")


def session(server: QuickServer) -> float:
    begun = time.perf_counter()
    assert run(server, py_code("1")).ended == "ok"
    return time.perf_counter() - begun


def read_all(clients: list[RawClient]) -> None:
    """What these clients are sent, up to the end of each connection."""
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.sock, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                if not key.fileobj.recv(65536):  # type: ignore[union-attr]
                    selector.unregister(key.fileobj)


def beside_followers(server: QuickServer, stack: ExitStack) -> list[float]:
    """How long sessions take that begin once a second while one job is followed by many."""
    first = stack.enter_context(connect(server).log_in())
    first.submit(PRINTING)
    clients = [stack.enter_context(connect(server).log_in()) for _ in range(FOLLOWERS)]
    for client in clients:
        client.attach(first.session, 1, 0, 0)
    reading = threading.Thread(target=read_all, args=([first, *clients],))
    reading.start()
    taken = []
    while reading.is_alive():
        taken.append(session(server))
        time.sleep(max(0.0, 1 - taken[-1]))
    return taken


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    options = ("--log-level", "error", "--workers", "2", "--max-connections-per-account", "10000")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(QuickServer(Path(folder) / "home", *options))
        (alone,) = in_turns(20, lambda: session(server))
        taken = beside_followers(server, stack)
        print(f"a session beside {FOLLOWERS} followers: median {statistics.median(taken) * 1e3:.0f} ms, at most "
              f"{max(taken) * 1e3:.0f} ms")  # fmt: skip
        before = memory_of(server.process)
        for _ in range(SESSIONS):
            stack.enter_context(connect(server).log_in())
        (in_company,) = in_turns(20, lambda: session(server))
        each = (memory_of(server.process) - before) / 1024 / SESSIONS
        print(f"logged in: {each:.1f} KiB each ({SESSIONS} sessions); a session beside them {in_company * 1e3:.0f} ms, "
              f"alone {alone * 1e3:.0f} ms, ratio {in_company / alone:.2f}")  # fmt: skip
        for count, jobs in ((SESSIONS // 5, 1), (LARGE, 10_000)):
            for number in range(10 + count):
                if number == 10:  # what it takes to receive one, which the allocator keeps
                    before = memory_of(server.process)
                stack.enter_context(connect(server).log_in()).submit(*[ENDLESS] * jobs)
            each = (memory_of(server.process) - before) / 1024 / count
            print(f"with a session of {jobs} jobs that waits: {each:.1f} KiB each ({count} sessions)")
