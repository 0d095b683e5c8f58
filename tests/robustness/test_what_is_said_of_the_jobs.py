"""The complete list of the ways in which the command can fail. For each of them the last line of `-v` shows whether the
jobs were not submitted, submitted, or that this is unknown; a code of 2 is one line on stderr as well. The real command
as a process against a server that follows the row's script. The last tests hold this list to code and documents.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple, Optional

import pytest
import trustme

from headless.outcome import HeadlessError
from support.credentials import HASH, PASSWORD, SALT
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
from support.process import PATIENCE, ROOT, manage
from support.scripted_server import Peer
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals, limits and pseudo-terminals")
if os.name != "nt":
    import resource

    from support.terminal import Terminal

NOT = "not submitted"
SUBMITTED = "submitted"
UNKNOWN = "unknown"

CHALLENGE = ("-u", "R41", "-p", "secret")
# On the wire, where it is `&amp;`: 6.5 MB, more than the kernel takes for a peer that does not read, and 17.5 MB.
LARGE = ("-c", "&" * 130_000) * 10
TOO_LARGE = ("-c", "&" * 130_000) * 27


def as_it_is(folder: Path) -> Path:
    return folder


class Way(NamedTuple):
    """One way to fail. `reason` is an expression for the text of the error: what is constant in the code, and `.*` for
    the values that it fills in, so that the list can be held against the code."""

    name: str
    code: int
    jobs: str
    reason: str
    script: Optional[Callable[[Peer], None]] = None  # None: the server sees no connection
    argv: tuple[str, ...] = ()  # added to a good line; ADDRESS in it is that of the server
    prepare: Callable[[Path], object] = as_it_is  # makes files in the folder in which the command runs
    types: Optional[Callable[[Terminal], object]] = None  # somebody at a terminal
    service: Optional[Callable[[ExitStack], str]] = None  # another -s than the scripted server
    stack: Optional[int] = None  # bytes: a quarter of it is what a command line may have


# Faults, each at every stage


def before_the_login(peer: Peer) -> None:
    pass


def after_the_login(peer: Peer) -> None:
    peer.receive()


def after_the_challenge(peer: Peer) -> None:
    peer.send(f'<challenge nonce="{attribute(peer.receive(), "nonce")}{"x" * 24}" salt="{SALT}"/>')
    peer.receive()


def with_half_of_the_jobs_sent(peer: Peer) -> None:
    peer.receive()
    peer.send(WELCOME)
    assert peer.sock.recv(5)[4:] == b"<"  # the frame has begun; its rest has no room


def after_the_jobs(peer: Peer) -> None:
    peer.receive()
    peer.send(WELCOME)
    peer.receive()


def after_accepted(peer: Peer) -> None:
    after_the_jobs(peer)
    send_and_see(peer, ACCEPTED, "accepted the jobs")


def while_a_job_runs(peer: Peer) -> None:
    after_accepted(peer)
    send_and_see(peer, STARTED, "job 1 started")


def after_the_last_finished(peer: Peer) -> None:
    while_a_job_runs(peer)
    send_and_see(peer, FINISHED, "job 1 ok")


def send_and_see(peer: Peer, document: str, text: str) -> None:
    """Sends this, and returns when the command has shown that."""
    peer.send(document)
    wait_until(lambda: text in peer.shown.read_text())


STAGES = (
    (before_the_login, NOT, ()),
    (after_the_login, NOT, ()),
    (after_the_challenge, NOT, CHALLENGE),
    (with_half_of_the_jobs_sent, NOT, LARGE),
    (after_the_jobs, UNKNOWN, ()),
    (after_accepted, SUBMITTED, ()),
    (while_a_job_runs, SUBMITTED, ()),
    (after_the_last_finished, SUBMITTED, ()),
)


def close(peer: Peer) -> None:
    pass  # is what the end of a script does


def reset(peer: Peer) -> None:
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def wait(peer: Peer) -> None:
    """Neither reads nor sends anything."""
    peer.client.result(PATIENCE).wait(PATIENCE)


def terminate(peer: Peer) -> None:
    peer.client.result(PATIENCE).terminate()
    wait(peer)


def send(document: str):
    def fault(peer: Peer) -> None:
        peer.send(document)
        wait(peer)

    return fault


def then(*steps: Callable[[Peer], None]):
    def script(peer: Peer) -> None:
        for step in steps:
            step(peer)

    return script


def at_every_stage() -> Iterator[Way]:
    for stage, jobs, argv in STAGES:
        when = stage.__name__.replace("_", " ")
        is_accepted = jobs == SUBMITTED
        lost = "no connection to|closed the connection|connection was lost"
        yield Way(f"closed {when}", 1, jobs, lost, then(stage, close), argv)
        yield Way(f"reset {when}", 1, jobs, lost, then(stage, reset), argv)
        yield Way(f"signal {when}", -signal.SIGTERM, jobs, "ended by signal 15", then(stage, terminate), argv)
        code, late = (
            (3, "have not ended within .*1 s, and go on") if is_accepted else (1, "not accepted the jobs in time")
        )
        seconds = "2" if jobs == UNKNOWN else "1"
        yield Way(f"out of time {when}", code, jobs, late, then(stage, wait), (*argv, "-t", seconds))
        busy = r"ended the session \(.*busy\): full|refused the session \(.*busy\): full"
        refusal = then(stage, send('<refused reason="busy">full</refused>'))
        yield Way(f"refused {when}", 1, jobs if is_accepted else NOT, busy, refusal, argv)
        wrong = then(stage, send('<started job="9"/>'))
        yield Way(f"nonsense {when}", 1, jobs, "is not allowed when|is out of turn", wrong, argv)


def silent(*documents: str):
    """A script: promises a sign of life every second, sends this, and then nothing."""

    def script(peer: Peer) -> None:
        peer.receive()
        peer.send('<welcome session="s1" heartbeat="1"/>')
        peer.receive()
        peer.send(*documents)
        wait(peer)

    return script


SILENCE = [
    Way("silence after the jobs", 1, UNKNOWN, "silent for more than", silent("<alive/>")),
    Way("silence after accepted", 1, SUBMITTED, "silent for more than", silent(ACCEPTED)),
    Way("silence while a job runs", 1, SUBMITTED, "silent for more than", silent(ACCEPTED, STARTED)),
    Way("silence after the last finished", 1, SUBMITTED, "silent for more than", silent(ACCEPTED, STARTED, FINISHED)),
]


# Before there is a connection


def secret(content: str | bytes = HASH, mode: int = 0o400):
    """Makes the password file."""

    def prepare(folder: Path) -> None:
        path = folder / "secret"
        path.unlink()
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)

    return prepare


def no_secret(folder: Path) -> None:
    (folder / "secret").unlink()


def secret_of_another_user(folder: Path) -> None:
    python("sitecustomize.py", "import os; os.geteuid = lambda: 4711")(folder)
    if os.geteuid() == 0:  # root's files are everybody's
        os.chown(folder / "secret", 4712, -1)


def python(name: str, code: str):
    """Puts a module where the command's Python finds it first. `sitecustomize` is run when Python starts."""

    def prepare(folder: Path) -> None:
        path = folder / "python" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)

    return prepare


