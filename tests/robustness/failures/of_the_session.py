"""The ways to fail that lie in the session: what the server sends or does not send at every stage, and lost
connections."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from robustness.failures.of_the_call import AT_A_TERMINAL, BEFORE_A_CONNECTION, python
from robustness.failures.way import (
    CHALLENGE,
    NOT,
    SUBMITTED,
    UNKNOWN,
    Fault,
    RunningProcess,
    Step,
    WatchedPeer,
    Way,
    letting_pass,
    on_another_connection,
    refusal,
    seeing,
    send_and_see,
    sending,
    terminate,
    then,
    wait,
)
from support.credentials import SALT
from support.dialogues import (
    ACCEPTED,
    ENDED,
    ENDED_FAILED,
    FAILED,
    FINISHED,
    STARTED,
    WELCOME,
    answering_jobs,
    answering_login,
    attribute,
    challenging,
    serving,
)
from support.frames import frame
from support.sockets import reset

if os.name != "nt":
    import resource

# On the dialect, where it is `&amp;`: 6.5 MB, more than the kernel takes for a peer that does not read, and 17.5 MB.
LARGE_SESSION = ("-c", "&" * 130_000) * 10
TOO_LARGE_SESSION = ("-c", "&" * 130_000) * 27


# Faults, each at every stage


def before_the_login(peer: WatchedPeer) -> None:
    pass


def after_the_login(peer: WatchedPeer) -> None:
    peer.receive()


def after_the_challenge(peer: WatchedPeer) -> None:
    peer.send(f'<challenge nonce="{attribute(peer.receive(), "nonce")}{"x" * 24}" salt="{SALT}"/>')
    peer.receive()


def with_half_of_the_jobs_sent(peer: WatchedPeer) -> None:
    peer.receive()
    peer.send(WELCOME)
    assert peer.sock.recv(5)[4:] == b"<"  # the frame has begun; its rest has no room


def after_the_jobs(peer: WatchedPeer) -> None:
    peer.receive()
    peer.send(WELCOME)
    peer.receive()


def after_accepted(peer: WatchedPeer) -> None:
    after_the_jobs(peer)
    send_and_see(peer, ACCEPTED, "accepted the jobs")


def while_a_job_runs(peer: WatchedPeer) -> None:
    after_accepted(peer)
    send_and_see(peer, STARTED, "job 1 started")


def after_the_last_finished(peer: WatchedPeer) -> None:
    while_a_job_runs(peer)
    send_and_see(peer, FINISHED, "job 1 ok")


STAGES = (
    (before_the_login, NOT, ()),
    (after_the_login, NOT, ()),
    (after_the_challenge, NOT, CHALLENGE),
    (with_half_of_the_jobs_sent, NOT, LARGE_SESSION),
    (after_the_jobs, UNKNOWN, ()),
    (after_accepted, SUBMITTED, ()),
    (while_a_job_runs, SUBMITTED, ()),
    (after_the_last_finished, SUBMITTED, ()),
)


def faults_at(stage: Step, jobs: str) -> Iterator[Fault]:
    is_accepted = jobs == SUBMITTED
    lost = "no connection to|closed the connection|connection was lost"
    yield "closed", 1, jobs, lost, then(), ()
    yield "reset", 1, jobs, lost, lambda peer: reset(peer.sock), ()
    yield "signal", -signal.SIGTERM, jobs, "ended by signal 15", terminate, ()
    late = "have not ended within .*3 s, and go on" if is_accepted else "not accepted the jobs in time"
    if stage is after_the_last_finished:  # nothing goes on
        late = "all jobs have ended, and the server has not reported the end of the session within .*3 s"
    seconds = 3 if is_accepted else 60  # the first ones pass in a process, too
    yield "out of time", 3 if is_accepted else 1, jobs, late, letting_pass(seconds), ("-t", str(seconds))
    busy = r"ended the session \(.*busy\): full|refused the session \(.*busy\): full"
    yield "refused", 1, jobs if is_accepted else NOT, busy, sending('<refused reason="busy">full</refused>'), ()
    yield "nonsense", 1, jobs, "is not allowed when|is out of turn", sending('<started job="9"/>'), ()


AT_EVERY_STAGE = [
    Way(f"{name} {stage.__name__.replace('_', ' ')}", code, of_jobs, reason, then(stage, fault), (*argv, *options))
    for stage, jobs, argv in STAGES
    for name, code, of_jobs, reason, fault, options in faults_at(stage, jobs)
]


def silent(text: str, *documents: str) -> Step:
    """A script: promises a heartbeat every five seconds, sends this until that is shown, and then nothing."""

    def script(peer: WatchedPeer) -> None:
        peer.receive()
        peer.send('<welcome session="s1" heartbeat="5"/>')
        peer.receive()
        for document in documents:
            peer.send(document)
        seeing(text)(peer)
        letting_pass(15.1)(peer)

    return script


SILENCE = [
    Way(f"silence {when}", 1, jobs, "silent for more than", silent(text, *documents), argv)
    for when, jobs, text, documents, argv in (
        ("after the jobs", UNKNOWN, "received <alive/>", ("<alive/>",), ("-vv",)),
        ("after accepted", SUBMITTED, "accepted the jobs", (ACCEPTED,), ()),
        ("while a job runs", SUBMITTED, "job 1 started", (ACCEPTED, STARTED), ()),
        ("after the last finished", SUBMITTED, "job 1 ok", (ACCEPTED, STARTED, FINISHED), ()),
    )
]


def untrusted_certificate(peer: WatchedPeer) -> None:
    import trustme  # which is slow to import

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with suppress(OSError), context.wrap_socket(peer.sock, server_side=True):
        pytest.fail("the client has taken this certificate")


TLS = ("-s", "tls://ADDRESS")
OVER_TLS = [
    Way("certificate that is not trusted", 1, NOT, "no TLS connection with.*certificate", untrusted_certificate, TLS),
    Way("closed in the handshake", 1, NOT, "no TLS connection with", lambda peer: peer.sock.recv(4096), TLS),
    Way("out of time in the handshake", 1, NOT, "in time", letting_pass(60), (*TLS, "-t", "60")),
    Way("signal in the handshake", -signal.SIGTERM, NOT, "ended by signal 15", terminate, TLS),
    Way("unforeseen: broken ssl", 1, NOT, "unforeseen.*broken", wait, TLS,
        python("ssl.py", "raise RuntimeError('broken')"), as_process=True),
]  # fmt: skip


# What else a server can send


def closing_with_welcome(peer: WatchedPeer) -> None:
    peer.receive()
    peer.sock.sendall(frame(WELCOME), socket.MSG_MORE)  # leaves in one packet with the end of the connection


def raw(data: bytes) -> Step:
    def script(peer: WatchedPeer) -> None:
        peer.receive()
        peer.sock.sendall(data)
        peer.wait_for_disconnect()

    return script


OWN_NONCE = "{}" + "x" * 24  # behind that of the client


def challenge(nonce: str, salt: str, *documents: str) -> Step:
    """A script: sends this challenge, and with it what should come later."""

    def script(peer: WatchedPeer) -> None:
        nonces = nonce.format(attribute(peer.receive(), "nonce"))
        peer.send(f'<challenge nonce="{nonces}" salt="{salt}"/>', *documents)
        peer.wait_for_disconnect()

    return script


MANY_TAGS = "<accepted>" + "<a/>" * 40_001 + "</accepted>"
OTHER_SALT = "$2b$10$zbcdefghijklmnopqrstuu"

SENT_BEFORE_THE_JOBS = [
    Way("login refused", 2, NOT, "refused the .*login: not you", answering_login(refusal("login"))),
    Way("response refused", 2, NOT, "refused the .*login: not you",
        then(after_the_challenge, sending(refusal("login"))), CHALLENGE),
    Way("version refused", 1, NOT, r"\(version\): not you", answering_login(refusal("version"))),
    Way("protocol error refused", 1, NOT, r"\(protocol\): not you", answering_login(refusal("protocol"))),
    Way("empty frame", 1, NOT, "a frame of .*0 bytes", raw(b"\0\0\0\0")),
    Way("frame too long", 1, NOT, "a frame of .*4097", raw(struct.pack(">I", 4097))),
    Way("another protocol", 1, NOT, "is not our protocol, but looks like HTTP", raw(b"HTTP/1.1 400 Bad Request\r\n")),
    Way("no XML", 1, NOT, "that is not plain XML", answering_login("HTTP/1.1 400 Bad Request")),
    Way("bad XML", 1, NOT, "not well-formed XML", answering_login("<welcome>")),
    Way("NUL", 1, NOT, "a message with a NUL byte", answering_login(b"<welcome/>\0")),
    Way("unknown message", 1, NOT, "the protocol does not know", answering_login("<hello/>")),
    Way("message of the client", 1, NOT, "is what this side sends itself", answering_login("<logout/>")),
    Way("signature without a secret", 1, NOT, "signed a login that has no secret",
        answering_login('<welcome session="s1" signature="x"/>')),
    Way("challenge to an osuser login", 1, NOT, "is not allowed when",
        answering_login('<challenge nonce="n" salt="s"/>')),
    Way("welcome without a challenge", 1, NOT, "is not allowed when", answering_login(WELCOME), CHALLENGE),
    Way("nonce of another client", 1, NOT, "does not continue the client's", challenge("x" * 60, SALT), CHALLENGE),
    Way("salt that is none", 1, NOT, "is not a bcrypt salt", challenge(OWN_NONCE, "salt"), CHALLENGE),
    Way("salt of a high cost", 1, NOT, "the salt has a cost of", challenge(OWN_NONCE, SALT.replace("10", "16")),
        CHALLENGE),
    Way("password changed", 2, NOT, "was changed since", challenge(OWN_NONCE, OTHER_SALT),
        CHALLENGE),
    Way("server does not know the password", 1, NOT, "cannot prove that it knows", challenging(signature="A" * 44),
        CHALLENGE),
    Way("welcome with the challenge", 1, NOT, "is not allowed when the client has to answer",
        challenge(OWN_NONCE, SALT, WELCOME), CHALLENGE),
    Way("closed with welcome", 1, NOT, "closed the connection", closing_with_welcome),
    Way("refused with welcome", 1, NOT, "refused the session", answering_login(WELCOME, refusal("busy"))),
    Way("accepted with welcome", 1, NOT, "is not allowed when the client may submit",
        answering_login(WELCOME, ACCEPTED)),
    Way("jobs too long for a frame", 2, NOT, "the jobs are too long for the server: .* bytes in one message",
        answering_login(WELCOME), TOO_LARGE_SESSION),
]  # fmt: skip


def more_than_memory_holds(peer: WatchedPeer) -> None:
    """Leaves the command 256 KiB more than it has, and sends something longer."""
    assert isinstance(peer.client, RunningProcess)
    pid = peer.client.pid
    size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize() + 256 * 1024
    resource.prlimit(pid, resource.RLIMIT_AS, (size, size))
    peer.sock.sendall(struct.pack(">I", 1_000_000) + bytes(1_000_000))


def long_frame(peer: WatchedPeer) -> None:
    peer.sock.sendall(struct.pack(">I", 1024 * 1024 + 1))
    wait(peer)


SENT_AFTER_THE_JOBS = [
    Way("jobs refused", 2, NOT, "refused the .*jobs: not you", answering_jobs(refusal("jobs"))),
    Way("jobs refused as a protocol error", 1, NOT, r"refused the session \(.*protocol",
        answering_jobs(refusal("protocol"))),
    Way("accepted with half of the jobs sent", 1, NOT, "is not allowed when",
        then(with_half_of_the_jobs_sent, sending(ACCEPTED)), (*LARGE_SESSION, "-t", "0")),
    Way("login refused after the jobs", 1, UNKNOWN, "is not allowed when", answering_jobs(refusal("login"))),
    Way("tags without end", 1, UNKNOWN, "a message with more than", answering_jobs(MANY_TAGS)),
    Way("long frame after the jobs", 1, UNKNOWN, "a frame of .*1048577", then(after_the_jobs, long_frame)),
    Way("unforeseen: no memory after the jobs", 1, UNKNOWN, "unforeseen.*MemoryError",
        then(after_the_jobs, more_than_memory_holds), as_process=True),
    Way("protocol error refused after accepted", 1, SUBMITTED, r"ended the session \(.*protocol",
        serving(STARTED, refusal("protocol"))),
    Way("accepted twice", 1, SUBMITTED, "is not allowed when", serving(ACCEPTED)),
    Way("long frame after accepted", 1, SUBMITTED, "a frame of .*1048577", then(while_a_job_runs, long_frame)),
    Way("unforeseen: no memory after accepted", 1, SUBMITTED, "unforeseen.*MemoryError",
        then(after_accepted, more_than_memory_holds), as_process=True),
    Way("job failed", 1, SUBMITTED, "job 1 failed: .*no such table", serving(STARTED, FAILED, ENDED_FAILED)),
    Way("job skipped", 1, SUBMITTED, "job 1 skipped", serving('<finished job="1" status="skipped"/>', ENDED_FAILED)),
    Way("given up by the server", 1, SUBMITTED, "ended the session as failed", serving(ENDED_FAILED)),
    Way("closed after a job has failed", 1, SUBMITTED, "closed the connection",
        then(after_the_jobs, lambda peer: peer.send(ACCEPTED, STARTED, FAILED))),
    Way("ended ok with a job undone", 1, SUBMITTED, "the session ended ok with", serving(ENDED)),
    Way("something after the end", 1, SUBMITTED, "something follows the last message",
        answering_jobs(ACCEPTED, STARTED, FINISHED, ENDED, "<alive/>")),
]  # fmt: skip

# A connection is lost, and another one resumes the session, or cannot

ATTACH = '<welcome session="s1" journal="9ae1"/>'
ANOTHER = ATTACH.replace("9ae1", "9ae2")
ATTACHED = '<attached jobs="1" job="1" stdout="0" stderr="0"/>'


def accepting_and_losing(*documents: str) -> Step:
    """A script: can attach, accepts the jobs, sends these, and closes."""

    def script(peer: WatchedPeer) -> None:
        losing_the_jobs(peer)
        peer.send('<accepted session="s1"/>', *documents)

    return script


def losing_the_jobs(peer: WatchedPeer) -> None:
    peer.receive()
    peer.send(ATTACH)
    peer.receive()


def answering(*documents: str, welcome: str = ATTACH, last: Step = wait) -> Step:
    """A script: lets the client in, and answers what it asks for."""

    def script(peer: WatchedPeer) -> None:
        peer.receive()
        peer.send(welcome)
        if documents:
            peer.receive()
            peer.send(*documents)
        last(peer)

    return script


def lost(  # noqa: PLR0917
    name: str, code: int, jobs: str, reason: str, first: Step, second: Step, *argv: str
) -> Way:
    return Way(f"lost, then {name}", code, jobs, reason, on_another_connection(first, second), argv)


LOST_CONNECTIONS = [
    lost("out of time", 1, SUBMITTED, "the connection was lost, and no other one could be had in time",
         accepting_and_losing(STARTED), letting_pass(60), "-t", "60"),
    lost("out of time again", 3, SUBMITTED, "have not ended within .*60 s, and go on",
         accepting_and_losing(STARTED),
         answering(ATTACHED, STARTED, last=then(seeing("attached to"), letting_pass(60))), "-t", "60"),
    lost("signal", -signal.SIGTERM, SUBMITTED, "ended by signal 15", accepting_and_losing(STARTED), terminate),
    lost("login refused", 1, SUBMITTED, r"ended the session \(.*login.*\): not you",
         accepting_and_losing(STARTED), then(after_the_login, sending(refusal("login")))),
    lost("session unknown", 1, SUBMITTED, r"ended the session \(.*session.*\): not you",
         accepting_and_losing(STARTED), answering(refusal("session"))),
    lost("another place", 1, SUBMITTED, "at another offset than",
         accepting_and_losing(STARTED), answering(ATTACHED.replace('job="1"', 'job="2"'))),
    lost("other jobs", 1, SUBMITTED, "to other jobs, or at another offset",
         accepting_and_losing(STARTED), answering(ATTACHED.replace('jobs="1"', 'jobs="2"'))),
    lost("a server that cannot attach", 1, SUBMITTED, "cannot resume a session that another connection has begun",
         accepting_and_losing(STARTED), answering(welcome=WELCOME)),
    lost("job failed", 1, SUBMITTED, "job 1 failed: .*no such table",
         accepting_and_losing(STARTED), answering(ATTACHED, STARTED, FAILED, ENDED_FAILED)),
    lost("accepted where it was to attach", 1, SUBMITTED, "is not allowed when", accepting_and_losing(STARTED),
         answering('<accepted session="s1"/>')),
    lost("out of time before accepted", 1, UNKNOWN, "not accepted the jobs in time", losing_the_jobs, letting_pass(60),
         "-t", "60"),
    lost("busy until out of time", 1, UNKNOWN, "not accepted the jobs in time", losing_the_jobs,
         answering(refusal("busy")), "-t", "60"),
    lost("another journal", 1, SUBMITTED, "another server answers, or one that has lost its journal",
         accepting_and_losing(STARTED), answering(ATTACHED, welcome=ANOTHER)),
    lost("another journal before accepted", 1, UNKNOWN, "another server answers, or one that has lost its journal",
         losing_the_jobs, answering('<accepted session="s2"/>', STARTED, FINISHED, ENDED, welcome=ANOTHER)),
    lost("jobs refused", 2, NOT, "refused the .*jobs: not you", losing_the_jobs, answering(refusal("jobs"))),
    lost("login refused before accepted", 1, UNKNOWN, r"refused the session \(.*login.*\): not you", losing_the_jobs,
         then(after_the_login, sending(refusal("login")))),
    lost("a server that would run them twice", 1, UNKNOWN,
         "cannot resume a session that another connection has begun", losing_the_jobs, answering(welcome=WELCOME)),
]  # fmt: skip

WAYS_TO_FAIL = [
    *BEFORE_A_CONNECTION, *AT_A_TERMINAL, *OVER_TLS, *SENT_BEFORE_THE_JOBS, *SENT_AFTER_THE_JOBS, *SILENCE,
    *AT_EVERY_STAGE, *LOST_CONNECTIONS,
]  # fmt: skip
