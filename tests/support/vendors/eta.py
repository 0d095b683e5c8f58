"""A vendor with a vocabulary of its own: bare documents that are indented, with elements alone and no attributes. The
client begins with four bytes that say which version it is. What proves the password is a bcrypt hash of the hash.
"""

from __future__ import annotations

import base64
import random
import re
import xml.etree.ElementTree as ET
from collections.abc import Generator
from xml.sax.saxutils import escape

import bcrypt

from headless.protocol_tools.recordings import RecordedCall
from support.credentials import HASH
from support.vendors.talk import Receive, Side, Sleep, Step


def document(what: str, **fields: str) -> bytes:
    lines = "".join(f"  <{name}>{escape(text)}</{name}>\n" for name, text in fields.items())
    return f"<eta>\n  <what>{what}</what>\n{lines}</eta>".encode()


class Input:
    def __init__(self) -> None:
        self.rest = b""

    def next(self, seconds: float | None = None) -> Generator[Step, bytes, dict[str, str]]:
        while b"</eta>" not in self.rest:
            data = yield Receive(seconds)
            if not data:
                raise TimeoutError
            self.rest += data
        end = self.rest.index(b"</eta>") + 6
        root, self.rest = ET.fromstring(self.rest[:end]), self.rest[end:]
        return {child.tag: child.text or "" for child in root}


def proof(hash_: bytes, salt: str) -> str:
    return bcrypt.hashpw(hash_, salt.encode()).decode()


class Server:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def serve(self) -> Side:
        received = Input()
        while len(received.rest) < 4:
            received.rest += yield Receive()
        assert received.rest[:4] == b"ETA\x02"
        received.rest = received.rest[4:]
        login = yield from received.next()
        if login["what"] == "challenge":
            letters = base64.b64encode(self.random.randbytes(15)).decode().replace("+", ".")
            salt = f"$2b$04${letters}.e"
            yield document("salt", salt=salt)
            answer = yield from received.next()
            if login["who"] != "R41" or answer["proof"] != proof(HASH.encode(), salt):
                yield document("sorry", reason="login")
                return
        yield document("hello", session=str(self.random.randint(10**5, 10**9)))
        texts = []
        while True:
            asked = yield from received.next()
            if asked["what"] == "start":
                break
            texts.append(asked["text"])
        if any("nope" in text for text in texts):
            yield document("sorry", reason="job")
            return
        yield document("started", number=str(len(texts)))
        for text in texts:
            found = re.search(r"sleep (\d+)", text)
            left = int(found[1]) if found else 1
            while left > 60:
                yield Sleep(60)
                left -= 60
                yield b"\n"
            yield Sleep(left)
            yield document("output", text=f"did {text[:40]}")
            if "fail" in text:
                yield document("end", reason="error", job=text)
                return
        yield document("end", reason="none")


def client(call: RecordedCall, hash_: bytes, _seed: int) -> Side:
    received = Input()
    yield b"ETA\x02"
    yield document(call.login, who=call.user or call.os_user)
    answer = yield from received.next()
    if answer["what"] == "salt":
        yield document("proof", proof=proof(hash_, answer["salt"]))
        answer = yield from received.next()
    if answer["what"] != "hello":
        return 2
    for job in call.jobs:
        yield document("add", session=answer["session"], type=job.kind.upper(), text=job.text)
    yield document("start", session=answer["session"])
    started = yield from received.next()
    if started["what"] != "started":
        return 2
    while call.timeout:
        try:
            message = yield from received.next(call.timeout if call.timeout > 0 else None)
        except TimeoutError:
            return 3
        except EOFError:
            return 1
        if message["what"] == "end":
            return 0 if message["reason"] == "none" else 1
    yield document("bye")
    return 0