def without(library: str):
    return python(f"{library}/__init__.py", f"raise ImportError('no {library} here', name='{library}')")


def descriptors(count: int):
    return python(
        "sitecustomize.py", f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({count}, {count}))"
    )


def nobody_listens(stack: ExitStack) -> str:
    bound = stack.enter_context(socket.socket())
    bound.bind(("127.0.0.1", 0))
    return f"127.0.0.1:{bound.getsockname()[1]}"


def nobody_accepts(stack: ExitStack) -> str:
    full = stack.enter_context(socket.socket())
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    for _ in range(4):  # fills the backlog: further connections get no answer
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
    return f"127.0.0.1:{full.getsockname()[1]}"


BEFORE_A_CONNECTION = [
    Way("no password file", 2, NOT, "does not exist", None, CHALLENGE, no_secret),
    Way("password file below a file", 2, NOT, "cannot be opened", None, ("-u", "R41", "-p", "secret/secret")),
    Way("password file that cannot be read", 2, NOT, "cannot be read", None, ("-u", "R41", "-p", "/proc/self/mem")),
    Way("password file that is a folder", 2, NOT, "is not a regular file", None, ("-u", "R41", "-p", "/")),
    Way("password file too large", 2, NOT, "a hash has 60", None, CHALLENGE, secret(HASH * 100)),
    Way("password file of another user", 2, NOT, "belongs to user number", None, CHALLENGE, secret_of_another_user),
    Way("password file for others", 2, NOT, "is open to others", None, CHALLENGE, secret(mode=0o404)),
    Way("password file without a hash", 2, NOT, "one bcrypt hash", None, CHALLENGE, secret("hunter2")),
    Way("hash of a low cost", 2, NOT, "the hash in the password file .*cost of 9", None, CHALLENGE,
        secret(HASH.replace("$10$", "$09$"))),
    Way("user without a name", 2, NOT, "has no name here", None, (),
        python("sitecustomize.py", "import os; os.geteuid = lambda: 4711")),
    Way("no lxml", 2, NOT, "the library lxml cannot be loaded", None, (), without("lxml")),
    Way("name not resolved", 1, NOT, "cannot be resolved", None, ("-s", "no-such-host.invalid:1")),
    Way("connection refused", 1, NOT, "no connection to.*refused", service=nobody_listens),
    Way("connection not accepted", 1, NOT, "in time", None, ("-t", "1"), service=nobody_accepts),
    Way("signal before there is a connection", -signal.SIGTERM, NOT, "ended by signal 15", None, CHALLENGE, no_secret,
        lambda terminal: (terminal.answer("half a pass"), terminal.process.terminate())),
    Way("unforeseen: no descriptor for a library", 1, NOT, "unforeseen.*Too many open files", None, (), descriptors(5)),
    Way("unforeseen: no descriptor for a signal", 1, NOT, "Too many open files", None, (), descriptors(4)),
]  # fmt: skip


