"""A client that claims to be somebody, and has closed its end by the time that the server asks whose it is."""

from __future__ import annotations

import random
import socket
import time
from contextlib import suppress

from support.frames import frame
from support.process import PATIENCE
from support.raw_client import in_jobs, osuser_login, py_code
from support.sampling import EXHAUSTIVE

TRIES = 300 if EXHAUSTIVE else 100


def impose(address: str, os_user: str, code: str, tries: int = TRIES) -> list[bytes]:
    """What a server answers to somebody who sends a login as this user of the operating system and, a moment later, a
    job and the end of the stream: between the moment when the login is read and the one when the kernel is asked.

    Which moment that is, the answers tell: what comes too early breaks the protocol, what comes too late is refused.
    """
    pause = 0.0003
    answers = []
    for _ in range(tries):
        answers.append(_try(address, os_user, code, pause * random.uniform(0.8, 1.2)))
        came_too_early = b'reason="protocol"' in answers[-1]
        pause = min(max(pause * (1.1 if came_too_early else 0.9), 0.00002), 0.005)
    return answers


def _try(address: str, os_user: str, code: str, pause: float) -> bytes:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = b""
        with suppress(OSError):  # the server may have closed by then
            sock.sendall(frame(osuser_login(os_user)))
            end = time.perf_counter() + pause
            while time.perf_counter() < end:  # more exact than sleep
                pass
            sock.sendall(frame(in_jobs(py_code(code))))
            sock.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            while data := sock.recv(65536):
                answer += data
        return answer
