"""The package's server, `headless serve`, in a process of its own."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from headless.server import peer
from headless.server.accounts import Account, keys_from_hash
from support.command_here import headless
from support.credentials import HASH, PASSWORD, hash_of
from support.fork_server import start
from support.homes import R41, make_home
from support.process import PATIENCE, ROOT, manage
from support.shims_of import end_shims

# Where the platform does not know who owns a connection, R41 gets in all the same. Where a signal only kills, a server
# is stopped by the end of its input.
TRUST = () if peer.knows_owners() else ("--trust-osuser",)
_STOPS_AT_EOF = sys.platform == "win32"
R42 = Account("R42", None, keys_from_hash(HASH.encode()), number=2)


class JobServer:
    """`headless serve` in a process of its own. With `ends_jobs` a server that is stopped ends its jobs."""

    def __init__(self, home: Path, *options: str, ends_jobs: bool = True) -> None:
        self.home = home
        self.options = options
        self.ends_jobs = ends_jobs

    def __enter__(self) -> JobServer:
        make_home(self.home, R41, R42)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        command = ["-m", "headless", "serve", "--home", str(self.home)]
        defaults = {"--listen": "127.0.0.1:0", "--grace": "0"}
        command += [word for pair in defaults.items() if pair[0] not in self.options for word in pair]
        stop = [*(["--end-jobs"] if self.ends_jobs else []), *(["--until-eof"] if _STOPS_AT_EOF else [])]
        self.process = start(
            [*command, *stop, *TRUST, *self.options],
            cwd=ROOT,
            stdin=subprocess.PIPE if _STOPS_AT_EOF else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            raise AssertionError(f"no server: {self.process.communicate(timeout=PATIENCE)}")
        self.address = line.removeprefix("listening on ").strip()

    def stop(self) -> int:
        """Stops the server. Returns its exit status."""
        if self.process.poll() is None and not _STOPS_AT_EOF:
            self.process.terminate()
        self.log = self.process.communicate(timeout=PATIENCE)[1]
        assert "Traceback" not in self.log, self.log
        return self.process.returncode

    def query(self, query: str) -> tuple[Any, ...]:
        """Returns the first row of the answer of the server's database."""
        with closing(sqlite3.connect(self.home / "planta.sqlite", timeout=PATIENCE)) as database:
            row: tuple[Any, ...] = database.execute(query).fetchone()
            return row

    def hash_of_password(self) -> str:
        """Returns the content of a password file for R42: the hash of PASSWORD with the server's salt."""
        (salt,) = self.query("SELECT salt FROM accounts WHERE user = 'R42'")
        return hash_of(PASSWORD, salt).decode()

    def manage(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs a command of `headless` for this server's home."""
        return manage(*argv, "--home", str(self.home), **options)


def states(server: JobServer, session: str) -> list[str]:
    """Returns the states of a session's jobs. Quicker than `journal`."""
    with closing(sqlite3.connect(server.home / "planta.sqlite", timeout=PATIENCE)) as database:
        rows = database.execute("SELECT state FROM jobs WHERE session_id = ? ORDER BY job", (session,))
        return [state for (state,) in rows]


class QuickServer(JobServer):
    """A JobServer with R41, the account of the user of the tests, and these. In the end nothing of its jobs is left."""

    def __init__(self, home: Path, *options: str, accounts: tuple[Account, ...] = (), ends_jobs: bool = True) -> None:
        super().__init__(home, *options, ends_jobs=ends_jobs)
        self.accounts = accounts

    def __enter__(self) -> QuickServer:
        make_home(self.home, R41, *self.accounts)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            super().__exit__()
        finally:
            end_shims(self.home)

    def wait(self) -> int:
        """Waits for a server that ends by itself. Returns its exit status."""
        self.process.wait(PATIENCE)
        return self.stop()

    def crash(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)


def journal(server: JobServer, *session: str) -> list[dict[str, Any]]:
    """Returns what `jobs --all --json` prints."""
    done = headless("jobs", *session, "--all", "--json", "--home", str(server.home))
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]