# Somebody at a terminal makes the password file


def answer(text: str):
    return lambda terminal: terminal.answer(text)


def nothing(terminal: Terminal) -> None:
    pass


NEW = ("-u", "R41", "-p", "secrets/r41")


def secrets(folder: Path) -> None:
    (folder / "secrets").mkdir()


def secrets_without_bcrypt(folder: Path) -> None:
    secrets(folder)
    without("bcrypt")(folder)


def while_the_folder_goes_away(peer: Peer) -> None:
    folder = Path(f"/proc/{peer.client.result(PATIENCE).pid}/cwd").resolve()
    shutil.rmtree(folder / "secrets")
    challenging()(peer)


AT_A_TERMINAL = [
    Way("name that no file can have", 2, NOT, "is not the name of a password file", None,
        ("-u", "R41", "-p", "secrets/missing/.."), secrets, nothing),
    Way("no folder for the password file", 2, NOT, "cannot be made in its folder", None, NEW, types=nothing),
    Way("no bcrypt", 2, NOT, "the library bcrypt, which makes", None, NEW, secrets_without_bcrypt, nothing),
    Way("end of file for a password", 2, NOT, "no password was given, or", None, NEW, secrets, answer("\x04")),
    Way("Ctrl-C for a password", 2, NOT, "no password was given$", None, NEW, secrets, answer("\x03")),
    Way("empty password", 2, NOT, "the password has .*0 bytes", None, NEW, secrets, answer("\n")),
    Way("long password", 2, NOT, "the password has .*73 bytes", None, NEW, secrets, answer("x" * 73 + "\n")),
    Way("password that is no text", 2, NOT, "the password is not text in", None, NEW, secrets, answer(b"\xff\n")),
    Way("password with a NUL", 2, NOT, "the password has a NUL.*; the password file .*was not made", None, NEW, secrets,
        answer("a\x00b\n")),
    Way("password file cannot be made", 2, NOT, "cannot be made:", while_the_folder_goes_away, NEW, secrets,
        answer(PASSWORD + "\n")),
]  # fmt: skip


# TLS


def refusal(reason: str) -> str:
    return f'<refused reason="{reason}">not you</refused>'


def plain(peer: Peer) -> None:
    peer.sock.recv(4096)
    peer.send(refusal("protocol"))
    wait(peer)


def certificate_of_nobody(peer: Peer) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with suppress(OSError), context.wrap_socket(peer.sock, server_side=True):
        pytest.fail("the client has taken this certificate")


