"""A vendor with the published vocabulary. The server speaks first, a line of text without a frame. Its messages end
with a NUL, those of the client with nothing, and both are Windows-1252. All jobs are in one message. The end says how
it went.
"""

from __future__ import annotations

import base64
import hashlib
import random
import re
import xml.etree.ElementTree as ET
from collections.abc import Generator
from xml.sax.saxutils import quoteattr

from headless.protocol_tools.recordings import RecordedCall
from support.credentials import HASH
from support.vendors.talk import Receive, Side, Sleep, Step

PROLOG = '<?xml version="1.0" encoding="windows-1252"?>\n'


def document(*children: str) -> bytes:
    return (PROLOG + "<Message>" + "".join(children) + "</Message>").encode("cp1252", "xmlcharrefreplace")


class Input:
    def __init__(self, end: bytes) -> None:
        self.rest, self.end = b"", end

    def next(self, seconds: float | None = None) -> Generator[Step, bytes, bytes]:
        while self.end not in self.rest:
            data = yield Receive(seconds)
            if not data:
                raise TimeoutError
            self.rest += data
        found, self.rest = self.rest.split(self.end, 1)
        return found

    def message(self, seconds: float | None = None) -> Generator[Step, bytes, ET.Element]:
        data = yield from self.next(seconds)
        return ET.fromstring(data + (self.end if self.end != b"\0" else b""))


def proof(hash_: bytes, challenge: str) -> str:
    inner = hashlib.md5(hash_).hexdigest()
    return base64.b64encode(hashlib.sha1(f"{challenge}:{inner}".encode()).digest()).decode()


class Server:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def serve(self) -> Side:
        number = self.random.randbytes(self.random.randint(2, 5)).hex()
        yield f"PLANTA server 39.4 session {number}\r\n".encode()
        received = Input(b"</Message>")
        hello = yield from received.message()
        if hello.find("Env/OSuser") is None:
            challenge = str(self.random.randint(10**9, 10**17))
            yield document(f'<Login challenge="{challenge}" salt="{HASH[:29]}"/>') + b"\0"
            login = (yield from received.message()).find("Login")
            assert login is not None
            if hello.find("Login[@user='R41']") is None or login.get("response") != proof(HASH.encode(), challenge):
                yield document('<Login action="cancel">unknown user or wrong password</Login>') + b"\0"
                return
        yield (
            document(f'<Env cur_skin="1"><Program system_title="night {number}"/></Env>', '<GlobalMenu n="3"/>') + b"\0"
        )
        jobs = list((yield from received.message()).iter("Job"))
        if any("nope" in job.attrib["what"] for job in jobs):
            yield document('<EvLogMsg level="error" code="404">a module does not exist</EvLogMsg>') + b"\0"
            return
        yield document(f'<EvLogMsg level="info" code="100" jobs="{len(jobs)}"/>') + b"\0"
        for job in jobs:
            found = re.search(r"sleep (\d+)", job.attrib["what"])
            yield Sleep(int(found[1]) if found else 0.2)
            yield document(f'<EvLogMsg level="out">did {job.get("kind")}</EvLogMsg>') + b"\0"
            if "fail" in job.attrib["what"]:
                yield document('<Shutdown action="exit" result="1">Traceback</Shutdown>') + b"\0"
                return
        yield document('<Shutdown action="exit" result="0"/>') + b"\0"


def client(call: RecordedCall, hash_: bytes, _seed: int) -> Side:
    received = Input(b"\0")
    line = Input(b"\r\n")
    yield from line.next()
    received.rest = line.rest
    who = f"<OSuser name={quoteattr(call.os_user)}/>" if call.login == "osuser" else ""
    login = f"<Login user={quoteattr(call.user or '')}/>" if call.login == "challenge" else ""
    program = '<Program vendor="PLANTA" name="PLANTA Headless" version="S 39.4.2"/>'
    yield document(f'<Env>{program}<TimeZone utc_offset="0"/><Locale lang="EN" country="GB"/>{who}</Env>{login}')
    answer = yield from received.message()
    if call.login == "challenge":
        found = answer.find("Login")
        assert found is not None
        yield document(f'<Login response="{proof(hash_, found.attrib["challenge"])}"/>')
        answer = yield from received.message()
    if answer.find("Env") is None:
        return 2
    jobs = "".join(f"<Job kind={quoteattr(job.kind)} what={attribute(job.text)}/>" for job in call.jobs)
    yield document(f'<Cmd name="run" count="{len(call.jobs)}">{jobs}</Cmd>')
    answer = yield from received.message()
    if answer.find("EvLogMsg[@code='100']") is None:
        return 2
    while call.timeout:
        try:
            message = yield from received.message(call.timeout if call.timeout > 0 else None)
        except TimeoutError:
            return 3
        except EOFError:
            return 1
        end = message.find("Shutdown")
        if end is not None:
            return int(end.attrib["result"])
    return 0


def attribute(text: str) -> str:
    return quoteattr(text, {"\n": "&#10;"})
