"""A client made of a socket and literal XML, for the tests of the server. It shares no code with the package."""

from __future__ import annotations

import os
import socket
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from contextlib import ExitStack
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

import pytest

from support import scram
from support.credentials import HASH
from support.job_server import JobServer
from support.process import PATIENCE, current_user
from support.scripted_server import Disconnected, Peer

RAW_NONCE = "rOprNGfwEbeRWgbNEkqO1234"


def osuser_login(os_user: str = "", user: str = "") -> str:
    name = f" user={quoteattr(user)}" if user else ""
    return f'<login version="1" client="test" auth_type="osuser" os_user={quoteattr(os_user or current_user())}{name}/>'


def challenge_login(user: str) -> str:
    return f'<login version="1" client="test" auth_type="challenge" user={quoteattr(user)} nonce="{RAW_NONCE}"/>'


def response(nonce: str, proof: str) -> str:
    return f'<response nonce="{nonce}" proof="{proof}"/>'


def py_code(code: str) -> str:
    return f"<py_code>{escape(code)}</py_code>"


def in_jobs(*jobs: str, key: str = "") -> str:
    return f"<jobs{f' key={quoteattr(key)}' if key else ''}>{''.join(jobs)}</jobs>"


def attach(session: str, *offset: int) -> str:
    """From now on, or from this job and these characters of its stdout and stderr."""
    named = zip(("job", "stdout", "stderr"), offset)
    return f"<attach session={quoteattr(session)}{''.join(f' {name}={quoteattr(str(n))}' for name, n in named)}/>"


def _unix_lines(text: str) -> str:
    """What a job has printed, which ends its lines as they end on Windows there."""
    return text.replace(os.linesep, "\n")


class Report(NamedTuple):
    """What a client has received of its session: output by job and stream, status and text of each job, and the end."""

    output: dict[tuple[int, str], str]
    finished: list[tuple[str, str]]
    ended: str


class RawClient(Peer):
    """The client's end of one connection, from this address of the machine. Use it as a context manager."""

    def __init__(self, address: str, source: str = "") -> None:
        host, _, port = address.rpartition(":")
        super().__init__(socket.create_connection((host.strip("[]"), int(port)), PATIENCE, (source, 0)))
        self.session = ""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def element(self) -> ET.Element:
        """The next message but `alive`."""
        while True:
            element = ET.fromstring(self.receive())
            if element.tag == "output":
                element.text = _unix_lines(element.text or "")
            if element.tag != "alive":
                return element

    def ask(self, *documents: str | bytes) -> ET.Element:
        """What the server answers to this."""
        self.send(*documents)
        return self.element()

    def log_in(self, user: str = "R41") -> RawClient:
        """As the user that runs the tests."""
        self.session = self.ask(osuser_login(user=user)).attrib["session"]
        return self

    def submit(self, *jobs: str, key: str = "") -> str:
        """The session of the session, which is accepted."""
        accepted = self.ask(in_jobs(*jobs, key=key))
        assert accepted.tag == "accepted", ET.tostring(accepted)
        assert set(accepted.attrib) == ({"session"} if key else set())
        return accepted.attrib.get("session", self.session)

    def attach(self, session: str, *offset: int) -> tuple[int, ...]:
        """Number of jobs, and the offset from which the server goes on."""
        attached = self.ask(attach(session, *offset))
        assert attached.tag == "attached", ET.tostring(attached)
        return tuple(int(attached.attrib[name]) for name in ("jobs", "job", "stdout", "stderr"))

    def expect(self, tag: str) -> ET.Element:
        element = self.element()
        assert element.tag == tag, ET.tostring(element)
        return element

    def expect_refusal(self, reason: str) -> str:
        """Receives nothing but a refusal for this reason, and the end of the connection. Returns its text."""
        refused = self.expect("refused")
        assert refused.attrib == {"reason": reason}
        self.expect_end()
        return refused.text or ""

    def expect_end(self) -> None:
        """Waits until the server has closed, and closes."""
        with pytest.raises((Disconnected, ConnectionError)):  # not the socket's time-out
            self.receive()
        self.sock.close()

    def report(self) -> Report:
        """All that the server sends from here, up to `ended` and the end of the connection."""
        report = Report({}, [], "")
        while True:
            element = self.element()
            text = element.text or ""
            if element.tag == "output":
                key = int(element.attrib["job"]), element.attrib["stream"]
                report.output[key] = report.output.get(key, "") + text
            elif element.tag == "finished":
                report.finished.append((element.attrib["status"], text))
            elif element.tag == "ended":
                self.expect_end()
                output = {key: _unix_lines(text) for key, text in report.output.items()}  # an end may come in two parts
                return report._replace(output=output, ended=element.attrib["status"])
            else:
                assert element.tag == "started", ET.tostring(element)


def connect(server: JobServer) -> RawClient:
    return RawClient(server.address)


def run(server: JobServer, *jobs: str) -> Report:
    """Runs this session, and returns what the client has received."""
    with connect(server).log_in() as client:
        client.submit(*jobs)
        return client.report()


def run_together(server: JobServer, codes: Iterable[str]) -> list[Report]:
    """Runs these sessions of one job each, which do not wait for each other."""
    with ExitStack() as stack:
        clients = []
        for code in codes:
            clients.append(stack.enter_context(connect(server)).log_in())
            clients[-1].submit(py_code(code))
        return [client.report() for client in clients]


def right_answer(client: RawClient, user: str) -> str:
    """Begins a login by the password that belongs to HASH. Returns the answer to the challenge."""
    challenge = client.ask(challenge_login(user))
    nonce, salt = challenge.attrib["nonce"], challenge.attrib["salt"]
    return response(nonce, scram.proof(HASH.encode(), scram.auth_message(user, RAW_NONCE, nonce, salt)))
