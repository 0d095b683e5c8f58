"""What sessions that wait cost the server in memory, and what an honest client notices of them.

One half of them has logged in, the other half has a batch in the queue besides. Linux only.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.job_server import QuickServer
from support.raw_client import connect, py_code, run
from support.turns import in_turns
from support.usage import memory_of

SESSIONS = 5000
ENDLESS = py_code("import time; time.sleep(3600)")


def session(server: QuickServer) -> float:
    begun = time.perf_counter()
    assert run(server, py_code("1")).ended == "ok"
    return time.perf_counter() - begun


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    options = ("--log-level", "error", "--workers", "2", "--max-connections-per-address", "10000")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(QuickServer(Path(folder) / "home", *options))
        (alone,) = in_turns(20, lambda: session(server))
        before = memory_of(server.process)
        for _ in range(SESSIONS):
            stack.enter_context(connect(server).log_in())
        (in_company,) = in_turns(20, lambda: session(server))
        each = (memory_of(server.process) - before) / 1024 / SESSIONS
        print(f"logged in: {each:.1f} KiB each ({SESSIONS} sessions); a session beside them {in_company * 1e3:.0f} ms, "
              f"alone {alone * 1e3:.0f} ms, ratio {in_company / alone:.2f}")  # fmt: skip
        before = memory_of(server.process)
        for _ in range(SESSIONS // 5):
            stack.enter_context(connect(server).log_in()).submit(ENDLESS)
        each = (memory_of(server.process) - before) / 1024 / (SESSIONS // 5)
        print(f"with a batch that waits: {each:.1f} KiB each ({SESSIONS // 5} sessions)")


if __name__ == "__main__":
    main()
