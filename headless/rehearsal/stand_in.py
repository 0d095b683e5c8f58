"""The folder from which the jobs of a rehearsal get the module ppms."""

from __future__ import annotations

import shutil
from pathlib import Path

_HERE = Path(__file__).parent


def make_folder(folder: Path, code: str) -> str:
    """Makes it, and returns its name. `code` is the file with the module's code; "" for a module of this name that the
    jobs can import anyway, or else for one that prints what is called. Raises OSError."""
    folder.mkdir()
    for name in ("sitecustomize.py", "recorder.py"):
        shutil.copyfile(_HERE / name, folder / name)
    (folder / "ppms").write_text(code, encoding="utf-8", errors="surrogateescape")
    return str(folder)
