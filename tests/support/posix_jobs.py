"""Plants faults in shims, and reads their records, where the platform can fork."""

from __future__ import annotations

import errno
import sys

import pytest

from headless.server import shims
from headless.server.jobs import ProcessEnd
from headless.server.shims import Record, read_record
from support.job_processes import Folder, new_shims, run

assert sys.platform != "win32"

SLEEP = "import time; time.sleep(60)"
NO_SPACE = f"raise OSError({errno.ENOSPC}, 'No space left on device')"


def plant(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Lets each shim run this code before it begins."""
    program = shims._PROGRAM.replace("shim.main()", f"exec({code!r}); shim.main()")
    monkeypatch.setattr(shims, "_PROGRAM", program)


def make_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives what is asked to end a tenth of the time."""
    plant(monkeypatch, "shim._SECONDS_TO_CLEAN_UP = 0.1; shim._SECONDS_TO_DIE = 0.3")


def failing(function: str, condition: str, then: str = NO_SPACE) -> str:
    """Returns code that lets a function of the shim's os fail where the condition on its arguments is true."""
    return (
        f"real_{function} = shim.os.{function}; calls_{function} = []\n"
        f"def {function}(*args):\n"
        f"    if {condition}:\n"
        f"        calls_{function}.append(args)\n"
        f"        {then}\n"
        f"    return real_{function}(*args)\n"
        f"shim.os.{function} = {function}\n"
    )


NOT_STARTED = "not started"


def find(folder: Folder, number: int = 1) -> ProcessEnd | str | None:
    """Returns the end as the next server finds it; None where it is unknown."""
    return run(end_found(str(folder.output / str(number))))


async def end_found(output: str) -> ProcessEnd | str | None:
    process = await new_shims().find(output)
    return NOT_STARTED if process is None else await process.wait()


def written(output: str) -> Record:
    record = read_record(output)
    assert record is not None
    return record
