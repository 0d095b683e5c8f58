"""How long the server takes to refuse a wrong password and an unknown user. No test: it prints what a machine shows.

The two kinds of login take turns against one server, in random order. Timed is what a client sees: from its login to
the challenge, and from its response to the refusal. Guesses are not slowed down here: the server is in this process.
"""

from __future__ import annotations

import random
import socket
import statistics
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from headless.server.accounts import Account, keys_from_password
from support.dialogues import attribute
from support.scripted_server import Peer
from support.server_here import ServerHere

ROUNDS = 400
ATTEMPT = '<login version="1" client="x" auth_type="challenge" user="{}" nonce="{}"/>'


def attempt(address: str, user: str) -> tuple[float, float]:
    """Seconds to the challenge and to the refusal."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        peer = Peer(sock)
        begun = time.perf_counter()
        peer.send(ATTEMPT.format(user, "c" * 24))
        nonce = attribute(peer.receive(), "nonce")
        challenged = time.perf_counter()
        peer.send(f'<response nonce="{nonce}" proof="{"A" * 43}="/>')
        peer.receive()
        return challenged - begun, time.perf_counter() - challenged


def main() -> None:
    times: dict[str, list[tuple[float, float]]] = {"R42": [], "R99": []}
    turns = [user for user in times for _ in range(ROUNDS)]
    random.shuffle(turns)
    with tempfile.TemporaryDirectory() as folder, patch("headless.server.authentication._DELAY_MAX", 0.0):
        r42 = Account("R42", None, keys_from_password("correct horse"))
        with ServerHere(Path(folder) / "home", accounts=(r42,)) as server:
            for user in turns:
                times[user].append(attempt(server.address, user))
    for step, what in enumerate(("to the challenge", "to the refusal")):
        known, unknown = (statistics.median(pair[step] for pair in times[user]) for user in times)
        spread = statistics.stdev(pair[step] for pair in times["R42"])
        print(f"{what}: known user {known * 1e6:.0f} us, unknown {unknown * 1e6:.0f} us (medians of {ROUNDS}), "
              f"ratio {unknown / known:.3f}, standard deviation {spread * 1e6:.0f} us")  # fmt: skip
