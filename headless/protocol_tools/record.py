"""record: runs an old client through a relay, and notes the call; or listens for clients elsewhere.

By itself it lists the calls that are worth recording, and which of them are there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shlex
import signal
import ssl
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Callable

from headless.arguments import path
from headless.client.preparation import effective_user
from headless.dialects.vocabulary import CHALLENGE, OSUSER
from headless.errors import CommandFailed, ParameterError
from headless.options import Answer, ChallengeLogin, JobOptions, Service, parse
from headless.protocol_tools.checklist import counted
from headless.protocol_tools.recordings import Folder, RecordedCall
from headless.protocol_tools.relay import Recorder, Relay
from headless.system import host_and_port, load_certificate
from headless.terminal import print_note, print_warning

PROGRAM = "headless protocol record"
_SECONDS_AFTER_THE_CLIENT = 2.0  # that a connection may go on
_SCRIPT = "planta_headless.py"
_INTERPRETER = re.compile(r"(python[w\d.]*|py)(\.exe)?", re.IGNORECASE)
# An option of the old script that takes a value, as its parser reads it: -s VALUE, -sVALUE, -vsVALUE, --service VALUE,
# --service=VALUE, --serv=VALUE. Those that take none begin with v, q and h.
_OPTION = re.compile(r"(-[vqh]*(?P<letter>[a-z])|--(?P<name>[^vqh=][^=]*)(?:=|$))(?P<value>.*)", re.DOTALL)
_OF_LOGIN = ("-a", "--a", "-p", "--se")  # --auth, --secret
_PLACE = "{}"
_TLS = "tls://"
_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where a client finds what listens everywhere
_LARGEST_STATUS = 255


def add(commands: Any) -> None:
    """Adds the command to those of `headless protocol`."""
    text = "record what a client and its server say to each other"
    parser = commands.add_parser("record", help=text, description=_DESCRIPTION, epilog=_EPILOG, usage=_USAGE)
    parser.set_defaults(command=run, program=PROGRAM)
    parser.add_argument("--talk", required=True, type=path, metavar="DIR", help="the folder of the recordings")
    parser.add_argument("--to", type=_service, metavar="[tls://]HOST:PORT", help="the server")
    parser.add_argument(
        "--listen", type=_address, metavar="HOST:PORT", help="where clients connect; port 0: a free one"
    )
    parser.add_argument(
        "--call",
        metavar="OPTIONS",
        help="the call, if no old command line says it, with its login: '-u R41 -p FILE -t -1 -m 009ABC'",
    )
    parser.add_argument("--label", default="", metavar="TEXT", help="a name for this recording")
    parser.add_argument("--expect", type=int, choices=range(4), help="the code that planta_headless.py shall return")
    parser.add_argument("--wrong-password", action="store_true", help="the password of this call is wrong")
    parser.add_argument("--forget", metavar="CONNECTION", help="delete the call with this connection, as 0008")
    parser.add_argument("--tls-cert", type=path, metavar="FILE", help="speak TLS to the client, with this certificate")
    parser.add_argument("--tls-key", type=path, metavar="FILE", help="the key of the certificate")
    parser.add_argument("old", nargs=argparse.REMAINDER, metavar="OLD COMMAND LINE", help="the old client, and options")


_USAGE = f"{PROGRAM} --talk DIR [--forget CONNECTION | --to [tls://]HOST:PORT [options] [-- OLD COMMAND LINE]]"
_DESCRIPTION = """Stands between a client and its server, and writes down what they say. With an old command line it is
run, with the address of this relay in the place of the value of -s, or of the word {}; the exit status is that of the
old client. Without one, clients elsewhere may connect until Ctrl-C. With --talk alone it lists the calls that are worth
recording."""
_EPILOG = "Recordings hold what proves a password: only you can read them. Delete them when you are done."


def run(arguments: argparse.Namespace) -> int:
    """Returns the exit status. Raises HeadlessError."""
    folder = Folder(arguments.talk)
    old = arguments.old[1:] if arguments.old[:1] == ["--"] else arguments.old
    if arguments.forget is not None:
        if old or arguments.wrong_password or arguments.options_given != {"talk", "forget"}:
            raise ParameterError("--forget goes with --talk alone")
        folder.forget(arguments.forget)
        return 0
    if arguments.to is None:
        if old or arguments.wrong_password or arguments.options_given != {"talk"}:
            raise ParameterError("--to HOST:PORT is missing: it says where the server is")
        return _print_checklist(folder)
    if arguments.listen == (arguments.to.host, arguments.to.port):
        raise ParameterError("--listen and --to are the same address")
    call = _described(arguments, old)
    downstream = _downstream(arguments)
    if old:
        replace_service(old, "", False)  # a mistake in it is found before anything is done
    if call.expected is None and any("raise " in job.text for job in call.jobs):
        print_warning(PROGRAM, "a job may fail (raise), and no --expect says what our command has to return")
    folder.create()
    return _record(arguments, folder, call, old, downstream)


def _record(
    arguments: argparse.Namespace,
    folder: Folder,
    call: RecordedCall,
    old: Sequence[str],
    downstream: ssl.SSLContext | None,
) -> int:
    problems: list[str] = []

    def complain(text: str) -> None:
        problems.append(text)
        print_warning(PROGRAM, text)

    def note(connection: str) -> None:
        if not old:
            folder.add_call(replace(call, connections=(connection,)))
            print_note(PROGRAM, f"connection {connection} is recorded")

    recorder = Recorder(folder, complain, note)
    upstream = ssl.create_default_context() if arguments.to.tls else None
    relay = Relay(recorder, complain, arguments.to, upstream, downstream)
    try:
        status = asyncio.run(_serve(relay, arguments.listen or ("127.0.0.1", 0), old, downstream is not None))
    finally:
        recorder.close()
    connections = tuple(recorder.connections)
    if old:
        how = f"was ended by signal {-status}" if status < 0 else f"returned {status}"
        print_note(PROGRAM, f"the old client {how}; connections recorded: {' '.join(connections) or 'none'}")
    if not (connections or problems):
        complain("nothing came to the relay, and nothing is recorded")
    elif connections and old and recorder.is_whole:
        try:
            folder.add_call(replace(call, status=status, connections=connections))
        except OSError as error:
            complain(f"the call cannot be noted: {error.strerror}")
    return _exit_status(status) or bool(problems)


def _exit_status(status: int) -> int:
    """Returns the exit status of the old client as a shell has it. Ctrl-C ends this process, too."""
    if status < 0:
        return status if status == -signal.SIGINT else 128 - status
    return status if status <= _LARGEST_STATUS else 1


async def _serve(relay: Relay, listen: tuple[str, int], old: Sequence[str], is_tls: bool) -> int:
    """Returns what the old client has returned, or 0 after an interruption. Raises CommandFailed."""
    try:
        server = await relay.listen(*listen)
    except OSError as error:
        raise CommandFailed(f"{Service(*listen, tls=False)} cannot be listened at: {error.strerror or error}") from None
    host, port = server.sockets[0].getsockname()[:2]
    status = 0
    try:
        if old:
            address = Service(_HERE.get(host, host), port, tls=False)
            status = await _run_client(replace_service(old, str(address), is_tls))
        else:
            interrupted = asyncio.Event()
            _handle_signals(lambda _: interrupted.set())
            print(f"listening on {Service(host, port, tls=False)}", flush=True)
            await _until(interrupted)
    finally:
        server.close()
    await relay.close(_SECONDS_AFTER_THE_CLIENT if old else 0)
    return status


async def _run_client(words: Sequence[str]) -> int:
    """Returns the exit status of the old client, whose standard streams are ours. It gets the Ctrl-C of the terminal
    by itself. Raises CommandFailed."""
    try:
        process = await asyncio.create_subprocess_exec(*words)
    except OSError as error:
        raise CommandFailed(f"{words[0]} cannot be started: {error.strerror}") from None
    _handle_signals(lambda signum: None if signum == signal.SIGINT else process.terminate())
    return await process.wait()


def _handle_signals(handle: Callable[[int], None]) -> None:
    """Handles the signals that ask a process to end, but for those that are ignored here."""
    loop = asyncio.get_running_loop()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signum = getattr(signal, name, None)
        if signum is None or signal.getsignal(signum) == signal.SIG_IGN:
            continue
        if sys.platform == "win32":
            signal.signal(signum, lambda number, _: loop.call_soon_threadsafe(handle, number))
        else:
            loop.add_signal_handler(signum, handle, signum)


async def _until(event: asyncio.Event) -> None:
    while not event.is_set():
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(event.wait(), 0.5)  # Windows sees a signal only between two waits


# The old command line


def _described(arguments: argparse.Namespace, old: Sequence[str]) -> RecordedCall:
    """Returns the call as our options read it. Raises ParameterError."""
    expected, is_right = arguments.expect, not arguments.wrong_password
    call = RecordedCall(label=arguments.label, expected=expected, is_password_right=is_right)
    try:
        words = shlex.split(arguments.call) if arguments.call else list(old[_start_of_options(old) :])
        if not words:
            return call
        if arguments.call and not any(word.startswith(_OF_LOGIN) for word in words):
            raise ParameterError("it does not say the login of that client: -a osuser, or -u USER -p SECRET_FILE")
        options = parse(words if any(_places_of_service(words)) else ["-s", str(arguments.to), *words])
    except (ParameterError, ValueError, Answer) as error:
        reason = "it asks for a text" if isinstance(error, Answer) else error
        hint = "say what it is with --call, in options of planta_headless.py"
        raise ParameterError(f"the call cannot be read: {reason}; {hint}") from None
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


def _start_of_options(old: Sequence[str]) -> int:
    """Returns the number of the word behind the script in an old command line, or behind its first word. A script may
    have another name: then it is the first word behind Python that is no option."""
    scripts = [number for number, word in enumerate(old) if os.path.basename(word) == _SCRIPT]
    if not scripts and old and _INTERPRETER.fullmatch(os.path.basename(old[0])):
        scripts = [number for number, word in enumerate(old) if number and not word.startswith("-")]
    return (scripts[0] if scripts else 0) + 1


def _places_of_service(words: Sequence[str], start: int = 0) -> Iterator[tuple[int, str]]:
    """Yields the number of each word in which a value of -s is, and what is before the value in it."""
    is_value = False
    for number in range(start, len(words)):
        found = None if is_value else _OPTION.fullmatch(words[number])
        is_value = found is not None and not found["value"]
        if found is not None and (found["letter"] == "s" or "service".startswith(found["name"] or "?")):
            if not is_value:
                yield number, words[number][: found.start("value")]
            elif number + 1 < len(words):
                yield number + 1, ""


def replace_service(old: Sequence[str], address: str, is_tls: bool) -> list[str]:
    """Returns the command line with this address for its server; behind tls:// only if the client shall speak TLS.
    Raises ParameterError if there is no place for it."""
    if _PLACE in old:
        return [address if word == _PLACE else word for word in old]
    words = list(old)
    places = list(_places_of_service(old, _start_of_options(old)))
    if not places:
        raise ParameterError(f"the old command line has no -s HOST:PORT, and no word {_PLACE} in its place")
    for number, before in places:
        scheme = _TLS if is_tls and words[number][len(before) :].startswith(_TLS) else ""
        words[number] = before + scheme + address
    return words


# Values of options


def _downstream(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    """Returns what the relay speaks TLS with to the client. Raises ParameterError."""
    if arguments.tls_cert is None and arguments.tls_key is None:
        return None
    if arguments.tls_cert is None or arguments.tls_key is None:
        raise ParameterError("--tls-cert and --tls-key belong together")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        load_certificate(context, arguments.tls_cert, arguments.tls_key)
    except ValueError as error:
        raise ParameterError(str(error)) from None
    except OSError as error:
        raise ParameterError(f"--tls-cert and --tls-key cannot be used: {error.strerror or error}") from None
    return context


def _service(text: str) -> Service:
    return Service(*_address(text.removeprefix(_TLS), least_port=1), text.startswith(_TLS))


def _address(text: str, least_port: int = 0) -> tuple[str, int]:
    try:
        return host_and_port(text, least_port)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


# The checklist


def _print_checklist(folder: Folder) -> int:
    """Prints it, and returns 0 if nothing is missing, else 1. Raises CommandFailed."""
    if folder.path.exists() and not folder.path.is_dir():
        raise CommandFailed(f"{folder.path} is no folder")
    missing = 0
    for wish, found in counted(folder):
        missing += found < wish.count
        times = f" ({found} of {wish.count})" if wish.count > 1 else ""
        print(f"[{'x' if found >= wish.count else ' '}] {wish.what}{times}")
        if found < wish.count:
            own = f" {wish.record}" if wish.record else ""
            talk = shlex.quote(str(folder.path))
            print(f"      headless protocol record --to HOST:PORT --talk {talk}{own} -- OLD {wish.options}")
    recorded = len(folder.calls()) if folder.has_calls else 0
    print(f"{recorded} calls are recorded. OLD is the old client with -s and login, HOST:PORT your server.")
    return 1 if missing else 0
