"""`rehearse` in a folder of its own: in the process of the tests, which is quick, or as a process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from headless.rehearsal import server
from support.command_here import headless
from support.fork_server import start
from support.process import ROOT

# In the place of the Python that rehearses: notes its arguments, and whether each call is rehearsed.
_STUB = r"""#!/bin/sh
report=
for each; do
    [ "$last" != --report ] || report=$each
    last=$each
done
if [ -z "$report" ] && [ -n "$PLANTA_REHEARSAL" ]; then
    report=$(sed 's/.*"--report", "\([^"]*\)".*/\1/' "$PLANTA_REHEARSAL/rehearsal.json")
fi
{ printf '%s\0' "$@"; printf '\n'; } >> {calls}
echo "job 1 stdout: 42"
printf '{"jobs": "py_code", "code": "0", "ends": "job 1 ok"}\n' >> "${report:-{escaped}}"
"""


class Rehearse:
    """Runs a rehearsal in a folder; fails if it leaves anything in the folder for temporary files."""

    def __init__(self, folder: Path, temporary: Path) -> None:
        self.folder = folder
        self.temporary = temporary
        self.environment = {**os.environ, "TMPDIR": str(temporary), "TEMP": str(temporary)}
        self.python = sys.executable  # what is the Python of this installation for the rehearsal
        self._calls, self._escaped = folder.parent / "calls", folder.parent / "escaped"

    def __call__(self, *argv: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        """In this process. Only its server is one of its own."""
        with ExitStack() as stack:
            stack.enter_context(patch.object(tempfile, "tempdir", str(self.temporary)))
            stack.enter_context(patch.object(sys, "executable", self.python))
            stack.enter_context(patch.object(server, "subprocess", _STARTS_QUICKLY))
            done = headless("rehearse", *argv, folder=self.folder, env=self.environment, stdin=stdin)
        self.assert_nothing_left()
        return done

    def start(self, *argv: str, **options: Any) -> subprocess.Popen[str]:
        """As a process."""
        defaults: dict[str, Any] = {"cwd": self.folder, "env": self.environment, "stdin": subprocess.DEVNULL}
        return start([str(ROOT / "headless"), "rehearse", *argv], **{"text": True, **defaults, **options})

    def assert_nothing_left(self) -> None:
        assert list(self.temporary.iterdir()) == []

    def write(self, name: str, text: str) -> Path:
        """A file below the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    # Lines of a crontab, without the time of rehearsals

    def use_stub(self) -> None:
        """From now on the calls of lines are no rehearsals, but say that they were good ones."""
        stub = self.folder.parent / "stub" / "python3"  # as it is called wherever there is one
        stub.parent.mkdir()
        text = _STUB.replace("{calls}", str(self._calls)).replace("{escaped}", str(self._escaped))
        stub.write_text(text, encoding="utf-8")
        stub.chmod(0o755)
        self.python = str(stub)

    def calls(self) -> list[list[str]]:
        """The arguments of each call that came to the stub. None of them may have left the rehearsal."""
        assert not self._escaped.exists()
        text = self._calls.read_text(encoding="utf-8") if self._calls.exists() else ""
        return [line.split("\0") for line in text.split("\0\n")[:-1]]


def _popen(command: list[str], **options: Any) -> subprocess.Popen[str]:
    del options["start_new_session"], options["creationflags"]
    return start(command[1:], **options)


_STARTS_QUICKLY = SimpleNamespace(Popen=_popen, PIPE=subprocess.PIPE)


def notes(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a rehearsal has said on stderr, if that was no error."""
    lines = done.stderr.splitlines()
    assert all(line.startswith("headless rehearse: ") for line in lines), done.stderr
    assert not any(line.startswith("headless rehearse: error: ") for line in lines), done.stderr
    return [line.removeprefix("headless rehearse: ") for line in lines]
