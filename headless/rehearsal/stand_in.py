"""The folder from which the jobs of a rehearsal get the module ppms."""

from __future__ import annotations

import shutil
from pathlib import Path

_HERE = Path(__file__).parent


def make_folder(folder: Path, code: str) -> str:
    """Makes it, and returns its name. `code` is the file with the module's code, "" for one that prints what is called.
    Raises OSError."""
    folder.mkdir()
    shutil.copyfile(_HERE / "sitecustomize.py", folder / "sitecustomize.py")
    named = code or str(_HERE / "recorder.py")
    (folder / "ppms").write_text(named, encoding="utf-8", errors="surrogateescape")
    return str(folder)
