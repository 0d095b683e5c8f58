"""How many sessions a server accepts in a second, from 16 and from 64 clients at a time.

Each client connects, logs in by osuser, submits one small session, reads that it is accepted, and closes. Nothing runs
meanwhile: the one worker is busy. With the folder of another checkout as argument, its server is measured in turns.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.process import PATIENCE, ROOT, current_user
from support.raw_client import RawClient, py_code
from support.usage import in_turns

CLIENTS = (16, 64)
SESSIONES = 640  # of one measurement
ROUNDS = 7
BUSY = py_code("import time; time.sleep(3600)")


@contextmanager
def serving(checkout: Path, home: Path) -> Iterator[str]:
    """The address of the server of this checkout, whose worker is busy."""
    command = [sys.executable, "-m", "headless"]
    place = ["--home", str(home)]
    subprocess.run([*command, "user", "add", "R41", "--os-user", current_user(), *place], cwd=checkout, check=True)
    options = ["--listen", "127.0.0.1:0", "--workers", "1", "--grace", "0", "--log-level", "error"]
    if checkout == ROOT:
        options.append("--end-jobs")
    with subprocess.Popen([*command, "serve", *place, *options], cwd=checkout, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        address = server.stdout.readline().decode().removeprefix("listening on ").strip()
        submit(address, BUSY)
        yield address
        server.terminate()
        server.wait(PATIENCE)


def submit(address: str, job: str) -> None:
    with RawClient(address) as client:
        client.log_in().submit(job)


def acceptance(address: str, clients: int) -> float:
    """Seconds for each session."""
    each = SESSIONES // clients

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


def main(*others: str) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        checkouts = [ROOT, *(Path(other).resolve() for other in others)]
        addresses = [
            stack.enter_context(serving(checkout, folder / f"home{number}"))
            for number, checkout in enumerate(checkouts)
        ]
        for clients in CLIENTS:
            measures = [lambda address=address: acceptance(address, clients) for address in addresses]  # noqa: B023
            for checkout, seconds in zip(checkouts, in_turns(ROUNDS, *measures)):
                print(f"{clients} clients: {1 / seconds:.0f} sessions accepted a second ({checkout})")


if __name__ == "__main__":
    main(*sys.argv[1:])
