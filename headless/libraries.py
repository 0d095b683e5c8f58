"""How a library that is missing is installed here. What it means that one is missing is in outcome.py."""

from __future__ import annotations

import os
import sys

_RUNTIME = ("bcrypt", "lxml")
_ADMIN = ("croniter", "mslex", "tree_sitter", "tree_sitter_bash")  # modules of the extra [admin]
_DEBIAN = "/etc/debian_version"


def library_of(module: str, path: str) -> str:
    """The module of the library that the module with this name and path belongs to, "" for what is none of ours. A part
    in C that cannot be loaded has its own name: `etree`."""
    places = (module, *os.path.normpath(path).split(os.sep))
    return next((library for library in (*_RUNTIME, *_ADMIN) if library in places), "")


def how_to_install(module: str) -> str:
    """The command that installs the library with this module, and the others that belong to it. It leaves a Python
    alone that others use, also if root types it."""
    if _is_ours_to_change() and _has_pip():
        return f"{_quoted(sys.executable)} -m pip install --force-reinstall {_packages(module)}"
    if module in _RUNTIME and _is_debians():
        return f"apt install python3-{module}"
    python = os.path.join(".venv", "Scripts", "python") if os.name == "nt" else ".venv/bin/python"
    packages = " ".join(_RUNTIME) if module in _RUNTIME else _packages(module)
    venv = f"{_quoted(sys.executable)} -m venv .venv && {python} -m pip install {packages}"
    return f"{venv} (and start this with {python} from now on)"


def _packages(module: str) -> str:
    if module in _ADMIN:
        return " ".join([*_RUNTIME, *(name.replace("_", "-") for name in _ADMIN)])
    return module


def _is_ours_to_change() -> bool:
    is_root = os.name != "nt" and os.geteuid() == 0
    return sys.prefix != sys.base_prefix or not (is_root or _is_managed())


def _is_debians() -> bool:
    return os.path.exists(_DEBIAN) and sys.prefix == "/usr"


def _is_managed() -> bool:
    """Whether the operating system keeps this Python to itself (PEP 668)."""
    import sysconfig

    return os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED"))


def _has_pip() -> bool:
    from importlib.util import find_spec

    return find_spec("pip") is not None


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path
