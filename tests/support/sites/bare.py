"""A site whose server sends documents as they are, reports no result, and deflates from the second message on."""

from __future__ import annotations

import hashlib

from headless.dialects import planta
from headless.dialects.framing import Compression, Documents, Transport
from headless.dialects.xml_messages import Element, element


class Dialect(planta.Dialect):
    settled = planta.ASSUMPTIONS
    to_server = to_client = Transport(Documents(), Compression("deflate", "frames", after=1))
    encoding = "iso-8859-15"
    program = {"vendor": "PLANTA", "name": "PLANTA Client"}
    order = planta.AFTER_ACCEPTANCE
    accepted = "ExecPythonScript[@started]"
    no_result = planta.ORDERLY_END
    refused = {"login": "Login[@action='cancel']", "jobs": "ExecPythonScript[@error]", "busy": "Comm[@busy]"}

    def handshake(self) -> list[Element]:
        (env,) = super().handshake()
        env.append(element("Protocol_parameters", value="test"))
        env.append(element("Individual_parameters", value=str(len(self.call.jobs))))
        return [env]

    def response(self, hash_: bytes, challenge: str) -> str:
        return hashlib.md5(f"{challenge}:{self.call.user}:{hash_.decode()}".encode()).hexdigest()

    def goodbye(self) -> list[Element]:
        return [element("Shutdown", action="exit")]
