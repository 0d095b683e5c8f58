"""Tells what runs here: the same lines on two machines mean the same code."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from headless.dialects.own.messages import VERSION_NUMBER
from headless.errors import explain
from headless.options import VERSION
from headless.terminal import escape_control_chars

_PACKAGE = Path(__file__).absolute().parent.parent
_LIBRARIES = ("bcrypt", "lxml")


def about(dialect: str) -> str:
    """Returns a line for each thing. `dialect` is the value of PLANTA_PROTOCOL, "" for our own."""
    rows = {
        "version": VERSION,
        "revision": _revision(_PACKAGE.parent) or "not known",
        "files": f"{_digest(_PACKAGE)} (SHA-256 of the Python files, their first 12 digits)",
        "package": str(_PACKAGE),
        "python": f"{sys.version.split()[0]} {sys.executable}",
        "libraries": ", ".join(map(_library, _LIBRARIES)),
        "protocol": f"PLANTA_PROTOCOL={dialect}" if dialect else f"this project's own, version {VERSION_NUMBER}",
    }
    return "".join(f"{name:9}  {escape_control_chars(text)}\n" for name, text in rows.items())


def _revision(folder: Path) -> str:
    """Returns the commit of the Git checkout in this folder, "" if there is none. Git itself is not run: it would do
    what the folder's settings say (git-config(1), core.fsmonitor)."""
    git = folder / ".git"
    try:
        head = (git / "HEAD").read_text("ascii").strip()
        commit = head if not head.startswith("ref: ") else next(_commits(git, head.removeprefix("ref: ")), "")
    except (OSError, ValueError):
        return ""
    return f"{commit}, of the checkout in {folder}" if commit else ""


def _commits(git: Path, name: str) -> Iterator[str]:
    """Yields what the branch or tag is, as gitrepository-layout(5) stores it. Raises OSError, ValueError."""
    if (git / name).is_file():
        yield (git / name).read_text("ascii").strip()
    for line in (git / "packed-refs").read_text("utf-8").splitlines():
        if line.endswith(f" {name}"):
            yield line.split()[0]


def _digest(package: Path) -> str:
    """Raises OSError."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _library(name: str) -> str:
    try:
        return f"{name} {import_module(name).__version__}"
    except Exception as error:
        return explain(error)[1]
