"""The ways to fail that lie in another dialect than ours, by PLANTA_PROTOCOL: it cannot be loaded, does what a dialect
may not do, or reports what cannot be true. They send frames of our protocol, so that the server of the test can receive
them."""

from __future__ import annotations

import signal
from pathlib import Path

from robustness.failures.way import (
    CHALLENGE,
    NOT,
    SUBMITTED,
    UNKNOWN,
    Prepare,
    Step,
    WatchedPeer,
    Way,
    answer,
    on_another_connection,
    secrets,
    terminate,
    wait,
)

DIALECT = "a_dialect.py"
OUR_FAULT = "this is a fault of the client"

# Reports the first list of events at the answer to the login, the second one at the answer to the jobs.
_CODE = """
import time
from headless.errors import *
from headless.dialects.vocabulary import Offset
from headless.dialects.base import *

EVENTS = [{}]

def frame(text):
    return len(text).to_bytes(4, "big") + text

class Dialect(Dialect):
    def log_in(self):
        self.send(frame(b"<login/>"), "login")

    def answer_salt(self, hash_):
        self.send(frame(b"<response/>"), "response")

    def submit(self):
        self.send(frame(b"<jobs/>"), "jobs", len(self.call.jobs))

    def receive(self, data):
        for _ in range(data.count(b"<answer/>")):
            for event in EVENTS.pop(0):
                self.report(event)
"""


def file_with(code: str) -> Prepare:
    """Writes the dialect."""

    def prepare(folder: Path) -> None:
        (folder / DIALECT).write_text(code)

    return prepare


def reporting(at_login: str, of_jobs: str = "", more: str = "") -> Prepare:
    """Writes a dialect that reports these events, and has this method instead of its own."""
    return file_with(_CODE.format(f"[{at_login}], [{of_jobs}]") + f"\n    {more}\n")


def answer_the_login(peer: WatchedPeer) -> None:
    peer.receive()
    peer.send("<answer/>")
    wait(peer)


def signal_after_the_login(peer: WatchedPeer) -> None:
    peer.receive()
    peer.send("<answer/>")
    terminate(peer)


def answer_the_jobs(peer: WatchedPeer) -> None:
    for _ in range(2):
        peer.receive()
        peer.send("<answer/>")
    wait(peer)


def answer_each_job(peer: WatchedPeer) -> None:
    for _ in range(2):
        peer.receive()
    peer.send("<answer/>")
    wait(peer)


def way(  # noqa: PLR0917
    name: str,
    code: int,
    jobs: str,
    reason: str,
    prepare: Prepare,
    script: Step | None = None,
    argv: tuple[str, ...] = (),
) -> Way:
    return Way(name, code, jobs, reason, script, argv, prepare, dialect=DIALECT)


def nothing(_folder: Path) -> None:
    """Writes no dialect."""


def secrets_and(prepare: Prepare) -> Prepare:
    def both(folder: Path) -> None:
        secrets(folder)
        prepare(folder)

    return both


TWO = ("-c", "pass")  # a second job
NEVER_ENDS = "while True: time.sleep(0.01)"

NOT_LOADED = [
    way("dialect that is not there", 2, NOT, "PLANTA_PROTOCOL.* cannot be loaded: .*No such file", nothing),
    way("dialect that is no Python", 2, NOT, "PLANTA_PROTOCOL.* cannot be loaded: .*SyntaxError", file_with("x = (")),
    way("dialect that ends the process", 2, NOT, "PLANTA_PROTOCOL.* cannot be loaded: .*SystemExit",
        file_with("import sys; sys.exit(0)")),
    way("file that is no dialect", 2, NOT, "is not a dialect: it has no class", file_with("x = 1")),
    way("call that the dialect cannot carry", 2, NOT, "no more than one, please",
        reporting("", more="def __init__(self, call): raise UnsupportedCall('no more than one, please')")),
]  # fmt: skip


