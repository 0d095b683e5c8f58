"""The client in the process of the tests: a twentieth of the time, and its clock and its times can be other ones. How
it starts and ends as a process is not to be seen here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryFile
from unittest.mock import patch

from headless import cli, commands
from headless.client import call
from headless.options import parse
from support.credentials import HASH

Ended = subprocess.CompletedProcess[str]


def ended(run: Callable[[], int], argv: Sequence[str] = ()) -> Ended:
    """How this ends here: its return code, and what it prints, through descriptors as it does in a process."""
    with (
        TemporaryFile("w+", encoding="utf-8") as stdout,
        TemporaryFile("w+", encoding="utf-8") as stderr,
    ):
        with redirect_stdout(stdout), redirect_stderr(stderr):
            code = run()
        printed = []
        for file in (stdout, stderr):
            file.flush()
            file.seek(0)
            printed.append(file.read())
    assert "Traceback" not in "".join(printed)
    return subprocess.CompletedProcess(argv, code, *printed)


def headless(*argv: str) -> Ended:
    """`headless ...`, for the commands that talk to a server."""
    return ended(lambda: commands.main(argv), argv)


class ClientHere:
    """planta_headless.py, with the same call as support.process.Command."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(
        self,
        *argv: str,
        seconds: float | None = None,
        env: dict[str, str] | None = None,
    ) -> Ended:
        """With `seconds` these take the place of those of -t: a part of one, which no option can say. Without `env` the
        environment is that of the tests."""

        def run() -> int:
            if seconds is None:
                return cli.main(argv)
            return call.run(parse(argv).replace(timeout=seconds))

        with patch.dict(os.environ, env or {}, clear=env is not None):
            return ended(run, argv)

    def secret_file(self, content: str = HASH + "\n", name: str = "secret") -> str:
        """A password file in the test's folder."""
        path = self._folder / name
        path.write_text(content, encoding="utf-8")
        path.chmod(0o400)
        return str(path)
