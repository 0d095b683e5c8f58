"""A made-up server that speaks the vocabulary that PLANTA has published. What was not published is a habit: A1 to A18
of PLANTA.md. It shares no code with the package.

The user is R41 with the password of credentials.HASH; every user of a system is let in. A job prints "did" and its
text. It takes the seconds behind "sleep", is unknown if its text has "nope", comes at a bad time with "busy", asks a
person with "ask", ends the connection with "crash", and fails with "fail".
"""

from __future__ import annotations

import hashlib
import hmac
import re
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from xml.sax.saxutils import escape

from support.credentials import HASH
from support.vendor_server import Answer, VendorServer

CHALLENGE = "4711-&-0815"

# A1: frames


class Frames(Protocol):
    def wrap(self, message: bytes) -> bytes:
        """The bytes that carry the message."""

    def take(self, buffer: bytearray) -> bytes | None:
        """The first message, which is taken out of the buffer; None if it is not there as a whole."""


class Length:
    def __init__(self, size: int = 4, order: str = "big", counts_itself: bool = False) -> None:
        self._size, self._order = size, order
        self._more = size if counts_itself else 0

    def wrap(self, message: bytes) -> bytes:
        return (len(message) + self._more).to_bytes(self._size, self._order) + message  # type: ignore[arg-type]

    def take(self, buffer: bytearray) -> bytes | None:
        length = int.from_bytes(buffer[: self._size], self._order) - self._more  # type: ignore[arg-type]
        return _take(buffer, self._size, length) if len(buffer) >= self._size else None


class Digits:
    """A decimal length, and a line feed behind it."""

    def wrap(self, message: bytes) -> bytes:
        return b"%d\n" % len(message) + message

    def take(self, buffer: bytearray) -> bytes | None:
        digits, line_feed, _ = buffer.partition(b"\n")
        return _take(buffer, len(digits) + 1, int(digits)) if line_feed else None


class Ending:
    def __init__(self, mark: bytes) -> None:
        self._mark = mark

    def wrap(self, message: bytes) -> bytes:
        return message + self._mark

    def take(self, buffer: bytearray) -> bytes | None:
        end = buffer.find(self._mark)
        return _take(buffer, 0, end, len(self._mark)) if end >= 0 else None


class Bare:
    """Documents as they are, with a line feed before each."""

    def wrap(self, message: bytes) -> bytes:
        return b"\n" + message

    def take(self, buffer: bytearray) -> bytes | None:
        end = re.search(rb"</Message\s*>|<Message[^<>]*/>", buffer)
        return _take(buffer, 0, end.end()) if end else None


