"""A vendor with a vocabulary of its own. The server speaks first. The client writes UTF-16 behind eight digits, the
server UTF-8 behind a hexadecimal length; behind the first message of each side all is one stream of raw deflate. Each
job is sent when the one before has ended.
"""

from __future__ import annotations

import hashlib
import random
import re
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Generator
from xml.sax.saxutils import quoteattr

from headless.protocol_tools.recordings import RecordedCall
from support.credentials import HASH
from support.vendors.talk import Receive, Side, Sleep, Step


class Sender:
    def __init__(self, is_client: bool) -> None:
        self.is_client = is_client
        self.packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        self.count = 0

    def bytes_of(self, text: str) -> bytes:
        data = text.encode("utf-16") if self.is_client else text.encode()
        data = b"%08d" % len(data) + data if self.is_client else b"%x\r\n" % len(data) + data + b"\r\n"
        self.count += 1
        if self.count == 1:
            return data
        return self.packer.compress(data) + self.packer.flush(zlib.Z_SYNC_FLUSH)


class Receiver:
    def __init__(self, is_client: bool) -> None:
        self.pattern = rb"([0-9a-f]+)\r\n" if is_client else rb"(\d{8})"
        self.base, self.end = (16, 2) if is_client else (10, 0)
        self.unpacker = zlib.decompressobj(-15)
        self.rest = b""
        self.count = 0

    def next(self, seconds: float | None = None) -> Generator[Step, bytes, ET.Element]:
        while True:
            found = re.match(self.pattern, self.rest)
            if found:
                start, end = found.end(), found.end() + int(found[1], self.base)
                if len(self.rest) >= end + self.end:
                    data, rest = self.rest[start:end], self.rest[end + self.end :]
                    self.count += 1
                    self.rest = self.unpacker.decompress(rest) if self.count == 1 else rest
                    return ET.fromstring(data)
            data = yield Receive(seconds)
            if not data:
                raise TimeoutError
            self.rest += self.unpacker.decompress(data) if self.count else data


def proof(hash_: bytes, nonce: str) -> str:
    key, mask = hashlib.sha256(hash_).digest(), hashlib.sha256(nonce.encode()).digest()
    return bytes(a ^ b for a, b in zip(key, mask)).hex()


class Server:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def serve(self) -> Side:
        sender, receiver = Sender(False), Receiver(False)
        nonce = self.random.randbytes(12).hex().upper()
        yield sender.bytes_of(f'<zeta version="3" nonce="{nonce}"/>')
        login = yield from receiver.next()
        is_right = login.get("user") == "R41" and login.get("key") == proof(HASH.encode(), nonce)
        if login.get("key") and not is_right:
            yield sender.bytes_of('<no why="LOGIN"/>')
            return
        yield sender.bytes_of(f'<yes id="{self.random.randint(1, 10**6)}"/>')
        while True:
            job = yield from receiver.next()
            if job.tag == "bye":
                return
            text = job.findtext("text") or ""
            if "nope" in text:
                yield sender.bytes_of('<no why="JOB"/>')
                return
            yield sender.bytes_of("<took/>")
            found = re.search(r"sleep (\d+)", text)
            left = int(found[1]) if found else 0
            while left > 60:
                yield Sleep(60)
                left -= 60
                yield sender.bytes_of("<alive/>")
            yield Sleep(left)
            yield sender.bytes_of(f"<printed><line>did {len(text)}</line><line/></printed>")
            if "fail" in text:
                yield sender.bytes_of("<job><rc>12</rc></job>")
                return
            yield sender.bytes_of("<job><rc>0</rc></job>")


def client(call: RecordedCall, hash_: bytes, seed: int) -> Side:
    sender, receiver = Sender(True), Receiver(True)
    hello = yield from receiver.next()
    run = random.Random(seed + 7).randbytes(8).hex()
    key = f' key="{proof(hash_, hello.attrib["nonce"])}"' if call.login == "challenge" else ""
    yield sender.bytes_of(f'<login run="{run}" user={quoteattr(call.user or call.os_user)}{key}/>')
    answer = yield from receiver.next()
    if answer.tag != "yes":
        return 2
    for number, job in enumerate(call.jobs):
        text = job.text.replace("&", "&amp;").replace("<", "&lt;")
        is_last = str(number + 1 == len(call.jobs)).lower()
        yield sender.bytes_of(f'<job n="{number}" last="{is_last}" kind="{job.kind[0]}"><text>{text}</text></job>')
        answer = yield from receiver.next()
        if answer.tag != "took":
            return 2
        if not call.timeout:
            continue
        while answer.tag != "job":
            try:
                answer = yield from receiver.next(call.timeout if call.timeout > 0 else None)
            except TimeoutError:
                return 3
            except EOFError:
                return 1
        if answer.findtext("rc") != "0":
            return 1
    yield sender.bytes_of("<bye/>")
    return 0
