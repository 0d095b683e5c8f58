"""Makes a dialect say what the recorded client has said, as far as that depends on what the client gives it: the hash
of the password, random bytes, the key of the session.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import replace

from headless.dialects.vocabulary import CHALLENGE
from headless.protocol_tools.comparison import PROOF, Likeness, Ours, Place, values_of, varying
from headless.protocol_tools.exchanges import Exchange
from headless.protocol_tools.player import Secrets

DIGESTS = (b"u23JPZtHcGhwXSF41f93o/7vBdDut3u", b"T1SaQeW6c9mRz.kHj2LpVbN8yXoAf0C")  # of passwords that are made up
_RANDOM, _OTHER_RANDOM = bytes(range(32)), bytes(range(100, 132))
_KEY, _OTHER_KEY = _RANDOM[:16].hex(), _OTHER_RANDOM[:16].hex()
_ENCODINGS: tuple[tuple[Callable[[bytes], bytes], Callable[[str], bytes]], ...] = (
    (base64.b64encode, base64.b64decode),
    (base64.urlsafe_b64encode, base64.urlsafe_b64decode),
    (binascii.hexlify, binascii.unhexlify),
    (lambda data: binascii.hexlify(data).upper(), binascii.unhexlify),
)

Say = Callable[[Secrets], "list[Ours] | None"]  # plays the exchange, and returns what was sent, if that is known


def likeness_of(exchange: Exchange, say: Say, hash_: bytes | None) -> Likeness:
    """Returns it. `hash_` is the one of the right password, if it is known."""
    call = exchange.call
    secrets = Secrets(hash_ or DIGESTS[0], _RANDOM, _KEY)
    found = Likeness(secrets if call.is_password_right else of_password(secrets, 1))
    for other in (_with_random, _with_key):
        places = _varying(say, found.secrets, other(found.secrets))
        for number, place in places:
            found.secrets = _adapted(found.secrets, places[number, place], _recorded(exchange, number, place))
        found.changing.update((place, "is random") for _, place in places)
    if call.login == CHALLENGE:
        found.proofs = {place for _, place in _varying(say, *(of_password(found.secrets, each) for each in (0, 1)))}
    for place in found.proofs:
        if hash_ is None or not call.is_password_right:
            found.changing[place] = PROOF
        elif found.secrets.random != _RANDOM:  # it depends on what is as it was
            found.changing.pop(place, None)
    return found


def of_password(secrets: Secrets, number: int) -> Secrets:
    """Returns the secrets with another password: the made-up one of this number."""
    digest = DIGESTS[number]
    return replace(secrets, hash=secrets.hash[: -len(digest)] + digest)


def _with_random(secrets: Secrets) -> Secrets:
    return replace(secrets, random=_OTHER_RANDOM)


def _with_key(secrets: Secrets) -> Secrets:
    return replace(secrets, key=_OTHER_KEY)


def _varying(say: Say, secrets: Secrets, other: Secrets) -> dict[tuple[int, Place], str]:
    """Returns the numbers of messages, and the places in them, in which the dialect says something else with the other
    secrets; with what it says with the first ones."""
    some, others = say(secrets), say(other)
    pairs: Iterable[tuple[Ours, Ours]] = zip(some or (), others or ())
    return {
        (number, place): value
        for number, pair in enumerate(pairs)
        for place, value in varying([pair[0]], [pair[1]]).items()
    }


def _recorded(exchange: Exchange, number: int, place: Place) -> str:
    client = exchange.client or []
    return values_of(client[number].root).get(place, "") if number < len(client) else ""


def _adapted(secrets: Secrets, value: str, recorded: str) -> Secrets:
    """Returns the secrets with which the dialect says the recorded value in the place of this one."""
    if value == secrets.key and len(recorded) == len(value):
        return replace(secrets, key=recorded)
    for encode, decode in _ENCODINGS:
        for size in range(1, len(secrets.random) + 1):
            if encode(secrets.random[:size]).decode() == value:
                try:
                    begin = decode(recorded)
                except ValueError:
                    return secrets
                return replace(secrets, random=begin[:32] + secrets.random[len(begin) :])
    return secrets
