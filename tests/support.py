"""Helpers of the tests. The peer here knows the wire from PROTOCOL.md alone: it shares no code with the package."""

from __future__ import annotations

import os
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path

import bcrypt

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "planta_headless.py"
PASSWORD = "correct horse"
# bcrypt of PASSWORD, made once: a hash of cost 12 takes a quarter of a second.
HASH = "$2b$10$abcdefghijklmnopqrstuu23JPZtHcGhwXSF41f93o/7vBdDut3Xu"
PATIENCE = 20  # seconds after which a test gives up on a process: far more than any needs


def frame(xml: str | bytes) -> bytes:
    """The bytes of one frame."""
    payload = xml.encode() if isinstance(xml, str) else xml
    return struct.pack(">I", len(payload)) + payload


class Command:
    """planta_headless.py in a process of its own, as cron starts it: no terminal, nothing on standard input."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, *argv: str | bytes, **options) -> subprocess.Popen[str]:
        defaults = {
            "cwd": self.folder,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "errors": "surrogateescape",
        }
        return subprocess.Popen([sys.executable, str(SCRIPT), *argv], **{**defaults, **options})

    def __call__(self, *argv: str | bytes, **options) -> subprocess.CompletedProcess[str]:
        with self.start(*argv, **options) as process:
            try:
                stdout, stderr = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert "Traceback" not in (stdout or "") + (stderr or "")
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def secret_file(self, content: str = HASH + "\n", mode: int = 0o400, name: str = "secret") -> str:
        """A password file in the test's folder."""
        path = self.folder / name
        path.write_text(content)
        path.chmod(mode)
        return str(path)


class Disconnected(Exception):
    """The client has closed the connection."""


class Peer:
    """The server's end of one connection, in the hand of a test's script."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received: list[str] = []

    def receive(self) -> str:
        """The payload of the next frame. Raises Disconnected."""
        (length,) = struct.unpack(">I", self._exactly(4))
        self.received.append(self._exactly(length).decode())
        return self.received[-1]

    def send(self, *documents: str | bytes) -> None:
        """The frames of these documents, in one piece."""
        self.sock.sendall(b"".join(map(frame, documents)))

    def wait_for_disconnect(self) -> None:
        with suppress(Disconnected, OSError):
            while True:
                self.receive()

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise Disconnected
            data += more
        return data


class ScriptedServer:
    """A server whose every connection is handled by `script(peer)`. What a script raises is raised again by `close`."""

    def __init__(self, script, host: str = "127.0.0.1") -> None:
        self._script = script
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._errors: list[BaseException] = []
        self.peers: list[Peer] = []
        self._last: object = None
        self.port = self._listener.getsockname()[1]
        self.address = f"{host}:{self.port}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with self._listener:
            while True:
                sock, address = self._listener.accept()
                if address == self._last:
                    sock.close()
                    return
                sock.settimeout(PATIENCE)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the real one
                self.peers.append(Peer(sock))
                self._threads.append(threading.Thread(target=self._run, args=(self.peers[-1],), daemon=True))
                self._threads[-1].start()

    def _run(self, peer: Peer) -> None:
        try:
            with peer.sock:
                self._script(peer)
        except (Disconnected, ConnectionError):
            pass
        except BaseException as error:
            self._errors.append(error)

    def close(self) -> None:
        if self._last is not None:
            return
        # Connections are accepted in order: after this one no client is left waiting.
        with socket.socket(self._listener.family) as last:
            last.bind((self._listener.getsockname()[0], 0))
            self._last = last.getsockname()
            last.connect((self._last[0], self.port))
        for thread in self._threads:
            thread.join(PATIENCE)
        for error in self._errors:
            raise error


class JobServer:
    """`python -m headless serve` in a process of its own."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.options = options

    def __enter__(self) -> JobServer:
        self.manage("user", "add", "R41", "--os-user", current_user())
        self.manage("user", "add", "R42", "--password-stdin", input=PASSWORD + "\n")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [sys.executable, "-m", "headless", "serve", "--home", str(self.home), "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [*command, "--grace", "0", *self.options],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
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
        """The server's exit status after SIGTERM."""
        if self.process.poll() is None:
            self.process.terminate()
        self.log = self.process.communicate(timeout=PATIENCE)[1]
        assert "Traceback" not in self.log
        return self.process.returncode

    def query(self, query: str) -> tuple:
        """The first row of the answer of the server's database."""
        with closing(sqlite3.connect(self.home / "planta.sqlite", timeout=PATIENCE)) as database:
            return database.execute(query).fetchone()

    def hash_of_password(self) -> str:
        """What a password file for R42 holds: the hash of PASSWORD with the salt that the server has made for it."""
        (salt,) = self.query("SELECT salt FROM accounts WHERE user = 'R42'")
        return bcrypt.hashpw(PASSWORD.encode(), salt.encode()).decode()

    def manage(self, *argv: str, **options) -> subprocess.CompletedProcess[str]:
        """A command of `python -m headless` for this server's home."""
        return manage(*argv, "--home", str(self.home), **options)


def manage(*argv: str, check: bool = True, **options) -> subprocess.CompletedProcess[str]:
    """`python -m headless ...`, with the checkout's package."""
    defaults = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": PATIENCE}
    if "input" not in options:
        defaults["stdin"] = subprocess.DEVNULL
    done = subprocess.run([sys.executable, "-m", "headless", *argv], **{**defaults, **options}, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    assert not check or done.returncode == 0, done.stderr
    return done


def current_user() -> str:
    """Who runs the tests, as the kernel knows it."""
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name
