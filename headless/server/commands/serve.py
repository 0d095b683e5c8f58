"""serve: runs a server until it is asked to stop, by a signal or by the end of standard input.

Here is how the command line becomes settings, and what asks the server to stop. What the server does is in server.py.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import ssl
import sys
import threading
from contextlib import closing, suppress
from typing import Any

from headless.outcome import CommandFailed, ParameterError
from headless.server.commands.arguments import add_command, address, count, seconds
from headless.server.home import Home
from headless.server.jobs import environment
from headless.server.processes import processes
from headless.server.server import Server
from headless.server.settings import Settings

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def add(commands: Any) -> None:
    """Adds the command to these."""
    serve = add_command(commands, "serve", _serve, "run a job server")
    serve.add_argument(
        "--listen",
        type=address,
        default=("127.0.0.1", 20000),
        metavar="HOST:PORT",
        help="where clients connect (default: 127.0.0.1:20000; port 0: a free one)",
    )
    serve.add_argument("--py", metavar="DIR", help="where the files of -f are (default: the folder py of the home)")
    serve.add_argument(
        "--workers",
        type=count,
        default=os.cpu_count() or 1,
        metavar="N",
        help="batches that run at a time, others wait (default: the number of CPUs)",
    )
    serve.add_argument(
        "--grace",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="what SIGTERM leaves running batches (default: 30)",
    )
    serve.add_argument(
        "--keep",
        type=count,
        metavar="DAYS",
        help="forget sessions, and remove their output, when they have been over for so many days (default: never)",
    )
    serve.add_argument("--tls-cert", metavar="FILE", help="certificate chain, for clients that say tls://HOST:PORT")
    serve.add_argument("--tls-key", metavar="FILE", help="the key of the certificate")
    serve.add_argument(
        "--trust-osuser",
        action="store_true",
        help="where the platform does not tell who owns a connection: believe everybody on this machine "
        "to be the user that they say",
    )
    serve.add_argument("--until-eof", action="store_true", help="stop, too, when standard input ends")
    serve.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="what is logged to stderr (default: info)",
    )


def _serve(arguments: argparse.Namespace) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=arguments.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    _open_standard_files()
    settings = _settings(arguments)
    home = Home(arguments.home, arguments.py)
    home.create()
    with home.lock() as lock, closing(home.database()) as database:
        server = Server(home, database, processes(environment(), lock.fileno()), settings)
        asyncio.run(_run_until_stopped(server, arguments.until_eof))


def _settings(arguments: argparse.Namespace) -> Settings:
    """Raises ParameterError, CommandFailed."""
    host, port = arguments.listen
    return Settings(
        host,
        port,
        arguments.workers,
        arguments.grace,
        retention_days=arguments.keep,
        trust_osuser=arguments.trust_osuser,
        tls=_tls(arguments.tls_cert, arguments.tls_key),
    )


def _tls(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    """Raises ParameterError, CommandFailed."""
    if (certificate is None) != (key is None):
        raise ParameterError("--tls-cert and --tls-key belong together")
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise CommandFailed(f"the certificate {certificate!r} cannot be used with the key {key!r}: {error}") from None
    return context


def _open_standard_files() -> None:
    """Whoever starts the server may have closed some of 0, 1 and 2, which must not become the numbers of others."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


class _StopRequests:
    """What has asked the server to stop: the first request lets it stop, a second one forces it to."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.stop = asyncio.Event()
        self.force_stop = asyncio.Event()

    def request_stop(self) -> None:
        (self.force_stop if self.stop.is_set() else self.stop).set()

    def request_stop_from_thread(self) -> None:
        with suppress(RuntimeError):  # the loop may be closed by then
            self._loop.call_soon_threadsafe(self.request_stop)

    def handle_signals(self) -> None:
        for signum in _STOP_SIGNALS:
            try:
                self._loop.add_signal_handler(signum, self.request_stop)
            except NotImplementedError:  # Windows
                signal.signal(signum, lambda *_: self.request_stop_from_thread())

    def ignore_signals(self) -> None:
        for signum in _STOP_SIGNALS:
            with suppress(NotImplementedError):  # Windows
                self._loop.remove_signal_handler(signum)
            signal.signal(signum, signal.SIG_IGN)

    def watch_stdin(self) -> None:
        """Takes the end of standard input as a request."""
        threading.Thread(target=self._wait_for_eof, daemon=True).start()

    def _wait_for_eof(self) -> None:
        while os.read(0, 4096):
            pass
        self.request_stop_from_thread()


async def _run_until_stopped(server: Server, until_eof: bool) -> None:
    requests = _StopRequests()
    requests.handle_signals()
    try:
        address = await server.start()
    except OSError as error:
        raise CommandFailed(f"cannot listen: {error.strerror or error}") from None
    print(f"listening on {address}", flush=True)
    if until_eof:
        requests.watch_stdin()
    await requests.stop.wait()
    await server.stop(requests.force_stop)
    requests.ignore_signals()  # what remains is the end of the process, and its exit status is 0
