"""A server that speaks the dialect of PORTING.md's example. It shares no code with the package: what is sent is
literal.

The user is R41 with the password of credentials.HASH. A job prints "did" and its text. It fails if its text has "fail",
is unknown if it has "nope", and takes the seconds behind "sleep".
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from xml.sax.saxutils import escape

from support.credentials import HASH
from support.process import ROOT
from support.scripted_server import Peer

EXAMPLE = str(ROOT / "headless" / "dialects" / "example.py")
TOKEN = "d9bbe194bf99a8ab61419c80"
CHALLENGE = f'<response code="401" token="{TOKEN}" salt="{HASH[:29]}"/>'
ACCEPTED = '<response code="200" session="s1"/>'
DENIED = '<response code="403">access denied</response>'
ENDED = '<result code="200"/>'


def log(text: str) -> str:
    return f"<log>did {escape(text)}</log>"


def document(text: str) -> bytes:
    return text.encode() + b"\0"


class ExampleServer:
    """One connection: bytes in, documents out. `has_jobs` says whether it would run them."""

    def __init__(self) -> None:
        self._received = b""
        self._jobs: list[str] = []
        self._user = ""
        self.has_jobs = False

    def answers_to(self, data: bytes) -> Iterator[tuple[float, str]]:
        """Each document that is sent after this, and how many seconds it takes to come to that."""
        *documents, self._received = (self._received + data).split(b"\0")
        for received in documents:
            yield from self._answers_to(ET.fromstring(received))

    def _answers_to(self, root: ET.Element) -> Iterator[tuple[float, str]]:
        if root.tag == "request":
            self._jobs = [item.text or "" for item in root.iter("item")]
            self._user = root.attrib["user"]
            if root.attrib["auth"] == "challenge":
                yield 0, CHALLENGE
                return
        elif self._user != "R41" or root.attrib["answer"] != proof():
            yield 0, DENIED
            return
        yield from self._results()

    def _results(self) -> Iterator[tuple[float, str]]:
        unknown = [job for job in self._jobs if "nope" in job]
        if unknown:
            yield 0, f'<response code="404">no such item: {escape(unknown[0])}</response>'
            return
        self.has_jobs = True
        yield 0, ACCEPTED
        for job in self._jobs:
            pause = re.search(r"sleep\D*([0-9.]+)", job)
            yield float(pause[1]) if pause else 0, log(job)
            if "fail" in job:
                yield 0, f'<result code="500">item failed: {escape(job)}</result>'
                return
        yield 0, ENDED


def proof() -> str:
    """The right answer to the token."""
    return hmac.new(HASH.encode(), TOKEN.encode(), hashlib.sha1).hexdigest()


def serve_example(peer: Peer) -> None:
    """A script for a ScriptedServer."""
    server = ExampleServer()
    while data := peer.sock.recv(65536):
        for seconds, text in server.answers_to(data):
            time.sleep(seconds)
            peer.sock.sendall(document(text))
