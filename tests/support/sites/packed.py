"""A site whose server compresses, and gets a job when the one before has ended. The last result is the end."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode

from headless.dialects import planta
from headless.dialects.framing import Compression, Length, Transport
from headless.dialects.vocabulary import Job
from headless.dialects.xml_messages import Element, element


class Dialect(planta.Dialect):
    settled = planta.ASSUMPTIONS
    to_server = to_client = Transport(Length(2, "little", extra=2), Compression("zlib"))
    prolog = ""
    challenge = "Login[@challenge]"
    order = planta.AFTER_RESULT
    accepted = "Comm/Started"
    output = "StatusBar"
    result_of = planta.JOB
    ended = "Comm/Result"
    ok = "Comm/Result[.='ok']"
    failed = "Comm/Result[.!='ok']"
    refused = {"login": "Login/Denied", "jobs": "Comm/Unknown", "busy": "Comm/Busy"}

    def response(self, hash_: bytes, challenge: str) -> str:
        return b64encode(hmac.new(challenge.encode(), hash_, hashlib.sha1).digest()).decode()

    def start_of(self, job: Job) -> list[Element]:
        cmd = element("Cmd", action="run")
        cmd.append(element("Param", job.text, name=job.kind))
        return [cmd]
