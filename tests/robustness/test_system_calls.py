"""System calls of the client fail, with every error: strace makes them fail, a scripted peer answers.

A small sample is taken by default (PLANTA_SEED=N takes that of an earlier run). With -m large every call of the session
fails by each login, with one error and before one of two peers, and with PLANTA_EXHAUSTIVE=1 every call with every
error, which lasts about twenty minutes.
"""

from __future__ import annotations

import compileall
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import cache
from typing import NamedTuple

import pytest

from support.credentials import HASH
from support.dialogues import ACCEPTED, ENDED, FINISHED, STARTED, answering_jobs, challenging
from support.process import PATIENCE, ROOT, SCRIPT
from support.sampling import EXHAUSTIVE, REPEAT, SEED, draws
from support.scripted_server import Disconnected, ScriptedServer

# Which no kernel lets fail with these errors, so that libc takes the error for an address (brk), or ends the process.
INFALLIBLE = {"brk", "futex", "exit_group"}
ERRORS = ("EIO", "ECONNRESET", "EPIPE", "ENOSPC", "EMFILE", "ENOMEM")
LOGINS = ("osuser", "challenge")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * 3600 if EXHAUSTIVE else 120)]
STRIDE = 16  # of the calls that import modules, a large sample takes one of so many
# A half-written .pyc would be another test's trouble.
ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
JOB = (STARTED, '<output job="1" stream="stdout">42</output>', FINISHED)


class Call(NamedTuple):
    """One call of a run: the so manieth of its name in the whole process."""

    name: str
    number: int
    on_the_way: bool  # whether the first socket has been asked for


def session(login, ended):
    """A script: a good session, or one in which the peer closes where it should report how the session has ended."""
    documents = (*JOB, ENDED) if ended else JOB
    follow = answering_jobs(ACCEPTED, *documents) if login == "osuser" else challenging(*documents)

    def script(peer):
        receive = peer.receive

        def receive_unless_logout():
            if receive() == "<logout/>":
                raise Disconnected
            return peer.received[-1]

        peer.receive = receive_unless_logout
        if not ended:
            peer.wait_for_disconnect = lambda: None
        follow(peer)

    return script


def command_line(login, folder, address):
    secret = folder / "secret"
    if not secret.exists():
        secret.write_text(HASH + "\n")
        secret.chmod(0o400)
    who = [] if login == "osuser" else ["-u", "R41", "-p", str(secret)]
    return [sys.executable, str(SCRIPT), "-s", address, *who, "-t", "-1", "-v", "-c", "pass"]


class Ended(NamedTuple):
    """How a run has ended; "a hang" is no return code."""

    returncode: int | str
    stdout: str
    stderr: str


