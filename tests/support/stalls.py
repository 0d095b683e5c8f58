"""What to allow for a machine that is busy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stalls() -> Iterator[Callable[[], float]]:
    """What to allow for a busy machine: some times the seconds that it has taken for a fiftieth of one of work, at the
    worst while the block ran. A call has about as much to do when its time is over."""
    worst = 0.0
    is_over = threading.Event()

    def work_now_and_then() -> None:
        nonlocal worst
        while not is_over.wait(0.4):
            begun, used = time.monotonic(), time.thread_time()
            while time.thread_time() < used + 0.02:
                pass
            worst = max(worst, time.monotonic() - begun)

    thread = threading.Thread(target=work_now_and_then)
    thread.start()
    try:
        yield lambda: 4 * worst
    finally:
        is_over.set()
        thread.join()
