"""Parts of the package's server in the process of the tests: for speed, or to change its times."""

from __future__ import annotations

import asyncio
import io
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple, TextIO
from unittest.mock import patch

from headless.commands import main
from headless.server import peer
from headless.server.home import Home
from headless.server.server import Server
from headless.server.settings import Settings
from support.homes import R41, make_home

# What a server handles, and whoever runs it here would go on handling: it would take the children of other tests.
_NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD")
_SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


def serve_here(folder: Path, talk: Callable[[str], object], **settings: Any) -> None:
    """Runs a server with the account R41 in this process as long as `talk(address)` runs in a thread."""
    home = make_home(folder, R41)
    settings.setdefault("trust_osuser", not peer.can_tell())

    async def serve() -> None:
        server = Server(home, Settings(port=0, end_jobs=True, **settings))
        address = await server.open()
        await server.begin()
        force_stop = asyncio.Event()
        force_stop.set()
        try:
            await asyncio.get_running_loop().run_in_executor(None, talk, address)
        finally:
            await server.stop(force_stop)

    asyncio.run(serve())


def _restore(handlers: dict[int, Any]) -> None:
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


class Completed(NamedTuple):
    """How a command of `headless` ended, and what it printed."""

    status: int
    stdout: str
    stderr: str


def run_here(*argv: str, stdin: bytes = b"", stdout: TextIO | None = None) -> Completed:
    """What `headless ...` does, in this process: a tenth of the time. What shows lines of -v needs a file as stdout."""
    open_database = Home.database
    with ExitStack() as stack:  # which closes, too, what a command leaves to the end of its process
        stack.enter_context(
            patch.object(Home, "database", lambda home: stack.enter_context(closing(open_database(home))))
        )
        if threading.current_thread() is threading.main_thread():
            stack.callback(_restore, {signum: signal.getsignal(signum) for signum in _SIGNALS})
        stack.enter_context(patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")))
        stdout = stack.enter_context(redirect_stdout(stdout or io.StringIO()))
        stderr = stack.enter_context(redirect_stderr(io.StringIO()))
        try:
            status = main(argv)
        except SystemExit as end:  # which is how argparse ends
            assert isinstance(end.code, int)
            status = end.code
    stdout.seek(0)
    return Completed(status, stdout.read(), stderr.getvalue())
