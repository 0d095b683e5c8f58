"""What servers of other vendors have in common here: bytes in, answers out, and a log of all that was said. They share
no code with the package."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from support.scripted_server import Peer, Script
from support.unreliable_relay import CLIENT, SERVER


class Said(NamedTuple):
    """One message: how many bytes of its side have been said with it, what it is, and how many jobs it hands over. In a
    turn the client says what it can without waiting, and the server answers."""

    turn: int
    side: str
    end: int
    role: str
    jobs: int = 0


class Answer(NamedTuple):
    """What is to be said after so many seconds; `say` gives its bytes, and notes that it is said. With the role "close"
    it is the end of the connection."""

    seconds: float
    role: str
    say: Callable[[], bytes]


class VendorServer:
    """One connection. `has_jobs` says whether it would run any."""

    def __init__(self) -> None:
        self.log: list[Said] = []
        self.has_jobs = False
        self._turn = 0
        self._total = {CLIENT: 0, SERVER: 0}  # bytes

    # What a vendor has

    def frame(self, document: str) -> bytes:
        """The bytes that carry this as the next document."""
        raise NotImplementedError

    def greeting(self) -> bytes:
        """What is said before the client has said anything."""
        return b""

    def received(self, data: bytes) -> Iterator[Answer]:
        raise NotImplementedError

    # What all have

    def answers_to(self, data: bytes) -> Iterator[Answer]:
        self._turn += 1
        self._total[CLIENT] += len(data)
        return self.received(data)

    def answer(self, data: bytes) -> bytes:
        return b"".join(answer.say() for answer in self.answers_to(data))

    def _note(self, role: str, jobs: int, behind: int) -> None:
        """A message of the client; so many bytes behind it have come, too."""
        self.log.append(Said(self._turn, CLIENT, self._total[CLIENT] - behind, role, jobs))

    def _answer(self, role: str, document: str, seconds: float = 0) -> Answer:
        return Answer(seconds, role, lambda: self._say(role, document))

    def _say(self, role: str, document: str) -> bytes:
        data = self.frame(document)
        self._total[SERVER] += len(data)
        self.log.append(Said(self._turn, SERVER, self._total[SERVER], role))
        return data


def serve(make: Callable[[], VendorServer], servers: list[VendorServer] | None = None) -> Script:
    """A script for a ScriptedServer. Each connection adds its server to the list."""

    def script(peer: Peer) -> None:
        server = make()
        if servers is not None:
            servers.append(server)
        peer.sock.sendall(server.greeting())
        while data := peer.sock.recv(65536):
            for answer in server.answers_to(data):
                time.sleep(answer.seconds)
                if answer.role == "close":
                    return
                peer.sock.sendall(answer.say())

    return script
