"""A server that speaks the dialect of PORTING.md's example. It shares no code with the package: what is sent is
literal.

The user is R41 with the password of credentials.HASH. A job prints "did" and its text. It fails if its text has "fail",
is unknown if it has "nope", and takes the seconds behind "sleep".
"""

from __future__ import annotations

import hashlib
import hmac
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from xml.sax.saxutils import escape

from support.credentials import HASH
from support.process import ROOT
from support.vendor_server import Answer, VendorServer, serve

EXAMPLE = str(ROOT / "headless" / "dialects" / "example.py")
TOKEN = "d9bbe194bf99a8ab61419c80"
ACCEPTED = '<response code="200" session="s1"/>'
DENIED = '<response code="403">access denied</response>'
ENDED = '<result code="200"/>'


class ExampleServer(VendorServer):
    def __init__(self) -> None:
        super().__init__()
        self._received = b""
        self._jobs: list[str] = []
        self._user = ""

    def frame(self, document: str) -> bytes:
        return document.encode() + b"\0"

    def received(self, data: bytes) -> Iterator[Answer]:
        *documents, self._received = (self._received + data).split(b"\0")
        behind = sum(len(document) + 1 for document in documents) + len(self._received)
        for document in documents:
            behind -= len(document) + 1
            yield from self._take(ET.fromstring(document), behind)

    def _take(self, root: ET.Element, behind: int) -> Iterator[Answer]:
        if root.tag == "request":
            self._jobs = [item.text or "" for item in root.iter("item")]
            self._user = root.attrib["user"]
            is_challenge = root.attrib["auth"] == "challenge"
            self._note("login", 0 if is_challenge else len(self._jobs), behind)
            if is_challenge:
                yield self._answer("challenge", f'<response code="401" token="{TOKEN}" salt="{HASH[:29]}"/>')
                return
        else:
            self._note("proof", len(self._jobs), behind)
            if self._user != "R41" or root.attrib["answer"] != proof():
                yield self._answer("refused", DENIED)
                return
        yield from self._results()

    def _results(self) -> Iterator[Answer]:
        unknown = [job for job in self._jobs if "nope" in job]
        if unknown:
            yield self._answer("refused", f'<response code="404">no such item: {escape(unknown[0])}</response>')
            return
        self.has_jobs = True
        yield self._answer("accepted", ACCEPTED)
        for job in self._jobs:
            pause = re.search(r"sleep\D*([0-9.]+)", job)
            yield self._answer("output", f"<log>did {escape(job)}</log>", float(pause[1]) if pause else 0)
            if "fail" in job:
                yield self._answer("ended", f'<result code="500">item failed: {escape(job)}</result>')
                return
        yield self._answer("ended", ENDED)


def proof() -> str:
    """The right answer to the token."""
    return hmac.new(HASH.encode(), TOKEN.encode(), hashlib.sha1).hexdigest()


serve_example = serve(ExampleServer)
