"""How a library that is missing is installed here. What it means that one is missing is in outcome.py."""

from __future__ import annotations

import os
import sys

_RUNTIME = ("bcrypt", "lxml")
_ADMIN = ("croniter", "mslex", "tree_sitter", "tree_sitter_bash")  # modules of the extra [admin]
_DEBIAN = "/etc/debian_version"


def how_to_install(module: str) -> str:
    """The command that installs the library with this module for this Python, and the others that belong to it."""
    is_ours_to_change = sys.prefix != sys.base_prefix or not _is_managed()
    if is_ours_to_change and _has_pip():
        return f"{_quoted(sys.executable)} -m pip install --force-reinstall {_packages(module)}"
    if module in _RUNTIME and os.path.exists(_DEBIAN):
        return f"apt install python3-{module}"
    python = os.path.join(".venv", "Scripts", "python") if os.name == "nt" else ".venv/bin/python"
    venv = f"{_quoted(sys.executable)} -m venv .venv && {python} -m pip install {_packages(module)}"
    return f"{venv} (and start this with {python} from now on)"


def _packages(module: str) -> str:
    if module in _ADMIN:
        return " ".join([*_RUNTIME, *(name.replace("_", "-") for name in _ADMIN)])
    return module


def _is_managed() -> bool:
    """Whether the operating system keeps this Python to itself (PEP 668)."""
    import sysconfig

    return os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED"))


def _has_pip() -> bool:
    from importlib.util import find_spec

    return find_spec("pip") is not None


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path