def lose_after_the_jobs(peer: WatchedPeer) -> None:
    """The first connection."""
    for _ in range(2):
        peer.receive()
        peer.send("<answer/>")


# After the second answer the connection is lost; the third and the fourth one come on another one.
LOST = on_another_connection(lose_after_the_jobs, answer_the_jobs)
ATTACH = """def attach(self, session, offset):
        self.send(frame(b"<attach/>"), "attach")"""


def reporting_again(of_jobs: str, at_login: str, of_attaching: str, more: str = ATTACH) -> Prepare:
    events = f"[LoggedIn('s', can_attach=True)], [{of_jobs}], [{at_login}], [{of_attaching}]"
    return file_with(_CODE.format(events) + f"\n    {more}\n")


AGAIN = "LoggedIn('s', can_attach=True)"

ATTACHED = [
    way("attached before it has asked", 1, SUBMITTED, "the server attaches to a session that it was not asked for",
        reporting_again("Accepted()", f"{AGAIN}, Attached(1, Offset())", ""), LOST),
    way("attached where it submits", 1, UNKNOWN, "the server attaches to a session that it was not asked for",
        reporting_again("", AGAIN, "Attached(1, Offset())"), LOST),
    way("attached at another place", 1, SUBMITTED, "the server attaches to other jobs, or at another offset",
        reporting_again("Accepted()", AGAIN, "Attached(1, Offset(2))"), LOST),
    way("ended ok before it has attached", 1, SUBMITTED, "ended ok before the jobs were accepted",
        reporting_again("Accepted()", AGAIN, "Ended('ok')"), LOST),
    way("accepted where it attaches", 1, SUBMITTED, "the jobs were accepted when .*0 of 1 .*had been handed over",
        reporting_again("Accepted()", AGAIN, "Accepted(), Ended('ok')"), LOST),
    way("attached with a wrong type", 1, SUBMITTED, f"the dialect is wrong: .*Attached.offset has to be.*{OUR_FAULT}",
        reporting_again("Accepted()", AGAIN, "Attached(1, 1)"), LOST),
    way("dialect that cannot attach after all", 1, SUBMITTED, "this dialect cannot attach to the session",
        reporting_again("Accepted()", AGAIN, "", more=""), LOST),
    way("dialect that fails to attach", 1, SUBMITTED, f"the dialect failed: .*KeyError.*{OUR_FAULT}",
        reporting_again("Accepted()", AGAIN, "", "def attach(self, session, offset): {}['x']"), LOST),
]  # fmt: skip

