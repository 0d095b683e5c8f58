"""The ways to fail against servers that speak another protocol than ours, at every stage of a conversation: the one of
PORTING.md's example, and four with the vocabulary that PLANTA has published."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from robustness.failures.way import (
    CHALLENGE,
    NOT,
    SUBMITTED,
    UNKNOWN,
    Step,
    WatchedPeer,
    Way,
    letting_pass,
    seeing,
    terminate,
)
from support.example_server import EXAMPLE, ExampleServer
from support.planta_server import PlantaServer
from support.planta_variants import VARIANTS, ZERO
from support.vendor_server import VendorServer


class Vendor(NamedTuple):
    name: str
    dialect: str  # its file
    new_server: Callable[[], VendorServer]
    hands_over_at_once: bool = False  # the jobs, with the login
    hands_over_in_a_row: bool = False  # each job, without waiting for an answer


VENDORS = (
    Vendor("example", EXAMPLE, ExampleServer, hands_over_at_once=True),
    *(
        Vendor(each.name, each.site, partial(PlantaServer, each.habits), hands_over_in_a_row=each is ZERO)
        for each in VARIANTS
    ),
)


class Stage(NamedTuple):
    """A moment in a conversation: before the first message of one of these roles; or after the last one of a role, when
    the client has shown that it knows."""

    name: str
    before: tuple[str, ...] = ()
    after: str = ""
    shown: str = ""
    argv: tuple[str, ...] = ()


# The example grants a login with the acceptance.
STAGES = (
    Stage("before the login is granted", before=("handshake", "granted", "accepted")),
    Stage("before the challenge", before=("challenge",), argv=CHALLENGE),
    Stage("before the proof is judged", before=("granted", "accepted"), argv=CHALLENGE),
    Stage("before the acceptance", before=("accepted",)),
    Stage("after the acceptance", after="accepted", shown="accepted the jobs"),
    Stage("after the output of the last job", after="output", shown="009ABC"),
)
HANDS_OVER = "jobs"  # what is noted of a server that has them


def reach(stage: Stage, server: VendorServer, peer: WatchedPeer) -> None:
    """Talks until the stage is reached."""
    due = {"accepted": server.accepted, "output": server.outputs}.get(stage.after, 0)
    peer.sock.sendall(server.greeting())
    while data := peer.sock.recv(65536):
        answers = server.answers_to(data)
        for answer in answers:
            if any(said.jobs for said in server.log):
                peer.received.append(HANDS_OVER)
            if answer.role in stage.before:
                if stage.before == ("accepted",):
                    list(answers)  # notes the jobs that have come
                return
            peer.sock.sendall(answer.say())
            due -= answer.role == stage.after
            if stage.after and due == 0:
                seeing(stage.shown)(peer)
                return
    raise AssertionError("the stage was not reached")


Fault = Callable[[WatchedPeer, VendorServer], object]


def sending(make: Callable[[VendorServer], bytes]) -> Fault:
    def fault(peer: WatchedPeer, server: VendorServer) -> None:
        peer.sock.sendall(make(server))
        while peer.sock.recv(65536):
            pass

    return fault


def denying_all_jobs(peer: WatchedPeer, server: VendorServer) -> None:
    """Waits for the second one first: whether it has left when the first one is denied is a matter of moments."""
    while sum(said.jobs for said in server.log) < 2:
        list(server.answers_to(peer.sock.recv(65536)))
    sending(lambda server: server.refusal()[1])(peer, server)


def talking_nonsense(name: str) -> Fault:
    return sending(lambda server: server.nonsense()[name]())


def at(vendor: Vendor, stage: Stage, fault: Fault) -> Step:
    def script(peer: WatchedPeer) -> None:
        server = vendor.new_server()
        reach(stage, server, peer)
        fault(peer, server)

    return script


def ways_at(vendor: Vendor, stage: Stage) -> Iterator[Way]:
    is_login = stage.before[:1] != ("accepted",)
    is_proved = stage.argv == () or stage.before != ("challenge",)
    jobs = SUBMITTED if stage.after else NOT
    if not stage.after and (not is_login or (vendor.hands_over_at_once and is_proved)):
        jobs = UNKNOWN

    def way(name: str, code: int, jobs: str, reason: str, fault: Fault, *argv: str) -> Way:
        options = ("-m", "009ABC", *stage.argv, *argv)
        script = at(vendor, stage, fault)
        return Way(f"{vendor.name}: {name} {stage.name}", code, jobs, reason, script, options,
                   dialect=vendor.dialect, hands_over=HANDS_OVER)  # fmt: skip

    late = (3, "have not ended within") if stage.after else (1, "not accepted the jobs in time")
    denied = (1, jobs, "ended the session .*access denied") if stage.after else (2, NOT, "refused the .*access denied")
    yield way("signal", -signal.SIGTERM, jobs, "ended by signal 15", lambda peer, _: terminate(peer))
    yield way("out of time", late[0], jobs, late[1], lambda peer, _: letting_pass(60)(peer), "-t", "60")
    if vendor.hands_over_in_a_row and stage.before == ("accepted",):
        yield way("denied", 2, UNKNOWN, "refused the .*access denied", denying_all_jobs)
    else:
        yield way("denied", *denied, sending(lambda server: server.refusal()[1]))
    for name in vendor.new_server().nonsense():
        # With an early end the server of the example speaks of jobs that it should not have.
        of_jobs = UNKNOWN if name == "an early end" and jobs == NOT and vendor.hands_over_at_once else jobs
        yield way(name, 1, of_jobs, "", talking_nonsense(name))


WAYS_OF_OTHER_PROTOCOLS = [way for vendor in VENDORS for stage in STAGES for way in ways_at(vendor, stage)]