def traced(log, line, *options):
    """The line's end under strace. A run that hangs is ended with all that belongs to it, and fails the test."""
    strace = ["strace", "-f", "-o", str(log), *options, *line]
    with subprocess.Popen(
        strace,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return Ended("a hang", *process.communicate())
    return Ended(process.returncode, stdout, stderr)


def own_calls(log):
    """The client's own calls: those after the interpreter has read the script."""
    lines = [line.split(None, 1)[1] for line in log.read_text(errors="replace").splitlines()]
    opened = max(number for number, line in enumerate(lines) if line.startswith("openat(") and str(SCRIPT) in line)
    begin = next(number for number in range(opened, len(lines)) if lines[number].startswith("close(")) + 1
    counts: dict[str, int] = {}
    calls: list[Call] = []
    on_the_way = False
    for number, line in enumerate(lines):
        name = re.match(r"(\w+)\(", line)
        if name is None or name[1] in INFALLIBLE:
            continue
        counts[name[1]] = counts.get(name[1], 0) + 1
        on_the_way = on_the_way or (number > begin and line.startswith("socket(AF_INET"))
        if number >= begin:
            calls.append(Call(name[1], counts[name[1]], on_the_way))
    return calls


@cache
def strace_works():
    if sys.platform != "linux" or shutil.which("strace") is None:
        return False
    probe = ["strace", "-f", "--seccomp-bpf", "-o", os.devnull, "-e", "inject=getppid:error=EIO:when=1", "true"]
    return subprocess.run(probe, capture_output=True, check=False, timeout=PATIENCE).returncode == 0


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """The calls of a good run, by login: each is recorded once."""
    if not strace_works():
        pytest.skip("NOT TESTED: strace is not installed or may not trace, so no system call can be made to fail")

    compileall.compile_dir(ROOT / "headless", quiet=1)  # else each run would do so anew

    @cache
    def record(login):
        folder = tmp_path_factory.mktemp(login)
        server = ScriptedServer(session(login, ended=True))
        done = traced(folder / "good", command_line(login, folder, server.address))
        server.close()
        assert (done.returncode, done.stderr) == (0, "")
        return own_calls(folder / "good")

    return record


def sample_of(calls, login, ended, is_large):
    """Calls and errors: the first call of each kind on the way and the last ones, a quarter of them by each login and
    before each peer, and as many others. A large sample has every call on the way,
    and one of sixteen before, half of them before each peer."""
    chance = draws(login, ended, is_large)
    way = [call for call in calls if call.on_the_way]
    before = calls[: -len(way)]
    if is_large:
        taken = [*way[ended::2], *chance.sample(before, len(before) // (2 * STRIDE))]
    else:
        first = {call.name: call for call in reversed(way)}
        turn = (SEED + ended + 2 * LOGINS.index(login)) % 4
        chosen = [*first.values(), *way[-3:]]
        taken = [*chosen[turn::4], *chance.sample(way, 3), *chance.sample(before, 3)]
    errors = chance.sample(ERRORS, len(ERRORS)) * len(taken)
    return list(zip(taken, errors))


def what_is_wrong(done, ended, submitted):
    """In a few words; "" for nothing."""
    code = done.returncode
    if code == -signal.SIGABRT and done.stderr.startswith("libxml2: getentropy failed"):
        return ""  # libxml2 ends the process while it is loaded, and nothing can ask it not to
    faults = {
        f"ended with {code}": code not in {0, 1, 2, 3},
        "a false 0": code == 0 and not (ended and submitted == 1),
        f"a {code} after it printed that the session ended well": code != 0 and "session ended: ok" in done.stdout,
        "submitted twice": submitted > 1,
        "a traceback": "Traceback" in done.stderr,
        "stderr has not one line for a 2, and none otherwise": done.stderr.count("\n") != (code == 2),
    }
    return next((fault for fault, is_so in faults.items() if is_so), "")


def let_fail(scripted, folder, login, ended, taken):
    """Runs the command for each of these calls and errors."""
    server = scripted(session(login, ended))
    line = command_line(login, folder, server.address)
    faults = []
    failed = 0
    for call, error in taken:
        before = len(server.peers)
        inject = f"inject={call.name}:error={error}:when={call.number}"
        log = folder / "log"
        done = traced(log, line, "--seccomp-bpf", "-e", f"trace={call.name}", "-e", inject)
        failed += "(INJECTED)" in log.read_text(errors="replace")
        submitted = [
            document for peer in server.peers[before:] for document in peer.received if document.startswith("<jobs")
        ]
        fault = what_is_wrong(done, ended, len(submitted))
        if fault:
            faults.append(f"{inject}: {fault}: {done.stderr}")
    assert not faults, f"{REPEAT}: {len(faults)} of {len(taken)}:\n" + "\n".join(faults)
    assert failed > len(taken) / 2  # two runs may differ by a poll or two


RUNS = [
    pytest.param("osuser", False, id="osuser, never ended"),
    pytest.param("osuser", True, id="osuser, ended"),
    pytest.param("challenge", False, id="challenge, never ended"),
    pytest.param("challenge", True, id="challenge, ended", marks=pytest.mark.version("what an interpreter calls")),
]


@pytest.mark.parametrize(
    "is_large",
    [False, pytest.param(True, marks=(pytest.mark.large, pytest.mark.timeout(900)))],
    ids=["a sample", "every call on the way"],
)
@pytest.mark.parametrize(("login", "ended"), RUNS)
def test_no_failing_system_call_brings_a_traceback_or_a_false_0(  # noqa: PLR0917
    calls, scripted, tmp_path, login, ended, is_large
):
    every = calls(login)
    is_whole = EXHAUSTIVE and not is_large
    all_of_them = ((call, error) for call in every for error in ERRORS)
    taken = list(all_of_them) if is_whole else sample_of(every, login, ended, is_large)
    let_fail(scripted, tmp_path, login, ended, taken)
