"""serve, user and jobs: the server's commands, from their arguments to their exit status.

The exit status: 0 done, 1 the machine or the data did not allow it, 2 the command line must be corrected.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import io
import logging
import os
import signal
import sqlite3
import ssl
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Any, Optional

from headless.protocol.characters import carried_by_xml, on_one_line
from headless.server.accounts import Account, Accounts, keys_from_password
from headless.server.errors import HomeError
from headless.server.home import Home
from headless.server.jobs import environment
from headless.server.journal import Journal
from headless.server.listing import Listing
from headless.server.processes import processes
from headless.server.server import Server
from headless.server.settings import Settings

_DEFAULT_HOME = "planta-home"
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Failure(Exception):
    """The command cannot do what it is asked. The text is for the administrator."""


class _Misuse(Exception):
    """The command line must be corrected. The text is for the administrator."""


def main(argv: Sequence[str]) -> int:
    """The exit status of one command."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = int(arguments.command(arguments))
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read has seen enough
        return 1
    except _Misuse as misuse:
        parser.error(str(misuse))
    except (_Failure, HomeError, ValueError, OSError, sqlite3.Error) as error:
        print(f"{arguments.program}: error: {on_one_line(str(error))}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m headless", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="rehearse | serve | user | jobs")
    commands.add_parser("rehearse", help="run a command line of planta_headless.py on a server of its own")  # elsewhere

    serve = _command(commands, "serve", _serve, "run a job server")
    serve.add_argument(
        "--listen",
        type=_address,
        default=("127.0.0.1", 20000),
        metavar="HOST:PORT",
        help="where clients connect (default: 127.0.0.1:20000; port 0: a free one)",
    )
    serve.add_argument("--py", metavar="DIR", help="where the files of -f are (default: the folder py of the home)")
    serve.add_argument(
        "--workers",
        type=_count,
        default=os.cpu_count() or 1,
        metavar="N",
        help="batches that run at a time, others wait (default: the number of CPUs)",
    )
    serve.add_argument(
        "--grace",
        type=_whole_number,
        default=30.0,
        metavar="SECONDS",
        help="what SIGTERM leaves running batches (default: 30)",
    )
    serve.add_argument(
        "--keep",
        type=_count,
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

    user = commands.add_parser("user", help="the accounts").add_subparsers(required=True, metavar="add | list | remove")
    add = _command(user, "add", _user_add, "add an account, for a password, an operating system's user, or both")
    add.add_argument("user", type=_name, metavar="USER")
    add.add_argument("--os-user", type=_name, metavar="NAME", help="who may log in as this user with osuser")
    add.add_argument(
        "--password-stdin",
        action="store_true",
        help="read the password from the first line of standard input, instead of asking for it",
    )
    _command(user, "list", _user_list, "list the accounts")
    remove = _command(user, "remove", _user_remove, "remove an account")
    remove.add_argument("user", type=_name, metavar="USER")

    jobs = _command(commands, "jobs", _jobs, "show the journal: one line a job, the newest last")
    jobs.add_argument("session", nargs="?", metavar="SESSION", help="this session alone, with the output of its jobs")
    jobs.add_argument("--json", action="store_true", help="one JSON object a line")
    jobs.add_argument(
        "--follow",
        action="store_true",
        help="go on: a job is shown again when its state changes, a session's output as it is written; with SESSION "
        "until that is over",
    )
    return parser


def _command(commands: Any, name: str, function: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=function, program=parser.prog)
    parser.add_argument(
        "--home", default=_DEFAULT_HOME, metavar="DIR", help=f"the folder of the server (default: {_DEFAULT_HOME})"
    )
    return parser


# The types of arguments


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT with a port from 0 to 65535")
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host, int(port)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 10_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 10000")
    return int(text)


def _whole_number(text: str) -> float:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return float(text)


def _name(text: str) -> str:
    if not 1 <= len(text) <= 256 or not carried_by_xml(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name of 1 to 256 characters that XML can carry")
    return text


# serve


def _serve(arguments: argparse.Namespace) -> int:
    logging.basicConfig(
        stream=sys.stderr, level=arguments.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    _open_standard_files()
    host, port = arguments.listen
    settings = Settings(
        host,
        port,
        arguments.workers,
        arguments.grace,
        retention_days=arguments.keep,
        trust_osuser=arguments.trust_osuser,
        tls=_tls(arguments.tls_cert, arguments.tls_key),
    )
    home = Home(arguments.home, arguments.py)
    home.create()
    with home.lock() as lock, closing(home.database()) as database:
        server = Server(home, database, processes(environment(), lock.fileno()), settings)
        asyncio.run(_serve_until_told(server, arguments.until_eof))
    return 0


def _open_standard_files() -> None:
    """Whoever starts the server may have closed some of 0, 1 and 2, which must not become the numbers of others."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _tls(certificate: Optional[str], key: Optional[str]) -> Optional[ssl.SSLContext]:
    if (certificate is None) != (key is None):
        raise _Misuse("--tls-cert and --tls-key belong together")
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise _Failure(f"the certificate {certificate!r} cannot be used with the key {key!r}: {error}") from None
    return context


async def _serve_until_told(server: Server, until_eof: bool) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()

    def told() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for signum in _STOP_SIGNALS:
        try:
            loop.add_signal_handler(signum, told)
        except NotImplementedError:  # Windows
            signal.signal(signum, lambda *_: loop.call_soon_threadsafe(told))
    try:
        address = await server.start()
    except OSError as error:
        raise _Failure(f"cannot listen: {error.strerror or error}") from None
    print(f"listening on {address}", flush=True)
    if until_eof:
        threading.Thread(target=_wait_for_eof, args=(loop, told), daemon=True).start()
    await stop.wait()
    await server.stop(hurry)
    for signum in _STOP_SIGNALS:  # what remains is the end of the process, and its exit status is 0
        with suppress(NotImplementedError):  # Windows
            loop.remove_signal_handler(signum)
        signal.signal(signum, signal.SIG_IGN)


def _wait_for_eof(loop: asyncio.AbstractEventLoop, told: Callable[[], None]) -> None:
    while os.read(0, 4096):
        pass
    with suppress(RuntimeError):  # the loop may be closed by then
        loop.call_soon_threadsafe(told)


# user


def _user_add(arguments: argparse.Namespace) -> int:
    keys = None
    if arguments.password_stdin or not arguments.os_user:
        keys = keys_from_password(_password(arguments.password_stdin))
    home = Home(arguments.home)
    home.create()
    with closing(home.database()) as database:
        is_added = Accounts(database).add(Account(arguments.user, arguments.os_user, keys))
    if not is_added:
        raise _Failure(f"there is an account {arguments.user!r} already; remove it first")
    return 0


def _password(from_stdin: bool) -> str:
    if from_stdin:
        try:
            return sys.stdin.buffer.readline().decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise _Failure("the password on standard input is not text in UTF-8") from None
    if not sys.stdin.isatty():
        raise _Failure("there is no terminal to ask for the password at; give --password-stdin or --os-user")
    try:
        password = getpass.getpass("Password: ")
        again = getpass.getpass("The same again: ")
    except EOFError:
        raise _Failure("no password was given") from None
    if again != password:
        raise _Failure("these were two different passwords")
    return password


def _user_list(arguments: argparse.Namespace) -> int:
    with closing(_existing(arguments).database()) as database:
        accounts = Accounts(database).all()
    for account in accounts:
        ways = (["challenge"] if account.keys else []) + ([f"osuser={account.os_user}"] if account.os_user else [])
        print(on_one_line(account.user), on_one_line(" ".join(ways)))
    return 0


def _user_remove(arguments: argparse.Namespace) -> int:
    with closing(_existing(arguments).database()) as database:
        is_removed = Accounts(database).remove(arguments.user)
    if not is_removed:
        raise _Failure(f"there is no account {arguments.user!r}")
    return 0


def _existing(arguments: argparse.Namespace) -> Home:
    home = Home(arguments.home)
    if not home.is_used:
        raise _Failure(f"no server has lived in {arguments.home!r}; --home says where it does")
    return home


# jobs


def _jobs(arguments: argparse.Namespace) -> int:
    home = _existing(arguments)
    with closing(home.database()) as database:
        listing = Listing(home, Journal(database), arguments.session, arguments.json)
        if not listing.show() and arguments.session:
            raise _Failure(f"there is no session {arguments.session!r} in the journal")
        if arguments.follow:
            listing.follow()
    return 0
