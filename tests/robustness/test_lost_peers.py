"""Peers that are stopped or gone: a real server that is stopped, a network that swallows everything or goes down, and
keep-alive. The client is here in this process, with a deadline of a tenth and a clock that stands still until its peer
is gone, or in a network of its own, in real time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from headless.server.accounts import Account
from support.black_hole import NOBODY
from support.clock import StillClock
from support.command_here import Ended
from support.conversations import KEYS
from support.dialogues import STARTED, serving
from support.job_server import QuickServer
from support.process import PATIENCE, ROOT
from support.raw_client import connect
from support.scripted_server import Disconnected, Peer
from support.timed_call import LATE, Timed, stalls
from support.waiting import wait_until

pytestmark = pytest.mark.slow
TENTH = 0.1  # of a second: the deadline
LONG_JOB = "print(1, flush=True); import time; time.sleep(60)"
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has /proc/net/tcp")
posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


# The real server, stopped or behind a link that swallows everything


class Relay:
    """Between a client and a server. Calls `at_stage(relay)` before it passes on the frame of this name."""

    def __init__(self, address: str, stage: str, at_stage: Callable[[Relay], object]) -> None:
        host, _, port = address.rpartition(":")
        self._server = (host, int(port))
        self._begin = f"<{stage}"
        self._at_stage = at_stage
        self.swallows = False

    def __call__(self, here: Peer) -> None:
        with socket.create_connection(self._server, PATIENCE) as sock:
            server = Peer(sock)
            back = threading.Thread(target=self._pass_on, args=(server, here), daemon=True)
            back.start()
            self._pass_on(here, server)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            back.join(PATIENCE)

    def _pass_on(self, source: Peer, target: Peer) -> None:
        with contextlib.suppress(Disconnected, OSError):
            while True:
                document = source.receive()
                if document.startswith(self._begin):
                    self._at_stage(self)
                if not self.swallows:
                    target.send(document)


@pytest.fixture(scope="module")
def real_server(tmp_path_factory):
    account = Account("R42", None, KEYS)
    with QuickServer(tmp_path_factory.mktemp("real") / "home", "--workers", "20", accounts=(account,)) as server:
        yield server


@pytest.fixture
def stop_server(real_server):
    """Stops the real server, as an overloaded machine or a debugger does, for the rest of the test."""
    try:
        yield lambda *_: os.kill(real_server.process.pid, signal.SIGSTOP)
    finally:
        os.kill(real_server.process.pid, signal.SIGCONT)


STAGES = [
    ("login", (1, "not submitted")),
    ("response", (1, "not submitted")),
    ("jobs", (1, "unknown")),
    ("started", (3, "submitted")),
    ("output", (3, "submitted")),
]


def assert_ended_at_deadline(done: Ended, clock: StillClock, code: int, submission: str) -> None:
    last = done.stdout.splitlines()[-1]
    assert (done.returncode, last.rpartition("; ")[2], done.stderr) == (code, f"jobs: {submission}", "")
    assert code == 3 or "in time" in last
    assert TENTH <= clock.seconds() <= TENTH + 4 * LATE


@posix_only
def test_a_server_that_was_stopped_before_the_connection_is_a_1_at_the_deadline(here, real_server, stop_server):
    stop_server()
    clock = StillClock()
    clock.start()
    done = here.by_clock(clock, TENTH, "-s", real_server.address, "-v", "-c", "pass")
    assert "connected to" in done.stdout  # by the kernel, whatever the server does
    assert_ended_at_deadline(done, clock, 1, "not submitted")


@posix_only
@pytest.mark.parametrize("fault", ["stopped", "black hole"])
@pytest.mark.parametrize(("stage", "ending"), STAGES)
def test_the_deadline_holds_when_the_server_is_gone_without_notice(  # noqa: PLR0917
    here, scripted, real_server, stop_server, fault, stage, ending
):
    clock = StillClock()

    def go(relay: Relay) -> None:
        relay.swallows = fault == "black hole"
        if fault == "stopped":
            stop_server()
        clock.start()

    relay = scripted(Relay(real_server.address, stage, go))
    secret = here.secret_file()
    done = here.by_clock(clock, TENTH, "-s", relay.address, "-v", "-u", "R42", "-p", secret, "-c", LONG_JOB)
    assert_ended_at_deadline(done, clock, *ending)


# A network that swallows everything


@pytest.fixture(scope="module")
def namespace():
    """How to run something in a network of its own."""
    complaints = []
    for rights in (("--user", "--map-root-user"), ()):
        line = ["unshare", *rights, "--net"]
        try:
            done = subprocess.run([*line, "ip", "link"], capture_output=True, text=True, check=False, timeout=PATIENCE)
        except FileNotFoundError as error:
            pytest.skip(f"no network namespaces: {error}")
        if done.returncode == 0:
            return line
        complaints.append(done.stderr.strip())
    return pytest.skip(f"no network namespaces: {'; '.join(complaints)}")


def test_a_network_that_answers_nothing_or_goes_down_costs_no_deadline_and_is_found_by_the_heartbeat(
    namespace, tmp_path
):
    """In three such networks at the same time."""
    calls = {
        "nobody": ("-s", f"{NOBODY}:20000", "-v", "-t", "1", "-c", "pass"),
        "heartbeat": ("-vvv", "-t", "-1", "-c", "pass"),
        "deadline": ("-v", "-t", "2", "-c", "pass"),
    }
    with stalls() as late, contextlib.ExitStack() as stack:
        processes = []
        for argv in calls.values():
            line = [*namespace, sys.executable, "-m", "support.black_hole", str(tmp_path), *argv]
            processes.append(
                stack.enter_context(
                    subprocess.Popen(
                        line, cwd=ROOT / "tests", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                    )
                )
            )
        done = {}
        for name, process in zip(calls, processes):
            stdout, stderr = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, stderr
            done[name] = Timed(*json.loads(stdout))
    done["nobody"].assert_ended(1, "not submitted")
    assert done["nobody"].ended - done["nobody"].started >= 1
    assert done["nobody"].since("info connecting") <= 1 + LATE + late()
    done["heartbeat"].assert_ended(1, "submitted")
    assert "silent for more than 3 s" in done["heartbeat"].lines[-1]
    assert 3 <= done["heartbeat"].since("received <") <= 3 + LATE + late()
    done["deadline"].assert_ended_at_deadline(2, 3, "submitted", late())


# Keep-alive, as the kernel shows it


def keep_alive_is_on(local: tuple[str, int], remote: tuple[str, int]) -> bool:
    """Whether the kernel's timer for the socket with these ends is the one of keep-alive. proc(5), /proc/net/tcp."""
    ports = [f"{address[1]:04X}" for address in (local, remote)]
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = row.split()
        if [address.rpartition(":")[2] for address in fields[1:3]] == ports:
            return fields[5].startswith("02:")
    return False


@linux_only
def test_keep_alive_is_on_at_the_end_of_the_client(command, scripted):
    server = scripted(serving(STARTED))
    with command.start("-s", server.address, "-v", "-t", "-1", "-c", "pass") as process:
        try:
            assert any("job 1 started" in line for line in process.stdout)
            sock = server.peers[0].sock
            wait_until(lambda: keep_alive_is_on(sock.getpeername(), sock.getsockname()))
        finally:
            process.kill()


@linux_only
def test_keep_alive_is_on_at_the_end_of_the_server(real_server):
    with connect(real_server).log_in() as client:
        wait_until(lambda: keep_alive_is_on(client.sock.getpeername(), client.sock.getsockname()))
