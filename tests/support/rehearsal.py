"""`rehearse` in a folder of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from support.process import ROOT, manage


class Rehearse:
    """Runs a rehearsal in a folder; fails if it leaves anything in the folder for temporary files."""

    def __init__(self, folder: Path, temporary: Path) -> None:
        self.folder = folder
        self.temporary = temporary
        self.environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}

    def __call__(self, *argv: str) -> subprocess.CompletedProcess[str]:
        done = manage("rehearse", *argv, check=False, cwd=self.folder, env=self.environment)
        self.assert_nothing_left()
        return done

    def assert_nothing_left(self) -> None:
        assert list(self.temporary.iterdir()) == []

    def write(self, name: str, text: str) -> Path:
        """A file below the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


def notes(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a rehearsal has said on stderr, if that was no error."""
    lines = done.stderr.splitlines()
    assert all(line.startswith("headless rehearse: ") for line in lines), done.stderr
    assert not any(line.startswith("headless rehearse: error: ") for line in lines), done.stderr
    return [line.removeprefix("headless rehearse: ") for line in lines]
