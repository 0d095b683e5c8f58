"""show: prints for people what was said in recordings, message by message."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from lxml import etree
from lxml.etree import _Element as Element

from headless.arguments import path
from headless.dialects.display import hide_secrets
from headless.dialects.framing import Receiver, Transport
from headless.errors import ParameterError, ProtocolError
from headless.protocol_tools.documents import root_of
from headless.protocol_tools.framing_search import Search, sample_of
from headless.protocol_tools.recordings import CLIENT, SERVER, Folder, Piece, RecordedCall
from headless.protocol_tools.secrecy import Hiding, values_of
from headless.protocol_tools.writing import value_code
from headless.terminal import escape_control_chars, shorten, write

PROGRAM = "headless protocol show"
_MAX_TURN = 64 * 1024  # bytes without frames that are shown as one
_MAX_VALUE, _MAX_LINE, _MAX_LINES = 200, 1000, 40  # characters, and lines of a message, without --all
_LEAST_BINARY = 8  # bytes that are counted and not shown, without --all
_SPACE = b" \t\r\n\0"  # that may be behind the last message
_COLUMN = 20  # where messages begin
_BINARY = re.compile(rb"[^\t\r\n -~](?:[\t\r\n -~]{0,5}[^\t\r\n -~])*")  # with letters that it may have by chance

Transports = Mapping[str, Optional[Transport]]  # by sender


def add(commands: Any) -> None:
    """Adds the command to those of `headless protocol`."""
    parser = commands.add_parser("show", help="print what was said in recordings", description=_DESCRIPTION)
    parser.set_defaults(command=run, program=PROGRAM)
    parser.add_argument("folder", type=path, metavar="DIR", help="the folder of the recordings")
    parser.add_argument("--all", action="store_true", help="show long texts whole, and what may prove a password")


_DESCRIPTION = """Prints each call, and what was said: the seconds since the connection, the side, and the message. Not
shown is what may prove a password: values with such names, and long ones of the client that are not the same in all
recordings."""


MESSAGE, BYTES, CUT, END = "no XML: ", "no message: ", "cut: ", "ends"  # before what is shown as text


class Turn(NamedTuple):
    seconds: float
    sender: str
    kind: str
    data: bytes = b""


def run(arguments: argparse.Namespace) -> int:
    """Returns the exit status. Raises HeadlessError, OSError."""
    folder = Folder(arguments.folder)
    calls = folder.calls() if folder.has_calls else []
    names = [name for call in calls for name in call.connections]
    if not names:
        raise ParameterError(f"there are no recordings in {arguments.folder}")
    transports = {sender: Search(sample_of(folder, names, sender)).transport for sender in (CLIENT, SERVER)}
    hiding = None if arguments.all else _learned(folder, calls, transports)
    for sender, transport in transports.items():
        found = "its bytes are shown: no framing explains them" if transport is None else value_code(transport)
        _print(f"{sender}: {found}", arguments.all)
    for number, call in enumerate(calls, 1):
        _print("", arguments.all)
        _print(f"Call {number}{_described(call)}", arguments.all)
        for name in call.connections:
            _print(f"  Connection {name}", arguments.all)
            known: list[str] = []
            for turn in _turns(folder, name, transports):
                _print_turn(turn, call, hiding, known)
    return 0


def _learned(folder: Folder, calls: Sequence[RecordedCall], transports: Transports) -> Hiding:
    """Returns what knows all that the client says."""
    hiding = Hiding()
    for call in calls:
        for name in call.connections:
            turns = _turns(folder, name, {**transports, SERVER: None})
            hiding.learn(call, (_content(turn, False) for turn in turns if turn.sender == CLIENT))
    return hiding


# What was said


def _turns(folder: Folder, name: str, transports: Transports) -> Iterator[Turn]:
    """Yields messages, and what is none: as much of it as one side has said in a row."""
    receivers = {each: None if transport is None else Receiver(transport) for each, transport in transports.items()}
    waiting = None
    for turn in _parts(folder.pieces(name), receivers):
        if waiting is not None and waiting[1:3] == turn[1:3] == (turn.sender, BYTES) and len(waiting.data) < _MAX_TURN:
            waiting = waiting._replace(data=waiting.data + turn.data)
            continue
        if waiting is not None:
            yield waiting
        waiting = turn
    if waiting is not None:
        yield waiting


def _parts(pieces: Iterator[Piece], receivers: dict[str, Receiver | None]) -> Iterator[Turn]:
    seconds = 0.0
    for seconds, sender, data in ((piece.seconds, piece.sender, piece.data) for piece in pieces):
        receiver = receivers[sender]
        if receiver is None or not data:
            yield Turn(seconds, sender, BYTES if data else END, data)
            continue
        receiver.receive(data)
        try:
            while (message := receiver.next_message()) is not None:
                yield Turn(seconds, sender, MESSAGE, message)
        except ProtocolError:  # from here on it has another framing
            receivers[sender] = None
            yield Turn(seconds, sender, BYTES, receiver.rest)
    for sender, receiver in receivers.items():
        if receiver is not None and receiver.rest.strip(_SPACE):
            yield Turn(seconds, sender, CUT, receiver.rest)


def _content(turn: Turn, is_whole: bool) -> Element | str:
    """Returns the root of a message, or the text of what is none."""
    root = root_of(turn.data) if turn.kind == MESSAGE else None
    if root is not None:
        return root
    data = turn.data if is_whole else _BINARY.sub(_counted, turn.data)
    return data.decode("utf-8", "backslashreplace")


def _counted(binary: re.Match[bytes]) -> bytes:
    return b"(%d bytes)" % len(binary[0]) if len(binary[0]) >= _LEAST_BINARY else binary[0]


# What is shown


def _described(call: RecordedCall) -> str:
    label = f' "{call.label}"' if call.label else ""
    waiting = f"-t {call.timeout}" if call.timeout else "no -t"
    jobs = [f"{job.kind} {shorten(job.text, 60)}" for job in call.jobs]
    password = [] if call.is_password_right else ["a wrong password"]
    parts = [f"{call.login} {call.user or call.os_user}".strip(), *password, waiting, *jobs]
    codes = [("the old client returned", call.status), ("expected", call.expected)]
    results = ", ".join(f"{what} {code}" for what, code in codes if code is not None)
    return hide_secrets(f"{label}: {', '.join(filter(None, parts))}{'; ' if results else ''}{results}")


def _print_turn(turn: Turn, call: RecordedCall, hiding: Hiding | None, known: list[str]) -> None:
    is_whole = hiding is None
    content = _content(turn, is_whole)
    if isinstance(content, str):
        if hiding is not None:
            content = hiding.hide_in_text(content, turn.sender, known)
        is_empty = turn.kind == MESSAGE and not turn.data
        lines = ["an empty message" if is_empty else turn.kind + _one_line(content, _MAX_LINE, is_whole)]
    else:
        if hiding is not None:
            hiding.hide(content, turn.sender, call, known)
        lines = _folded(content, is_whole)
    _print(f"{turn.seconds:10.3f}  {turn.sender:6}  {lines[0]}", is_whole)
    for line in lines[1:]:
        _print(" " * _COLUMN + line, is_whole)


def _folded(root: Any, is_whole: bool) -> list[str]:
    for value in values_of(root):
        line = _one_line(value.text, _MAX_VALUE, is_whole)
        if line != value.text:
            value.put(line)
    etree.indent(root)
    lines = etree.tostring(root, encoding="unicode", with_tail=False).split("\n")
    if is_whole or len(lines) <= _MAX_LINES:
        return lines
    return [*lines[:_MAX_LINES], f"... ({len(lines)} lines)"]


def _one_line(text: str, limit: int, is_whole: bool) -> str:
    return escape_control_chars(text if is_whole else shorten(text, limit))


def _print(line: str, is_whole: bool) -> None:
    """Raises OSError if the reader is gone."""
    write(sys.stdout, _one_line(line, _MAX_LINE, is_whole) + "\n")
