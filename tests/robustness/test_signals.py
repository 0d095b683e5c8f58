"""SIGTERM, SIGINT and SIGHUP at random moments of a whole run, from the start of the interpreter to the end; and at
more moments of a session, which cost less. `-m large` takes many more of both.

PLANTA_SEED=N repeats the moments of a failure, which names its seed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, suppress
from functools import cache
from pathlib import Path

import pytest

from support.dialogues import ACCEPTED, ENDED, FINISHED, STARTED, WELCOME
from support.job_server import QuickServer
from support.process import ENDING_SIGNALS, PATIENCE, ROOT, SCRIPT, Command
from support.sampling import REPEAT, SEED, draws
from support.scripted_server import ScriptedServer
from support.stalls import stalls
from support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")]

BEGINNINGS = {str(SCRIPT), str(ROOT / "headless" / "__init__.py"), str(ROOT / "headless" / "__main__.py")}
JOB_SECONDS = 0.05
SOON = 1.0  # seconds in which a signal ends the command, on a machine that is never late
PATIENT = 5.0  # seconds: much for a process that ends by itself on a busy machine, and little for one that waits
SECONDS_OF_A_RECEIPT = 0.3  # that it may take after a signal
REHEARSAL = ("-m", "headless", "rehearse", "-t", "-1", "-c")
BRIEF, ENDLESS = "import time; time.sleep(0.3)", "import time; time.sleep(600)"


class Session:
    """A script: a good session whose job lasts a little. It ends well only if no signal has been sent before that."""

    def __init__(self) -> None:
        self.ended = False
        self._one_at_a_time = threading.Lock()
        self._signalled = threading.Event()

    def __call__(self, peer):
        peer.receive()
        peer.send(WELCOME)
        peer.receive()
        peer.send(ACCEPTED, STARTED)
        self._signalled.wait(JOB_SECONDS)
        with self._one_at_a_time:
            if not self._signalled.is_set():
                self.ended = True
                peer.send(FINISHED, ENDED)
        peer.wait_for_disconnect()

    def signal(self, process, signum):
        with self._one_at_a_time:
            self._signalled.set()
            process.send_signal(signum)


def wait_for_end(process, seconds):
    """What it printed on stderr, and whether it ended by itself in this time. It has ended in any case."""
    try:
        return process.communicate(timeout=seconds)[1], True
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate(timeout=PATIENCE)[1], False


def is_the_interpreters_own(stderr, signals):
    """Whether SIGINT struck while the interpreter was starting, up to the first line of the file that it has to
    run, where a module of site-packages may take part in imports: nothing of ours could prevent it. Inside what that
    file imports, it could."""
    if signal.SIGINT not in signals or not stderr or "planta_headless.py: error" in stderr:
        return False
    files = re.findall(r'^ *File "(.*?)", line', stderr, re.MULTILINE)
    own = [file for file in files if file.startswith(str(ROOT)) and "site-packages" not in file]
    if not own:
        return True
    inside = files[files.index(own[0]) + 1 :]
    return own[0] in BEGINNINGS and all(file.startswith("<frozen") or "site-packages" in file for file in inside)


@cache
def seconds_of_a_run(*line):
    """How long a run lasts here that no signal ends."""
    begin = time.monotonic()
    with ExitStack() as stack:
        if not line:
            server = stack.enter_context(closing(ScriptedServer(Session())))
            line = ("planta_headless.py", "-s", server.address, "-t", "-1", "-v", "-c", "pass")
        subprocess.run([sys.executable, *line], cwd=ROOT, check=True, capture_output=True, timeout=PATIENCE)
        return time.monotonic() - begin


def moments(count, *salt):
    """So many random moments of a run, one in each part of it, another series for each salt: the part of the run, and
    seconds between two signals."""
    chance = draws(*salt)
    return [((number + chance.random()) * 1.05 / count, chance.uniform(0.001, 0.020)) for number in range(count)]


def strike(command, scripted, moment, signals, *, apart, receipts, of_session):
    """Runs the command and sends these signals; returns what is wrong with how it ended, "" for nothing, and how many
    seconds that took. The moment is in seconds from the start of the interpreter, or from the client's first line."""
    session = Session()
    line = ("-s", scripted(session).address, "-t", "-1", "-v", "-c", "pass")
    environment = {**os.environ, "PLANTA_RECEIPT": str(receipts or "")}
    with command.start(*line, env=environment, executed=not of_session) as process:
        if of_session:
            assert "connecting" in process.stdout.readline()
        time.sleep(moment)
        for signum in signals:
            session.signal(process, signum)
            sent_at = time.monotonic()
            time.sleep(apart)
        stderr, by_itself = wait_for_end(process, PATIENT)
        took = time.monotonic() - sent_at
    if is_the_interpreters_own(stderr, signals):
        return "a false 0" if process.returncode == 0 and not session.ended else "", 0.0
    what = f"{list(signals)} at {moment:.4f} s, {of_session=}: ended with {process.returncode}"
    allowed = {-signum for signum in signals} | ({0} if session.ended else set())
    warning = re.fullmatch(r".* warning: PLANTA_RECEIPT: .* cannot be written: (.*)\n", stderr)
    is_foreseen = warning and (  # the disk of a busy machine may take longer than a receipt has time after a signal
        re.fullmatch(r"a signal \(\d+\) came before that", warning[1])
        or (warning[1].startswith("for too long") and took >= SECONDS_OF_A_RECEIPT)
    )
    if (stderr and not is_foreseen) or not by_itself or process.returncode not in allowed:
        return f"{what}, by itself: {by_itself}, stderr: {stderr}", took
    noted = [json.loads(line) for line in receipts.read_text().splitlines()] if receipts and receipts.exists() else []
    ends = [said for said in noted if said["event"] == "end"]
    if any(said["code"] != process.returncode and said["signal"] != -process.returncode for said in ends):
        return f"{what}, but the receipt says {noted}", took
    return "", took


