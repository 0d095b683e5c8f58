"""The command in the process of the tests, for all that is not about the process: a tenth of its time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch

from headless import cli
from support.process import ENDING_SIGNALS, Command


class CommandHere(Command):
    """What planta_headless.py, or another `main`, does with a command line, as far as that does not end the process.
    With `start` it is a process of its own nevertheless."""

    def __init__(self, folder: Path, main: Callable[[Sequence[str]], int] | None = None) -> None:
        super().__init__(folder)
        self._main = main

    def __call__(self, *argv: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        env: Mapping[str, str] | None = options.pop("env", None)
        assert not options, "only a process has more options"
        with ExitStack() as stack:
            stdout, stderr = (stack.enter_context(_file()) for _ in range(2))
            stdin = stack.enter_context(open(os.devnull, encoding="utf-8"))
            for name, stream in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
                stack.enter_context(patch.object(sys, name, stream))
            stack.enter_context(patch.dict(os.environ, env or {}, clear=env is not None))
            stack.callback(sys.modules.pop, "planta_wire", None)  # the file of PLANTA_WIRE
            stack.enter_context(patch.object(sys, "path", sys.path[:]))
            stack.enter_context(_folder(self.folder))
            stack.enter_context(_signals())
            code = (self._main or cli.main)(argv)
            said = [_content(stream) for stream in (stdout, stderr)]
        assert "Traceback" not in "".join(said)
        return subprocess.CompletedProcess(argv, code, *said)


def _file() -> IO[str]:
    """One with a descriptor, which the command writes to."""
    return tempfile.TemporaryFile("w+", encoding="utf-8", newline="")


def _content(stream: IO[str]) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read().replace(os.linesep, "\n")


@contextmanager
def _folder(folder: os.PathLike[str]) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _signals() -> Iterator[None]:
    """Their handlers are as before in the end: a call with a receipt leaves its own to the end of the process."""
    handlers = {signum: signal.getsignal(signum) for signum in ENDING_SIGNALS}
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
