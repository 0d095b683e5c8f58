"""A vendor with a vocabulary of its own: XML with a namespace in HTTP, ISO 8859-15, packed with gzip. A call has two
connections, the login and the jobs. The client asks once a minute how the jobs are.
"""

from __future__ import annotations

import gzip
import hashlib
import random
import re
import xml.etree.ElementTree as ET
from collections.abc import Generator
from xml.sax.saxutils import escape, quoteattr

from headless.protocol_tools.recordings import RecordedCall
from support.credentials import HASH
from support.vendors.talk import Again, Receive, Side, Sleep, Step

NAMESPACE = "urn:epsilon:jobs"
E = "{urn:epsilon:jobs}"


def body(content: str) -> bytes:
    text = f'<?xml version="1.0" encoding="ISO-8859-15"?>\n<e:letter xmlns:e="{NAMESPACE}">{content}</e:letter>\n'
    return gzip.compress(text.encode("iso-8859-15", "xmlcharrefreplace"), mtime=0)


def request(content: str) -> bytes:
    data = body(content)
    head = "POST /jobs/v2 HTTP/1.1\r\nHost: jobs.example:8080\r\nUser-Agent: epsilon/7\r\n"
    head += f"Content-Type: text/xml\r\nContent-Encoding: gzip\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def response(content: str) -> bytes:
    data = body(content)
    head = f"HTTP/1.1 200 OK\r\nServer: epsilon\r\ncontent-encoding: gzip\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


class Input:
    def __init__(self) -> None:
        self.rest = b""

    def next(self, seconds: float | None = None) -> Generator[Step, bytes, ET.Element]:
        while b"\r\n\r\n" not in self.rest:
            data = yield Receive(seconds)
            if not data:
                raise TimeoutError
            self.rest += data
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        found = re.search(rb"(?i)content-length: (\d+)", head)
        assert found
        while len(self.rest) < int(found[1]):
            self.rest += yield Receive()
        data, self.rest = self.rest[: int(found[1])], self.rest[int(found[1]) :]
        return ET.fromstring(gzip.decompress(data))[0]


def proof(hash_: bytes, user: str, nonce: str) -> str:
    return hashlib.sha512(f"{user}|{nonce}|{hash_.decode()}".encode()).hexdigest()


class Server:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.nonce = self.session = ""
        self.work: list[tuple[float, str]] = []

    def serve(self) -> Side:
        received = Input()
        while True:
            asked = yield from received.next()
            yield from self.answer(asked)

    def answer(self, asked: ET.Element) -> Side:
        what = asked.tag.replace(E, "")
        if what == "hello":
            self.nonce = self.random.randbytes(9).hex()
            yield response(f"<e:nonce>{self.nonce}</e:nonce>")
        elif what == "login":
            right = proof(HASH.encode(), "R41", self.nonce)
            is_right = asked.get("how") == "osuser" or asked.findtext(f"{E}proof") == right
            self.session = f"S-{self.random.randint(1000, 99999)}"
            yield response(f"<e:welcome>{self.session}</e:welcome>" if is_right else "<e:denied>login</e:denied>")
        elif what == "run":
            texts = [job.text or "" for job in asked.iter(f"{E}job")]
            unknown = [text for text in texts if "nope" in text]
            if unknown:
                yield response(f"<e:denied>{unknown[0]}</e:denied>")
                return
            self.work = [(float((re.search(r"sleep (\d+)", text) or [0, 0])[1]), text) for text in texts]
            yield response(f"<e:taken><e:count>{len(texts)}</e:count></e:taken>")
        else:
            yield from self.state()

    def state(self) -> Side:
        for number, (seconds, text) in enumerate(self.work, 1):
            yield Sleep(min(seconds, 50))
            if seconds > 50:
                self.work[number - 1] = (seconds - 60, text)
                yield response(f"<e:state>running<e:job>{number}</e:job></e:state>")
                return
            if "fail" in text:
                yield response(f"<e:state>failed<e:job>{number}</e:job><e:why>{escape(text)}</e:why></e:state>")
                return
        yield response("<e:state>done</e:state>")


def client(call: RecordedCall, hash_: bytes, _seed: int) -> Side:
    received = Input()
    if call.login == "challenge":
        yield request(f"<e:hello>{call.user}</e:hello>")
        nonce = (yield from received.next()).text or ""
        proved = proof(hash_, call.user or "", nonce)
        yield request(f'<e:login how="challenge"><e:user>{call.user}</e:user><e:proof>{proved}</e:proof></e:login>')
    else:
        yield request(f'<e:login how="osuser"><e:user>{call.os_user}</e:user></e:login>')
    welcome = yield from received.next()
    if welcome.tag != f"{E}welcome":
        return 2
    session = quoteattr(welcome.text or "")
    yield Again()
    jobs = "".join(f"<e:job kind={quoteattr(job.kind)}>{escape(job.text)}</e:job>" for job in call.jobs)
    yield request(f"<e:run session={session}>{jobs}</e:run>")
    taken = yield from received.next()
    if taken.tag != f"{E}taken":
        return 2
    while call.timeout:
        yield request(f"<e:state session={session}/>")
        try:
            state = yield from received.next(call.timeout if call.timeout > 0 else None)
        except TimeoutError:
            return 3
        except EOFError:
            return 1
        if state.text != "running":
            return 0 if state.text == "done" else 1
        yield Sleep(10)
    return 0
