"""record: runs an old client through a relay, and notes which call it was; or listens for clients elsewhere."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shlex
import signal
import ssl
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from headless.arguments import path
from headless.client.preparation import effective_user
from headless.dialects.vocabulary import CHALLENGE, OSUSER
from headless.errors import CommandFailed, ParameterError
from headless.options import ChallengeLogin, JobOptions, Service, parse
from headless.protocol_tools.checklist import print_checklist
from headless.protocol_tools.recordings import Folder, RecordedCall
from headless.protocol_tools.relay import Relay, server_context
from headless.system import host_and_port
from headless.terminal import print_note, print_warning

PROGRAM = "headless protocol record"
_SECONDS_AFTER_THE_CLIENT = 2.0  # that a connection may go on
_SCRIPT = "planta_headless.py"
# The old script's parser takes -s VALUE, -sVALUE, -vsVALUE, --service VALUE, --service=VALUE, --serv=VALUE.
_SHORT = re.compile(r"-[vqh]*s(.*)", re.DOTALL)
_LONG = re.compile(r"--se(?:r(?:v(?:i(?:c(?:e)?)?)?)?)?(?:=(.*))?", re.DOTALL)
_PLACE = "{}"


def add(commands: Any) -> None:
    """Adds the command to those of `headless protocol`."""
    text = "record what a client and its server say to each other"
    parser = commands.add_parser("record", help=text, description=_DESCRIPTION, epilog=_EPILOG)
    parser.set_defaults(command=run, program=PROGRAM)
    parser.add_argument("--talk", required=True, type=path, metavar="DIR", help="the folder of the recordings")
    parser.add_argument("--to", type=_service, metavar="[tls://]HOST:PORT", help="the server")
    parser.add_argument(
        "--listen", type=_address, metavar="HOST:PORT", help="where clients connect; port 0: a free one"
    )
    parser.add_argument("--call", metavar="OPTIONS", help="the call, if no old command line says it")
    parser.add_argument("--label", default="", metavar="TEXT", help="a name for this recording")
    parser.add_argument("--expect", type=int, choices=range(4), help="the code that planta_headless.py shall return")
    parser.add_argument("--wrong-password", action="store_true", help="the password of this call is wrong")
    parser.add_argument("--tls-cert", type=path, metavar="FILE", help="speak TLS to the client, with this certificate")
    parser.add_argument("--tls-key", type=path, metavar="FILE", help="the key of the certificate")
    parser.add_argument("old", nargs="*", metavar="OLD COMMAND LINE", help="the old client, with all its options")


_DESCRIPTION = """Stands between a client and its server, and writes down what they say. With an old command line it is
run, with the address of this relay in the place of the value of -s, or of the word {}. Without one, clients elsewhere
may connect until Ctrl-C. With --talk alone it lists the calls that are worth recording."""
_EPILOG = "Recordings hold what proves a password: only you can read them. Delete them when you are done."


def run(arguments: argparse.Namespace) -> int:
    """Returns the exit status. Raises HeadlessError."""
    folder = Folder(arguments.talk)
    if arguments.to is None:
        if arguments.old or arguments.listen or arguments.call:
            raise ParameterError("--to HOST:PORT is missing")
        return print_checklist(folder)
    call = _described(arguments)
    folder.create()
    relay = Relay(folder, arguments.to, _upstream(arguments.to), _downstream(arguments))
    status = asyncio.run(_record(arguments, relay, folder, call))
    for problem in relay.problems:
        print_warning(PROGRAM, problem)
    return 1 if relay.problems or not relay.connections else status


def _described(arguments: argparse.Namespace) -> RecordedCall:
    """Returns the call as our options read it. Raises ParameterError."""
    words = shlex.split(arguments.call) if arguments.call else _options_of(arguments.old)
    expected, is_right = arguments.expect, not arguments.wrong_password
    call = RecordedCall(label=arguments.label, expected=expected, is_password_right=is_right)
    if not words:
        return call
    try:
        options = parse(words if _place_of_service(words) else ["-s", str(arguments.to), *words])
    except ParameterError as error:
        raise ParameterError(f"the call cannot be read: {error}; --call says what it is") from None
    return replace(call, **_fields_of(options))


def _fields_of(options: JobOptions) -> dict[str, Any]:
    is_challenge = isinstance(options.login, ChallengeLogin)
    return {
        "login": CHALLENGE if is_challenge else OSUSER,
        "user": options.login.user,
        "os_user": "" if is_challenge else effective_user(),
        "jobs": options.jobs,
        "timeout": options.timeout,
    }


def _options_of(old: Sequence[str]) -> list[str]:
    """Returns the words behind the script in an old command line, or behind its first word."""
    scripts = [number for number, word in enumerate(old) if os.path.basename(word) == _SCRIPT]
    return list(old[(scripts[0] if scripts else 0) + 1 :])


def _place_of_service(words: Sequence[str]) -> tuple[int, str] | None:
    """Returns the number of the word in which the value of -s is, and what is before the value in it."""
    for number, word in enumerate(words):
        match = _LONG.fullmatch(word) if word.startswith("--") else _SHORT.fullmatch(word)
        if match is not None:
            value = match[1] or ""
            return (number, word[: len(word) - len(value)]) if value else (number + 1, "")
    return None


def replace_service(old: Sequence[str], address: str) -> list[str]:
    """Returns the command line with this address for its server. Raises ParameterError if there is no place for it."""
    words = list(old)
    if _PLACE in words:
        return [address if word == _PLACE else word for word in words]
    place = _place_of_service(words)
    if place is None or place[0] >= len(words):
        raise ParameterError(f"the old command line has no -s HOST:PORT, and no word {_PLACE} in its place")
    number, before = place
    words[number] = before + address
    return words


async def _record(arguments: argparse.Namespace, relay: Relay, folder: Folder, call: RecordedCall) -> int:
    host, port = arguments.listen or ("127.0.0.1", 0)
    try:
        server = await relay.listen(host, port)
    except OSError as error:
        raise CommandFailed(f"{host}:{port} cannot be listened at: {error.strerror or error}") from None
    address = "{}:{}".format(*server.sockets[0].getsockname()[:2])
    async with server:
        if arguments.old:
            words = replace_service(arguments.old, address)
            status = await _run_client(words)
            server.close()
            await relay.close(_SECONDS_AFTER_THE_CLIENT)
            if relay.connections:
                folder.add_call(replace(call, status=status, connections=tuple(relay.connections)))
            print_note(PROGRAM, f"the client returned {status}; {len(relay.connections)} connections recorded")
            return 0
        print(f"listening on {address}", flush=True)
        await _until_interrupted()
        await relay.close(0)
    for name in relay.connections:
        folder.add_call(replace(call, connections=(name,)))
    return 0


async def _run_client(words: Sequence[str]) -> int:
    """Returns the exit status of the old client, whose standard streams are ours."""
    loop = asyncio.get_running_loop()
    try:
        process = subprocess.Popen(words)
    except OSError as error:
        raise CommandFailed(f"{words[0]} cannot be started: {error.strerror}") from None
    return await loop.run_in_executor(None, process.wait)


async def _until_interrupted() -> None:
    """Returns at the first signal that asks the process to end."""
    came = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        if sys.platform == "win32":
            signal.signal(signum, lambda *_: loop.call_soon_threadsafe(came.set))
        else:
            loop.add_signal_handler(signum, came.set)
    while not came.is_set():
        try:
            await asyncio.wait_for(came.wait(), 0.5)  # Windows sees a signal only between two waits
        except asyncio.TimeoutError:
            continue


def _upstream(service: Service) -> ssl.SSLContext | None:
    return ssl.create_default_context() if service.tls else None


def _downstream(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    if arguments.tls_cert is None and arguments.tls_key is None:
        return None
    if arguments.tls_cert is None or arguments.tls_key is None:
        raise ParameterError("--tls-cert and --tls-key belong together")
    try:
        return server_context(arguments.tls_cert, arguments.tls_key)
    except OSError as error:
        raise ParameterError(f"--tls-cert and --tls-key cannot be used: {error}") from None


def _service(text: str) -> Service:
    try:
        host, port = host_and_port(text.removeprefix("tls://"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None
    return Service(host, port, text.startswith("tls://"))


def _address(text: str) -> tuple[str, int]:
    try:
        return host_and_port(text, least_port=0)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None
