"""A vendor with the published vocabulary. The client speaks first. The length of a message is before it, with the
least byte first, and counts itself. Each message but the first is compressed. Jobs go one by one, each when the one
before was accepted.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import re
import struct
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Generator
from xml.sax.saxutils import quoteattr

from headless.protocol_tools.recordings import RecordedCall
from support.credentials import HASH
from support.vendors.talk import Receive, Side, Sleep, Step

PROLOG = '<?xml version="1.0" encoding="utf-8"?>'


class Channel:
    def __init__(self) -> None:
        self.rest = b""
        self.sent = self.got = 0

    def send(self, *children: str) -> bytes:
        data = (PROLOG + "<Message>" + "".join(children) + "</Message>").encode()
        if self.sent:
            data = zlib.compress(data)
        self.sent += 1
        return struct.pack("<I", len(data) + 4) + data

    def receive(self, seconds: float | None = None) -> Generator[Step, bytes, ET.Element]:
        while len(self.rest) < 4 or len(self.rest) < struct.unpack("<I", self.rest[:4])[0]:
            data = yield Receive(seconds)
            if not data:
                raise TimeoutError
            self.rest += data
        size = struct.unpack("<I", self.rest[:4])[0]
        data, self.rest = self.rest[4:size], self.rest[size:]
        if self.got:
            data = zlib.decompress(data)
        self.got += 1
        return ET.fromstring(data)


def proof(hash_: bytes, challenge: str) -> str:
    return hmac.new(hash_, bytes.fromhex(challenge), hashlib.sha256).hexdigest().upper()


class Server:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def serve(self) -> Side:
        channel = Channel()
        hello = yield from channel.receive()
        yield channel.send('<Env><Program system_title="PLANTA test" planta_protocol_handler="planta_handler"/></Env>')
        if hello.find("Env/OSuser") is None:
            request = yield from channel.receive()
            challenge = self.random.randbytes(16).hex()
            yield channel.send(f'<Login salt="{HASH[:29]}" challenge="{challenge}"/>')
            answer = yield from channel.receive()
            login = answer.find("Login")
            right = proof(HASH.encode(), challenge)
            if request.find("Login[@user='R41']") is None or login is None or login.get("response") != right:
                yield channel.send('<Login action="cancel"/>')
                return
        yield channel.send('<Login action="ok"/>', '<Skin name="planta"/>')
        yield channel.send('<StringConstants><S id="1">OK</S></StringConstants>', '<Panel id="0"/>')
        yield from self.run(channel)

    def run(self, channel: Channel) -> Side:
        texts = []
        while True:
            message = yield from channel.receive()
            if message.find("Comm[@go]") is not None:
                break
            job = next(each for each in message if each.tag in ("ModC", "ExecPythonScript"))
            text = job.get("id") or job.get("file") or job.text or ""
            texts.append(text)
            if "nope" in text:
                yield channel.send(f'<Cmd name="refused" no="{len(texts)}">no module {text}</Cmd>')
                return
            yield channel.send(f'<Cmd name="queued" no="{len(texts)}"/>')
        for number, text in enumerate(texts, 1):
            found = re.search(r"sleep (\d+)", text)
            left = int(found[1]) if found else 0
            while left > 60:
                yield Sleep(60)
                left -= 60
                yield channel.send('<Comm ping="1"/>')
            yield Sleep(left)
            yield channel.send('<StatusBar text="working"/>', '<StatusBar text="idle"/>')
            if "fail" in text:
                yield channel.send(f'<Cmd name="done" no="{number}" state="3">NameError</Cmd>')
                break
            yield channel.send(f'<Cmd name="done" no="{number}" state="2"/>')
        yield channel.send('<Shutdown action="exit"/>')


def start_of(kind: str, text: str) -> str:
    if kind == "module":
        return f"<ModC id={quoteattr(text)}/>"
    if kind == "py_file":
        return f"<ExecPythonScript file={quoteattr(text)}/>"
    return "<ExecPythonScript>" + text.replace("&", "&amp;").replace("<", "&lt;") + "</ExecPythonScript>"


def client(call: RecordedCall, hash_: bytes, _seed: int) -> Side:
    channel = Channel()
    os_user = f"<OSuser name={quoteattr(call.os_user)}/>" if call.login == "osuser" else ""
    yield channel.send(
        '<Env><Program vendor="PLANTA" name="PLANTA Headless Client" version="39.5.24" protocol_version="4"/>',
        f'<TimeZone utc_offset="60"/><Locale lang="DE" country="DE"/>{os_user}</Env>',
    )
    yield from channel.receive()
    if call.login == "challenge":
        yield channel.send(f"<Login user={quoteattr(call.user or '')}/>")
        login = (yield from channel.receive()).find("Login")
        assert login is not None
        response = proof(hash_, login.attrib["challenge"])
        yield channel.send(f'<Login user={quoteattr(call.user or "")} response="{response}"/>')
    login = (yield from channel.receive()).find("Login")
    assert login is not None
    if login.get("action") == "cancel":
        return 2
    yield from channel.receive()
    for job in call.jobs:
        yield channel.send(start_of(job.kind, job.text))
        answer = yield from channel.receive()
        if answer.find("Cmd[@name='queued']") is None:
            return 2
    yield channel.send('<Comm go="1"/>')
    if not call.timeout:
        return 0
    return (yield from wait(channel, call.timeout))


def wait(channel: Channel, timeout: int) -> Generator[Step, bytes, int]:
    has_failed = False
    while True:
        try:
            message = yield from channel.receive(timeout if timeout > 0 else None)
        except TimeoutError:
            return 3
        except EOFError:
            return 1
        for child in message:
            if child.tag == "Comm":
                yield channel.send('<Comm pong="1"/>')
            if child.tag == "Cmd" and child.get("state") == "3":
                has_failed = True
            if child.tag == "Shutdown":
                return int(has_failed)