def some_and_many(some, many):
    """How many moments are taken, by default and with -m large."""
    marks = (pytest.mark.large, pytest.mark.timeout(600))
    return pytest.mark.parametrize("count", [some, pytest.param(many, marks=marks)])


INTERRUPT = pytest.param(signal.SIGINT, marks=pytest.mark.version("SIGINT while the interpreter starts"))


@pytest.mark.parametrize("first", [INTERRUPT, *(each for each in ENDING_SIGNALS if each != signal.SIGINT)])
@some_and_many(8, 48)
def test_signals_at_any_moment_end_the_process_by_one_of_them_and_a_receipt_says_so(
    command, scripted, tmp_path, first, count
):
    """At so many moments of a whole run, and at three times as many of a session: one signal or two, with a receipt or
    without."""
    chance, span = draws(first), seconds_of_a_run()
    others = [signum for signum in ENDING_SIGNALS if signum != first]
    strikes = [(part * span, apart, False) for part, apart in moments(count, first)]
    strikes += [(part * 1.5 * JOB_SECONDS, apart, True) for part, apart in moments(3 * count, first, "session")]
    ended = []
    with stalls() as late:
        for number, (moment, apart, of_session) in enumerate(strikes):
            signals = [first, *chance.sample(others, number % 2)]
            receipts = tmp_path / f"{number}" if number % 4 < 2 else None
            ended.append(
                strike(command, scripted, moment, signals, apart=apart, receipts=receipts, of_session=of_session)
            )
    faults = [fault for fault, _ in ended if fault]
    slowest = max(took for _, took in ended)
    if slowest > SOON + late():
        faults.append(f"ended after {slowest:.2f} s")
    assert not faults, f"{REPEAT}: " + "\n".join(faults)


@pytest.fixture
def full_pipe():
    """A pipe that is full, and is not read."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while os.write(writer, bytes(65536)):
            pass
    os.set_blocking(writer, True)
    yield writer
    os.close(reader)
    os.close(writer)


def test_a_signal_ends_a_command_whose_stderr_is_a_full_pipe(command, full_pipe):
    with command.start("-s", "127.0.0.1:1", "-u", "R41", "-p", "no-file", "-v", "-c", "1", stderr=full_pipe) as process:
        process.stdout.readline()  # the last line of -v, before the one on stderr
        process.terminate()
        assert process.wait(PATIENCE) == -signal.SIGTERM


def test_a_signal_ends_a_query_whose_stdout_is_a_full_pipe(full_pipe, tmp_path):
    with QuickServer(tmp_path / "home") as server:
        line = (sys.executable, "headless", "sessions", "-s", server.address)
        Command(tmp_path)("-s", server.address, "-t", "-1", "-c", "1")
        with subprocess.Popen(line, cwd=ROOT, stdout=full_pipe) as process:
            time.sleep(seconds_of_a_run())
            process.terminate()
            assert process.wait(PATIENCE) == -signal.SIGTERM


# Rehearsals


def processes_with(text):
    """The processes that have this text in their environment. None are found where there is no /proc."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if os.fsencode(text) in environment.read_bytes():
                found.append(int(environment.parent.name))
        except OSError:  # it has ended, or is not ours to look into
            pass
    return found


