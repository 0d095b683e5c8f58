"""The last line of `-v` shows whether the jobs were not submitted, submitted, or that this is unknown, and a code of 2
is one line on stderr as well: whatever goes wrong, at every stage of a call and of one that has lost a connection. By
calls in this process, and as processes where memory, descriptors or libraries matter. Single words of servers and
dialects: test_return_codes.py and client/."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headless import errors
from headless.client.stream import Stream
from headless.errors import HeadlessError, LocalProtocolError, explain
from support.command_here import SteeredCommand
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
    serving,
)
from support.process import PATIENCE, ROOT
from support.scripted_server import Peer
from support.sockets import reset
from support.waiting import wait_until

if os.name != "nt":
    import resource

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals and limits")]

NOT, SUBMITTED, UNKNOWN = "not submitted", "submitted", "unknown"
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} info (.+); jobs: (.+)")
CHALLENGE = ("-u", "R41", "-p", "secret")
TLS = ("-s", "tls://ADDRESS")


# A call, and the server that it meets


class RunningProcess:
    """The command as a process, as a script steers it. Its time passes by itself. `started` and `is_over` are for the
    thread that starts it."""

    def __init__(self) -> None:
        self.started: Future[subprocess.Popen[Any]] = Future()
        self.is_over = threading.Event()

    @property
    def pid(self) -> int:
        return self.started.result(PATIENCE).pid

    def wait(self, timeout: float) -> None:
        assert self.is_over.wait(timeout), "the process has not ended"

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def let_pass(self, seconds: float) -> None:
        pass


class WatchedPeer(Peer):
    """A peer whose script knows the client, and the file that it prints to."""

    def __init__(self, peer: Peer, client: SteeredCommand | RunningProcess, shown: Path) -> None:
        super().__init__(peer.sock)
        self.received = peer.received
        self.client = client
        self.shown = shown


Step = Callable[[WatchedPeer], object]  # of a script, or all of it


class Way(NamedTuple):
    """One way to fail: return code, what the last line says of the jobs, a pattern for the reason."""

    name: str
    code: int
    jobs: str
    reason: str
    script: Step
    argv: tuple[str, ...] = ()  # added to a good line; ADDRESS in it is that of the server
    imported: tuple[str, str] = ("", "")  # a module that a process finds first, and its code
    is_process: bool = False  # it cannot be in this process: its memory, its descriptors, its libraries


def seeing(text: str) -> Step:
    """Returns when the command has shown this."""
    return lambda peer: wait_until(lambda: text in peer.shown.read_text())


def wait(peer: WatchedPeer) -> None:
    """Neither reads nor sends anything."""
    peer.client.wait(PATIENCE)


def then(*steps: Step) -> Step:
    def script(peer: WatchedPeer) -> None:
        for step in steps:
            step(peer)

    return script


def letting_pass(seconds: float) -> Step:
    """Neither reads nor sends anything, and the client sees so much time pass."""
    return then(lambda peer: peer.client.let_pass(seconds), wait)


def sending(document: str) -> Step:
    return then(lambda peer: peer.send(document), wait)


def terminate(peer: WatchedPeer) -> None:
    peer.client.terminate()
    wait(peer)


def refusal(reason: str) -> str:
    return f'<refused reason="{reason}">not you</refused>'


def go(way: Way, command: Any, scripted: Any, as_process: bool = False) -> None:
    """The call ends as the way says, and says so in its last line."""
    command.secret_file()
    process = RunningProcess() if as_process or way.is_process else None
    here = SteeredCommand(command.folder)
    server = scripted(lambda peer: way.script(WatchedPeer(peer, process or here, here.shown)))
    words = ("-s", server.address, "-v", "-t", "-1", "-c", "pass", *way.argv)
    line = [word.replace("ADDRESS", server.address) for word in words]
    ended = here(*line) if process is None else run_process(command, line, process, way.imported)
    server.close()
    assert_last_line(ended, way.code, way.jobs, way.reason)
    has_jobs = any(document.startswith("<jobs") for peer in server.peers for document in peer.received)
    assert has_jobs or way.jobs != SUBMITTED
    assert not has_jobs or way.jobs != NOT or "refused" in way.reason


def run_process(
    command: Any, line: list[str], client: RunningProcess, imported: tuple[str, str]
) -> subprocess.CompletedProcess[str]:
    python, shown = command.folder / "python", command.folder / "stdout"
    python.mkdir()
    module, code = imported
    if module:
        (python / module).write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(python)}
    with open(shown, "w") as stdout, command.start(*line, env=environment, stdout=stdout) as process:
        client.started.set_result(process)
        try:
            complaints = process.communicate(timeout=PATIENCE)[1]
        finally:
            process.kill()
            client.is_over.set()
    return subprocess.CompletedProcess(line, process.returncode, shown.read_text(), complaints)


def assert_last_line(ended: subprocess.CompletedProcess[str], code: int, jobs: str, reason: str) -> None:
    last = LINE.fullmatch(ended.stdout.splitlines()[-1] if ended.stdout else "")
    assert last, ended
    assert (ended.returncode, last[2]) == (code, jobs), ended
    assert re.search(reason, last[1]), ended
    complaints = ended.stderr.splitlines()
    assert len(complaints) == (code == 2), ended
    assert all(last[1] in complaint for complaint in complaints)


# Stages

# On the dialect, where it is `&amp;`: 6.5 MB, more than the kernel takes for a peer that does not read, and 17.5 MB.
LARGE_SESSION = ("-c", "&" * 130_000) * 10
TOO_LARGE_SESSION = ("-c", "&" * 130_000) * 27


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


def send_and_see(document: str, text: str) -> Step:
    return then(lambda peer: peer.send(document), seeing(text))


after_accepted = then(after_the_jobs, send_and_see(ACCEPTED, "accepted the jobs"))
while_a_job_runs = then(after_accepted, send_and_see(STARTED, "job 1 started"))
after_the_last_finished = then(while_a_job_runs, send_and_see(FINISHED, "job 1 ok"))


class Stage(NamedTuple):
    reach: Step
    jobs: str
    argv: tuple[str, ...] = ()


STAGES = {
    "before the login": Stage(before_the_login, NOT),
    "after the login": Stage(after_the_login, NOT),
    "after the challenge": Stage(after_the_challenge, NOT, CHALLENGE),
    "with half of the jobs sent": Stage(with_half_of_the_jobs_sent, NOT, LARGE_SESSION),
    "after the jobs": Stage(after_the_jobs, UNKNOWN),
    "after accepted": Stage(after_accepted, SUBMITTED),
    "while a job runs": Stage(while_a_job_runs, SUBMITTED),
    "after the last finished": Stage(after_the_last_finished, SUBMITTED),
}


def ways_at(name: str, stage: Stage) -> Iterator[Way]:
    is_accepted = stage.jobs == SUBMITTED

    def way(what: str, code: int, reason: str, fault: Step, *argv: str, jobs: str = stage.jobs) -> Way:
        return Way(f"{what} {name}", code, jobs, reason, then(stage.reach, fault), (*stage.argv, *argv))

    lost = "no connection to|closed the connection|connection was lost"
    yield way("closed", 1, lost, then())
    yield way("reset", 1, lost, lambda peer: reset(peer.sock))
    yield way("signal", -signal.SIGTERM, "ended by signal 15", terminate)
    late = "have not ended within .*3 s, and go on" if is_accepted else "not accepted the jobs in time"
    if name == "after the last finished":  # nothing goes on
        late = "all jobs have ended, and the server has not reported the end of the session within .*3 s"
    seconds = 3 if is_accepted else 60  # the first ones pass in a process, too
    yield way("out of time", 3 if is_accepted else 1, late, letting_pass(seconds), "-t", str(seconds))
    busy = r"ended the session \(.*busy\): not you|refused the session \(.*busy\): not you"
    yield way("refused", 1, busy, sending(refusal("busy")), jobs=stage.jobs if is_accepted else NOT)
    yield way("nonsense", 1, "is not allowed when|is out of turn", sending('<started job="9"/>'))


# What else a server can do, where the state of the jobs is in question


def more_than_memory_holds(peer: WatchedPeer) -> None:
    """Leaves the command 256 KiB more than it has, and sends something longer."""
    assert isinstance(peer.client, RunningProcess)
    pid = peer.client.pid
    size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize() + 256 * 1024
    resource.prlimit(pid, resource.RLIMIT_AS, (size, size))
    peer.sock.sendall(struct.pack(">I", 1_000_000) + bytes(1_000_000))


def with_descriptors(count: int) -> tuple[str, str]:
    return (
        "sitecustomize.py",
        f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({count}, {count}))",
    )


OTHERS = [
    Way("response refused", 2, NOT, "refused the .*login: not you",
        then(after_the_challenge, sending(refusal("login"))), CHALLENGE),
    Way("refused with welcome", 1, NOT, "refused the session", answering_login(WELCOME, refusal("busy"))),
    Way("accepted with half of the jobs sent", 1, NOT, "is not allowed when",
        then(with_half_of_the_jobs_sent, sending(ACCEPTED)), (*LARGE_SESSION, "-t", "0")),
    Way("jobs too long for a frame", 2, NOT, "the jobs are too long for the server: .* bytes in one message",
        answering_login(WELCOME), TOO_LARGE_SESSION),
    Way("login refused after the jobs", 1, UNKNOWN, "is not allowed when", answering_jobs(refusal("login"))),
    Way("job skipped", 1, SUBMITTED, "job 1 skipped", serving('<finished job="1" status="skipped"/>', ENDED_FAILED)),
    Way("closed in the handshake", 1, NOT, "no TLS connection with", lambda peer: peer.sock.recv(4096), TLS),
    Way("signal in the handshake", -signal.SIGTERM, NOT, "ended by signal 15", terminate, TLS),
    Way("no memory after the jobs", 1, UNKNOWN, "unforeseen.*MemoryError",
        then(after_the_jobs, more_than_memory_holds), is_process=True),
    Way("no memory after accepted", 1, SUBMITTED, "unforeseen.*MemoryError",
        then(after_accepted, more_than_memory_holds), is_process=True),
    Way("no lxml", 2, NOT, "the library lxml cannot be loaded", wait, (),
        ("lxml.py", "raise ImportError('no lxml here', name='lxml')"), is_process=True),
    Way("no descriptor for a library", 1, NOT, "Too many open files", wait, (), with_descriptors(5), is_process=True),
    Way("no descriptor for a signal", 1, NOT, "Too many open files", wait, (), with_descriptors(4), is_process=True),
]  # fmt: skip


# A connection is lost, and another one resumes the session, or cannot

ATTACH = '<welcome session="s1" journal="9ae1"/>'
ANOTHER = ATTACH.replace("9ae1", "9ae2")
ATTACHED = '<attached jobs="1" job="1" stdout="0" stderr="0"/>'


def losing_the_jobs(peer: WatchedPeer) -> None:
    peer.receive()
    peer.send(ATTACH)
    peer.receive()


losing_a_job = then(losing_the_jobs, lambda peer: peer.send('<accepted session="s1"/>', STARTED))


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
    def script(peer: WatchedPeer) -> object:
        return (second if "connecting again" in peer.shown.read_text() else first)(peer)

    return Way(f"lost, then {name}", code, jobs, reason, script, argv)


refusing_the_login = then(after_the_login, sending(refusal("login")))
CANNOT_RESUME = "cannot resume a session that another connection has begun"
LOST_JOURNAL = "another server answers, or one that has lost its journal"
LOST_CONNECTIONS = [
    lost("out of time", 1, SUBMITTED, "the connection was lost, and no other one could be had in time",
         losing_a_job, letting_pass(60), "-t", "60"),
    lost("out of time again", 3, SUBMITTED, "have not ended within .*60 s, and go on", losing_a_job,
         answering(ATTACHED, STARTED, last=then(seeing("attached to"), letting_pass(60))), "-t", "60"),
    lost("signal", -signal.SIGTERM, SUBMITTED, "ended by signal 15", losing_a_job, terminate),
    lost("login refused", 1, SUBMITTED, r"ended the session \(.*login.*\): not you", losing_a_job, refusing_the_login),
    lost("session unknown", 1, SUBMITTED, r"ended the session \(.*session.*\): not you", losing_a_job,
         answering(refusal("session"))),
    lost("other jobs", 1, SUBMITTED, "to other jobs, or at another offset", losing_a_job,
         answering(ATTACHED.replace('jobs="1"', 'jobs="2"'))),
    lost("a server that cannot attach", 1, SUBMITTED, CANNOT_RESUME, losing_a_job, answering(welcome=WELCOME)),
    lost("job failed", 1, SUBMITTED, "job 1 failed: .*no such table", losing_a_job,
         answering(ATTACHED, STARTED, FAILED, ENDED_FAILED)),
    lost("another journal", 1, SUBMITTED, LOST_JOURNAL, losing_a_job, answering(ATTACHED, welcome=ANOTHER)),
    lost("out of time before accepted", 1, UNKNOWN, "not accepted the jobs in time", losing_the_jobs, letting_pass(60),
         "-t", "60"),
    lost("busy until out of time", 1, UNKNOWN, "not accepted the jobs in time", losing_the_jobs,
         answering(refusal("busy")), "-t", "60"),
    lost("another journal before accepted", 1, UNKNOWN, LOST_JOURNAL,
         losing_the_jobs, answering('<accepted session="s2"/>', STARTED, FINISHED, ENDED, welcome=ANOTHER)),
    lost("jobs refused", 2, NOT, "refused the .*jobs: not you", losing_the_jobs, answering(refusal("jobs"))),
    lost("login refused before accepted", 1, UNKNOWN, r"refused the session \(.*login.*\): not you", losing_the_jobs,
         refusing_the_login),
    lost("a server that would run them twice", 1, UNKNOWN, CANNOT_RESUME, losing_the_jobs, answering(welcome=WELCOME)),
]  # fmt: skip


WAYS = {
    way.name: way for way in (*(way for each in STAGES.items() for way in ways_at(*each)), *OTHERS, *LOST_CONNECTIONS)
}
of_a_version = pytest.mark.version("errors of ssl, and of what is imported")
OF_A_VERSION = ("closed in the handshake", "signal in the handshake", "no lxml")
# As a process, one for each kind of end: 2, 1, 3 and a signal.
KINDS = ("response refused", "closed after the jobs", "out of time while a job runs", "signal after accepted")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=of_a_version if name in OF_A_VERSION else ()) for name in WAYS]
)
def test_the_last_line_shows_what_happened_to_the_jobs(command, scripted, name):
    go(WAYS[name], command, scripted)


@pytest.mark.version("how a process ends")
@pytest.mark.parametrize("name", KINDS)
def test_so_does_the_last_line_of_a_process(command, scripted, name):
    go(WAYS[name], command, scripted, as_process=True)


# Whatever is raised, wherever


def ours(kind: type[HeadlessError] = HeadlessError) -> Iterator[BaseException]:
    """One of each class of errors.py. Those that need more than a text come before a call, or have a test of theirs."""
    if kind.__module__ == errors.__name__ and "__init__" not in vars(kind):
        yield kind("why")
    for each in kind.__subclasses__():
        yield from ours(each)


RAISED = (
    *ours(), OSError(5, "why"), MemoryError(), RecursionError(), ValueError("why"), SystemExit(0), KeyboardInterrupt(),
    ImportError("why", name="lxml"),
)  # fmt: skip


@pytest.mark.parametrize("name", STAGES)
def test_whatever_error_is_raised_at_whatever_stage_the_last_line_shows_it(tmp_path, scripted, monkeypatch, name):
    """A call that cannot be right may still be corrected as long as the server does not know it."""
    reach, jobs, argv = STAGES[name]
    receive_now = Stream.receive_now
    raised: list[BaseException] = []

    def receive_or_raise(stream: Stream) -> bytes | None:
        data = receive_now(stream)
        if raised and data:
            raise raised.pop()
        return data

    def script(peer: Peer) -> None:
        strike = then(reach, lambda _: raised.append(error), sending("<alive/>"))
        strike(WatchedPeer(peer, command, command.shown))

    monkeypatch.setattr(Stream, "receive_now", receive_or_raise)
    for number, error in enumerate(RAISED):
        (folder := tmp_path / f"{number}").mkdir()
        command = SteeredCommand(folder)
        command.secret_file()
        ended = command("-s", scripted(script).address, "-v", "-t", "-1", "-c", "pass", *argv)
        code, text = explain(error)
        is_known = jobs == SUBMITTED or (jobs == UNKNOWN and isinstance(error, ImportError))
        assert_last_line(ended, 1 if code == 2 and is_known else code, jobs, re.escape(text))
        assert isinstance(error, LocalProtocolError) == ("this is a fault of the client" in ended.stdout)


# What the documents say


def rows(document: str, heading: str) -> list[list[str]]:
    """The cells of the rows of the table with this heading."""
    lines = (ROOT / document).read_text(encoding="utf-8").split(f"\n{heading}\n")[1].splitlines()
    table = lines[1 : lines.index("")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_documents_know_the_same_codes_and_words_as_the_list():
    listed = {(way.code, way.jobs) for way in WAYS.values() if way.code > 0}
    protocol = rows("headless/dialects/own/PROTOCOL.md", "| | return code of planta_headless.py | jobs |")
    assert {(int(code), jobs) for _, codes, jobs in protocol for code in re.findall(r"\b\d\b", codes)} == listed
    readme = rows("README.md", "| code | means | what a script should do |")
    assert {int(row[0]) for row in readme} == {0} | {code for code, _ in listed}
    words = re.findall(r"^\| `jobs: (.+?)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(words) == {jobs for _, jobs in listed}
