"""Jobs under shims without a server on Windows: how they are started, and faults that are planted in their shims."""

from __future__ import annotations

import ctypes
import sys
from importlib import import_module
from typing import Any

import pytest

from support.job_processes import Folder, new_shims

IS_EMULATED = sys.platform == "win32" and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
# Seconds; Wine's console inherits what a shim does, and waits if that dies first.
EARLIEST = 0.1 if IS_EMULATED else 0.0
SLEEP = "import time; time.sleep(60)"


def plant(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Lets each shim run this code before it begins: a fault is planted where no test comes otherwise."""
    windows_shims: Any = import_module("headless.server.windows_shims")  # which only Windows can import
    program = windows_shims._PROGRAM.replace("windows_shim.main()", f"exec({code!r}); windows_shim.main()")
    monkeypatch.setattr(windows_shims, "_PROGRAM", program)


async def start(folder: Folder, source: str, number: int = 1, **changes: Any) -> Any:
    return await new_shims().start(folder.spec(source, number, **changes))


async def end_of(folder: Folder, source: str, number: int = 1, **changes: Any) -> Any:
    """None where nobody knows."""
    return await (await start(folder, source, number, **changes)).wait()


async def end_found(output: str) -> Any:
    """How the job has ended that a server finds which has just begun."""
    process = await new_shims().find(output)
    assert process is not None
    return await process.wait()
