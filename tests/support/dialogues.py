"""What a scripted server sends, as literal XML, and the scripts that several tests follow."""

from __future__ import annotations

import re

from support import scram
from support.credentials import HASH, SALT
from support.scripted_server import Peer, Script

WELCOME = '<welcome session="s1"/>'
ACCEPTED = "<accepted/>"
STARTED = '<started job="1"/>'
FINISHED = '<finished job="1" status="ok"/>'
FAILED = '<finished job="1" status="failed">no such table</finished>'
ENDED = '<ended status="ok"/>'
ENDED_FAILED = '<ended status="failed"/>'
DONE = (STARTED, FINISHED, ENDED)


def serving(*documents: str, welcome: str = WELCOME) -> Script:
    """A script: accepts every login, accepts the session, then sends these documents and waits for the client to
    leave."""

    def script(peer: Peer) -> None:
        peer.receive()
        peer.send(welcome)
        peer.receive()
        peer.send(ACCEPTED)
        for document in documents:
            peer.send(document)
        peer.wait_for_disconnect()

    return script


def answering_login(*documents: str | bytes) -> Script:
    """A script: answers the login with these documents, in one piece, and waits for the client to leave."""

    def script(peer: Peer) -> None:
        peer.receive()
        peer.send(*documents)
        peer.wait_for_disconnect()

    return script


def answering_jobs(*documents: str | bytes) -> Script:
    """A script: accepts every login, and answers the session with these documents, in one piece."""

    def script(peer: Peer) -> None:
        peer.receive()
        peer.send(WELCOME)
        peer.receive()
        peer.send(*documents)
        peer.wait_for_disconnect()

    return script


def challenging(
    *documents: str, secret: str = HASH, salt: str = SALT, own_nonce: str = "x" * 24, signature: str = ""
) -> Script:
    """A script: the server's side of the challenge login by design, without a check of the proof."""

    def script(peer: Peer) -> None:
        login = peer.receive()
        client_nonce = attribute(login, "nonce")
        nonce = client_nonce + own_nonce
        peer.send(f'<challenge nonce="{nonce}" salt="{salt}"/>')
        peer.receive()
        message = scram.auth_message(attribute(login, "user"), client_nonce, nonce, salt)
        proved = signature or scram.signature(secret.encode(), message)
        peer.send(f'<welcome session="s1" signature="{proved}"/>')
        peer.receive()
        peer.send(ACCEPTED, *documents)
        peer.wait_for_disconnect()

    return script


def attribute(document: str, name: str) -> str:
    match = re.search(rf'\b{name}="([^"]*)"', document)
    assert match, f"no {name} in {document}"
    return match[1]