TLS = ("-s", "tls://ADDRESS")
OVER_TLS = [
    Way("certificate that nobody trusts", 1, NOT, "no TLS connection with.*certificate", certificate_of_nobody, TLS),
    Way("plain server", 1, NOT, "no TLS connection with", plain, TLS),
    Way("closed in the handshake", 1, NOT, "no TLS connection with", lambda peer: peer.sock.recv(4096), TLS),
    Way("out of time in the handshake", 1, NOT, "in time", wait, (*TLS, "-t", "1")),
    Way("signal in the handshake", -signal.SIGTERM, NOT, "ended by signal 15", terminate, TLS),
    Way("unforeseen: broken ssl", 1, NOT, "unforeseen.*broken", wait, TLS,
        python("ssl.py", "raise RuntimeError('broken')")),
]  # fmt: skip


# What else a server can send


def at_once(document: str):
    """A script: what follows `welcome` is there before the jobs can be sent."""
    return answering_login(WELCOME, document)


def closing_with_welcome(peer: Peer) -> None:
    peer.receive()
    peer.sock.sendall(frame(WELCOME), socket.MSG_MORE)  # leaves in one packet with the end of the connection


def raw(data: bytes):
    def script(peer: Peer) -> None:
        peer.receive()
        peer.sock.sendall(data)
        peer.wait_for_disconnect()

    return script


def challenge(nonce: str, salt: str):
    def script(peer: Peer) -> None:
        peer.send(f'<challenge nonce="{nonce.format(attribute(peer.receive(), "nonce"))}" salt="{salt}"/>')
        peer.wait_for_disconnect()

    return script


MANY_TAGS = "<accepted>" + "<a/>" * 40_001 + "</accepted>"
OTHER_SALT = "$2b$10$zbcdefghijklmnopqrstuu"

SENT_BEFORE_THE_JOBS = [
    Way("login refused", 2, NOT, "refused the .*login: not you", answering_login(refusal("login"))),
    Way("response refused", 2, NOT, "refused the .*login: not you", then(after_the_challenge, send(refusal("login"))),
        CHALLENGE),
    Way("version refused", 1, NOT, r"\(version\): not you", answering_login(refusal("version"))),
    Way("protocol error refused", 1, NOT, r"\(protocol\): not you", answering_login(refusal("protocol"))),
    Way("empty frame", 1, NOT, "a frame of .*0 bytes", raw(b"\0\0\0\0")),
    Way("frame too long", 1, NOT, "a frame of .*4097", raw(struct.pack(">I", 4097))),
    Way("no XML", 1, NOT, "that is not plain XML", answering_login("HTTP/1.1 400 Bad Request")),
    Way("bad XML", 1, NOT, "not well-formed XML", answering_login("<welcome>")),
    Way("no UTF-8", 1, NOT, "not well-formed XML", answering_login(b'<welcome session="\xff"/>')),
    Way("unknown message", 1, NOT, "the protocol does not know", answering_login("<hello/>")),
    Way("message of the client", 1, NOT, "is what this side says itself", answering_login("<logout/>")),
    Way("login of another version", 1, NOT, "this is protocol version", answering_login('<login version="2"/>')),
    Way("signature for nobody", 1, NOT, "signed a login that has no secret",
        answering_login('<welcome session="s1" signature="x"/>')),
    Way("challenge to an osuser login", 1, NOT, "is not allowed when",
        answering_login('<challenge nonce="n" salt="s"/>')),
    Way("welcome without a challenge", 1, NOT, "is not allowed when", answering_login(WELCOME), CHALLENGE),
    Way("nonce of another client", 1, NOT, "does not continue the client's", challenge("x" * 60, SALT), CHALLENGE),
    Way("salt that is none", 1, NOT, "is not a bcrypt salt", challenge("{}" + "x" * 24, "salt"), CHALLENGE),
    Way("salt of a high cost", 1, NOT, "the salt has a cost of", challenge("{}" + "x" * 24, SALT.replace("10", "16")),
        CHALLENGE),
    Way("password changed", 2, NOT, "has another salt.*changed", challenge("{}" + "x" * 24, OTHER_SALT), CHALLENGE),
    Way("server does not know the password", 1, NOT, "cannot prove that it knows", challenging(signature="A" * 44),
        CHALLENGE),
    Way("closed with welcome", 1, NOT, "closed the connection", closing_with_welcome),
    Way("refused with welcome", 1, NOT, "refused the session", at_once(refusal("busy"))),
    Way("accepted with welcome", 1, NOT, "is not allowed when", at_once(ACCEPTED)),
    Way("jobs too long for a frame", 2, NOT, "the jobs are too long for the server: .* bytes in one message",
        answering_login(WELCOME), TOO_LARGE, stack=64 * 1024 * 1024),
]  # fmt: skip


