"""A client made of a socket and literal XML, and what else the tests of the server need around one. It talks to the
package by the wire alone; what runs parts of it in this process, for speed or to change its times, is at the end."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import sqlite3
import sys
import time
import xml.etree.ElementTree as ET
from contextlib import ExitStack, closing, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch
from xml.sax.saxutils import escape, quoteattr

import pytest
from support import PATIENCE, Hangup, JobServer, Peer, own_user

from headless.__main__ import main
from headless.server.accounts import Account, Accounts
from headless.server.home import Home
from headless.server.jobs import environment
from headless.server.processes import processes
from headless.server.server import Server
from headless.server.settings import Settings

R41 = Account("R41", own_user(), None)
NONCE = "rOprNGfwEbeRWgbNEkqO1234"


def osuser_login(os_user: str = "", user: str = "") -> str:
    name = f" user={quoteattr(user)}" if user else ""
    return f'<login version="1" client="test" auth_type="osuser" os_user={quoteattr(os_user or own_user())}{name}/>'


def challenge_login(user: str) -> str:
    return f'<login version="1" client="test" auth_type="challenge" user={quoteattr(user)} nonce="{NONCE}"/>'


def py_code(code: str) -> str:
    return f"<py_code>{escape(code)}</py_code>"


def in_jobs(*jobs: str) -> str:
    return f"<jobs>{''.join(jobs)}</jobs>"


class Story(NamedTuple):
    """What a client was told of its batch: output by job and stream, status and text of each job, and the end."""

    output: dict[tuple[int, str], str]
    finished: list[tuple[str, str]]
    ended: str


class RawClient(Peer):
    """The client's end of one connection. Use it as a context manager."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        super().__init__(socket.create_connection((host.strip("[]"), int(port)), PATIENCE))
        self.session = ""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def element(self) -> ET.Element:
        """The next message but `alive`."""
        while True:
            element = ET.fromstring(self.hear())
            if element.tag != "alive":
                return element

    def ask(self, *documents: str | bytes) -> ET.Element:
        """What the server answers to this."""
        self.say(*documents)
        return self.element()

    def log_in(self) -> RawClient:
        """As the user that runs the tests."""
        self.session = self.ask(osuser_login(user="R41")).attrib["session"]
        return self

    def submit(self, *jobs: str) -> None:
        assert self.ask(in_jobs(*jobs)).tag == "accepted"

    def expect(self, tag: str) -> ET.Element:
        element = self.element()
        assert element.tag == tag, ET.tostring(element)
        return element

    def expect_refusal(self, reason: str) -> str:
        """Hears nothing but a refusal for this reason, and the end of the connection. Returns its text."""
        refused = self.expect("refused")
        assert refused.attrib == {"reason": reason}
        self.expect_end()
        return refused.text or ""

    def expect_end(self) -> None:
        """Hears that the server has closed, and closes."""
        with pytest.raises((Hangup, ConnectionError)):  # not the socket's time-out
            self.hear()
        self.sock.close()

    def story(self) -> Story:
        """All that the server says from here, up to `ended` and the end of the connection."""
        story = Story({}, [], "")
        while True:
            element = self.element()
            text = element.text or ""
            if element.tag == "output":
                key = int(element.attrib["job"]), element.attrib["stream"]
                story.output[key] = story.output.get(key, "") + text
            elif element.tag == "finished":
                story.finished.append((element.attrib["status"], text))
            elif element.tag == "ended":
                self.expect_end()
                return story._replace(ended=element.attrib["status"])
            else:
                assert element.tag == "started", ET.tostring(element)


def connect(server: JobServer) -> RawClient:
    return RawClient(server.address)


def run(server: JobServer, *jobs: str) -> Story:
    """What becomes of this batch."""
    with connect(server).log_in() as client:
        client.submit(*jobs)
        return client.story()


class Gate:
    """A file that a job waits for, so that the test decides when the job goes on. `code` waits for half a minute."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.code = (
            "import os, time\n"
            "for _ in range(3000):\n"
            f"    if os.path.exists({str(path)!r}): break\n"
            "    time.sleep(0.01)\n"
            "else: raise SystemExit('nobody came')\n"
        )

    def open(self) -> None:
        self._path.touch()


def states(server: JobServer, session: str) -> list[str]:
    """The states of a session's jobs. Quicker than `journal`, to wait with."""
    with closing(sqlite3.connect(server.home / "planta.sqlite", timeout=PATIENCE)) as database:
        rows = database.execute("SELECT state FROM jobs WHERE session = ? ORDER BY job", (session,))
        return [state for (state,) in rows]


def wait_until(condition) -> None:
    """Returns once `condition()` is true. Fails after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def is_free(lock: Path) -> bool:
    """Whether no process holds the lock on this file, which a job has taken with flock."""
    import fcntl  # not on Windows

    with open(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def make_home(folder: Path, *accounts: Account) -> Home:
    """A home with these accounts."""
    home = Home(str(folder))
    home.create()
    with closing(home.database()) as database:
        for account in accounts:
            Accounts(database).add(account)
    return home


class QuickServer(JobServer):
    """A JobServer whose accounts are made here, which is quick: R41 for whoever runs the tests, and these."""

    def __init__(self, home: Path, *options: str, accounts: tuple[Account, ...] = ()) -> None:
        super().__init__(home, *options)
        self.accounts = accounts

    def __enter__(self) -> QuickServer:
        make_home(self.home, R41, *self.accounts)
        self.start()
        return self

    def wait(self) -> int:
        """The exit status of a server that has been told to end."""
        self.process.wait(PATIENCE)
        return self.stop()

    def crash(self) -> None:
        """What kill -9 does."""
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)


def serve_here(folder: Path, talk, **settings) -> None:
    """Runs a server with the account R41 in this process as long as `talk(address)` runs in a thread."""
    home = make_home(folder, R41)

    async def serve(database: sqlite3.Connection) -> None:
        server = Server(home, database, processes(environment()), Settings(port=0, **settings))
        address = await server.start()
        force_stop = asyncio.Event()
        force_stop.set()
        try:
            await asyncio.get_running_loop().run_in_executor(None, talk, address)
        finally:
            await server.stop(force_stop)

    with closing(home.database()) as database:
        asyncio.run(serve(database))


class Told(NamedTuple):
    """How a command of `python -m headless` ended, and what it said."""

    status: int
    stdout: str
    stderr: str


def tell(*argv: str, stdin: bytes = b"") -> Told:
    """What `python -m headless ...` does, in this process: a tenth of the time."""
    open_database = Home.database
    with ExitStack() as stack:  # which closes, too, what a command leaves to the end of its process
        stack.enter_context(
            patch.object(Home, "database", lambda home: stack.enter_context(closing(open_database(home))))
        )
        stack.enter_context(patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")))
        stdout = stack.enter_context(redirect_stdout(io.StringIO()))
        stderr = stack.enter_context(redirect_stderr(io.StringIO()))
        try:
            status = main(argv)
        except SystemExit as end:  # which is how argparse ends
            status = end.code
    return Told(status, stdout.getvalue(), stderr.getvalue())


def journal(server: JobServer, *session: str) -> list[dict[str, object]]:
    """What `jobs --json` says."""
    told = tell("jobs", *session, "--json", "--home", str(server.home))
    assert (told.status, told.stderr) == (0, "")
    return [json.loads(line) for line in told.stdout.splitlines()]
