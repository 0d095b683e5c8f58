"""The server of a rehearsal: a process of its own, which ends when the rehearsal lets go of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from headless.client.osuser import effective_user
from headless.client.waiting import Waiter
from headless.errors import Interrupted, ParameterError, SessionError
from headless.options import Service
from headless.server.home import Home

_LISTENING = "listening on "
_PACKAGE = Path(__file__).parent.parent


def runs_as() -> tuple[str, str]:
    """The user that the jobs run as, and what is to be said of that, or "": in a container a user may have no name."""
    try:
        return effective_user(), ""
    except ParameterError:
        number = str(os.geteuid())
        return number, f"the user number {number} has no name here: an osuser login of the command itself is a 2"


@contextmanager
def running_server(
    home: Home, options: list[str], environment: Mapping[str, str], waiter: Waiter
) -> Iterator[tuple[subprocess.Popen[str], Service]]:
    """A server below this home, with these options of `serve` and these variables besides, and where it listens. It
    ends when this process lets go of its standard input, however this process ends. Raises SessionError if it does not
    start, Interrupted."""
    serve = [sys.executable, str(_PACKAGE), "serve", "--until-eof", "--end-jobs", "--log-level", "error"]
    place = ["--listen", "127.0.0.1:0", "--home", str(home.folder)]
    log = home.folder / "log"
    # A group of its own, and on Windows a console: Ctrl-C is for the client, which says goodbye.
    with (
        open(log, "w", encoding="utf-8") as stderr,
        subprocess.Popen(
            [*serve, *place, *options],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        ) as server,
    ):
        assert server.stdin is not None and server.stdout is not None
        try:
            with waiter.interruptible():
                line = server.stdout.readline()
        except Interrupted:
            server.kill()  # it has nothing to lose yet
            raise
        if not line.startswith(_LISTENING):
            said = log.read_text(encoding="utf-8").strip()
            raise SessionError(f"the server for the rehearsal cannot be had: {said or 'it ended without a word'}")
        host, _, port = line[len(_LISTENING) :].strip().rpartition(":")
        try:
            yield server, Service(host, int(port), tls=False)
        finally:
            server.stdin.close()
            try:
                with waiter.interruptible():
                    server.wait()
            except Interrupted:
                ask_to_end(server)
                raise


def ask_to_end(server: subprocess.Popen[str]) -> None:
    """Asks the server to end at once. Windows cannot ask, only kill, which would leave the jobs of the server."""
    if os.name != "nt":
        server.terminate()
