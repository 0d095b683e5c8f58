"""Folders of recordings with literal bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Union

from headless.dialects.vocabulary import CHALLENGE, MODULE, Job
from headless.protocol_tools.recordings import CALLS, CLIENT, SERVER, Folder, Piece, RecordedCall, line_of
from support.vendors.recorded import write

# Of a connection: what the sides say in turn; a number is a pause in seconds, END the end of a side's stream.
Said = Sequence[Union[bytes, float, None]]
END = None


def connection(said: Said, first: str = CLIENT) -> list[Piece]:
    """What the sides say in turn. `first` is who begins; b"" passes the turn."""
    pieces, seconds, sender = [], 0.0, first
    for each in said:
        if each is END or isinstance(each, bytes):
            if each != b"":
                pieces.append(Piece(seconds, sender, each or b""))
            sender = SERVER if sender == CLIENT else CLIENT
            seconds += 0.001
        else:
            seconds += each
    return pieces


def talk(path: Path, connections: Iterable[Said], calls: Sequence[RecordedCall] = (), first: str = CLIENT) -> Folder:
    """A folder with a call for each connection: these, or a module with a challenge that ended well."""
    path.mkdir(mode=0o700)
    lines = []
    for number, said in enumerate(connections):
        name = f"{number:04d}"
        write(path / f"{name}.talk", b"".join(map(line_of, connection(said, first))))
        usual = RecordedCall(f"call {number}", CHALLENGE, "R41", "", (Job(MODULE, "009ABC"),), -1, True, 0, 0)
        call = calls[number] if number < len(calls) else usual
        fields = {**call.__dict__, "connections": (name,)}
        lines.append(RecordedCall(**fields).to_json().encode() + b"\n")
    write(path / CALLS, b"".join(lines))
    return Folder(path)
