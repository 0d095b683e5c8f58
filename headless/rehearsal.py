"""rehearse: the command line of a cron job against a server of its own, which lives as long as this call.

The login is by a secret that is made for the call, whatever login the command line asks for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from headless.client import call, password_file
from headless.client.console import Console
from headless.client.osuser import effective_user
from headless.client.waiting import Waiter
from headless.options import Answer, ChallengeLogin, Options, Service, parse
from headless.outcome import OK, Interrupted, SessionError
from headless.protocol import bcrypt_hash
from headless.report import report
from headless.server.accounts import COST, Account, Accounts, keys_from_hash
from headless.server.home import Home
from headless.terminal import print_answer

_PROGRAM = "headless rehearse"
_ANY_SERVICE = ("-s", "127.0.0.1:1")  # stands in for one that is not given, and is replaced like one that is
_LISTENING = "listening on "


def main(argv: Sequence[str]) -> int:
    """What the command returns for this command line with the rehearsal's server in the place of `-s`."""
    try:
        options = parse([*_ANY_SERVICE, *argv])
        import lxml.etree  # noqa: F401 (what is missing here would be missing in the server, too)

        user, remark = _user_of(options)
        with Waiter() as waiter:  # a signal waits while something is made or cleared away
            if remark:
                Console(options.verbosity, waiter).info(remark)
            with tempfile.TemporaryDirectory(prefix="planta-rehearsal-") as folder:
                code = _rehearse(options, user, folder, waiter)
            waiter.check()
            return code
    except Answer as answer:
        print_answer(str(answer))
        return OK
    except OSError as error:
        return report(_PROGRAM, SessionError(f"the server for the rehearsal cannot be had: {error}"))
    except Exception as error:
        return report(_PROGRAM, error)


def _user_of(options: Options) -> tuple[str, str]:
    """The PLANTA user of the command line, and what is to be said of its password file, or "".

    Raises ParameterError where a login of the command would.
    """
    login = options.login
    if isinstance(login, ChallengeLogin):
        return login.user, password_file.read(login.secret_file).remark
    os_user = effective_user()
    return login.user or os_user, ""


def _rehearse(options: Options, user: str, folder: str, waiter: Waiter) -> int:
    home = Home(folder)
    home.create()
    # No other user of this machine can log in to a secret that nobody has ever seen, whatever the platform can tell.
    secret = bcrypt_hash.hash_from(os.urandom(bcrypt_hash.RANDOM_BYTES), COST)
    with closing(home.database()) as database, database:
        Accounts(database).add(Account(user, None, keys_from_hash(secret.encode("ascii"))))
    login = ChallengeLogin(user, _write_secret(home.folder / "secret", secret))
    # Jobs that the command line does not wait for are let run; what has outlived its time-out is not.
    grace = 30 if options.timeout == 0 else 0
    with _server(home, grace, waiter) as (server, service):
        code = call.run_within(waiter, options.replace(service=service, login=login))
        if code < 0:
            server.terminate()
    return code


def _write_secret(path: Path, secret: str) -> str:
    """Makes a password file, which this user alone can ever read. Returns its name."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w", encoding="ascii") as file:
        file.write(f"{secret}\n")
    return str(path)


@contextmanager
def _server(home: Home, grace: int, waiter: Waiter) -> Iterator[tuple[subprocess.Popen[str], Service]]:
    """A server below this home, where it listens; it ends when this process lets go of its standard input, however
    this process ends. Raises SessionError if it does not start, Interrupted."""
    serve = [sys.executable, str(Path(__file__).parent), "serve", "--until-eof", "--end-jobs", "--log-level", "error"]
    places = ["--listen", "127.0.0.1:0", "--home", str(home.folder), "--py", os.getcwd(), "--grace", str(grace)]
    log = home.folder / "log"
    # A group of its own: Ctrl-C is for the client, which says goodbye.
    with (
        open(log, "w", encoding="utf-8") as stderr,
        subprocess.Popen(
            [*serve, *places],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
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
                server.terminate()
                raise
