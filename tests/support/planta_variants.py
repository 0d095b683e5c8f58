"""Four servers with the vocabulary that PLANTA has published, as different as it allows. The file of a site for each is
`sites/NAME.py`."""

from __future__ import annotations

import hashlib
import hmac
import xml.etree.ElementTree as ET
from base64 import b64encode
from typing import NamedTuple

from support.planta_server import Bare, Ending, Habits, Length, Packing
from support.process import ROOT


class Variant(NamedTuple):
    """`trailing` is how many bytes at the end of a message have no content."""

    name: str
    habits: Habits
    reports_results: bool = True
    trailing: int = 0

    @property
    def site(self) -> str:
        return str(ROOT / "tests" / "support" / "sites" / f"{self.name}.py")


def _sha1(hash_: bytes, challenge: str) -> str:
    return hashlib.sha1(hash_ + challenge.encode()).hexdigest().upper()


def _hmac_sha1(hash_: bytes, challenge: str) -> str:
    return b64encode(hmac.new(challenge.encode(), hash_, hashlib.sha1).digest()).decode()


def _md5(hash_: bytes, challenge: str) -> str:
    return hashlib.md5(b":".join([challenge.encode(), b"R41", hash_])).hexdigest()


def _job_in_module(element: ET.Element) -> str | None:
    return element.text or "" if element.tag == "ModC" else None


def _job_in_command(element: ET.Element) -> str | None:
    return element.findtext("Param") if element.get("action") == "run" else None


SCREEN = (
    '<GlobalMenu><Item name="quit"/></GlobalMenu><Skin name="dark"/><Skin name="light"/>'
    '<StringConstants lang="DE">&amp;Ende<!-- not a result --></StringConstants>'
)
LENGTH = Variant(
    "length",
    Habits(
        noise=SCREEN,
        result_of_job=False,
        ok='<Shutdown action="exit" code="0"/>',
        failed='<Shutdown action="exit" code="3">{text}</Shutdown>',
        ended="",
    ),
)
ZERO = Variant(
    "zero",
    Habits(
        frames=Ending(b"\0"),
        encoding="windows-1252",
        prolog='<?xml version="1.0" encoding="windows-1252"?>',
        greeting='<Comm hello="PLANTA"/>',
        needs=("Program", "TimeZone", "Locale", "Individual_parameters"),
        answer="<Env><Program system_title='TEST'/></Env>",
        login_follows=True,
        granted='<Login action="success"/>',
        proof=_sha1,
        job_of=_job_in_module,
        accepts_each=True,
        accepted='<ModC state="queued"/>',
        output='<ModC state="output">{text}</ModC>',
        result_of_job=True,
        ok='<ModC state="ended" result="0"/>',
        failed='<ModC state="ended" result="8">{text}</ModC>',
        goes_on=True,
        refused={
            "login": '<Login action="failure">{text}</Login>',
            "jobs": '<ModC state="unknown">{text}</ModC>',
            "busy": '<Comm busy="1">{text}</Comm>',
        },
        ping='<Comm ping="1"/>',
        pong="Comm",
        alive="Bin",
        noise_alone=SCREEN,
    ),
)
PACKED = Variant(
    "packed",
    Habits(
        frames=Length(2, "little", counts_itself=True),
        prolog="",
        packing=Packing(),
        challenge='<Login challenge="{challenge}"/>',
        granted='<Env locale="DE"/>',
        proof=_hmac_sha1,
        job_of=_job_in_command,
        accepts_each=True,
        accepted="<Comm><Started/></Comm>",
        output='<StatusBar text="{text}"/>',
        result_of_job=True,
        ok="<Comm><Result>ok</Result></Comm>",
        failed="<Comm><Result>{text}</Result></Comm>",
        ended="",
        refused={
            "login": "<Login><Denied>{text}</Denied></Login>",
            "jobs": "<Comm><Unknown>{text}</Unknown></Comm>",
            "busy": "<Comm><Busy>{text}</Busy></Comm>",
        },
        noise_alone="<SplashScreen/>",
        asks='<PasswordChange action="start" mandatory="true">{text}</PasswordChange>',
    ),
)
BARE = Variant(
    "bare",
    Habits(
        frames=Bare(),
        encoding="iso-8859-15",
        prolog='<?xml version="1.0" encoding="ISO-8859-15" standalone="yes"?>\n',
        packing=Packing(bits=-15, is_stream=True, after=1),
        needs=("Program", "Protocol_parameters"),
        proof=_md5,
        accepts_each=True,
        accepted='<ExecPythonScript started="true"/>',
        ok="",
        failed="",
        goes_on=True,
        refused={
            "login": '<Login action="cancel">{text}</Login>',
            "jobs": '<ExecPythonScript error="{text}"/>',
            "busy": '<Comm busy="{text}"/>',
        },
    ),
    reports_results=False,
    trailing=6,
)
VARIANTS = (LENGTH, ZERO, PACKED, BARE)