def more_than_memory_holds(peer: Peer) -> None:
    """Leaves the command 2 MiB more than it has, and sends something longer."""
    pid = peer.client.result(PATIENCE).pid
    size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize() + 2 * 1024 * 1024
    resource.prlimit(pid, resource.RLIMIT_AS, (size, size))
    peer.sock.sendall(struct.pack(">I", 15_000_000) + bytes(15_000_000))


def long_frame(peer: Peer) -> None:
    peer.sock.sendall(struct.pack(">I", 16 * 1024 * 1024 + 1))
    wait(peer)


SENT_AFTER_THE_JOBS = [
    Way("jobs refused", 2, NOT, "refused the .*jobs: not you", answering_jobs(refusal("jobs"))),
    Way("jobs refused as a protocol error", 1, NOT, r"refused the session \(.*protocol",
        answering_jobs(refusal("protocol"))),
    Way("accepted with half of the jobs sent", 1, NOT, "is not allowed when",
        then(with_half_of_the_jobs_sent, send(ACCEPTED)), (*LARGE, "-t", "0")),
    Way("login refused after the jobs", 1, UNKNOWN, "is not allowed when", answering_jobs(refusal("login"))),
    Way("tags without end", 1, UNKNOWN, "a message with more than", answering_jobs(MANY_TAGS)),
    Way("long frame after the jobs", 1, UNKNOWN, "a frame of .*16777217", then(after_the_jobs, long_frame)),
    Way("unforeseen: no memory after the jobs", 1, UNKNOWN, "unforeseen.*MemoryError",
        then(after_the_jobs, more_than_memory_holds)),
    Way("jobs refused after accepted", 1, SUBMITTED, "is not allowed when", serving(refusal("jobs"))),
    Way("protocol error refused after accepted", 1, SUBMITTED, r"ended the session \(.*protocol",
        serving(STARTED, refusal("protocol"))),
    Way("accepted twice", 1, SUBMITTED, "is not allowed when", serving(ACCEPTED)),
    Way("long frame after accepted", 1, SUBMITTED, "a frame of .*16777217", then(while_a_job_runs, long_frame)),
    Way("unforeseen: no memory after accepted", 1, SUBMITTED, "unforeseen.*MemoryError",
        then(after_accepted, more_than_memory_holds)),
    Way("job failed", 1, SUBMITTED, "job 1 failed: .*no such table", serving(STARTED, FAILED, ENDED_FAILED)),
    Way("job skipped", 1, SUBMITTED, "job 1 skipped", serving('<finished job="1" status="skipped"/>', ENDED_FAILED)),
    Way("given up by the server", 1, SUBMITTED, "ended the session as failed", serving(ENDED_FAILED)),
    Way("closed after a job has failed", 1, SUBMITTED, "closed the connection",
        then(after_the_jobs, lambda peer: peer.send(ACCEPTED, STARTED, FAILED))),
    Way("ended ok with a job undone", 1, SUBMITTED, "the session ended ok with", serving(ENDED)),
    Way("something after the end", 1, SUBMITTED, "which is the last message",
        answering_jobs(ACCEPTED, STARTED, FINISHED, ENDED, "<alive/>")),
]  # fmt: skip

WAYS = [
    *BEFORE_A_CONNECTION, *AT_A_TERMINAL, *OVER_TLS, *SENT_BEFORE_THE_JOBS, *SENT_AFTER_THE_JOBS, *SILENCE,
    *at_every_stage(),
]  # fmt: skip


class Failure(NamedTuple):
    code: int
    shown: list[str]
    complaints: list[str]
    received: list[str]  # by the server
    connections: int