class Http:
    def wrap(self, message: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(message) + message

    def take(self, buffer: bytearray) -> bytes | None:
        head, blank, _ = buffer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        return _take(buffer, len(head) + 4, int(length[1])) if blank and length else None


def _take(buffer: bytearray, start: int, length: int, behind: int = 0) -> bytes | None:
    """So many bytes from there on, and everything up to the end of what is behind them leaves the buffer."""
    end = start + length
    if len(buffer) < end + behind:
        return None
    taken = bytes(buffer[start:end])
    del buffer[: end + behind]
    return taken


# A3: compression


class Packing(NamedTuple):
    """Each message by itself, or all frames as one stream; not before so many messages."""

    bits: int = zlib.MAX_WBITS  # negative: without a header
    is_stream: bool = False
    after: int = 0


# What else is not public


def hmac_sha256(hash_: bytes, challenge: str) -> str:
    return hmac.new(hash_, challenge.encode(), hashlib.sha256).hexdigest()


def job_by_default(element: ET.Element) -> str | None:
    """The text of a job, None for what is no job."""
    if element.tag == "ModC":
        return element.get("id", "")
    return element.get("file") or element.text or "" if element.tag == "ExecPythonScript" else None


ENV = '<Env><Program system_title="TEST" planta_protocol_handler="planta_handler"/></Env>'


@dataclass(frozen=True)
class Habits:
    """Each text is a message, or several, in which {text} is replaced by a value; with "" there is no message."""

    # A1, A2, A3
    frames: Frames = field(default_factory=Length)
    encoding: str = "utf-8"
    prolog: str = '<?xml version="1.0" encoding="utf-8"?>'
    packing: Packing | None = None
    # A5: what the server says before the client does
    greeting: str = ""
    # A6: what has to be in the handshake, and the answer to it
    needs: tuple[str, ...] = ("Program", "TimeZone", "Locale")
    answer: str = ""
    # A7: {salt} and {challenge}
    login_follows: bool = False  # else it is in the handshake
    challenge: str = '<Login salt="{salt}" challenge="{challenge}"/>'
    granted: str = ENV
    # A8
    proof: Callable[[bytes, str], str] = hmac_sha256
    # A9
    job_of: Callable[[ET.Element], str | None] = job_by_default
    # A11, A12, A14, A13
    accepts_each: bool = False
    accepted: str = '<Cmd name="accepted"/>'
    output: str = "<EvLogMsg>{text}</EvLogMsg>"
    result_of_job: bool = False
    ok: str = '<Cmd name="done" code="0"/>'
    failed: str = '<Cmd name="done" code="1" text="{text}"/>'
    goes_on: bool = False  # after a job that has failed
    ended: str = '<Shutdown action="exit"/>'
    # A15
    refused: Mapping[str, str] = field(
        default_factory=lambda: {
            "login": '<Login action="cancel">{text}</Login>',
            "jobs": '<Cmd name="refused">{text}</Cmd>',
            "busy": '<Cmd name="busy">{text}</Cmd>',
        }
    )
    # A16: the server's, before each output, its answer, and the client's
    ping: str = ""
    pong: str = ""
    alive: str = ""
    # A17: behind the grant, in its message; and alone
    noise: str = ""
    noise_alone: str = ""
    # A18: instead of a job's result, and instead of the grant
    asks: str = '<MessageBox text="{text}"/>'
    asks_at_login: str = ""


class Line:
    """Both directions of one connection: text to bytes, and bytes to documents."""

    def __init__(self, habits: Habits) -> None:
        self._habits = habits
        self._packing = habits.packing or Packing(after=10**9)
        self._came, self._buffer = bytearray(), bytearray()
        self._sent = self._received = 0
        self._deflater = zlib.compressobj(wbits=self._packing.bits)
        self._inflater = zlib.decompressobj(self._packing.bits)

    @property
    def rest(self) -> int:
        """How many bytes have come that belong to no message yet."""
        return len(self._came) + len(self._buffer)

    def pack(self, text: str) -> bytes:
        message = (self._habits.prolog + text).encode(self._habits.encoding, "xmlcharrefreplace")
        is_packed = self._sent >= self._packing.after
        self._sent += 1
        if is_packed and not self._packing.is_stream:
            deflater = zlib.compressobj(wbits=self._packing.bits)
            message = deflater.compress(message) + deflater.flush()
        frame = self._habits.frames.wrap(message)
        if is_packed and self._packing.is_stream:
            frame = self._deflater.compress(frame) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
        return frame

    def unpack(self, data: bytes) -> Iterator[ET.Element]:
        self._came += data
        while True:
            is_packed = self._received >= self._packing.after
            came, self._came = bytes(self._came), bytearray()
            self._buffer += self._inflater.decompress(came) if is_packed and self._packing.is_stream else came
            message = self._habits.frames.take(self._buffer)
            if message is None:
                return
            self._received += 1
            if self._packing.is_stream and self._received == self._packing.after:
                self._came, self._buffer = self._buffer, bytearray()
            if is_packed and not self._packing.is_stream:
                message = zlib.decompress(message, self._packing.bits)
            yield self._document(message)

    def _document(self, message: bytes) -> ET.Element:
        prolog, text = re.fullmatch(rb"\s*(<\?xml.*?\?>)?(.*)", message, re.DOTALL).groups()  # type: ignore[union-attr]
        named = re.search(rb'encoding="(.*?)"', prolog or b"")
        assert named is None or named[1].decode().lower() == self._habits.encoding
        return ET.fromstring(text.decode(self._habits.encoding))


# The conversation


class PlantaServer(VendorServer):
    """One connection. `heartbeats` and `pongs` count what the client has said to be alive."""

    def __init__(self, habits: Habits) -> None:
        super().__init__()
        self.habits = habits
        self._line = Line(habits)
        self._user = self._os_user = ""
        self._expected: int | None = None  # jobs, if the client has said how many there are
        self.jobs: list[str] = []  # that were taken
        self._is_logged_in = self.is_over = False
        self.heartbeats = self.pongs = 0

    def frame(self, document: str) -> bytes:
        return self._line.pack(document)

    def greeting(self) -> bytes:
        return self._send("greeting", self.habits.greeting).say() if self.habits.greeting else b""

    def received(self, data: bytes) -> Iterator[Answer]:
        for root in self._line.unpack(data):
            assert root.tag == "Message"
            yield from self._take(root)

    def _take(self, root: ET.Element) -> Iterator[Answer]:
        jobs = [text for text in map(self.habits.job_of, root) if text is not None]
        tags = [child.tag for child in root]
        is_alive = len(tags) == 1 and tags[0] in (self.habits.pong, self.habits.alive)
        self._note("alive" if is_alive else "jobs" if jobs else "login", len(jobs), self._line.rest)
        if is_alive:
            self.pongs += tags[0] == self.habits.pong
            self.heartbeats += tags[0] == self.habits.alive
        elif self.is_over:
            pass
        elif jobs:
            yield from self._take_jobs(jobs)
        elif tags == ["Shutdown"]:  # the client's goodbye
            self.is_over = True
        else:
            assert not self._is_logged_in, "a message that is nothing"
            yield from self._take_login(root)

    def _take_login(self, root: ET.Element) -> Iterator[Answer]:
        env, login = root.find("Env"), root.find("Login")
        if env is not None:
            missing = [name for name in self.habits.needs if env.find(name) is None]
            assert not missing, f"no {missing} in the handshake"
            for os_user in env.iter("OSuser"):
                self._os_user = os_user.attrib["name"]
            for parameter in env.iter("Individual_parameters"):
                self._expected = int(parameter.attrib["value"])
            if self.habits.answer:
                yield self._send("handshake", self.habits.answer)
            if self.habits.login_follows:
                return
        if login is not None and "response" in login.attrib:
            is_right = login.attrib["response"] == self.habits.proof(HASH.encode(), CHALLENGE)
            yield from self._let_in(is_right and self._user == "R41")
        elif self._os_user:
            yield from self._let_in(True)
        else:
            assert login is not None
            self._user = login.attrib["user"]
            yield self._send("challenge", self.habits.challenge, salt=HASH[:29], challenge=CHALLENGE)

    def _let_in(self, is_right: bool) -> Iterator[Answer]:
        if not is_right:
            yield self._refuse("login", "access denied")
        elif self.habits.asks_at_login:
            yield self._send("asks", self.habits.asks_at_login)
        else:
            yield self._send("granted", self.habits.granted + self.habits.noise)
            self._is_logged_in = True
            if self.habits.noise_alone:
                yield self._send("noise", self.habits.noise_alone)

    def _take_jobs(self, jobs: list[str]) -> Iterator[Answer]:
        assert self._is_logged_in
        for word, reason, text in (("nope", "jobs", "no such job"), ("busy", "busy", "too many jobs")):
            unwanted = [job for job in jobs if word in job]
            if unwanted:
                yield self._refuse(reason, f"{text}: {unwanted[0]}")
                return
        self.has_jobs = True
        if self.habits.accepted and not self.habits.accepts_each:
            yield self._send("accepted", self.habits.accepted)
        has_stopped = False
        for job in jobs:
            if self.habits.accepted and self.habits.accepts_each:
                yield self._send("accepted", self.habits.accepted)
            yield from self._run(job)
            if self.is_over:
                return
            has_stopped = "fail" in job and not self.habits.goes_on
            if has_stopped:
                break
        if has_stopped or self._expected in (None, len(self.jobs)):
            yield from self._end(next((job for job in jobs if "fail" in job), ""))

    def _run(self, job: str) -> Iterator[Answer]:
        self.jobs.append(job)
        if self.habits.ping:
            yield self._send("ping", self.habits.ping)
        if "ask" in job or "crash" in job:
            self.is_over = True
            yield self._send("asks", self.habits.asks, text=f"may {job} be overwritten?") if "ask" in job else CLOSE
            return
        pause = re.search(r"sleep\D*([0-9.]+)", job)
        if self.habits.output:
            yield self._send("output", self.habits.output, float(pause[1]) if pause else 0, text=f"did {job}")
        if self.habits.result_of_job:
            yield from self._result(job if "fail" in job else "")

    def _result(self, failed: str) -> Iterator[Answer]:
        """That of a job, or of the session; `failed` is the job that has, if any."""
        result = self.habits.failed if failed else self.habits.ok
        if result:
            yield self._send("result", result, text=f"job failed: {failed}")

    def _end(self, failed: str) -> Iterator[Answer]:
        if not self.habits.result_of_job:
            yield from self._result(failed)
        if self.habits.ended:
            yield self._send("ended", self.habits.ended)
        self.is_over = self.habits.ended != "" or not self.habits.result_of_job

    def _refuse(self, reason: str, text: str) -> Answer:
        self.is_over = True
        return self._send("refused", self.habits.refused[reason], text=text)

    def _send(self, role: str, elements: str, seconds: float = 0, **values: str) -> Answer:
        for name, value in values.items():
            elements = elements.replace(f"{{{name}}}", escape(value, {'"': "&quot;", "\n": "&#10;"}))
        return self._answer(role, message(elements), seconds)


CLOSE = Answer(0, "close", lambda: b"")


def message(elements: str) -> str:
    return f"<Message>{elements}</Message>"