AGAINST_THE_RULES = [
    way("dialect that fails at once", 1, NOT, rf"the dialect failed: .*KeyError.*line .*{OUR_FAULT}",
        reporting("", more="def log_in(self): {}['x']")),
    way("dialect that fails before the jobs", 1, NOT, rf"the dialect failed: .*KeyError.*{OUR_FAULT}",
        reporting("", more="def receive(self, data): {}['x']"), answer_the_login),
    way("dialect that fails after the jobs", 1, UNKNOWN, rf"the dialect failed: .*SystemExit.*{OUR_FAULT}",
        reporting("LoggedIn('s')", more="""def part_left(self):
        if self._parts.popleft().jobs: raise SystemExit"""),
        answer_the_jobs),
    way("dialect that fails when the jobs run", 1, SUBMITTED, rf"the dialect failed: .*KeyError.*{OUR_FAULT}",
        reporting("LoggedIn('s')", "Accepted()", more="""def next_event(self):
        event = super().next_event()
        if event is None and not EVENTS: {}['x']
        return event"""),
        answer_the_jobs),
    way("signal in a dialect", -signal.SIGTERM, NOT, "ended by signal 15",
        reporting("", more=f"def receive(self, data):\n        {NEVER_ENDS}"),
        signal_after_the_login),
    way("no event before the jobs", 1, NOT, f"reported what is no event.*{OUR_FAULT}",
        reporting("'LoggedIn'"), answer_the_login),
    way("no event after the jobs", 1, UNKNOWN, f"reported what is no event.*{OUR_FAULT}",
        reporting("LoggedIn('s')", "Event()"), answer_the_jobs),
    way("no event after accepted", 1, SUBMITTED, f"reported what is no event.*{OUR_FAULT}",
        reporting("LoggedIn('s')", "Accepted(), True"), answer_the_jobs),
    way("event with a wrong type", 1, NOT, f"the dialect is wrong: .*LoggedIn.heartbeat has to be.*{OUR_FAULT}",
        reporting("LoggedIn('s', '30')"), answer_the_login),
    way("no part", 1, NOT, f"wants to send what is no Part.*{OUR_FAULT}",
        reporting("", more="def next_part(self): return b'login'"), wait),
    way("part with a wrong type", 1, NOT, f"the dialect is wrong: .*Part.data has to be.*{OUR_FAULT}",
        reporting("", more="def next_part(self): return Part('login')"), wait),
    way("part with jobs taken back", 1, NOT,
        f"the dialect sent a Part of .*5 .*bytes that hands over .*-1 .*jobs.*{OUR_FAULT}",
        reporting("", more="def next_part(self): return Part(b'login', -1)"), wait),
    way("part with jobs and no bytes", 1, NOT,
        f"the dialect sent a Part of .*0 .*bytes that hands over .*1 .*jobs.*{OUR_FAULT}",
        reporting("", more="def next_part(self): return Part(b'', 1)"), wait),
    way("another part in the middle of one", 1, NOT, f"changed its mind in the middle of a part.*{OUR_FAULT}",
        reporting("", more="def next_part(self): return Part(bytes(10**8), 1)"), wait),
    way("part with more jobs than there are", 1, UNKNOWN,
        f"the dialect hands over .*2 jobs, and there are .*{OUR_FAULT}",
        reporting("LoggedIn('s')", more="""def submit(self):
        self.send(frame(b'<jobs/>'), 'jobs', 1)
        self.send(frame(b'<jobs/>'), 'jobs', 1)"""), answer_the_login),
    way("error of the server that the dialect has found", 1, UNKNOWN, "wrong word",
        reporting("LoggedIn('s')", more="""def next_event(self):
        event = super().next_event()
        if event is None and not EVENTS: raise RemoteProtocolError('wrong word')
        return event"""),
        answer_the_jobs),
]  # fmt: skip