@pytest.fixture
def fail(command, scripted, tmp_path):
    """Goes one way, and returns what it came to."""

    def go(way: Way) -> Failure:
        command.secret_file()
        way.prepare(tmp_path)
        client: Future = Future()

        def script(peer: Peer) -> None:
            peer.client, peer.shown = client, tmp_path / "stdout"
            (way.script or wait)(peer)

        server = scripted(script)
        with ExitStack() as stack:
            service = way.service(stack) if way.service else server.address
            line = ["-s", service, "-v", "-t", "-1", "-c", "pass"]
            line += [word.replace("ADDRESS", server.address) for word in way.argv]
            environment = {**os.environ, "PYTHONPATH": str(tmp_path / "python")}
            run = at_terminal if way.types else without_terminal
            code, shown, complaints = run(command, way, line, environment, client)
        server.close()
        received = [document for peer in server.peers for document in peer.received]
        return Failure(code, shown, complaints, received, len(server.peers))

    return go


def without_terminal(command, way, line, environment, client) -> tuple[int, list[str], list[str]]:
    def limit() -> None:
        if way.stack is not None:
            resource.setrlimit(resource.RLIMIT_STACK, (way.stack, resource.getrlimit(resource.RLIMIT_STACK)[1]))

    shown = command.folder / "stdout"
    with open(shown, "w") as stdout, command.start(*line, env=environment, preexec_fn=limit, stdout=stdout) as process:
        client.set_result(process)
        try:
            complaints = process.communicate(timeout=PATIENCE)[1]
        finally:
            process.kill()
    return process.returncode, shown.read_text().splitlines(), complaints.splitlines()


def at_terminal(command, way, line, environment, client) -> tuple[int, list[str], list[str]]:
    with Terminal(command.folder, *line, env=environment) as terminal:
        client.set_result(terminal.process)
        way.types(terminal)
        code = terminal.end()
    shown = terminal.shown.replace("Password for R41: ", "\n").splitlines()
    complaints = [text for text in shown if text.startswith("planta_headless.py: ")]
    return code, [text for text in shown if text not in complaints], complaints


@pytest.mark.parametrize("way", [pytest.param(way, id=way.name) for way in WAYS])
def test_the_last_line_shows_what_became_of_the_jobs(fail, way):
    failure = fail(way)
    last = re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} info (.+); jobs: (.+)", failure.shown[-1] if failure.shown else "")
    assert last, failure
    assert (failure.code, last[2]) == (way.code, way.jobs), failure
    assert re.search(way.reason, last[1]), failure
    assert len(failure.complaints) == (1 if way.code == 2 else 0)
    assert all(last[1] in complaint for complaint in failure.complaints)
    assert way.script is not None or failure.connections == 0
    has_jobs = any(document.startswith("<jobs") for document in failure.received)
    assert has_jobs or way.jobs != SUBMITTED
    assert not has_jobs or way.jobs != NOT or "refused" in last[1]


# Mistakes in the options come before there is anything that -v could show: one line on stderr, and no connection

ADDRESS = ("-s", "ADDRESS")
GOOD = (*ADDRESS, "-c", "pass")
OPTIONS = [
    ("no value", (*GOOD, "-t"), "argument"),
    ("unknown option", (*GOOD, "-x"), "no such option"),
    ("word without an option", (*GOOD, "word"), "belongs to no option"),
    ("empty value", (*GOOD, "-u", ""), "has an empty value"),
    ("no service", ("-c", "pass"), "HOST:PORT is missing"),
    ("no port", (*GOOD, "-s", "planta"), r"is not \[tls://\]HOST:PORT with a port"),
    ("no IPv6 address", (*GOOD, "-s", "[::x]:1"), "is not an IPv6 address"),
    ("no network interface", (*GOOD, "-s", "[::1%]:1"), "names no network interface"),
    ("no host name", (*GOOD, "-s", "a..b:1"), "is not a host name"),
    ("no number", (*GOOD, "-t", "x"), "is not a whole number"),
    ("no kind of login", (*GOOD, "-a", "x"), "is neither"),
    ("challenge without a file", (*GOOD, "-a", "challenge", "-u", "R41"), "needs both -u"),
    ("long name", (*GOOD, "-u", "x" * 257), "-u has .*characters"),
    ("no job", ADDRESS, "there is no job"),
    ("many jobs", (*ADDRESS, *("-c", "pass") * 10_001), "there are .*jobs, at most"),
    ("no UTF-8", (*GOOD, "-c", b"\xff"), "is not text in UTF-8"),
    ("control character", (*GOOD, "-c", "\x01"), "has a control character"),
]


