"""A way in which the command can fail: how it is described, the steps that scripts for it are made of, and one call of
the command that goes this way: in this process, or as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from support.command_here import SteeredCommand
from support.process import PATIENCE, Command
from support.scripted_server import Peer, ScriptedServer
from support.waiting import wait_until

if os.name != "nt":
    from support.terminal import Terminal

NOT = "not submitted"
SUBMITTED = "submitted"
UNKNOWN = "unknown"

CHALLENGE = ("-u", "R41", "-p", "secret")

Prepare = Callable[[Path], object]  # makes files in the folder in which the command runs


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
        self.send_signal(signal.SIGTERM)

    def send_signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

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


Fault = tuple[str, int, str, str, Step, tuple[str, ...]]  # at any stage: name, code, jobs, reason, step, options


class Way(NamedTuple):
    """One way to fail. `reason` is an expression for the text of the error: what is constant in the code, and `.*` for
    its values, so that the list can be compared with the code."""

    name: str
    code: int
    jobs: str
    reason: str
    script: Step | None = None  # None: the server sees no connection
    argv: tuple[str, ...] = ()  # added to a good line; ADDRESS in it is that of the server
    prepare: Prepare = Path.exists  # makes none
    types: Callable[[Terminal], object] | None = None  # a person at a terminal
    service: Callable[[ExitStack], str] | None = None  # another -s than the scripted server
    dialect: str = ""  # PLANTA_PROTOCOL
    hands_over: str = "<jobs"  # with what a message begins that hands over the jobs
    around: Callable[[], AbstractContextManager[object]] = nullcontext  # of a call in this process
    paces: tuple[float, ...] = ()  # of its deadlines, in this process
    as_process: bool = False  # it cannot be in this process: its memory, its descriptors, its libraries


# Steps


def seeing(text: str) -> Step:
    """Returns when the command has shown this."""
    return lambda peer: wait_until(lambda: text in peer.shown.read_text())


def send_and_see(peer: WatchedPeer, document: str, text: str) -> None:
    """Sends this, and returns when the command has shown that."""
    peer.send(document)
    seeing(text)(peer)


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


def on_another_connection(first: Step, second: Step) -> Step:
    """A script: the first connection is lost after `first`, and the command connects again."""
    return lambda peer: (second if "connecting again" in peer.shown.read_text() else first)(peer)


def answer(text: str | bytes) -> Callable[[Terminal], object]:
    """A person at a terminal, who types this at the prompt."""
    return lambda terminal: terminal.answer(text)


def secrets(folder: Path) -> None:
    """Makes the folder for a new password file."""
    (folder / "secrets").mkdir()


def refusal(reason: str) -> str:
    return f'<refused reason="{reason}">not you</refused>'


class Failure(NamedTuple):
    """How a call ended."""

    code: int
    shown: list[str]
    complaints: list[str]
    received: list[str]  # by the server
    connections: int


def go(way: Way, command: Command, scripted: Callable[..., ScriptedServer], as_process: bool = False) -> Failure:
    """Goes one way, in the command's folder; in this process, unless the way or the caller says otherwise."""
    command.secret_file()
    way.prepare(command.folder)
    process = RunningProcess() if as_process or way.as_process or way.types else None
    here = SteeredCommand(command.folder, *way.paces)
    client = process or here
    server = scripted(lambda peer: (way.script or wait)(WatchedPeer(peer, client, here.shown)))
    with ExitStack() as stack:
        service = way.service(stack) if way.service else server.address
        line = ["-s", service, "-v", "-t", "-1", "-c", "pass"]
        line += [argument.replace("ADDRESS", server.address) for argument in way.argv]
        environment = {**os.environ, "PLANTA_PROTOCOL": way.dialect}
        if process is None:
            with way.around():
                done = here(*line, env=environment)
            code, shown, complaints = done.returncode, done.stdout, done.stderr
        else:
            if way.as_process or way.types:
                environment["PYTHONPATH"] = str(command.folder / "python")
            end_of = _at_terminal if way.types else _without_terminal
            code, shown, complaints = end_of(command, way, line, environment, process)
    server.close()
    received = [document for peer in server.peers for document in peer.received]
    return Failure(code, shown.splitlines(), complaints.splitlines(), received, len(server.peers))


def _without_terminal(
    command: Command, _way: Way, line: list[str], environment: dict[str, str], client: RunningProcess
) -> tuple[int, str, str]:
    shown = command.folder / "stdout"
    with open(shown, "w") as stdout, command.start(*line, env=environment, stdout=stdout) as process:
        client.started.set_result(process)
        try:
            complaints = process.communicate(timeout=PATIENCE)[1]
        finally:
            process.kill()
            client.is_over.set()
    return process.returncode, shown.read_text(), complaints


def _at_terminal(
    command: Command, way: Way, line: list[str], environment: dict[str, str], client: RunningProcess
) -> tuple[int, str, str]:
    with Terminal(command.folder, *line, env=environment) as terminal:
        client.started.set_result(terminal.process)
        assert way.types
        way.types(terminal)
        code = terminal.end()
        client.is_over.set()
    lines = terminal.shown.replace("Password for R41: ", "\n").splitlines()
    complaints = [text for text in lines if text.startswith("planta_headless.py: ")]
    return code, "\n".join(text for text in lines if text not in complaints), "\n".join(complaints)
