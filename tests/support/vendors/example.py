"""The vendor of PORTING.md's example: its server, and an old client that shares no code with the dialect."""

from __future__ import annotations

import hashlib
import hmac
import xml.etree.ElementTree as ET
from collections.abc import Generator
from xml.sax.saxutils import escape, quoteattr

from headless.protocol_tools.recordings import RecordedCall
from support.example_server import ExampleServer
from support.vendors.talk import Receive, Side, Sleep, Step


class Server:
    def __init__(self, _seed: int) -> None:
        self._server = ExampleServer()

    def serve(self) -> Side:
        while True:
            data = yield Receive()
            for answer in self._server.answers_to(data):
                if answer.seconds:
                    yield Sleep(answer.seconds)
                yield answer.say()


class _Input:
    def __init__(self) -> None:
        self._rest = b""

    def next(self, seconds: float | None) -> Generator[Step, bytes, ET.Element]:
        while b"\0" not in self._rest:
            data = yield Receive(seconds)
            if not data:
                raise TimeoutError
            self._rest += data
        document, self._rest = self._rest.split(b"\0", 1)
        return ET.fromstring(document)


def client(call: RecordedCall, hash_: bytes, _seed: int) -> Side:
    received = _Input()
    items = "".join(f"<item kind={quoteattr(job.kind)}>{escape(job.text)}</item>" for job in call.jobs)
    user = quoteattr(call.user or call.os_user)
    request = f'<request client="headless 39" user={user} auth={quoteattr(call.login)}>{items}</request>'
    yield request.encode() + b"\0"
    try:
        answer = yield from received.next(30)
        if answer.get("code") == "401":
            proof = hmac.new(hash_, answer.attrib["token"].encode(), hashlib.sha1).hexdigest()
            yield f"<answer answer='{proof}' />".encode() + b"\0"
            answer = yield from received.next(30)
        if answer.get("code") != "200":
            return 2
        while call.timeout:
            message = yield from received.next(call.timeout if call.timeout > 0 else None)
            if message.tag == "result":
                return 0 if message.get("code") == "200" else 1
    except TimeoutError:
        return 3
    except EOFError:
        return 1
    return 0
