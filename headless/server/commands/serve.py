"""serve: runs a server until a signal, or the end of standard input, asks it to stop."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from headless.errors import CommandFailed, HeadlessError, ParameterError
from headless.server.commands.arguments import add_command, count, listen_address, seconds
from headless.server.home import Home
from headless.server.home_trust import check_file_system
from headless.server.log_writer import LogWriter
from headless.server.server import Server
from headless.server.settings import MIB, Settings, possible_connections
from headless.system import load_certificate

log = logging.getLogger(__name__)

_SWITCH_SECONDS = 0.0005  # a thread that has written or read something for a session goes on with it soon
# SIGBREAK is Ctrl-Break, on Windows alone.
_STOP_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name)]
_SECONDS_TO_STOP_AT_ONCE = 3.0
_SECONDS_TO_END_JOBS = 10.0
_LOG_SECONDS = 1.0  # for the last lines to be written
_NOTIFY_SECONDS = 1.0  # that a service manager may take to make room for a message


def add(commands: Any) -> None:
    """Adds the command to these."""
    serve = add_command(commands, "serve", _serve, "run a job server")
    serve.set_defaults(needs_stdout=False)
    option, default = serve.add_argument, Settings()
    # fmt: off
    option("--listen", type=listen_address, default=("127.0.0.1", 20000), metavar="HOST:PORT",
           help="where clients connect (default: 127.0.0.1:20000; port 0: a free one)")
    option("--py", metavar="DIR", help="where the files of -f are (default: the folder py of the home)")
    option("--modules", metavar="DIR", help="where the modules are (default: the folder modules of the home)")
    option("--import-from", default="", metavar="DIR",
           help="a further folder that jobs can import from, before that of --py")
    option("--trust-folders", action="store_true",
           help="do not check who can change the code in these folders: who can, runs it as the user of the server")
    option("--trust-network-home", action="store_true",
           help="do not refuse a home on NFS: no other machine ever runs a server or a command there")
    option("--dry-run", action="store_true", help="only compile the jobs, and do not run them")
    option("--workers", type=count, default=default.workers, metavar="N",
           help="sessions that run at a time, others wait (default: the number of CPUs)")
    option("--grace", type=seconds, default=30.0, metavar="SECONDS",
           help="seconds that running sessions may go on after SIGTERM (default: 30)")
    option("--end-jobs", action="store_true",
           help="end the jobs that still run then; without this they go on, and the next server resumes them")
    option("--keep", dest="retention_days", type=count, metavar="DAYS",
           help="forget sessions, and remove their output, when they have been over for so many days (default: never)")
    option("--limit", dest="time_limit", type=seconds, metavar="SECONDS",
           help="end a job that runs longer, which is then failed (default: no limit)")
    option("--max-output", type=count, default=64, metavar="MIB",
           help="store so much of a job's stdout, and of its stderr (default: 64 MiB)")
    option("--max-connections", type=count, default=default.max_connections, metavar="N",
           help="refuse further ones as busy (default: %(default)s)")
    option("--max-connections-per-address", type=count, default=default.max_connections_per_address, metavar="N",
           help="the same for the connections of one address (default: %(default)s)")
    option("--max-connections-per-account", type=count, default=default.max_connections_per_account, metavar="N",
           help="the same for those that have logged in to one account (default: %(default)s)")
    option("--tls-cert", metavar="FILE", help="certificate chain, for clients that say tls://HOST:PORT")
    option("--tls-key", metavar="FILE", help="the key of the certificate")
    option("--trust-osuser", action="store_true",
           help="where the platform does not know who owns a connection: believe all clients on this machine to be the "
           "user that they say")
    option("--until-eof", action="store_true", help="stop, too, when standard input ends")
    option("--log", metavar="FILE", help="append the log to this file instead of stderr; logrotate may move it")
    option("--log-level", choices=("debug", "info", "warning", "error"), default="info",
           help="what is logged (default: info)")
    # fmt: on


def _serve(arguments: argparse.Namespace) -> None:
    _open_standard_files()
    sys.setswitchinterval(_SWITCH_SECONDS)
    with _log_to(arguments.log, arguments.log_level) as writer:
        settings = _settings(arguments)
        home = Home(arguments.home, arguments.py, arguments.modules, arguments.trust_folders)
        if not arguments.trust_network_home:
            check_file_system(home.folder)
        home.create()
        home.check_code(settings.import_from)
        with home.lock():
            load_tls = partial(_tls, arguments.tls_cert, arguments.tls_key)
            asyncio.run(_run_until_stopped(home, settings, writer, arguments.until_eof, load_tls))


def _settings(arguments: argparse.Namespace) -> Settings:
    """Raises ParameterError, CommandFailed."""
    host, port = arguments.listen
    connections = possible_connections(arguments.workers)
    if connections < arguments.max_connections:
        text = "the limit of open files allows %d connections, not %d (ulimit -n)"
        log.warning(text, connections, arguments.max_connections)
    chosen = {name: value for name, value in vars(arguments).items() if name in Settings._fields}
    return Settings(**chosen)._replace(
        host=host,
        port=port,
        import_from=os.path.abspath(arguments.import_from) if arguments.import_from else "",
        end_jobs=arguments.end_jobs or sys.platform == "win32",  # where no job outlives the server
        tls=_tls(arguments.tls_cert, arguments.tls_key),
        max_connections=min(connections, arguments.max_connections),
        output_limit=arguments.max_output * MIB,
    )


def _tls(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    """Raises ParameterError, CommandFailed."""
    if (certificate is None) != (key is None):
        raise ParameterError("--tls-cert and --tls-key belong together")
    if certificate is None or key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        load_certificate(context, certificate, key)
    except ValueError as error:
        raise CommandFailed(str(error)) from None
    except OSError as error:
        raise CommandFailed(f"the certificate {certificate!r} cannot be used with the key {key!r}: {error}") from None
    return context


def _open_standard_files() -> None:
    """Opens those of 0, 1 and 2 that are closed, which must not become the numbers of other files."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 (it stays open)


