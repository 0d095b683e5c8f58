"""What a client may conclude from a conversation that was cut, found by counting bytes: from the log of the same
conversation as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from support.unreliable_relay import CLIENT, FIN, RST, SERVER
from support.vendor_server import Said

Outcome = tuple[int, str]  # the return code, and what is said of the jobs
# What the client answers in a flight of messages: the last one of these. Of the jobs, what it needs to send another.
_ANSWERED = ("greeting", "handshake", "challenge", "granted", "accepted", "result")
NOT, UNKNOWN, SUBMITTED = "not submitted", "unknown", "submitted"


class Cut(NamedTuple):
    """Where a connection ends: when so many bytes of this side have passed. If it is late, not until they have been
    read, and more of them should pass."""

    side: str
    offset: int
    by: str = FIN
    is_late: bool = False


class Turn(NamedTuple):
    client: list[Said]
    server: list[Said]


class Conversation:
    """`has_waited` says whether the client waits for the end, `trailing` is how many bytes at the end of a message have
    no content: without them it may be understood, or not."""

    def __init__(self, log: list[Said], has_waited: bool, trailing: int = 0) -> None:
        self._log = log
        self._has_waited = has_waited
        self._trailing = trailing
        self._turns = [
            Turn(*([said for said in log if (said.turn, said.side) == (turn, side)] for side in (CLIENT, SERVER)))
            for turn in range(log[-1].turn + 1)
        ]
        self._accepted = self._ends_of("accepted")[-1]
        self._proof = max(self._ends_of("result", "ended"), default=0) if has_waited else self._accepted

    @property
    def jobs_end(self) -> int:
        """How many bytes of the client's it takes until the server has jobs."""
        return next(said.end for said in self._log if said.jobs)

    def ends(self) -> dict[str, list[int]]:
        """Where the messages of each side end."""
        return {side: [said.end for said in self._log if said.side == side] for side in (CLIENT, SERVER)}

    def outcomes(self, cut: Cut) -> set[Outcome]:
        """What may be concluded."""
        if cut.offset == 0 and not cut.is_late:
            return {(1, NOT)}
        find = self._after_cut_of_client if cut.side == CLIENT else self._after_cut_of_server
        found = [find(cut, more) for more in {0, self._trailing}]
        return {outcome for each in found for received, jobs in each for outcome in self._conclude(received, jobs)}

    def _after_cut_of_client(self, cut: Cut, _more: int) -> Iterator[tuple[int, int]]:
        """How many bytes the client has received, and how many jobs it has handed over: what it wants to say has left,
        and nothing comes any more."""
        received = 0
        for number, turn in enumerate(self._turns):
            if any(said.end > cut.offset if cut.is_late else said.end >= cut.offset for said in turn.client):
                yield received, self._handed_over(number)
                return
            received = turn.server[-1].end if turn.server else received
        yield received, self._handed_over(len(self._turns))

    def _after_cut_of_server(self, cut: Cut, more: int) -> Iterator[tuple[int, int]]:
        offset, ends = cut.offset + more, [turn.server[-1].end if turn.server else 0 for turn in self._turns]
        number = next(number for number, end in enumerate(ends) if end >= cut.offset and self._turns[number].server)
        turn, before = self._turns[number], ends[number - 1] if number else 0
        answered = [said.end for said in turn.server if said.role in _ANSWERED]
        is_answered = bool(answered) and answered[-1] <= offset
        yield offset, self._handed_over(number + is_answered)
        if not cut.is_late:  # it may know of the end before it answers
            yield offset, self._handed_over(number)
            if cut.by == RST:  # what came just before is lost
                yield before, self._handed_over(number)

    def _handed_over(self, turn: int) -> int:
        return sum(said.jobs for turn in self._turns[: turn + 1] for said in turn.client)

    def _conclude(self, received: int, jobs: int) -> set[Outcome]:
        code = 0 if received >= self._proof else 1
        roles = [said.role for said in self._log if said.side == SERVER and said.end <= received]
        if received < self._accepted and not (jobs and "result" in roles):
            return {(code, UNKNOWN if jobs else NOT)}
        # Who does not wait has to get rid of what is due all the same: an answer to a ping.
        return {(code, SUBMITTED)} | ({(1, SUBMITTED)} if "ping" in roles and not self._has_waited else set())

    def _ends_of(self, *roles: str) -> list[int]:
        return [said.end for said in self._log if said.role in roles]