def rehearse_and_strike(folder, moment, signum, job):
    """What is wrong with how a rehearsal ended, and with what it left; "" for nothing."""
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(
        [sys.executable, *REHEARSAL, job],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        time.sleep(moment)
        process.send_signal(signum)
        stderr, by_itself = wait_for_end(process, PATIENT)
    until = time.monotonic() + PATIENT
    while (left := processes_with(str(folder))) and time.monotonic() < until:
        time.sleep(0.01)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    if is_the_interpreters_own(stderr, [signum]):
        return ""
    allowed = {-signum} if job == ENDLESS else {-signum, 0}
    files = [str(path) for path in folder.rglob("*")]
    is_noted = stderr.startswith("headless rehearse: the jobs really run, ") and stderr.count("\n") == 1
    if (stderr and not is_noted) or not by_itself or process.returncode not in allowed or left or files:
        ended = f"ended with {process.returncode}, in time: {by_itself}, stderr: {stderr}"
        return f"{signum!r} at {moment:.4f} s of {job}: {ended}; left behind: {left} {files}"
    return ""


@pytest.mark.parametrize("signum", ENDING_SIGNALS)
@some_and_many(2, 10)
def test_a_signal_at_any_moment_ends_a_rehearsal_and_leaves_nothing_behind(tmp_path, signum, count):
    """One half of the moments in a job that ends soon, the other half in one that never ends."""
    span = seconds_of_a_run(*REHEARSAL, BRIEF)
    jobs = (ENDLESS, BRIEF) if (SEED + signum) % 2 else (BRIEF, ENDLESS)
    faults = [
        rehearse_and_strike(tmp_path / str(number), part * span, signum, jobs[2 * number // count])
        for number, (part, _) in enumerate(moments(count, "rehearsal", signum))
    ]
    assert not any(faults), f"{REPEAT}: " + "\n".join(filter(None, faults))


# The first process of a container, to which the kernel gives no signal that has its default action


@pytest.fixture(scope="module")
def unshare():
    """What runs a command as the first process of a container."""
    for options in ((), ("--user", "--map-root-user")):
        line = ("unshare", *options, "--pid", "--fork", "--mount-proc", "--kill-child")
        with suppress(OSError):
            if subprocess.run([*line, "true"], capture_output=True, timeout=PATIENCE, check=False).returncode == 0:
                return line
    return pytest.skip("NOT TESTED: unshare cannot make a container here")


CONTAINED = [
    *(f"{signum.name} planta_headless.py -v -s ADDRESS -t -1 -c 1" for signum in ENDING_SIGNALS),
    "SIGINT headless wait s1 -v -s ADDRESS -t -1",
    "SIGTERM headless rehearse -v -t -1 -c __import__('time').sleep(600)",
    "SIGTERM headless check /dev/stdin",
    "SIGHUP headless rehearse --crontab -",
    "SIGINT headless user add R41 --password-stdin --home HOME",
]


def is_caught(pid, signum):
    (mask,) = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(mask, 16) >> (signum - 1) & 1)


@pytest.mark.parametrize("line", CONTAINED)
def test_the_first_process_of_a_container_ends_with_128_and_the_number(scripted, unshare, tmp_path, line):
    """While it waits for a server, a job or its input."""
    server = scripted(lambda peer: peer.wait_for_disconnect())
    name, *words = line.replace("ADDRESS", server.address).replace("HOME", str(tmp_path / "home")).split()
    command = [*unshare, sys.executable, *words]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            if "-v" in words:
                while "connected to" not in process.stdout.readline():
                    assert process.poll() is None
            else:
                wait_until(lambda: [pid for pid in children.read_text().split() if is_caught(pid, signal.SIGHUP)])
            os.kill(int(children.read_text().split()[0]), getattr(signal, name))
            assert process.wait(PATIENCE) == 128 + getattr(signal, name)
        finally:
            process.kill()
