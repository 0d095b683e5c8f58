"""A site whose server speaks first, gets one job after the other, and reports on each."""

from __future__ import annotations

import hashlib

from headless.dialects import planta
from headless.dialects.framing import Delimiter, Transport
from headless.dialects.vocabulary import Job
from headless.dialects.xml_messages import Element, element


class Dialect(planta.Dialect):
    settled = planta.ASSUMPTIONS
    to_server = to_client = Transport(Delimiter(b"\0"))
    encoding = "windows-1252"
    server_speaks_first = True
    greeted = "Env | Comm[@hello]"
    is_login_in_handshake = False
    granted = "Login[@action='success']"
    order = planta.IN_A_ROW
    accepted = "ModC[@state='queued']"
    output = "ModC[@state='output']"
    result_of = planta.JOB
    ok = "ModC[@state='ended'][@result='0']"
    failed = "ModC[@state='ended'][@result!='0']"
    refused = {"login": "Login[@action='failure']", "jobs": "ModC[@state='unknown']", "busy": "Comm[@busy]"}
    server_heartbeat, heartbeat, heartbeat_seconds = "Comm[@ping]", 60, 60

    def handshake(self) -> list[Element]:
        (env,) = super().handshake()
        env.append(element("Individual_parameters", value=str(len(self.call.jobs))))
        return [env]

    def login_request(self) -> list[Element]:
        return [element("Login", user=self.call.user or self.call.os_user)]

    def response(self, hash_: bytes, challenge: str) -> str:
        return hashlib.sha1(hash_ + challenge.encode()).hexdigest().upper()

    def start_of(self, job: Job) -> list[Element]:
        return [element("ModC", job.text, kind=job.kind)]

    def answer_heartbeat(self) -> list[Element]:
        return [element("Comm", pong="1")]

    def heartbeat_message(self) -> list[Element]:
        return [element("Bin")]
