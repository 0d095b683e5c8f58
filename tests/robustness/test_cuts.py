"""Connections that end in the middle of a conversation: the return code is what the bytes that arrived at the client
prove. What they prove is found here by counting bytes, without the package. By default a cut comes at each place of
each frame; `-m large` takes every byte."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from headless.dialects.own.dialect import Dialect
from headless.dialects.own.messages import Jobs, Login, Logout, Message, Response, Welcome
from headless.dialects.own.server_connection import ServerConnection
from support.conversations import KEYS, receive
from support.credentials import SALT
from support.frames import frame, frames_in
from support.literal_messages import SERVER_NONCE
from support.relay import (
    CLIENT,
    JOBS,
    LOGINS,
    NO_CUT,
    PAIRS,
    RST,
    SERVER,
    WAITS,
    Cut,
    CutCall,
    calls_with_cuts,
    every_cut,
    some_cuts,
)
from support.sampling import REPEAT

pytestmark = pytest.mark.slow

ANSWER_TO_THE_JOBS = (
    "<alive/>",
    "<accepted/>",
    '<started job="1"/>',
    '<output job="1" stream="stdout">42</output>',
    '<finished job="1" status="ok"/>',
    '<started job="2"/>',
    "<alive/>",
    '<finished job="2" status="ok">done</finished>',
    '<ended status="ok"/>',
)
Outcome = tuple[int, str]  # the return code, and what the client reports of the jobs
NOT_SUBMITTED, UNKNOWN, SUBMITTED = (1, "not submitted"), (1, "unknown"), (1, "submitted")
GOOD = (0, "submitted")


# In memory


class JobServer:
    """The package's server side of the conversation, which runs all jobs well. Only the length of its frame says where
    a document ends: white space follows each."""

    def __init__(self) -> None:
        self._connection = ServerConnection()
        self.has_jobs = False

    def answer(self, data: bytes) -> bytes:
        return b"".join(self._answer_to(message) for message in receive(self._connection, data))

    def _answer_to(self, message: Message) -> bytes:
        if isinstance(message, Login) and message.auth_type == "challenge":
            return _padded(self._connection.send_challenge(SALT, SERVER_NONCE))
        if isinstance(message, (Login, Response)):
            signature = self._connection.signature(KEYS) if isinstance(message, Response) else None
            return _padded(self._connection.send(Welcome("s1", 30, signature)))
        if isinstance(message, Jobs):
            self.has_jobs = True
            return b"".join(frame(document + "\n") for document in ANSWER_TO_THE_JOBS)
        assert isinstance(message, Logout)
        return b""


def _padded(sent: bytes) -> bytes:
    return frame(sent[4:] + b"\n")


class Whole(NamedTuple):
    """How many bytes it takes until a message has been sent whole, and where the frames of each side end."""

    ends: dict[str, int]
    of_side: dict[str, list[int]]


def whole_conversation(call: CutCall) -> Whole:
    server = JobServer()
    result, line = call(NO_CUT, server.answer)
    assert (result, server.has_jobs) == (GOOD, True)
    streams = {side: frames_in(line.passed[side]) for side in (CLIENT, SERVER)}
    for side, frames in streams.items():
        assert frames[-1].end == len(line.passed[side])
    return Whole(
        {frame.name: frame.end for frames in streams.values() for frame in frames},
        {side: [frame.end for frame in frames] for side, frames in streams.items()},
    )


def proven_by_the_server(ends: dict[str, int], cut: Cut, proof: str) -> set[Outcome]:
    """What a client may conclude when so many bytes of the server came."""
    if cut.offset < ends["welcome"]:
        return {NOT_SUBMITTED}
    if cut.offset < ends["accepted"]:
        # A client that knows of the end with `welcome` sends no jobs.
        return {UNKNOWN} if cut.offset > ends["welcome"] or cut.is_late else {UNKNOWN, NOT_SUBMITTED}
    proven = {GOOD} if cut.offset >= ends[proof] else {SUBMITTED}
    # What came just before a reset may be lost: with it the answer to the jobs.
    return proven | {UNKNOWN} if cut.by == RST and not cut.is_late else proven


def proven_to_the_server(ends: dict[str, int], cut: Cut) -> set[Outcome]:
    """What a client may conclude when so many bytes of its own passed, and the answer to what they complete only if
    the cut is late."""
    last_of_login = ends.get("response", ends["login"])
    if cut.offset < last_of_login + (not cut.is_late):
        return {NOT_SUBMITTED}
    return {UNKNOWN} if cut.offset < ends["jobs"] + (not cut.is_late) else {GOOD}


def assert_the_return_code_is_what_arrived(login: str, wait: str, cuts=some_cuts) -> None:
    wrong = []
    proof = "accepted" if wait == "without -t" else "ended"
    with calls_with_cuts((*LOGINS[login], *WAITS[wait], *JOBS), lambda _: Dialect) as call:
        ends, ends_of_side = whole_conversation(call)
        for cut in cuts(ends_of_side):
            server = JobServer()
            result, line = call(cut, server.answer)
            is_of_server = cut.side == SERVER
            allowed = proven_by_the_server(ends, cut, proof) if is_of_server else proven_to_the_server(ends, cut)
            # The server cannot have more than its relay, nor can the client deny or claim what the server has.
            has_jobs = len(line.passed[CLIENT]) >= ends["jobs"]
            if (
                result not in allowed
                or server.has_jobs != has_jobs
                or result[1] == ("not submitted" if has_jobs else "submitted")
            ):
                wrong.append((cut, result, f"the server has {'the' if server.has_jobs else 'no'} jobs", allowed))
    assert wrong == [], REPEAT


@pytest.mark.version("the end and the reset of a connection, as sockets and selectors report them")
@pytest.mark.parametrize(("login", "wait"), PAIRS)
def test_the_return_code_is_what_arrived_wherever_the_connection_ends(login, wait):
    assert_the_return_code_is_what_arrived(login, wait)


@pytest.mark.large
@pytest.mark.timeout(300)
@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("wait", WAITS)
def test_the_return_code_is_what_arrived_at_every_byte(login, wait):
    assert_the_return_code_is_what_arrived(login, wait, every_cut)
