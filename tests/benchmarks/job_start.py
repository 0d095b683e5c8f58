"""How long a job takes to start, against the start of an interpreter, and what memory its shim takes.

Once from the call that starts its process, and once from the moment its session is sent: between the two lie the
journal's writes to the disk. A job prints when it runs by the clock that all processes share.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support.job_processes import Folder, new_shims, private_memory, shim_of, stored
from support.job_server import QuickServer
from support.raw_client import connect, py_code
from support.usage import in_turns

ROUNDS = 60
SHIMS = 10  # whose memory is measured
PRINT_THE_TIME = "import time; print(time.monotonic_ns())"


def start_of_interpreter() -> float:
    begun = time.monotonic_ns()
    done = subprocess.run([sys.executable, "-c", PRINT_THE_TIME], check=True, capture_output=True, text=True)
    return (int(done.stdout) - begun) / 1e9


def start_of_process(folder: Folder) -> float:
    async def run() -> float:
        processes, spec = new_shims(), folder.spec(PRINT_THE_TIME)
        begun = time.monotonic_ns()
        await (await processes.start(spec)).wait()
        return (int(stored(spec)) - begun) / 1e9

    return asyncio.run(run())


def start_of_job(server: QuickServer) -> float:
    with connect(server).log_in() as client:
        begun = time.monotonic_ns()
        client.submit(py_code(PRINT_THE_TIME))
        return (int(client.report().output[1, "stdout"]) - begun) / 1e9


def memory_of_shims(folder: Folder) -> list[int]:
    """In KiB, of shims whose jobs run."""

    async def run() -> list[int]:
        processes = new_shims()
        specs = [folder.spec("import time; time.sleep(60)", number) for number in range(SHIMS)]
        started = [await processes.start(spec) for spec in specs]
        await asyncio.sleep(1)
        memory = [private_memory(shim_of(process)) for process in started]
        await asyncio.gather(*(process.end() for process in started))
        return memory

    return asyncio.run(run())


def main() -> None:
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(Path(path))
        memory = memory_of_shims(folder)
        with QuickServer(Path(path) / "home", "--log-level", "error") as server:
            interpreter, process, job = in_turns(
                ROUNDS, start_of_interpreter, lambda: start_of_process(folder), lambda: start_of_job(server)
            )
    print(f"python -c pass {interpreter * 1e3:.1f} ms (medians of {ROUNDS})")
    print(f"a job's process {process * 1e3:.1f} ms, ratio {process / interpreter:.2f}")
    print(f"a job from its session {job * 1e3:.1f} ms, ratio {job / interpreter:.2f}")
    print(f"a shim {statistics.median(memory):.0f} KiB of its own, at most {max(memory)}")
