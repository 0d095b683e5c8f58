"""A way in which the command can fail: how it is described, the steps that scripts for it are made of, and one call of
the command that goes this way."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from support.process import PATIENCE, Command
from support.scripted_server import Peer, ScriptedServer
from support.sockets import reset
from support.waiting import wait_until

if os.name != "nt":
    import resource

    from support.terminal import Terminal

NOT = "not submitted"
SUBMITTED = "submitted"
UNKNOWN = "unknown"

CHALLENGE = ("-u", "R41", "-p", "secret")

Prepare = Callable[[Path], object]  # makes files in the folder in which the command runs


def as_it_is(folder: Path) -> Path:
    return folder


class WatchedPeer(Peer):
    """A peer whose script knows the client: its process, once it has started, and the file that it prints to."""

    def __init__(self, peer: Peer, client: Future[subprocess.Popen[Any]], shown: Path) -> None:
        super().__init__(peer.sock)
        self.received = peer.received
        self.client = client
        self.shown = shown


class Way(NamedTuple):
    """One way to fail. `reason` is an expression for the text of the error: what is constant in the code, and `.*` for
    the values that it fills in, so that the list can be held against the code."""

    name: str
    code: int
    jobs: str
    reason: str
    script: Callable[[WatchedPeer], object] | None = None  # None: the server sees no connection
    argv: tuple[str, ...] = ()  # added to a good line; ADDRESS in it is that of the server
    prepare: Prepare = as_it_is
    types: Callable[[Terminal], object] | None = None  # somebody at a terminal
    service: Callable[[ExitStack], str] | None = None  # another -s than the scripted server
    stack: int | None = None  # bytes: a quarter of it is what a command line may have
    wire: str = ""  # PLANTA_WIRE


def send_and_see(peer: WatchedPeer, document: str, text: str) -> None:
    """Sends this, and returns when the command has shown that."""
    peer.send(document)
    wait_until(lambda: text in peer.shown.read_text())


def end_with_reset(peer: WatchedPeer) -> None:
    reset(peer.sock)


def wait(peer: WatchedPeer) -> None:
    """Neither reads nor sends anything."""
    peer.client.result(PATIENCE).wait(PATIENCE)


def terminate(peer: WatchedPeer) -> None:
    peer.client.result(PATIENCE).terminate()
    wait(peer)


def sending(document: str) -> Callable[[WatchedPeer], None]:
    def fault(peer: WatchedPeer) -> None:
        peer.send(document)
        wait(peer)

    return fault


def then(*steps: Callable[[WatchedPeer], object]) -> Callable[[WatchedPeer], None]:
    def script(peer: WatchedPeer) -> None:
        for step in steps:
            step(peer)

    return script


def on_another_connection(
    first: Callable[[WatchedPeer], object], second: Callable[[WatchedPeer], object]
) -> Callable[[WatchedPeer], None]:
    """A script: the first connection is lost after `first`, and the command connects again."""

    def script(peer: WatchedPeer) -> None:
        (second if "connecting again" in peer.shown.read_text() else first)(peer)

    return script


def answer(text: str | bytes) -> Callable[[Terminal], object]:
    """Somebody at a terminal, who types this at the prompt."""
    return lambda terminal: terminal.answer(text)


def secrets(folder: Path) -> None:
    """Makes the folder for a new password file."""
    (folder / "secrets").mkdir()


def refusal(reason: str) -> str:
    return f'<refused reason="{reason}">not you</refused>'


class Failure(NamedTuple):
    """What became of a call."""

    code: int
    shown: list[str]
    complaints: list[str]
    received: list[str]  # by the server
    connections: int


def go(way: Way, command: Command, scripted: Callable[..., ScriptedServer]) -> Failure:
    """Goes one way, in the command's folder."""
    command.secret_file()
    way.prepare(command.folder)
    client: Future[subprocess.Popen[Any]] = Future()
    server = scripted(lambda peer: (way.script or wait)(WatchedPeer(peer, client, command.folder / "stdout")))
    with ExitStack() as stack:
        service = way.service(stack) if way.service else server.address
        line = ["-s", service, "-v", "-t", "-1", "-c", "pass"]
        line += [argument.replace("ADDRESS", server.address) for argument in way.argv]
        environment = {**os.environ, "PYTHONPATH": str(command.folder / "python"), "PLANTA_WIRE": way.wire}
        run = _at_terminal if way.types else _without_terminal
        code, shown, complaints = run(command, way, line, environment, client)
    server.close()
    received = [document for peer in server.peers for document in peer.received]
    return Failure(code, shown, complaints, received, len(server.peers))


def _without_terminal(
    command: Command, way: Way, line: list[str], environment: dict[str, str], client: Future[subprocess.Popen[Any]]
) -> tuple[int, list[str], list[str]]:
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


def _at_terminal(
    command: Command, way: Way, line: list[str], environment: dict[str, str], client: Future[subprocess.Popen[Any]]
) -> tuple[int, list[str], list[str]]:
    with Terminal(command.folder, *line, env=environment) as terminal:
        client.set_result(terminal.process)
        assert way.types
        way.types(terminal)
        code = terminal.end()
    shown = terminal.shown.replace("Password for R41: ", "\n").splitlines()
    complaints = [text for text in shown if text.startswith("planta_headless.py: ")]
    return code, [text for text in shown if text not in complaints], complaints
