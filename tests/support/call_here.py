"""A call of planta_headless.py in this process: what main(argv) returns and prints, in a few milliseconds.

The call has a folder, an environment and streams of its own, and no terminal. While it runs in the main thread, the
script of a server in another one may send it a signal, or let its time pass.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from headless import cli
from headless.client import call as client_call
from headless.client.waiting import Waiter

# Nothing of a call may reach whoever runs the tests. The last one wakes a call whose time has passed.
_WAKE = getattr(signal, "SIGUSR1", None)  # Windows has none
_NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")
_HANDLED = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)] + ([_WAKE] if _WAKE else [])


class Ended(NamedTuple):
    """How a call has ended."""

    code: int  # negative: the signal that the process would have ended by
    stdout: str
    stderr: str


class CallHere:
    """One call. `shown` is the file that it prints to, and `is_over` tells of its end; `wait`, `terminate` and
    `send_signal` are those of Popen, for other threads.

    A pause of its own (between two connections) takes no time. `paces` are those of the deadlines that it sets one
    after the other; with 0.1 one comes after a tenth of its time. All further ones take the whole of it.
    """

    def __init__(self, folder: Path, *paces: float) -> None:
        self.shown = folder / "stdout"
        self._folder = folder
        self._waiter = _SteeredWaiter(paces)
        self.is_over = threading.Event()
        self._ending = threading.Lock()

    def run(self, *argv: str | bytes, env: Mapping[str, str] | None = None) -> Ended:
        """Runs it, with these variables added to the environment."""
        errors = self._folder / "stderr"
        with ExitStack() as stack:
            stack.callback(os.chdir, os.getcwd())
            os.chdir(self._folder)
            stack.enter_context(patch.dict(os.environ, _environment(env or {}), clear=True))
            stack.enter_context(_without_effect(_HANDLED))
            stack.enter_context(patch.object(sys, "path", sys.path[:]))
            stack.callback(sys.modules.pop, "planta_wire", None)  # what PLANTA_WIRE has loaded
            for name, path, mode in (("stdin", os.devnull, "r"), ("stdout", self.shown, "w"), ("stderr", errors, "w")):
                stream = stack.enter_context(open(path, mode, encoding="utf-8", errors="surrogateescape"))
                stack.enter_context(patch.object(sys, name, stream))
            stack.enter_context(patch.object(client_call, "Waiter", lambda: self._waiter))
            stack.callback(self._end)
            code = cli.main([os.fsdecode(word) for word in argv])
        shown, complaints = (
            path.read_text(encoding="utf-8", errors="surrogateescape") for path in (self.shown, errors)
        )
        assert "Traceback" not in shown + complaints
        return Ended(code, shown, complaints)

    def let_pass(self, seconds: float) -> None:
        """Its clock goes on by so much. Not on Windows, where nothing would wake it."""
        assert _WAKE is not None
        self._waiter.skipped += seconds
        self.send_signal(_WAKE)

    def send_signal(self, signum: int) -> None:
        with self._ending:  # afterwards it would reach whoever runs the tests
            if self.is_over.is_set():
                return
            if os.name == "nt":  # where `kill` ends a process
                signal.raise_signal(signum)
            else:
                os.kill(os.getpid(), signum)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout: float) -> None:
        assert self.is_over.wait(timeout), "the call has not ended"

    def _end(self) -> None:
        with self._ending:
            self.is_over.set()


class _SteeredWaiter(Waiter):
    def __init__(self, paces: Sequence[float]) -> None:
        self.skipped = 0.0
        self._paces = list(paces)
        super().__init__(lambda: time.monotonic() + self.skipped)

    def set_deadline(self, seconds: float | None) -> None:
        if seconds is None:
            super().set_deadline(None)
            return
        pace = self._paces.pop(0) if self._paces else 1
        super().set_deadline(seconds * pace)

    def sleep(self, seconds: float) -> None:
        self.skipped += seconds
        self.check()


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Without what the environment of the tests says to the command."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PLANTA_")}
    return {**inherited, **variables}


@contextmanager
def _without_effect(signals: list[int]) -> Iterator[None]:
    before: dict[int, Any] = {signum: signal.signal(signum, lambda *_: None) for signum in signals}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
