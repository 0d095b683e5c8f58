"""A job whose output is known, calls that lose their connections while it runs, and what is wrong with how they end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headless.server.accounts import Account
from support.conversations import KEYS
from support.credentials import HASH
from support.frames import frames_in
from support.job_server import QuickServer
from support.persistent_calls import Told, call
from support.relay import SERVER
from support.unreliable_relay import Ends, UnreliableRelay

ACCOUNTS = (Account("R42", None, KEYS),)
LOGINS = {"osuser": "", "challenge": HASH}
# Of several pieces, with characters of several bytes, and with an end that is no end of a line.
PRINTED = {(1, "stdout"): "\u00e4\u20ac\U0001f600\n" * 3 + "end", (1, "stderr"): "\u00fc\n"}


def job(runs: str, status: int = 0) -> str:
    """Prints PRINTED, notes that it has run, and ends with this status."""
    lines = [f"sys.{stream}.buffer.write({text.encode()!r})" for (_, stream), text in PRINTED.items()]
    return "\n".join(["import sys", f"open({runs!r}, 'a').write('x')", *lines, f"sys.exit({status})"])


@contextmanager
def relay(server: QuickServer, *ends: Ends) -> Iterator[UnreliableRelay]:
    """One whose first connections end there, and the further ones not at all."""
    with UnreliableRelay(lambda: server.address, lambda n: ends[n] if n < len(ends) else Ends()) as relay:
        yield relay


def runs_of(path: Path) -> int:
    return len(path.read_text()) if path.exists() else 0


def sizes_of(server: QuickServer, login: str) -> dict[str, int]:
    """How many bytes each side, and the server up to each message, sends in a call of which nothing is lost."""
    with relay(server) as line:
        told = call(line.address, "-t", "-1", "-c", job(os.devnull), hash_=LOGINS[login])
    assert (told.code, told.output, told.connections) == (0, PRINTED, 1)
    ends = {each.name: each.end for each in frames_in(line.passed[0][SERVER])}
    return {**ends, **{side: len(data) for side, data in line.passed[0].items()}}


def check(told: Told, runs: int, first: dict[str, bytes], status: int = 0, is_known: bool = False) -> str:
    """What is wrong with a call that has lost connections; "" if nothing is. `first` is what has passed of the first
    connection, and `is_known` a session that had run before."""
    was_welcome = any(each.name == "welcome" for each in frames_in(first[SERVER]))
    if told.code == (1 if status else 0) and told.jobs == "submitted":
        return "" if (runs, told.output) == (1, PRINTED) else f"told {told}, {runs} runs"
    # What came just before a reset may be lost.
    is_unknown = told.jobs == "not submitted" and runs == is_known and told.code == 1
    return "" if is_unknown and (not was_welcome or told.connections == 1) else f"told {told}, {runs} runs"
