"""Writes the file of a site: a subclass of headless.dialects.planta for the vendor's published vocabulary."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from headless.errors import CommandFailed, ParameterError
from headless.protocol_tools.assumptions import Assumption

_FRAMING = ("Compression", "Delimiter", "Digits", "Documents", "Http", "Length", "Transport")
_LEFT_TO_A_PERSON = ("A11", "A13", "A14", "A15")


def planta_code(assumptions: Sequence[Assumption]) -> str:
    """Returns a subclass with what is known. What a person has to decide is a comment."""
    code = [line for each in assumptions for line in each.code]
    settled = tuple(each.number for each in assumptions if each.is_settled and each.number not in _LEFT_TO_A_PERSON)
    lines = ['"""What our PLANTA server speaks, from recordings. See PLANTA.md for A1 to A18.', ""]
    lines += [
        "A comment has to be decided: take one of the lines, or write another one, and add its number to `settled`."
    ]
    lines += ['"""', "", *_imports(assumptions, code), "", "", "class Dialect(planta.Dialect):"]
    lines.append(f"    settled = {settled!r}" + ("" if "A4" in settled else "  # add A4 when you know: TLS, or none"))
    for each in assumptions:
        attributes = [line for line in each.code if not line.startswith((" ", "def "))]
        comment = f"  # {each.number}" + ("" if each.is_settled else ", not settled")
        lines += [f"    {line}" if line.startswith("#") else f"    {line}{comment}" for line in attributes]
    for each in assumptions:
        lines += _methods(each)
    return "\n".join([*lines, ""])


def _methods(assumption: Assumption) -> Iterator[str]:
    is_inside = False
    for line in assumption.code:
        if line.startswith("def "):
            yield ""
            yield f"    {line}  # {assumption.number}"
            is_inside = True
        elif line.startswith(" ") and is_inside:
            yield f"    {line}"


def _imports(assumptions: Sequence[Assumption], code: Sequence[str]) -> Iterator[str]:
    needs = {need for each in assumptions for need in each.needs}
    modules = sorted(needs - set(_FRAMING))
    yield from (f"import {module}" for module in modules if module != "bcrypt")
    if set(modules) - {"bcrypt"}:
        yield ""
    used = "\n".join(code)
    if "bcrypt" in modules:
        yield "import bcrypt"
    if "etree." in used:
        yield "from lxml import etree"
    if "bcrypt" in modules or "etree." in used:
        yield ""
    yield "from headless.dialects import planta"
    framing = sorted(needs & set(_FRAMING))
    if framing:
        yield f"from headless.dialects.framing import {', '.join(framing)}"
    if "UnsupportedCall" in used:
        yield "from headless.errors import UnsupportedCall"


def check_free(path: Path) -> None:
    """Raises ParameterError if there is something of that name, or nothing can be written there."""
    if path.exists() or path.is_symlink():
        raise ParameterError(f"{path} exists, and is not overwritten")
    if not path.parent.is_dir():
        raise ParameterError(f"there is no folder {path.parent}")


def write_new(path: Path, text: str) -> None:
    """Writes a file that others cannot write to. Raises CommandFailed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        descriptor = os.open(path, flags, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise CommandFailed(f"{path} exists, and is not overwritten") from None
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}") from None