@pytest.mark.parametrize(("argv", "reason"), [pytest.param(*option[1:], id=option[0]) for option in OPTIONS])
def test_a_mistake_in_the_options_is_one_line_and_no_connection(command, scripted, argv, reason):
    server = scripted(answering_login())
    line = [word.replace("ADDRESS", server.address) if isinstance(word, str) else word for word in argv]
    done = command("-v", *line)
    server.close()
    assert (done.returncode, done.stdout, server.peers) == (2, "", [])
    (complaint,) = done.stderr.splitlines()
    assert re.search(reason, complaint)


# A rehearsal shows it as the command does


@pytest.mark.parametrize(
    ("argv", "code", "jobs"),
    [
        (("-m", "009ABC"), 2, NOT),
        (("-t", "-1", "-c", "raise SystemExit(1)"), 1, SUBMITTED),
        (("-t", "1", "-c", "import time; time.sleep(60)"), 3, SUBMITTED),
    ],
)
def test_a_rehearsal_shows_what_became_of_the_jobs(tmp_path, argv, code, jobs):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = manage("rehearse", "-v", *argv, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == code
    assert done.stdout.endswith(f"; jobs: {jobs}\n")


# The list is complete


# Errors that a call of the command cannot meet, by their texts.
NOT_MET = (
    "there is no folder for the password file",  # Windows
    "TLS cannot be used",  # an OpenSSL that is not fit for anything
    "'' is what the other side says",  # a mistake of the caller of `send`
    "'' is not allowed when the other side broke the protocol",  # likewise
    "the client's nonce is not",  # the server's view of a login
    "a challenge login has user",
    "an osuser login has os_user",
)


def names(kind: type) -> set[str]:
    """Of the class and all that inherit from it."""
    return {kind.__name__}.union(*map(names, kind.__subclasses__()))


ERRORS = names(HeadlessError) | {"FrameTooLong", "ValueError"}  # the last two end as the text of one of ours


def texts_of_errors() -> Iterator[tuple[str, str]]:
    """The text of each error in the client's code, without the values in it, and the file that it is in."""
    for path in sorted([*(ROOT / "headless").glob("*.py"), *(ROOT / "headless" / "protocol").glob("*.py")]):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ERRORS:
                nodes = [node for argument in call.args for node in ast.walk(argument)]
                text = "".join(str(node.value) for node in nodes if isinstance(node, ast.Constant))
                if re.search("[a-z]{2}", text):  # else it passes on the text of another error
                    yield path.name, text


def test_every_error_in_the_code_is_in_the_list():
    reasons = [*(way.reason for way in WAYS), *(reason for _, _, reason in OPTIONS)]
    known = {part for reason in reasons for part in re.split(r"\||\.\*", reason) if len(part) > 6}
    texts = list(texts_of_errors())
    assert len(texts) > 50
    listed = [text for _, text in texts if any(re.search(part, text) for part in known)]
    assert [error for error in texts if error[1] not in listed and not error[1].startswith(NOT_MET)] == []


def rows(document: str, heading: str) -> list[list[str]]:
    """The cells of the rows of the table with this heading."""
    lines = (ROOT / document).read_text(encoding="utf-8").split(f"\n{heading}\n")[1].splitlines()
    table = lines[1 : lines.index("")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_documents_know_the_same_codes_and_words_as_the_list():
    listed = {(way.code, way.jobs) for way in WAYS if way.code > 0}
    protocol = rows("headless/protocol/PROTOCOL.md", "| | return code of planta_headless.py | jobs |")
    assert {(int(code), jobs) for _, codes, jobs in protocol for code in re.findall(r"\b\d\b", codes)} == listed
    readme = rows("README.md", "| code | means | what a script should do |")
    assert {int(row[0]) for row in readme} == {0} | {code for code, _ in listed}
    words = re.findall(r"^\| `jobs: (.+?)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(words) == {jobs for _, jobs in listed}
