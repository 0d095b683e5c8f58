"""How long a job takes to start, from the moment its batch is sent, against the start of an interpreter.

Between the two lie the journal's two writes to the disk. A job prints when it runs by the clock that all processes
share.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.job_server import QuickServer
from support.raw_client import connect, py_code
from support.turns import in_turns

ROUNDS = 60
PRINT_THE_TIME = "import time; print(time.monotonic_ns())"


def start_of_interpreter() -> float:
    begun = time.monotonic_ns()
    done = subprocess.run([sys.executable, "-c", PRINT_THE_TIME], check=True, capture_output=True, text=True)
    return (int(done.stdout) - begun) / 1e9


def start_of_job(server: QuickServer) -> float:
    with connect(server).log_in() as client:
        begun = time.monotonic_ns()
        client.submit(py_code(PRINT_THE_TIME))
        return (int(client.report().output[1, "stdout"]) - begun) / 1e9


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, QuickServer(Path(folder) / "home", "--log-level", "error") as server:
        interpreter, job = in_turns(ROUNDS, start_of_interpreter, lambda: start_of_job(server))
    print(f"python -c pass {interpreter * 1e3:.1f} ms, job {job * 1e3:.1f} ms, ratio {job / interpreter:.2f} "
          f"(medians of {ROUNDS})")  # fmt: skip


if __name__ == "__main__":
    main()