@contextmanager
def _log_to(path: str | None, level: str) -> Iterator[LogWriter]:
    """Logs to this file, or to stderr. Raises CommandFailed if it cannot be opened."""
    try:
        writer = LogWriter() if path is None else LogWriter(path)
    except OSError as error:
        raise CommandFailed(f"the log {path!r} cannot be opened: {error.strerror}") from None
    writer.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(writer)
    root.setLevel(level.upper())
    try:
        yield writer
    finally:
        root.removeHandler(writer)
        writer.close(_LOG_SECONDS)


class Signals:
    """Handles the signals of the process. The first request to stop lets the server stop, a second one forces it to,
    within seconds, whatever hangs. SIGHUP sets `reload`."""

    def __init__(self, end_jobs: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds_to_stop = _SECONDS_TO_END_JOBS if end_jobs else _SECONDS_TO_STOP_AT_ONCE
        self._requests = 0
        self.stop = asyncio.Event()
        self.force_stop = asyncio.Event()
        self.reload = asyncio.Event()

    def handle(self) -> None:
        # Not loop.add_signal_handler: should the loop hang one day, a second signal must still end the process.
        for signum in _STOP_SIGNALS:
            signal.signal(signum, self.request_stop)
        if sys.platform == "win32":
            from headless import windows

            windows.on_end(self.request_stop_at_once)
        else:
            signal.signal(signal.SIGHUP, self._request_reload)
            for signum in (signal.SIGUSR1, signal.SIGUSR2):
                signal.signal(signum, _do_nothing)
            signal.signal(signal.SIGCHLD, _reap)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which is to end this process, however it was started

    def request_stop(self, *_: object) -> None:
        """Counts a request. May be called in any thread, and as a signal handler."""
        self._requests += 1
        with suppress(RuntimeError):  # the loop may be closed by then
            self._loop.call_soon_threadsafe((self.stop if self._requests == 1 else self.force_stop).set)
        if self._requests == 2:
            _end_process_after(self._seconds_to_stop)

    def _request_reload(self, *_: object) -> None:
        with suppress(RuntimeError):  # the loop may be closed by then
            self._loop.call_soon_threadsafe(self.reload.set)

    def request_stop_at_once(self) -> None:
        """Does the same as two signals. May be called in any thread."""
        for _ in range(2):
            self.request_stop()

    def ignore(self) -> None:
        """Lets the process end with its exit status from now on."""
        for signum in _STOP_SIGNALS:
            signal.signal(signum, signal.SIG_IGN)

    def watch_stdin(self) -> None:
        """Makes the end of standard input a request."""
        threading.Thread(target=self._wait_for_eof, daemon=True).start()

    def _wait_for_eof(self) -> None:
        while os.read(0, 4096):
            pass
        self.request_stop()


def _do_nothing(*_: object) -> None:
    """Handles a signal. One that is ignored would be ignored by the jobs, too."""


def _reap(*_: object) -> None:
    """Waits for every child that has ended: as the first process of a container this one has those of others, too."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _end_process_after(seconds: float) -> None:
    """Ends the process if it still lives then, whatever its threads wait for. May be called in any thread."""
    if sys.platform == "win32":
        threading.Thread(target=lambda: (time.sleep(seconds), os._exit(1)), daemon=True).start()
    else:
        signal.setitimer(signal.ITIMER_REAL, seconds)


def notify(state: str) -> None:
    """Sends the state, `READY=1` say, to the service manager, if there is one (sdnotify(3)). Never raises."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return
    address = os.fsencode(path)
    if address.startswith(b"@"):  # a name that is not in the file system
        address = b"\0" + address[1:]
    with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(_NOTIFY_SECONDS)
        manager.sendto(state.encode("utf-8"), address)


async def _run_until_stopped(
    home: Home,
    settings: Settings,
    writer: LogWriter,
    until_eof: bool,
    load_tls: Callable[[], ssl.SSLContext | None],
) -> None:
    """Raises CommandFailed, Busy, OSError."""
    signals = Signals(settings.end_jobs)
    signals.handle()
    home.on_replaced = signals.request_stop_at_once
    server = Server(home, settings, lambda: writer.dropped)
    try:
        address = await server.open()
    except OSError as error:
        raise CommandFailed(f"cannot listen: {error.strerror or error}") from None
    print(f"listening on {address}", flush=True)  # before anything runs: where this fails the server ends
    await server.begin()
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        log.warning("this server runs as root: so do all jobs, and every account can do anything on this machine")
    if settings.tls is not None:
        reloading = asyncio.create_task(_reload(server, signals.reload, load_tls))
    notify("READY=1")
    if until_eof:
        signals.watch_stdin()
    await signals.stop.wait()
    if settings.tls is not None:
        reloading.cancel()
    notify("STOPPING=1")
    await server.stop(signals.force_stop)
    signals.ignore()
    if home.replaced:
        raise CommandFailed(home.replaced)


async def _reload(server: Server, is_wanted: asyncio.Event, load_tls: Callable[[], ssl.SSLContext | None]) -> None:
    """Reads certificate and key again whenever that is wanted."""
    while await is_wanted.wait():
        is_wanted.clear()
        try:
            await server.renew_tls(load_tls)
        except (HeadlessError, OSError) as error:
            log.warning("SIGHUP: certificate and key stay as they were: %s", error)
        else:
            log.info("SIGHUP: certificate and key were read again, for new connections")
