"""Dialects that are right, and recordings to check them with: this project's own, the example of PORTING.md, and the
sites of the four variants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import NamedTuple, Union

from headless.dialects.vocabulary import CHALLENGE, MODULE, Job
from headless.protocol_tools import command
from headless.protocol_tools.recordings import RecordedCall
from support.credentials import HASH
from support.example_server import EXAMPLE
from support.planta_variants import BARE, LENGTH, PACKED, ZERO
from support.vendors import example, own, variants
from support.vendors.recorded import EVERY_CALL, record

BUSY = "the server is busy"


class Checked(NamedTuple):
    """`dialect` is what PLANTA_PROTOCOL names."""

    dialect: str
    vendor: Union[ModuleType, SimpleNamespace]


CHECKED = {
    "own": Checked("headless.dialects.own.dialect", own),
    "example": Checked(EXAMPLE, example),
    "length": Checked(LENGTH.site, variants.length),
    "zero": Checked(ZERO.site, variants.zero),
    "bare": Checked(BARE.site, variants.bare),
    "packed": Checked(PACKED.site, variants.packed),
}


def calls_of(name: str) -> list[RecordedCall]:
    """The calls that are worth it, with the codes that the dialect of this name can know."""
    job = Job(MODULE, "busy 17")
    busy = RecordedCall(BUSY, CHALLENGE, "R41", "", (job,), -1, True, None, 1)
    calls = list(EVERY_CALL) if name == "example" else [*EVERY_CALL, busy]
    if name == "bare":  # which tells no result
        calls = [replace(call, expected=0) if call.label == "the second fails" else call for call in calls]
    if name == "zero":  # whose server does not keep its word to say something each minute
        calls = [call for call in calls if call.label != "180 s"]
    return calls


def recorded(name: str, folder: Path, labels: Iterable[str] = (), seed: int = 1) -> Path:
    """A folder with these calls of the old client, or all of them."""
    labels = set(labels)
    calls = [call for call in calls_of(name) if not labels or call.label in labels]
    assert len(labels) in (0, len(calls))
    return record(CHECKED[name].vendor, folder, calls, seed).path


def check(dialect: str | Path, folder: Path, secret_file: str | Path | None = None) -> int:
    """The exit status of the command."""
    return command.main(["check", str(dialect), str(folder), *(["-p", str(secret_file)] if secret_file else [])])


def secret_in(folder: Path) -> Path:
    path = folder / "R41.secret"
    path.write_text(HASH)
    path.chmod(0o400)
    return path
