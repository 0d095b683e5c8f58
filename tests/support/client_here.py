"""The client in the process of the tests: a twentieth of the time, and its clock and its times can be other ones. How
it starts and ends as a process is not to be seen here."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryFile
from unittest.mock import patch

from headless import cli, commands
from headless.client import call
from headless.client.waiting import Waiter
from headless.options import Options, parse
from headless.protocol.wire import Event
from support.credentials import HASH

Ended = subprocess.CompletedProcess[str]


def ended(run: Callable[[], int]) -> Ended:
    """How this ends here: its return code, and what it prints, through descriptors as it does in a process."""
    with TemporaryFile("w+", encoding="utf-8") as stdout, TemporaryFile("w+", encoding="utf-8") as stderr:
        with redirect_stdout(stdout), redirect_stderr(stderr):
            code = run()
        printed = []
        for file in (stdout, stderr):
            file.flush()
            file.seek(0)
            printed.append(file.read())
    assert "Traceback" not in "".join(printed)
    return subprocess.CompletedProcess((), code, *printed)


def headless(*argv: str) -> Ended:
    """`headless ...`, for the commands that talk to a server."""
    return ended(lambda: commands.main(argv))


class StillClock:
    """A client's clock, which stands still until the call has come to where its time is to count, on however slow a
    machine: until `start` is called, or the client has taken an event of this kind."""

    def __init__(self, start_at: type[Event] | None = None) -> None:
        self._start_at = start_at
        self._started: float | None = None

    def __call__(self) -> float:
        return 1000.0 + self.seconds()

    def seconds(self) -> float:
        """Since it has been started."""
        return 0.0 if self._started is None else time.monotonic() - self._started

    def start(self) -> None:
        self._started = self._started or time.monotonic()

    # As a receipt, which is told what happens.

    def begin(self, options: Options, key: str) -> None:
        pass

    def observe(self, event: Event) -> None:
        if self._start_at is not None and isinstance(event, self._start_at):
            self.start()

    def end(self, code: int, message: str, waiter: Waiter, session: object = None) -> int:  # noqa: ARG002
        return code


def by_clock(clock: StillClock, seconds: float, options: Options) -> Ended:
    """A call by another clock, and with `seconds` in the place of those of -t: a part of one no option can say."""
    with patch.object(call, "Waiter", lambda: Waiter(clock)):
        return ended(lambda: call.run(options.replace(timeout=seconds), receipt=clock))


class ClientHere:
    """planta_headless.py, with the same call as support.process.Command."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, *argv: str, env: dict[str, str] | None = None) -> Ended:
        """Without `env` the environment is that of the tests."""
        with patch.dict(os.environ, env or {}, clear=env is not None):
            return ended(lambda: cli.main(argv))

    def by_clock(self, clock: StillClock, seconds: float, *argv: str) -> Ended:
        return by_clock(clock, seconds, parse(argv))

    def secret_file(self, content: str = HASH + "\n", name: str = "secret") -> str:
        """A password file in the test's folder."""
        path = self._folder / name
        path.write_text(content, encoding="utf-8")
        path.chmod(0o400)
        return str(path)