NOT_TRUE = [
    way("accepted before the login", 1, UNKNOWN, "'Accepted' is not allowed when the login has not begun",
        reporting("Accepted()"), answer_the_login),
    way("salt for an osuser login", 1, NOT, "wants a proof of a password, and the login has none",
        reporting("SaltReceived(None)"), answer_the_login),
    way("no salt for a challenge login", 1, NOT, "wants no proof of the password",
        reporting("LoggedIn('s')"), answer_the_login, CHALLENGE),
    way("login that is granted before the proof has left", 1, NOT, "was granted before the proof of the password",
        reporting("SaltReceived(None)", more="def answer_salt(self, hash_): self.report(LoggedIn('s'))"),
        answer_the_login, CHALLENGE),
    way("accepted by the dialect itself", 1, UNKNOWN, "no bytes have brought .*Accepted",
        reporting("LoggedIn('s')", more="""def submit(self):
        self.send(frame(b'<jobs/>'), 'jobs', 1)
        self.report(Accepted())"""), answer_the_login),
    way("salt of another password file", 2, NOT, "was changed since",
        reporting("SaltReceived('$2b$10$zbcdefghijklmnopqrstuu')"), answer_the_login, CHALLENGE),
    way("accepted before the jobs have left", 1, UNKNOWN, "the jobs were accepted when .*0 of 1 .*had been handed over",
        reporting("LoggedIn('s'), Accepted()"), answer_the_login),
    way("accepted with one of two jobs", 1, UNKNOWN, "the jobs were accepted when .*1 of 2 .*had been handed over",
        reporting("LoggedIn('s')", "Accepted()",
                more="def submit(self): self.send(frame(b'<jobs/>'), 'job', 1)"), answer_the_jobs, TWO),
    way("ended ok before accepted", 1, UNKNOWN, "ended ok before the jobs were accepted",
        reporting("LoggedIn('s')", "Ended('ok')"), answer_the_jobs),
    way("ended as nothing known before accepted", 1, UNKNOWN, "a session with an unknown status",
        reporting("LoggedIn('s')", "Ended('good')"), answer_the_jobs),
    way("ended as nothing known", 1, SUBMITTED, "a session with an unknown status",
        reporting("LoggedIn('s')", "Accepted(), Ended('good')"), answer_the_jobs),
    way("ended ok with one of two jobs", 1, SUBMITTED, "the session ended ok with .*1 of 2 .*jobs done",
        reporting("LoggedIn('s')", "Accepted(), JobFinished(1, 'ok'), Ended('ok')"), answer_the_jobs, TWO),
    way("ended failed with a reason", 1, SUBMITTED, "^the power is out$",
        reporting("LoggedIn('s')", "Accepted(), Ended('failed', 'the power is out')"), answer_the_jobs),
    way("job that failed before accepted", 1, SUBMITTED, "job 1 failed: .*why",
        reporting("LoggedIn('s')", "JobFinished(1, 'failed', 'why'), Ended('failed')"), answer_the_jobs),
    way("finished as nothing known", 1, SUBMITTED, "a job with an unknown status",
        reporting("LoggedIn('s')", "Accepted(), JobFinished(1, 'done')"), answer_the_jobs),
    way("job out of turn", 1, SUBMITTED, "'JobStarted' of job .*2.* is out of turn",
        reporting("LoggedIn('s')", "Accepted(), JobStarted(2)"), answer_the_jobs, TWO),
    way("job out of turn before accepted", 1, UNKNOWN, "'JobStarted' of job .*2.* is out of turn",
        reporting("LoggedIn('s')", "JobStarted(2)"), answer_the_jobs, TWO),
    way("output of no stream", 1, SUBMITTED, "output of an unknown stream",
        reporting("LoggedIn('s')", "Accepted(), Output(1, 'stdlog', 'x')"), answer_the_jobs),
    way("something after the end, by a dialect", 1, SUBMITTED, "'Accepted' is not allowed when the session is over",
        reporting("LoggedIn('s')", "Accepted(), Ended('ok'), Accepted()"), answer_the_jobs),
    way("refused for a reason of its own", 1, NOT, r"refused the session \(.*holiday",
        reporting("Refused('holiday')"), answer_the_login),
    way("jobs refused that were handed over one by one", 2, UNKNOWN, "refused the .*jobs: .*not you",
        reporting("", more="""def log_in(self):
        for job in self.call.jobs: self.send(frame(b'<jobs/>'), 'job', 1)
    def receive(self, data):
        self.report(LoggedIn('s'))
        self.report(Refused('jobs', 'not you'))
    def submit(self): pass"""), answer_each_job, TWO),
]  # fmt: skip

AT_A_TERMINAL_WITHOUT_SALT = [
    Way("no salt for a new password file", 2, NOT, "this dialect gives no salt", answer_the_login,
        ("-u", "R41", "-p", "secrets/r41"), secrets_and(reporting("SaltReceived(None)")), answer("secret\n"),
        dialect=DIALECT),
    Way("salt of a low cost for a new password file", 1, NOT, "the salt has a cost of", answer_the_login,
        ("-u", "R41", "-p", "secrets/r41"), secrets_and(reporting("SaltReceived('$2b$09$abcdefghijklmnopqrstuu')")),
        answer("secret\n"), dialect=DIALECT),
]  # fmt: skip

WAYS_OF_A_DIALECT = [*NOT_LOADED, *AGAINST_THE_RULES, *ATTACHED, *NOT_TRUE, *AT_A_TERMINAL_WITHOUT_SALT]
